/**
 * What programs that know nothing of byname see of the mesh and of the outside through the redirect, as a table in Markdown:
 *
 *   npm run clients            every back end, scope, address family and transport; as root
 *   npm run clients -- --quick three of these, without the clients that take long to make
 *
 * The exit code is 1 if anything is not what it must be.
 */
import { runClients } from './matrix.ts'
import { report } from './report.ts'

const result = await runClients({ isQuick: process.argv.includes('--quick'), say: (line) => console.error(line) })
process.stdout.write(report(result))
process.exitCode = result.problems.length === 0 ? 0 : 1

/** Programs that know nothing of byname, how each is started, and what each of them can see. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

/** How it is found out what a program makes of names. */
export interface Client {
  name: string
  /** Programs that must be here. */
  needs: readonly string[]
  /** Makes it in a folder, if it is to be made; the command line is run there. */
  build?: (folder: string) => readonly string[]
  /** Prints `NAME ADDRESS…` or `NAME !ERROR` for each of the names that follow; `!absent` where there is no such name or address. */
  command: (folder: string) => readonly string[]
  /** Of several addresses. */
  sees: 'all' | 'one' | 'some'
  /** Without addresses of IPv6. */
  isIpv4Only?: true
  /** It knows nothing of search domains. */
  hasNoSearch?: true
  /** It takes minutes to make, or is not on most machines. */
  isLong?: true
}

const HERE = import.meta.dirname

/** `body` prints what follows the name of each line; `$n` is the name. */
function shell(body: string): readonly string[] {
  return ['sh', '-c', `for n; do echo "$n" $(${body}); done`, 'sh']
}

const GO = (folder: string): readonly string[] => [
  'go',
  'build',
  '-o',
  join(folder, 'lookup-go'),
  join(HERE, 'lookup.go'),
]

/** In the order of the table. */
export const CLIENTS: readonly Client[] = [
  {
    name: 'dig +search',
    needs: ['dig'],
    command: () =>
      shell(
        'for t in A AAAA; do dig +search +tries=1 +time=5 $DIG_TRANSPORT "$n" $t; done | awk \'/status: (NOERROR|NXDOMAIN)/ { ok++ } $4 == "A" || $4 == "AAAA" { print $5; some = 1 } END { if (ok < 2) print "!failed"; else if (!some) print "!absent" }\'',
      ),
    sees: 'all',
  },
  {
    name: 'getent ahosts (glibc)',
    needs: ['getent'],
    command: () =>
      shell(
        'r=$(getent ahosts "$n"); case $? in 0) echo "$r" | awk \'{ print $1 }\' ;; 2) echo !absent ;; *) echo !failed ;; esac',
      ),
    sees: 'all',
  },
  {
    name: 'musl',
    needs: ['musl-gcc'],
    build: (folder) => ['musl-gcc', '-static', '-O1', '-o', join(folder, 'lookup-musl'), join(HERE, 'lookup.c')],
    command: (folder) => [join(folder, 'lookup-musl')],
    // musl asks over UDP alone before 1.2.4, and takes 48 addresses at most.
    sees: 'some',
  },
  {
    name: 'curl',
    needs: ['curl'],
    command: () =>
      shell('curl -s --max-time 10 "http://$n:9080/"; case $? in 0) ;; 6) echo !absent ;; *) echo !failed ;; esac'),
    sees: 'one',
  },
  {
    name: 'Python',
    needs: ['python3'],
    command: () => ['python3', join(HERE, 'lookup.py')],
    sees: 'all',
  },
  {
    name: 'Node dns.lookup',
    needs: [],
    command: () => [process.execPath, join(HERE, 'lookup.mjs'), 'lookup'],
    sees: 'all',
  },
  {
    name: 'Node dns.resolve4 (c-ares)',
    needs: [],
    command: () => [process.execPath, join(HERE, 'lookup.mjs'), 'resolve4'],
    sees: 'all',
    isIpv4Only: true,
    hasNoSearch: true,
  },
  {
    name: 'Node fetch (undici)',
    needs: [],
    command: () => [process.execPath, join(HERE, 'lookup.mjs'), 'fetch'],
    sees: 'one',
  },
  {
    name: 'Go, its own resolver',
    needs: ['go'],
    build: GO,
    command: (folder) => ['env', 'GODEBUG=netdns=go', join(folder, 'lookup-go')],
    sees: 'all',
    isLong: true,
  },
  {
    name: 'Go, cgo',
    needs: ['go', 'gcc'],
    build: GO,
    command: (folder) => ['env', 'GODEBUG=netdns=cgo', join(folder, 'lookup-go')],
    sees: 'all',
    isLong: true,
  },
  {
    name: 'Java',
    needs: ['java', 'javac'],
    build: (folder) => ['javac', '-d', folder, join(HERE, 'Lookup.java')],
    command: (folder) => ['java', '-XX:+UseSerialGC', '-cp', folder, 'Lookup'],
    sees: 'all',
    isLong: true,
  },
]

/** Makes a client's program in `folder`. Returns what the compiler says if it cannot be made. */
export function buildClient({ build }: Client, folder: string): string | null {
  if (build === undefined) return null
  const [program, ...args] = build(folder)
  const { status, stderr, error } = spawnSync(program!, args, { encoding: 'utf8' })
  return status === 0 ? null : (stderr ?? error?.message ?? 'it cannot be started')
}

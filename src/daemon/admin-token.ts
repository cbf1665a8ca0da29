import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import type { RequiredToken } from '../http/request-guard.ts'

/** Whoever brings the token brings it in a header of HTTP/1, which has 16 KiB for all of them. */
const MOST_TOKEN_BYTES = 8192

/**
 * The token in the file of `admin.token`, or what is wrong with it, in one line without its path: a token that was written
 * into the configuration by mistake must not get into a log. Null where no file is named.
 */
export function readAdminToken(file: string): RequiredToken | null {
  if (file === '') return null
  const read = readBoundedText(file, MAX_FILE_BYTES.credentials)
  if ('problem' in read) {
    const reason = read.problem.reason.replace(/;.*/, '')
    return { problem: `the file that it names ${reason}; name a file that holds the token, not the token itself` }
  }
  const token = read.text.trim()
  if (token === '') return { problem: 'the file that it names is empty; write a token into it' }
  if (token.length > MOST_TOKEN_BYTES) {
    const problem = `the file that it names holds a token of ${token.length} bytes, and no header has room for more than ${MOST_TOKEN_BYTES}; write a shorter one into it`
    return { problem }
  }
  if (/^[\w.~+/=-]+$/.test(token)) return { token }
  return {
    problem:
      'the file that it names holds no token, which is one line of letters, digits and the signs -._~+/= (RFC 6750)',
  }
}

/**
 * Linux system calls through koffi: the one file that knows it. Everything the batch driver and the control thread need
 * of the kernel that Node does not offer. Calls return what the kernel returned, or minus the error number.
 *
 * Structs are built by hand in shared memory, which never moves (Linux on x64 and arm64 agree on all of them):
 *
 * ```
 *  iovec    16  base u64 │ length u64
 *  mmsghdr  64  name u64 │ name length u32, pad │ iovec u64 │ iovec count u64 │ control u64 │ control length u64 │ flags u32, pad │ received u32, pad
 *  pollfd    8  fd i32 │ events u16 │ returned events u16
 *  epoll_event  events u32 │ token u64                       12 bytes on x64; on arm64 16, with 4 unused ones after the events
 *  timespec 16  seconds i64 │ nanoseconds i64
 * ```
 */
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import type * as Koffi from 'koffi'
import type { LibraryHandle } from 'koffi'
import { MAX_FILE_BYTES, readBoundedFile } from '../base/bounded-file.ts'

/** Address families (bits/socket.h). */
export const AF_INET = 2
export const AF_INET6 = 10
const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_DGRAM = 2
const SOCK_NONBLOCK = 0x800
const SOCK_CLOEXEC = 0x80000
const SOL_SOCKET = 1
export const SOL_UDP = 17
export const UDP_SEGMENT = 103
const SO_REUSEADDR = 2
const SO_TYPE = 3
const SO_ERROR = 4
const SO_SNDBUF = 7
const SO_RCVBUF = 8
const SO_REUSEPORT = 15
const SO_SNDTIMEO = 21
const SO_ACCEPTCONN = 30
const SO_SNDBUFFORCE = 32
const SO_RCVBUFFORCE = 33
const IPPROTO_IPV6 = 41
const IPV6_V6ONLY = 26
const IPV6_RECVPKTINFO = 49
const IP_PKTINFO = 8
const EFD_NONBLOCK = 0x800
const EFD_CLOEXEC = 0x80000
const CLOCK_BOOTTIME = 7
const F_SETFD = 2
const F_GETFL = 3
const F_SETFL = 4
const F_DUPFD_CLOEXEC = 1030
const FD_CLOEXEC = 1
const O_NONBLOCK = 0x800
/** Of a struct sockaddr_un: its family and the longest path. */
const SOCKADDR_UN_BYTES = 110
const MADV_DONTNEED = 4
const EPOLL_CLOEXEC = 0x80000
const EPOLL_CTL_ADD = 1
const EPOLL_CTL_DEL = 2
/** What getrandom(2) gives whole, whatever interrupts it. */
const RANDOM_BYTES = 256
/** What a local socket that is full is given until it takes a message. */
const LOCAL_SEND_SECONDS = 1

/** Events of poll(2), and flags of sendmsg(2) and recvmsg(2). */
export const POLLIN = 1
export const POLLOUT = 4
export const POLLERR = 8
export const MSG_DONTWAIT = 0x40
export const MSG_TRUNC = 0x20
export const MSG_NOSIGNAL = 0x4000

/** Error numbers (asm-generic/errno.h). */
export const EPERM = 1
export const EINTR = 4
export const EIO = 5
export const EAGAIN = 11
export const ENOMEM = 12
export const EACCES = 13
export const EINVAL = 22
export const ENOSYS = 38
export const EMSGSIZE = 90
export const EADDRINUSE = 98
export const EADDRNOTAVAIL = 99
export const ENOBUFS = 105
export const ECONNREFUSED = 111

/** Bytes of a `struct pollfd`. */
export const POLLFD_BYTES = 8
/** Bytes of a `struct epoll_event`, and where in it the low half of its token is. */
export const EPOLL_EVENT_BYTES: number = process.arch === 'x64' ? 12 : 16
export const EPOLL_TOKEN_AT: number = EPOLL_EVENT_BYTES - 8
/** Bytes of a `struct sockaddr_in6`, the larger of the two. */
export const SOCKADDR_BYTES = 28
/** Length of a struct sockaddr_in. */
export const SOCKADDR_IN_BYTES = 16

const BUFFER_OPTIONS: readonly (readonly [number, number])[] = [
  [SO_RCVBUFFORCE, SO_RCVBUF],
  [SO_SNDBUFFORCE, SO_SNDBUF],
]

/** The calls, bound once a thread. */
export interface Syscalls {
  /** Address of shared memory, which is valid as long as the memory is referenced. */
  addressOf(memory: SharedArrayBuffer): bigint
  /** `fds`: pollfd structs. Returns how many have something, 0 after `timeoutMs` (−1: no end). */
  poll(fds: Uint8Array, count: number, timeoutMs: number): number
  /** A set of descriptors to wait for (epoll(7)). Returns its descriptor. */
  epollCreate(): number
  /** Waits for `fd` to be readable from now on, as long as it is open anywhere; `token` (32 bits) comes with each event. */
  epollAdd(epollFd: number, fd: number, token: number): number
  epollRemove(epollFd: number, fd: number): number
  /**
   * Waits for up to `timeoutMs` (−1: no end) and writes at most `most` epoll_event structs to `events`. Returns how many. A
   * descriptor that is still readable comes again.
   */
  epollWait(epollFd: number, events: Uint8Array, most: number, timeoutMs: number): number
  /** `messages`: mmsghdr structs. Returns how many were received. */
  recvmmsg(fd: number, messages: Uint8Array, count: number, flags: number): number
  /** Returns how many were sent: fewer than `count` when one of them failed after the first. */
  sendmmsg(fd: number, messages: Uint8Array, count: number, flags: number): number
  /** Fills memory with random numbers of the system's (getrandom). False if it gives none. */
  random(bytes: Uint8Array): boolean
  /** Milliseconds since boot, time asleep included. */
  now(): number
  /** Gives freed memory of malloc's back to the system (malloc_trim); nothing where the C library has no such call. */
  trimHeap(): void
  /**
   * Takes `length` bytes at `address` (whole pages) out of this process's memory: what is mapped from a file is read from it
   * again when it is touched. Of memory that was written to the content is lost (madvise, MADV_DONTNEED).
   */
  dropPages(address: number, length: number): number
  /** Sleeps; the kernel adds its timer slack, 50 µs. */
  sleep(microseconds: number): void
  /** Opens a non-blocking datagram socket; `address` is a sockaddr. Returns the descriptor. */
  openDatagram(family: number, address: Uint8Array | null, options: DatagramOptions): number
  /** Opens, binds and listens. */
  openListener(family: number, address: Uint8Array, backlog: number): number
  /** Lets further sockets share the address of one that is bound (SO_REUSEPORT). */
  shareAddress(fd: number): number
  connect(fd: number, address: Uint8Array): number
  /** The port a socket is bound to. */
  boundPort(fd: number): number
  /** Bytes of receive buffer that the kernel granted (it doubles what it is asked for, and reports the double). */
  receiveBuffer(fd: number): number
  /** Whether a datagram socket can send one message as several datagrams (UDP_SEGMENT, Linux 4.18). */
  canSegment(fd: number): boolean
  /** Takes a pending error off a socket: its number, or 0. */
  takeError(fd: number): number
  close(fd: number): number
  /** What a socket that another process opened is; null for what is no socket of IP. */
  describe(fd: number): SocketDescription | null
  /** Makes a socket that another process opened ready for use here, as `openDatagram` and `openListener` leave theirs. */
  adopt(fd: number, options: Pick<DatagramOptions, 'packetInfo' | 'bufferBytes'> & { family: number }): void
  /**
   * Sends one message to a local datagram socket: a path, or `@NAME` in the abstract namespace (unix(7)). Waits for at most
   * a second while it is full. Returns 0, or minus the error number.
   */
  sendLocal(path: string, message: string): number
  /** Another descriptor for the same socket, to lend to whoever will close it. */
  duplicate(fd: number): number
  /** A counter that makes `poll` return when it is written to. */
  eventfd(): number
  /** Adds one to an eventfd; from any thread. */
  wake(fd: number): void
  /** Takes everything off an eventfd. */
  drain(fd: number): void
}

/** A socket that was opened elsewhere. */
export interface SocketDescription {
  kind: 'datagrams' | 'listener' | 'connection'
  /** AF_INET or AF_INET6. */
  family: number
  /** Its sockaddr. */
  name: Uint8Array
  /** An IPv6 socket that takes IPv4 as well (IPV6_V6ONLY is off). */
  isDualStack: boolean
}

/** How a datagram socket is opened. */
export interface DatagramOptions {
  reusePort: boolean
  /** Ask for the address that a datagram was sent to (for wildcard listeners). */
  packetInfo: boolean
  /** Receive and send buffer to ask for; 0: as the kernel gives them. */
  bufferBytes: number
}

/** Name of an error number, for messages. */
export function errorName(code: number): string {
  const names: Record<number, string> = {
    1: 'EPERM',
    9: 'EBADF',
    11: 'EAGAIN',
    12: 'ENOMEM',
    13: 'EACCES',
    22: 'EINVAL',
    23: 'ENFILE',
    24: 'EMFILE',
    38: 'ENOSYS',
    88: 'ENOTSOCK',
    97: 'EAFNOSUPPORT',
    98: 'EADDRINUSE',
    99: 'EADDRNOTAVAIL',
    101: 'ENETUNREACH',
    105: 'ENOBUFS',
    111: 'ECONNREFUSED',
    113: 'EHOSTUNREACH',
  }
  return names[code] ?? `errno ${code}`
}

/**
 * Loads koffi and binds the calls. A string says in one line why they are not to be had here. `sendmmsg`: how that one is
 * called; what fits the C library if not given.
 */
export function loadSyscalls(sendmmsg?: 'by name' | 'by number'): Syscalls | string {
  if (process.platform !== 'linux') return `no batched system calls on ${process.platform}`
  if (process.arch !== 'x64' && process.arch !== 'arm64') return `struct layouts are not known on ${process.arch}`
  try {
    return bind(loadKoffi(), sendmmsg)
  } catch (error) {
    return `koffi cannot be loaded: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`
  }
}

/**
 * koffi's own loader runs five modules to find the binary for Node's C library, 5 ms in each thread. Where glibc's loader has
 * loaded Node it is known, and loaded at once.
 * @throws Error if none can be loaded
 */
function loadKoffi(): typeof Koffi {
  const require = createRequire(import.meta.url)
  try {
    const maps = readBoundedFile('/proc/self/maps', MAX_FILE_BYTES.kernelTable)
    if ('bytes' in maps && maps.bytes.includes('/ld-linux-')) {
      const folder = dirname(require.resolve(`@koromix/koffi-linux-${process.arch}/package.json`))
      const module = { exports: {} }
      process.dlopen(module, `${folder}/linux_${process.arch}/koffi.node`)
      // koffi adds to it what it has deprecated, and nothing else.
      return module.exports as typeof Koffi
    }
  } catch {
    // Its own loader knows more places, and what is wrong.
  }
  return require('koffi')
}

function bind(koffi: typeof Koffi, sendmmsgCall?: 'by name' | 'by number'): Syscalls {
  const libc = koffi.load(null)
  const memmove = libc.func('void *memmove(void *to, const void *from, size_t length)')
  const poll = libc.func('int poll(void *fds, unsigned long count, int timeout)')
  // Of arguments that are null a number costs koffi least.
  const recvmmsg = libc.func('int recvmmsg(int fd, void *messages, unsigned int count, int flags, int64_t timeout)')
  // epoll_pwait, as it is the one that Node makes: a seccomp profile that lets Node run has it.
  const epollPwait = libc.func('int epoll_pwait(int epoll, void *events, int most, int timeout, int64_t signals)')
  const epollCtl = libc.func('int epoll_ctl(int epoll, int operation, int fd, void *event)')
  const socket = libc.func('int socket(int domain, int type, int protocol)')
  const bindTo = libc.func('int bind(int fd, const void *address, unsigned int length)')
  const listen = libc.func('int listen(int fd, int backlog)')
  const connect = libc.func('int connect(int fd, const void *address, unsigned int length)')
  const setsockopt = libc.func('int setsockopt(int fd, int level, int option, const void *value, unsigned int length)')
  const getsockopt = libc.func('int getsockopt(int fd, int level, int option, void *value, void *length)')
  const getsockname = libc.func('int getsockname(int fd, void *address, void *length)')
  const close = libc.func('int close(int fd)')
  const fcntl = libc.func('int fcntl(int fd, int command, int argument)')
  const eventfd = libc.func('int eventfd(unsigned int initial, int flags)')
  const read = libc.func('long read(int fd, void *buffer, size_t length)')
  const write = libc.func('long write(int fd, const void *buffer, size_t length)')
  const sendto = libc.func(
    'long sendto(int fd, const void *message, size_t length, int flags, const void *address, unsigned int addressLength)',
  )
  const usleep = libc.func('int usleep(unsigned int microseconds)')
  const getrandom = libc.func('long getrandom(void *buffer, size_t length, unsigned int flags)')
  const clockGettime = libc.func('int clock_gettime(int clock, void *time)')
  const sendmmsg = bindSendmmsg(libc, sendmmsgCall ?? (isGlibc(libc) ? 'by name' : 'by number'))

  const result = (value: number): number => (value < 0 ? -koffi.errno() : value)
  const small = Buffer.from(new SharedArrayBuffer(128))
  const length = Buffer.from(new SharedArrayBuffer(4))
  const time = new SharedArrayBuffer(16)
  const timeBuffer = Buffer.from(time)
  const timeWords = new Uint32Array(time)
  const one = Buffer.from(new SharedArrayBuffer(8))
  one.writeUInt32LE(1, 0)
  const counter = Buffer.from(new SharedArrayBuffer(8))

  const setOption = (fd: number, level: number, option: number, value: number): number => {
    small.writeInt32LE(value, 0)
    return result(setsockopt(fd, level, option, small, 4) as number)
  }
  const getOption = (fd: number, level: number, option: number): number => {
    length.writeUInt32LE(4, 0)
    return (getsockopt(fd, level, option, small, length) as number) < 0 ? -koffi.errno() : small.readInt32LE(0)
  }
  const fail = (fd: number, error: number): number => {
    close(fd)
    return error
  }
  const askForPacketInfo = (fd: number, family: number): void => {
    if (family === AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
    else setOption(fd, 0, IP_PKTINFO, 1)
  }
  // Beyond net.core.rmem_max only with CAP_NET_ADMIN; without it the kernel grants what it may. As much for sending: on
  // loopback a reply counts there until the client has read it, and a client that is starved of CPU reads late.
  const askForBuffers = (fd: number, bytes: number): void => {
    for (const [forced, asked] of bytes > 0 ? BUFFER_OPTIONS : [])
      if (setOption(fd, SOL_SOCKET, forced, bytes) < 0) setOption(fd, SOL_SOCKET, asked, bytes)
  }

  const trim = isGlibc(libc) ? libc.func('int malloc_trim(size_t pad)') : null
  return {
    addressOf: (memory) => {
      const view = Buffer.from(memory)
      return koffi.address(memmove(view, view, 0))
    },
    poll: (fds, count, timeoutMs) => result(poll(fds, count, timeoutMs) as number),
    epollCreate: () => result(libc.func('int epoll_create1(int flags)')(EPOLL_CLOEXEC) as number),
    epollAdd: (epollFd, fd, token) => {
      small.fill(0, 0, EPOLL_EVENT_BYTES).writeUInt32LE(POLLIN, 0)
      small.writeUInt32LE(token, EPOLL_TOKEN_AT)
      return result(epollCtl(epollFd, EPOLL_CTL_ADD, fd, small) as number)
    },
    epollRemove: (epollFd, fd) => result(epollCtl(epollFd, EPOLL_CTL_DEL, fd, small) as number),
    epollWait: (epollFd, events, most, timeoutMs) => {
      const ready = epollPwait(epollFd, events, most, timeoutMs, 0) as number
      return ready < 0 ? -koffi.errno() : ready
    },
    recvmmsg: (fd, messages, count, flags) => {
      const received = recvmmsg(fd, messages, count, flags, 0) as number
      return received < 0 ? -koffi.errno() : received
    },
    sendmmsg: (fd, messages, count, flags) => {
      const sent = sendmmsg(fd, messages, count, flags)
      return sent < 0 ? -koffi.errno() : sent
    },
    trimHeap: () => void trim?.(0),
    dropPages: (address, bytes) =>
      result(
        libc.func('int madvise(size_t address, size_t length, int advice)')(address, bytes, MADV_DONTNEED) as number,
      ),
    random: (bytes) => {
      // No more than 256 at a time: so many are never cut short.
      for (let at = 0; at < bytes.length; at += RANDOM_BYTES) {
        const part = bytes.subarray(at, at + RANDOM_BYTES)
        if (getrandom(part, part.length, 0) !== part.length) return false
      }
      return true
    },
    now: () => {
      clockGettime(CLOCK_BOOTTIME, timeBuffer)
      // The high word of the seconds stays zero until 136 years of uptime.
      return timeWords[0]! * 1000 + timeWords[2]! / 1e6
    },
    sleep: (microseconds) => void usleep(microseconds),
    openDatagram: (family, address, options) => {
      const fd = result(socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) as number)
      if (fd < 0) return fd
      if (options.reusePort) setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1)
      if (family === AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)
      if (options.packetInfo) askForPacketInfo(fd, family)
      askForBuffers(fd, options.bufferBytes)
      if (address === null) return fd
      const bound = result(bindTo(fd, address, address.length) as number)
      return bound < 0 ? fail(fd, bound) : fd
    },
    openListener: (family, address, backlog) => {
      const fd = result(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) as number)
      if (fd < 0) return fd
      setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1)
      if (family === AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)
      const bound = result(bindTo(fd, address, address.length) as number)
      if (bound < 0) return fail(fd, bound)
      const listening = result(listen(fd, backlog) as number)
      return listening < 0 ? fail(fd, listening) : fd
    },
    shareAddress: (fd) => setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1),
    connect: (fd, address) => result(connect(fd, address, address.length) as number),
    boundPort: (fd) => {
      length.writeUInt32LE(SOCKADDR_BYTES, 0)
      return (getsockname(fd, small, length) as number) < 0 ? -koffi.errno() : small.readUInt16BE(2)
    },
    receiveBuffer: (fd) => getOption(fd, SOL_SOCKET, SO_RCVBUF),
    canSegment: (fd) => getOption(fd, SOL_UDP, UDP_SEGMENT) >= 0,
    takeError: (fd) => getOption(fd, SOL_SOCKET, SO_ERROR),
    close: (fd) => result(close(fd) as number),
    describe: (fd) => {
      const type = getOption(fd, SOL_SOCKET, SO_TYPE)
      if (type !== SOCK_STREAM && type !== SOCK_DGRAM) return null
      length.writeUInt32LE(SOCKADDR_BYTES, 0)
      if ((getsockname(fd, small, length) as number) < 0) return null
      const family = small.readUInt16LE(0)
      if (family !== AF_INET && family !== AF_INET6) return null
      const name = new Uint8Array(small.subarray(0, family === AF_INET ? SOCKADDR_IN_BYTES : SOCKADDR_BYTES))
      const isDualStack = family === AF_INET6 && getOption(fd, IPPROTO_IPV6, IPV6_V6ONLY) === 0
      const ofStream = getOption(fd, SOL_SOCKET, SO_ACCEPTCONN) === 1 ? 'listener' : 'connection'
      return { kind: type === SOCK_DGRAM ? 'datagrams' : ofStream, family, name, isDualStack }
    },
    adopt: (fd, { family, packetInfo, bufferBytes }) => {
      fcntl(fd, F_SETFD, FD_CLOEXEC)
      fcntl(fd, F_SETFL, (fcntl(fd, F_GETFL, 0) as number) | O_NONBLOCK)
      if (packetInfo) askForPacketInfo(fd, family)
      // Never less than it has: without CAP_NET_ADMIN the kernel would cut it down to net.core.rmem_max.
      if (getOption(fd, SOL_SOCKET, SO_RCVBUF) < bufferBytes) askForBuffers(fd, bufferBytes)
    },
    sendLocal: (path, message) => {
      const address = Buffer.alloc(SOCKADDR_UN_BYTES)
      const bytes = Buffer.from(path)
      if (bytes.length === 0 || bytes.length > SOCKADDR_UN_BYTES - 3) return -EINVAL
      address.writeUInt16LE(AF_UNIX, 0)
      address.set(bytes, 2)
      // The abstract namespace: a zero byte, and the name counts to its end.
      if (path.startsWith('@')) address[2] = 0
      const fd = result(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) as number)
      if (fd < 0) return fd
      small.fill(0, 0, 16).writeUInt32LE(LOCAL_SEND_SECONDS, 0)
      setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, small, 16)
      const text = Buffer.from(message)
      const addressBytes = 2 + bytes.length + (path.startsWith('@') ? 0 : 1)
      const sent = result(sendto(fd, text, text.length, MSG_NOSIGNAL, address, addressBytes) as number)
      close(fd)
      return sent < 0 ? sent : 0
    },
    duplicate: (fd) => result(fcntl(fd, F_DUPFD_CLOEXEC, 3) as number),
    eventfd: () => result(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) as number),
    wake: (fd) => void write(fd, one, 8),
    drain: (fd) => void read(fd, counter, 8),
  }
}

/**
 * glibc's sendmmsg is the system call; musl's is a loop of sendmsg, because its struct has padding that the kernel reads
 * as part of a number. The structs here are the kernel's, so there the call goes in by number.
 */
function bindSendmmsg(
  libc: LibraryHandle,
  how: 'by name' | 'by number',
): (fd: number, messages: Uint8Array, count: number, flags: number) => number {
  if (how === 'by name') return libc.func('int sendmmsg(int fd, void *messages, unsigned int count, int flags)')
  const call = libc.func('long syscall(long number, long fd, void *messages, long count, long flags)')
  const number = process.arch === 'x64' ? 307 : 269
  return (fd, messages, count, flags) => call(number, fd, messages, count, flags) as number
}

function isGlibc(libc: LibraryHandle): boolean {
  try {
    libc.func('const char *gnu_get_libc_version()')
    return true
  } catch {
    return false
  }
}

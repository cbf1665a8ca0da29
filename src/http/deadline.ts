/** What `work` resolves with, or `late` if that takes longer than `deadlineMs`. Rejects as `work` does. */
export async function withDeadline<T>(deadlineMs: number, work: Promise<T>, late: T): Promise<T> {
  const expired = Promise.withResolvers<T>()
  const timer = setTimeout(() => expired.resolve(late), deadlineMs)
  try {
    return await Promise.race([work, expired.promise])
  } finally {
    clearTimeout(timer)
  }
}

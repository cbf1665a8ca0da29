/**
 * Runs `start`. If an address it opens is in use, the error says as well what to do about it: `option` is the one that
 * chooses another address.
 */
export async function explainBusyAddress<T>(option: string, start: () => Promise<T>): Promise<T> {
  try {
    return await start()
  } catch (error) {
    const isBusy = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
    if (!isBusy) throw error
    const remedy = `end what listens there (perhaps another byname), or choose another with ${option} ADDR:PORT`
    throw new Error(`${error.message}; ${remedy}`, { cause: error })
  }
}

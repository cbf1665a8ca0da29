/** A rule that was broken. */
export class Violation extends Error {
  /** Its words without numbers and names: equal for equal faults. */
  get kind(): string {
    return this.message
      .split(';')[0]!
      .split('\n')[0]!
      .replaceAll(/"[^"]*"|[0-9.]+/g, '…')
  }
}

const UNIT_BYTES: Readonly<Record<string, number>> = {
  '': 1,
  k: 1000,
  M: 1000 ** 2,
  G: 1000 ** 3,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
}

/**
 * Bytes of a size as Kubernetes writes it (`8Mi`, `64Ki`, `1G`, `512`), with or without a B at its end (`64KiB`, `1GB`).
 * Null if it is none. It may have a fraction.
 */
export function parseSize(text: string): number | null {
  const [, amount, prefix] = /^(\d{1,16}(?:\.\d{1,9})?) ?([kKMG]?i?)B?$/.exec(text.trim()) ?? []
  if (amount === undefined) return null
  const unit = UNIT_BYTES[prefix === 'K' ? 'k' : prefix === 'ki' ? 'Ki' : prefix!]
  return unit === undefined ? null : Number(amount) * unit
}

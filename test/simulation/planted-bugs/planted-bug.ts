/** A mistake that the simulation must find: a small change to a copy of the source. */
export interface PlantedBug {
  name: string
  /** Stands exactly once in src, in a file that may have any name. */
  find: string
  replace: string
  /** Seeds within which it must be caught, from the first one on. */
  seeds: number
}

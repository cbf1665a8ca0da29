import packageJson from '../package.json' with { type: 'json' }

/** byname's own version. */
export const version: string = packageJson.version

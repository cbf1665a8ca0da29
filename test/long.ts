/** Whether tests may take minutes: `.ci/run --long` says so. Otherwise they look at less. */
export const isLong: boolean = process.env['LONG_TESTS'] === 'true'

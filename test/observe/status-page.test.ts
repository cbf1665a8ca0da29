/** The status page in a real browser: Chromium, where it is installed. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import axe from 'axe-core'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { NameExplanation, QuestionExplanation } from '../../src/explain/name-explanation.ts'
import type { ObserveSources } from '../../src/observe/sources.ts'
import { searchHosts } from '../../src/table/host-search.ts'
import { imageOf, service } from '../table/compiled.ts'
import { WAIT_MS } from '../wait.ts'
import { badHour, ordinaryHour, PageWorld } from './page-world.ts'

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
  existsSync(path),
)
/** Where the images of the documents are written again, if set. */
const { SCREENSHOTS } = process.env

let browser: Browser | null = null
beforeAll(async () => {
  if (CHROMIUM === undefined) console.warn('no Chromium here: the status page is not tried in a browser')
  else browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'], timeout: WAIT_MS })
})
afterAll(async () => await browser?.close())

const stops: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop()
})

/** Waits, on a busy machine too. */
function until<T>(read: () => T): ReturnType<typeof expect.poll<T>> {
  return expect.poll(read)
}

/** A made-up daemon that has started. */
async function newWorld(...options: ConstructorParameters<typeof PageWorld>): Promise<PageWorld> {
  const world = new PageWorld(...options)
  await world.start()
  stops.push(() => world.observer.stop(0))
  return world
}

/** Its page in the browser, which says `live`; whatever goes wrong in it fails the test. */
async function open(world: PageWorld, options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser!.newContext({ viewport: { width: 1120, height: 800 }, ...options })
  stops.push(() => context.close())
  context.setDefaultTimeout(WAIT_MS)
  const page = await context.newPage()
  const wrong: string[] = []
  page.on('pageerror', (error) => wrong.push(error.message))
  page.on('console', (message) => {
    // The token page is a 401, and a daemon may be away: no faults of the page.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load')) wrong.push(message.text())
  })
  stops.push(() => Promise.resolve(expect(wrong).toEqual([])))
  await page.goto(world.url)
  if (world.token === null && options.javaScriptEnabled !== false) await isLive(page)
  return page
}

async function isLive(page: Page): Promise<void> {
  await page.locator('#connection', { hasText: 'live' }).waitFor()
}

function text(page: Page, selector: string): Promise<string> {
  return page.locator(selector).innerText()
}

async function shot(page: Page, name: string, fullPage: boolean = false): Promise<void> {
  if (SCREENSHOTS !== undefined) await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage })
}

const QUESTION: QuestionExplanation = {
  name: 'reviews.shop.svc.cluster.local.',
  type: 'A',
  outcome: 'addresses',
  rcode: 'NOERROR',
  source: 'mesh',
  answers: [{ name: 'reviews.shop.svc.cluster.local.', ttl: 30, type: 'A', data: '10.96.12.7' }],
  extendedErrors: [],
  refusal: null,
  stages: [
    { name: 'mesh', answers: true, finding: 'host reviews.shop.svc.cluster.local (Kubernetes, namespace shop)' },
  ],
  forward: null,
  cached: null,
  worker: 0,
  workers: 1,
}

function explains(changes: Partial<NameExplanation> = {}): ObserveSources['explain'] {
  return () =>
    Promise.resolve({ explanation: { name: 'reviews', questions: [QUESTION], application: null, ...changes } })
}

describe.skipIf(CHROMIUM === undefined)('the status page', () => {
  test('shows what happens, as it happens', async () => {
    const world = await newWorld()
    world.pass(3, { perSecond: 20 })
    const page = await open(world)
    expect(await text(page, '#sentence')).toMatch(/^answering; table of 1,204 hosts from istiod \d+ s ago$/)
    expect(await text(page, '#state')).toBe('✓ Well')
    expect(await page.locator('figure').count()).toBe(10)
    world.problems = [{ about: 'control_plane', text: 'the control plane is away: refused', sinceMs: world.nowMs }]
    world.sample('lost.example.', { rcode: 2, isFailure: true })
    world.pass(1, { perSecond: 20, rttMs: null })
    await page.locator('#state', { hasText: 'Needs a look' }).waitFor()
    expect(await text(page, '#sentence')).toMatch(
      /^resolver 10\.0\.0\.2:53 fails: \d+ timeouts?; the control plane is away: refused; answering/,
    )
    expect(await page.locator('#news').textContent()).toContain('the control plane is away')
    expect(await text(page, '#servers-list')).toContain('✗ fails')
    expect(await text(page, '#failures-queries')).toContain('lost.example.')
    expect(await text(page, '#failures-queries')).toContain('10.0.0.2:53: ')
    const chart = page.getByRole('slider', { name: 'Queries, by who answered' })
    const before = await chart.getAttribute('aria-valuemax')
    world.pass(1, { perSecond: 20 })
    await until(() => chart.getAttribute('aria-valuemax')).not.toBe(before)
  })

  test('is not chatty: what only counts up is no news to a screen reader', async () => {
    const world = await newWorld()
    world.pass(1, { perSecond: 5, rttMs: null })
    const page = await open(world)
    const sentence = await text(page, '#sentence')
    world.pass(1, { perSecond: 50, rttMs: null })
    await until(() => text(page, '#sentence')).not.toBe(sentence)
    expect(await page.locator('#news').textContent()).toBe('')
  })

  test.each(['light', 'dark'] as const)('has no barrier that axe finds (%s)', async (colorScheme) => {
    const world = await newWorld({ explain: explains() })
    ordinaryHour(world)
    const page = await open(world, { colorScheme })
    await page.locator('#explain-form input[name=name]').fill('reviews')
    await page.getByRole('button', { name: 'Explain' }).click()
    await page.locator('#explain-result h3').waitFor()
    expect(await violations(page)).toEqual([])
    await page.evaluate('scrollTo(0, 0)')
    await shot(page, `status-page-${colorScheme}`)
  })

  test('has none on a bad day', async () => {
    const world = await newWorld()
    badHour(world)
    const page = await open(world)
    expect(await violations(page)).toEqual([])
    await shot(page, 'status-page-bad-day')
  })

  test('fits a telephone: 360 pixels, nothing to scroll sideways', async () => {
    const world = await newWorld()
    badHour(world)
    const page = await open(world, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true })
    const widths = await page.evaluate('[document.documentElement.scrollWidth, innerWidth]')
    expect(widths).toEqual([360, 360])
    await shot(page, 'status-page-phone')
  })

  test('can be used with keys alone: past the links, a value of a chart, an explanation', async () => {
    const world = await newWorld({ explain: explains() })
    world.pass(30, { perSecond: 20 })
    const page = await open(world)
    await page.keyboard.press('Tab')
    expect(await focused(page)).toBe('Skip to the status')
    await page.keyboard.press('Enter')
    for (let n = 0; n < 5 && !(await focused(page)).startsWith('Queries'); n++) await page.keyboard.press('Tab')
    const chart = page.getByRole('slider', { name: 'Queries, by who answered' })
    const newest = await chart.getAttribute('aria-valuetext')
    await page.keyboard.press('ArrowLeft')
    const earlier = await chart.getAttribute('aria-valuetext')
    expect(earlier).toMatch(/^\d\d:\d\d:\d\d: mesh [\d.]+\/s, cache [\d.]+\/s, upstream /)
    expect(earlier).not.toBe(newest)
    await page.keyboard.press('Home')
    expect(await chart.getAttribute('aria-valuenow')).toBe('0')
    const name = page.locator('#explain-form input[name=name]')
    for (let n = 0; n < 60 && !(await name.evaluate((field) => field.matches(':focus'))); n++)
      await page.keyboard.press('Tab')
    await page.keyboard.type('reviews')
    await page.keyboard.press('Enter')
    await page.locator('#explain-result h3').waitFor()
    expect(await text(page, '#explain-result')).toContain('mesh: host reviews.shop.svc.cluster.local')
    expect(await page.evaluate('getComputedStyle(document.activeElement).outlineStyle')).toBe('solid')
  })

  test('keeps the focus while figures come', async () => {
    const world = await newWorld()
    world.pass(3, { perSecond: 20 })
    const page = await open(world)
    const chart = page.getByRole('slider', { name: 'Time to answer' })
    await chart.focus()
    const before = await chart.getAttribute('aria-valuemax')
    world.pass(1, { perSecond: 20 })
    await until(() => chart.getAttribute('aria-valuemax')).not.toBe(before)
    expect(await focused(page)).toBe('Time to answer')
    await page.getByRole('region', { name: 'Upstream servers, table' }).focus()
    world.pass(1, { perSecond: 20 })
    await until(() => chart.getAttribute('aria-valuemax')).toBe('4')
    expect(await focused(page)).toBe('Upstream servers, table')
  })

  test('searches 100,000 hosts', async () => {
    const hosts = Array.from({ length: 100_000 }, (_, n) =>
      service(`service-${n}`, `team-${n % 100}`, [`10.1.${(n >> 8) & 255}.${n & 255}`]),
    )
    const image = imageOf(new Map(hosts))
    const world = await newWorld({ searchHosts: (...given) => searchHosts(image, ...given) })
    const page = await open(world)
    await page.getByLabel('Part of a name, or an address').fill('SERVICE-9999')
    await page.getByRole('button', { name: 'Search' }).click()
    await page.locator('#hosts-found', { hasText: '11 of 100,000 hosts' }).waitFor()
    expect(await text(page, '#hosts-result')).toContain('service-99990.team-90.svc.cluster.local')
    await page.getByLabel('Part of a name, or an address').fill('team-7.')
    await page.getByRole('button', { name: 'Search' }).click()
    await page.locator('#hosts-found', { hasText: '1,000 of 100,000 hosts, 1 to 50 shown' }).waitFor()
    await page.getByRole('button', { name: 'Next' }).click()
    await page.locator('#hosts-found', { hasText: '51 to 100 shown' }).waitFor()
  })

  test('asks before it empties the cache, or removes a name, and then does', async () => {
    const world = await newWorld()
    const page = await open(world)
    await page.getByRole('button', { name: 'Empty the cache' }).click()
    await page.getByRole('dialog', { name: 'Remove all answers from the cache?' }).waitFor()
    await page.getByRole('button', { name: 'No', exact: true }).click()
    expect(world.flushed).toEqual([])
    await page.getByRole('button', { name: 'Empty the cache' }).click()
    await page.getByRole('button', { name: 'Yes', exact: true }).click()
    await page.locator('#cache-result', { hasText: '3 answers removed.' }).waitFor()
    await page.locator('#cache-form input[name=name]').fill('www.example.org')
    await page.getByRole('button', { name: 'Remove this name' }).click()
    await page.getByRole('button', { name: 'Yes', exact: true }).click()
    await until(() => world.flushed).toEqual([null, 'www.example.org'])
  })

  test('of a daemon with a token asks for it, and says if it is wrong', async () => {
    const world = await newWorld()
    world.token = 'secret'
    const page = await open(world)
    await page.getByLabel('Token').fill('guess')
    await page.getByRole('button', { name: 'Show the status' }).click()
    await page.locator('#token-problem', { hasText: 'the token is wrong' }).waitFor()
    expect(await page.locator('#sentence').isVisible()).toBe(false)
    await page.getByLabel('Token').fill('secret')
    await page.getByRole('button', { name: 'Show the status' }).click()
    await isLive(page)
    expect(await text(page, '#sentence')).toContain('answering; table of 1,204 hosts')
    await page.getByRole('button', { name: 'Empty the cache' }).click()
    await page.getByRole('button', { name: 'Yes', exact: true }).click()
    await until(() => world.flushed).toEqual([null])
  })

  test('without JavaScript shows health, problems and links', async () => {
    const world = await newWorld()
    badHour(world)
    const page = await open(world, { javaScriptEnabled: false })
    expect(await text(page, '#sentence')).toContain('resolver 10.0.0.2:53 fails')
    expect(await text(page, '#problems')).toContain('the control plane is away')
    expect(await text(page, '#details')).toContain('1204 hosts')
    expect(await page.getByRole('link', { name: '/debug/explain' }).isVisible()).toBe(true)
    expect(await page.getByRole('button').count()).toBe(0)
  })

  test('is back when byname is', async () => {
    const world = await newWorld()
    const page = await open(world)
    const port = Number(new URL(page.url()).port)
    await world.observer.stop(0)
    await page.locator('#connection', { hasText: 'not connected' }).waitFor()
    await newWorld({ version: '0.2.0' }, port)
    await isLive(page)
  })

  test('asks for nothing while nobody sees it, and shows what happened when it is seen again', async () => {
    const world = await newWorld()
    world.pass(2, { perSecond: 20 })
    const page = await open(world)
    await page.evaluate(seen(false))
    await page.locator('#connection', { hasText: 'paused' }).waitFor()
    world.pass(5, { perSecond: 20 })
    await page.evaluate(seen(true))
    await isLive(page)
    const chart = page.getByRole('slider', { name: 'Queries, by who answered' })
    await until(() => chart.getAttribute('aria-valuemax')).toBe('6')
  })

  test('takes no name, label or problem for markup', async () => {
    const hostile = `<img src=x onerror="document.title='hacked'"><script>document.title='hacked'</script>`
    const question = { ...QUESTION, name: hostile, stages: [{ name: 'mesh', answers: false, finding: hostile }] }
    const found = { host: hostile, ips: [hostile], registry: hostile, namespace: hostile, shortname: '' }
    const world = await newWorld({
      version: hostile,
      serverLabels: () => [hostile],
      explain: explains({
        questions: [{ ...question, answers: [{ name: hostile, ttl: 1, type: 'TXT', data: hostile }] }],
      }),
      searchHosts: () => ({ hosts: 1, found: 1, shown: [found] }),
      warnings: () => [hostile],
    })
    world.problems = [{ about: 'hosts_file', text: hostile, sinceMs: 0 }]
    const page = await open(world)
    world.sample(`${hostile}.`, { rcode: 2, isFailure: true })
    world.pass(2, { perSecond: 20, rttMs: null })
    await page.locator('#failures-queries', { hasText: '<img' }).waitFor()
    await page.locator('#explain-form input[name=name]').fill('x')
    await page.getByRole('button', { name: 'Explain' }).click()
    await page.locator('#explain-result', { hasText: '<img' }).waitFor()
    await page.getByRole('button', { name: 'Search' }).click()
    await page.locator('#hosts-result', { hasText: '<img' }).waitFor()
    await page.locator('#cache-form input[name=name]').fill('x')
    await page.getByRole('button', { name: 'Look up' }).click()
    await page.locator('#cache-result', { hasText: '<img' }).waitFor()
    expect(await page.locator('img').count()).toBe(0)
    expect(await page.locator('script').count()).toBe(1)
    expect(await page.title()).not.toBe('hacked')
  })
})

/** What a browser does to a page whose tab is left, or chosen again. */
function seen(isSeen: boolean): string {
  return `Object.defineProperty(document, 'hidden', { value: ${!isSeen}, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'))`
}

/** Label of what has the focus. */
async function focused(page: Page): Promise<string> {
  return String(await page.evaluate('document.activeElement.ariaLabel ?? document.activeElement.textContent'))
}

/** What axe-core finds wrong, a line each. */
async function violations(page: Page): Promise<string[]> {
  // Not by a script element, which the page's policy refuses.
  await page.evaluate(axe.source)
  const { violations: found } = await page.evaluate<AxeResults>('axe.run()')
  return found.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html}: ${failureSummary}`))
}

interface AxeResults {
  violations: { id: string; nodes: { html: string; failureSummary: string }[] }[]
}

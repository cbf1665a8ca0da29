/** What clients saw, as tables in Markdown. */
import { CLIENTS } from './clients.ts'
import { type ClientsResult, settingText, type Sighting } from './matrix.ts'
import { QUESTIONS, seenText } from './questions.ts'

/** Tables of what each client saw and of who sent what, and all problems. */
export function report({ sightings, traffic, absent, problems }: ClientsResult): string {
  const clients = CLIENTS.filter((client) => sightings.some((each) => each.client === client))
  const answers = clients.map((client) => [
    client.name,
    ...QUESTIONS.map((question) =>
      cell(sightings.filter((each) => each.client === client && each.question === question)),
    ),
  ])
  return [
    `What each client saw in ${traffic.length} settings. Where settings differ, the number of settings is in brackets.`,
    table(['client', ...QUESTIONS.map(({ about }) => about)], answers),
    'Queries of each client for all of this, in the setting in which it sent most:',
    table(
      ['client', 'UDP', 'TCP', 'UDP with `use-vc`', 'TCP with `use-vc`'],
      clients.map((client) => [
        client.name,
        ...[false, true].flatMap((isTcp) =>
          (['udp', 'tcp'] as const).map((protocol) =>
            Math.max(
              ...traffic
                .filter(({ setting }) => setting.isTcp === isTcp)
                .map(({ queries }) => queries.get(client)?.[protocol] ?? 0),
            ),
          ),
        ),
      ]),
    ),
    "byname's own queries over UDP: none is captured, and no query of a client arrives at the name server.",
    table(
      ['setting', 'sent by byname', 'arrived at the name server'],
      traffic.map(({ setting, sent, arrived }) => [settingText(setting), sent, arrived]),
    ),
    ...(absent.length === 0 ? [] : [`Not asked: ${absent.join('; ')}.`]),
    ...(problems.length === 0 ? [] : [problems.map((problem) => `- FAILED: ${problem}`).join('\n')]),
  ]
    .map((part) => `${part}\n`)
    .join('\n')
}

function cell(sightings: readonly Sighting[]): string {
  const counts = new Map<string, number>()
  for (const { question, seen, isRight } of sightings) {
    const text = `${isRight ? '' : '**wrong:** '}${seenText(question, seen)}`
    counts.set(text, (counts.get(text) ?? 0) + 1)
  }
  const texts = [...counts].toSorted(([, a], [, b]) => b - a)
  return texts.length === 1 ? texts[0]![0] : texts.map(([text, count]) => `${text} (${count})`).join('; ')
}

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

/** All mistakes that the simulation must find. A new one stands in the file of what it is planted in. */
import { ANSWERS_BUGS } from './planted-bugs/answers.ts'
import { CACHE_BUGS } from './planted-bugs/cache.ts'
import { MESSAGES_BUGS } from './planted-bugs/messages.ts'
import { PENDING_QUERIES_BUGS } from './planted-bugs/pending-queries.ts'
import type { PlantedBug } from './planted-bugs/planted-bug.ts'
import { RULES_BUGS } from './planted-bugs/rules.ts'
import { TABLES_BUGS } from './planted-bugs/tables.ts'
import { UPSTREAMS_BUGS } from './planted-bugs/upstreams.ts'

export const PLANTED_BUGS: readonly PlantedBug[] = [
  ...PENDING_QUERIES_BUGS,
  ...UPSTREAMS_BUGS,
  ...CACHE_BUGS,
  ...ANSWERS_BUGS,
  ...RULES_BUGS,
  ...MESSAGES_BUGS,
  ...TABLES_BUGS,
]

/** What is wrong now, as the observer shows it, from the states of the parts. Each text is one line that names file or server. */
import type { FileTrouble } from '../base/watched-file.ts'
import type { CredentialState, Problem, Reload } from '../observe/sources.ts'
import type { MeshFilesState } from '../tables/mesh-folder.ts'
import type { TableKeeper } from '../tables/table-keeper.ts'
import type { TableFileState } from '../tables/table-file.ts'
import type { XdsState } from '../xds/xds-state.ts'

/** What became of a reading of the configuration, after `before`. `problems`: why it is refused, none if it is in use. */
export function nextReload(
  before: Reload | null,
  atMs: number,
  problems: readonly string[],
  fixedKeys: readonly string[],
): Reload {
  const refusedSinceMs = problems.length === 0 ? null : (before?.refusedSinceMs ?? atMs)
  return { count: (before?.count ?? 0) + 1, atMs, problems, refusedSinceMs, fixedKeys }
}

/** A configuration that was refused: the one in use stays. */
export function reloadProblems(last: Reload | null): Problem[] {
  if (last === null || last.refusedSinceMs === null) return []
  const sinceMs = last.refusedSinceMs
  return last.problems.map((problem) => ({
    about: 'configuration',
    text: `the configuration is refused, and the one in use stays: ${problem}`,
    sinceMs,
  }))
}

/** A control plane that is away, or whose tables are refused. */
export function controlPlaneProblems({ away, refused }: Pick<XdsState, 'away' | 'refused'>): Problem[] {
  const problems: Problem[] = []
  if (away !== null) {
    const text = `the control plane is away: ${away.address}: ${away.reason}`
    problems.push({ about: 'control_plane', text, sinceMs: away.sinceMs })
  }
  if (refused !== null) {
    const text = `the control plane ${refused.address} sends name tables that cannot be used: ${refused.reason}`
    problems.push({ about: 'control_plane', text, sinceMs: refused.sinceMs })
  }
  return problems
}

/** Credentials that cannot be used: the next connection would fail, or be made with others. */
export function credentialProblems(credentials: readonly CredentialState[]): Problem[] {
  return credentials.flatMap(({ kind, from, problem, problemSinceMs, isNeeded }) =>
    problem === null || !isNeeded
      ? []
      : [
          {
            about: 'credentials',
            text: `${kind === 'root' ? 'root certificate' : kind} ${from}: ${problem}`,
            sinceMs: problemSinceMs ?? 0,
          },
        ],
  )
}

/** A watched file that cannot be used as it is now: its last good state stays in use. */
export function fileProblems(about: Problem['about'], trouble: FileTrouble | null): Problem[] {
  if (trouble === null) return []
  return [{ about, text: `${trouble.what} ${trouble.file}: ${trouble.reason}`, sinceMs: trouble.sinceMs }]
}

/** Mesh files that cannot be used: their last good state goes on. */
export function meshFileProblems(state: Pick<MeshFilesState, 'folder' | 'problems' | 'problemsSinceMs'>): Problem[] {
  const { folder, problems, problemsSinceMs } = state
  return problems.map((problem) => ({
    about: 'mesh_files',
    text: `mesh files in ${folder}: ${problem}`,
    sinceMs: problemsSinceMs ?? 0,
  }))
}

/** A last known good table that cannot be written: a restart without control plane would find an old one, or none. */
export function savedTableProblems(file: string, { saveProblem }: Pick<TableKeeper, 'saveProblem'>): Problem[] {
  if (saveProblem === null) return []
  const text = `the last known good table ${file} cannot be written: ${saveProblem.reason}`
  return [{ about: 'last_known_good', text, sinceMs: saveProblem.sinceMs }]
}

/** A table file that cannot be used: the table in use stays. */
export function tableFileProblems(state: Pick<TableFileState, 'path' | 'error' | 'errorSinceMs'>): Problem[] {
  const { path, error, errorSinceMs } = state
  if (error === null) return []
  return [{ about: 'table_file', text: `name table file ${path}: ${error}`, sinceMs: errorSinceMs ?? 0 }]
}

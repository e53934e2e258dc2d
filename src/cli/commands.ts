import { parseArgs } from 'node:util'
import { calledBy } from './called-by.ts'
import { UsageError } from './options.ts'

/** The commands that ask a running server, or look at its configuration: help, parsing and completion come from this table. */
export interface CliCommand {
  /** `keys rotate`: words before arguments. */
  readonly words: string
  /** Names of what follows, each needed. */
  readonly takes: readonly string[]
  /** Options by name; value null: it has none. */
  readonly options: Readonly<Record<string, { readonly value: string | null; readonly needed?: true; readonly help: string }>>
  readonly help: string
}

const none = {}
export const cliCommands: readonly CliCommand[] = [
  { words: 'status', takes: [], options: none, help: 'how the server is; exit code 1 when it is not ready' },
  { words: 'config print', takes: [], options: none, help: 'the configuration that this environment gives, without its secrets' },
  { words: 'config check', takes: [], options: none, help: 'whether the server would take it; exit code 1 when not' },
  { words: 'config running', takes: [], options: none, help: 'the configuration of the running server, without its secrets' },
  { words: 'accounts list', takes: [], options: none, help: 'accounts' },
  { words: 'accounts create', takes: [], options: { name: { value: 'NAME', needed: true, help: 'display name' }, email: { value: 'ADDRESS', help: 'e-mail address' } }, help: 'a new account' },
  { words: 'accounts users', takes: ['ACCOUNT'], options: none, help: 'users of an account' },
  { words: 'keys list', takes: [], options: { account: { value: 'ID', help: 'only those of this account' } }, help: 'access keys, without secrets' },
  {
    words: 'keys create', takes: [], help: 'a new pair; the secret is shown this once',
    options: { account: { value: 'ID', needed: true, help: 'whose' }, user: { value: 'NAME', help: 'of this user of it' }, admin: { value: null, help: 'it opens the admin API and these commands, too' } },
  },
  { words: 'keys rotate', takes: ['KEY'], options: none, help: 'a new pair for whoever holds this one, which is disabled' },
  { words: 'keys disable', takes: ['KEY'], options: none, help: 'it opens nothing any more' },
  { words: 'keys enable', takes: ['KEY'], options: none, help: 'it opens again what it did' },
  { words: 'buckets', takes: [], options: none, help: 'buckets of all accounts, with what is in them' },
  { words: 'jobs', takes: [], options: none, help: 'what runs in the background' },
  { words: 'sweep', takes: [], options: none, help: 'starts a pass of the sweeper now' },
  { words: 'log-level', takes: [], options: { set: { value: 'LEVEL', help: 'debug, info, warn or error, until the next start' } }, help: 'least important messages that are logged' },
  { words: 'limits', takes: [], options: { set: { value: 'FILE', help: 'replaces all of them by this document (YAML or JSON)' } }, help: 'rates and requests at once in force, as the document that --set takes' },
  { words: 'drain', takes: [], options: none, help: 'lets running requests finish, then stops the server' },
  { words: 'top', takes: [], options: { seconds: { value: 'N', help: 'between two looks; default 2' }, count: { value: 'N', help: 'so many looks; default: until Ctrl-C' } }, help: 'requests by operation, as they come' },
  { words: 'completion', takes: ['SHELL'], options: none, help: 'completion for bash, zsh or fish: eval "$(holdfast completion bash)"' },
]

/** Commands with a help of their own. */
export const otherCommands: Readonly<Record<string, string>> = {
  serve: 'the server', scrub: 'compares what the database says with the bytes that are there', fsck: 'accounts for each byte of the drives, and repairs',
}

export interface Parsed {
  readonly command: CliCommand
  readonly takes: readonly string[]
  readonly options: Readonly<Record<string, string | undefined>>
  readonly json: boolean
  /** URL of the control port; null: as the configuration says. */
  readonly control: string | null
}

export function isCliCommand(word: string | undefined): boolean {
  return word === 'help' || cliCommands.some(({ words }) => words.split(' ')[0] === word)
}

/** Null: help was asked for. @throws UsageError in one line. */
export function parseCli(argv: readonly string[]): Parsed | null {
  const [first = '', second = ''] = argv
  const command = cliCommands.find(({ words }) => words === first || words === `${first} ${second}`)
  if (first === 'help' || argv.includes('--help')) return null
  if (command === undefined) {
    const below = cliCommands.filter(({ words }) => words.startsWith(`${first} `)).map(({ words }) => words.split(' ')[1])
    throw new UsageError(below.length > 0 ? `${first} needs one of: ${below.join(', ')}` : `there is no command ${first}; help shows what there is`)
  }
  const named = Object.keys(command.options)
  const { values, positionals } = parsed(argv.slice(command.words.split(' ').length), command)
  if (positionals.length !== command.takes.length) throw new UsageError(`${command.words} takes ${command.takes.length === 0 ? 'no arguments' : command.takes.join(' ')}`)
  const missing = named.find((name) => command.options[name]?.needed === true && values[name] === undefined)
  if (missing !== undefined) throw new UsageError(`${command.words} needs --${missing} ${command.options[missing]?.value}`)
  const options = Object.fromEntries(named.map((name) => [name, values[name] === true ? 'true' : values[name] as string | undefined]))
  return { command, takes: positionals, options, json: values['json'] === true, control: (values['control'] as string | undefined) ?? null }
}

function parsed(args: readonly string[], { options: known }: CliCommand): { values: Record<string, string | boolean | undefined>; positionals: string[] } {
  try {
    const options = Object.fromEntries(Object.entries(known).map(([name, { value }]) => [name, { type: value === null ? 'boolean' as const : 'string' as const }]))
    return parseArgs({ args: [...args], allowPositionals: true, options: { ...options, json: { type: 'boolean' }, control: { type: 'string' }, help: { type: 'boolean' } } })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error })
  }
}

export function cliHelp(): string {
  const rows = cliCommands.flatMap(({ words, takes, options, help }): [string, string][] => [
    [[words, ...takes].join(' '), help], ...Object.entries(options).map(([name, option]): [string, string] => [`    --${name} ${option.value ?? ''}`.trimEnd(), option.help + (option.needed === true ? ' (needed)' : '')]),
  ])
  const line = ([name, help]: readonly [string, string]): string => `  ${name.padEnd(26)} ${help}`
  return [
    `${calledBy} COMMAND [options]`, '', ...Object.entries(otherCommands).map(line), '', ...rows.map(line), '',
    'Everywhere:', line(['--json', 'JSON and nothing else on standard output']),
    line(['--control URL', 'control port of the server; default: as HOLDFAST_HOST and HOLDFAST_CONTROL_PORT say']), line(['--help', 'this text']), '',
    'Keys come from HOLDFAST_ROOT_ACCESS_KEY and HOLDFAST_ROOT_SECRET_KEY, where a pair that was made with --admin may stand, else from the',
    'bootstrap file, else from the data folder.', '',
    'Exit codes: 0 done; 1 refused, not ready or not in order; 2 not understood; 3 the server cannot be reached. scrub and fsck say their own.', '',
  ].join('\n')
}

/** A script for the shell; null: there is none for this one. */
export function completionScript(shell: string): string | null {
  const words = [...new Set([...Object.keys(otherCommands), ...cliCommands.map((each) => each.words.split(' ')[0] ?? ''), 'help'])]
  const second = words.flatMap((word) => {
    const below = cliCommands.flatMap((each) => (each.words.startsWith(`${word} `) ? [each.words.split(' ')[1] ?? ''] : []))
    return below.length === 0 ? [] : [[word, below] as const]
  })
  const options = ['--json', '--control', '--help', ...new Set(cliCommands.flatMap((each) => Object.keys(each.options).map((name) => `--${name}`)))]
  const cases = second.map(([word, below]) => `      ${word}) words='${below.join(' ')}' ;;`)
  const bash = [
    '_holdfast() {', '  local words=\'\' current="${COMP_WORDS[COMP_CWORD]}"',
    `  if [ "$COMP_CWORD" -eq 1 ]; then words='${words.join(' ')}'`, `  elif [ "\${current#-}" != "$current" ]; then words='${options.join(' ')}'`,
    '  elif [ "$COMP_CWORD" -eq 2 ]; then', '    case "${COMP_WORDS[1]}" in', ...cases, "      completion) words='bash zsh fish' ;;", '    esac', '  fi',
    '  COMPREPLY=($(compgen -W "$words" -- "$current"))', '}', 'complete -F _holdfast holdfast', '',
  ].join('\n')
  if (shell === 'bash') return bash
  if (shell === 'zsh') return `autoload -U +X bashcompinit && bashcompinit\n${bash}`
  if (shell !== 'fish') return null
  return [
    'complete -c holdfast -f', `complete -c holdfast -n __fish_use_subcommand -a '${words.join(' ')}'`,
    ...second.map(([word, below]) => `complete -c holdfast -n '__fish_seen_subcommand_from ${word}' -a '${below.join(' ')}'`),
    ...options.map((option) => `complete -c holdfast -l ${option.slice(2)}`), '',
  ].join('\n')
}

// Asks, before anything is written, whether the user may run what this client will run.
import { ConfigError } from './errors.js';
import { asNumber, type Link } from './link.js';
import { script } from './scripts.js';

/** A call of a script with its keys, or a command with its words up to its key. */
export type Use = { readonly script: string; readonly keys: readonly string[] } | { readonly words: readonly string[] };

const CALLED = /redis\.p?call\('([A-Z]+)'(?:, '([A-Z]+)')?/g;
const LOAD = ['SCRIPT', 'LOAD', ''];
/** These need no key, or are hints that nothing depends on. */
const WITHOUT_KEY = new Set(['TIME', 'PUBLISH']);
/** Commands of one call. The script takes 1000. */
const MOST = 500;

interface Question {
  readonly name: string;
  readonly key: string;
  readonly words: readonly string[];
}

/** Throws ConfigError if the user lacks a permission: it names commands and keys, and how to grant them. */
export async function mayRun(link: Link, app: string, at: string, uses: readonly Use[], until = Infinity): Promise<void> {
  const questions = [...new Map(questionsOf(uses).map((each) => [each.words.join(' '), each])).values()];
  const refused: Question[] = [];
  const allowed = new Set<string>();
  for (let i = 0; i < questions.length; i += MOST) {
    const page = questions.slice(i, i + MOST);
    const reply = await link.call('check_acl', [], page.flatMap(({ words }) => [words.length, ...words]), { at, until });
    page.forEach((each, n) => {
      if (asNumber(reply[n]) === 1) allowed.add(each.key);
      else refused.push(each);
    });
  }
  if (refused.length === 0) return;
  // A key on which nothing is allowed says nothing of the commands.
  const keys = [...new Set(refused.map(({ key }) => key).filter((key) => key !== '' && !allowed.has(key)))];
  const commands = [...new Set(refused.filter(({ key }) => !keys.includes(key)).map(({ name }) => name))].sort();
  const what = [...(commands.length ? [`run ${commands.join(', ')}`] : []), ...(keys.length ? [`use the keys ${keys.join(', ')}`] : [])].join(' and ');
  const rules = [...commands.map((each) => `+${each.toLowerCase().replace(' ', '|')}`), ...(keys.length ? [`~runnel:{${app}:*`, `~runnel:{${app}}*`] : [])];
  throw new ConfigError(`Redis does not let this user ${what}: ACL SETUSER NAME ${rules.join(' ')}; runnel lua acl --app ${app} prints all that a worker or producer needs`);
}

function questionsOf(uses: readonly Use[]): Question[] {
  const found: Question[] = [{ name: 'SCRIPT LOAD', key: '', words: LOAD }];
  for (const use of uses) {
    if ('words' in use) {
      found.push({ name: use.words[0]!, key: use.words.find((each) => each.startsWith('runnel:')) ?? '', words: use.words });
      continue;
    }
    for (const [, command = '', word] of script(use.script).source.toString().matchAll(CALLED)) {
      const words = word === undefined ? [command] : [command, word];
      if (!WITHOUT_KEY.has(command)) for (const key of use.keys) found.push({ name: words.join(' '), key, words: [...words, key] });
    }
  }
  return found;
}

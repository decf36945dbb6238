// The Lua scripts, as they are, by the SHA-1 of their bytes.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The version of the protocol that this client speaks. */
export const PROTOCOL = 1;

export interface Script {
  readonly name: string;
  readonly source: Buffer;
  readonly sha: string;
}

const loaded = new Map<string, Script>();

/** The folder of the Lua files: in the installed package, or in a checkout. */
export function folder(): string {
  const tried = ['../lua/', '../../../lua/', '../../../../lua/'].map((each) => fileURLToPath(new URL(each, import.meta.url)));
  const found = tried.find((each) => existsSync(`${each}commit.lua`));
  if (found === undefined) throw new Error(`the Lua files of Runnel are in none of ${tried.join(', ')}`);
  return found;
}

/** A script by its name, such as `commit`. */
export function script(name: string): Script {
  let found = loaded.get(name);
  if (found === undefined) {
    const source = readFileSync(`${folder()}${name}.lua`);
    found = { name, source, sha: createHash('sha1').update(source).digest('hex') };
    loaded.set(name, found);
  }
  return found;
}

/** Seven hex digits that identify the scripts of this release. `script_set` of `lua/manifest.json` is the same. */
export function scriptSet(): string {
  const names = readdirSync(folder()).filter((each) => each.endsWith('.lua')).map((each) => each.slice(0, -4)).sort();
  const all = createHash('sha1');
  for (const name of names) all.update(script(name).sha);
  return all.digest('hex').slice(0, 7);
}

/** The version of this package. */
export function version(): string {
  const tried = ['../', '../../'].map((each) => fileURLToPath(new URL(`${each}package.json`, import.meta.url)));
  const found = tried.find(existsSync);
  return found === undefined ? '?' : (JSON.parse(readFileSync(found, 'utf8')) as { version: string }).version;
}

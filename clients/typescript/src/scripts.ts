// The Lua scripts, as they are, by the SHA-1 of their bytes.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
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

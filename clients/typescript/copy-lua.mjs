// Copies the scripts into the package, so that it works without a checkout.
import { cpSync, mkdirSync, readdirSync } from 'node:fs';

const from = new URL('../../lua/', import.meta.url);
const to = new URL('lua/', import.meta.url);
mkdirSync(to, { recursive: true });
for (const name of readdirSync(from)) if (name.endsWith('.lua')) cpSync(new URL(name, from), new URL(name, to));

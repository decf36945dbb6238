// Runs transcripts.jsonl and scenarios.jsonl against an empty Redis with Node's test runner, and no packages:
//   node run.mjs [HOST] [PORT]
// It DELETES ALL DATA there before each case, so it begins only if the server is empty. To run the cases whose names match:
//   node --test-name-pattern=TEXT run.mjs [HOST] [PORT]
// README.md describes the files.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';

const [host = '127.0.0.1', port = '6379'] = process.argv.slice(2);
const folder = new URL('../', import.meta.url);
const socket = connect(Number(port), host).setNoDelay();
let unread = Buffer.alloc(0);
let waiting = () => {};
socket.on('data', (data) => { unread = Buffer.concat([unread, data]); waiting(); });
socket.on('error', (error) => { console.error(`${host} ${port}: ${error.message}`); process.exit(2); });

async function bytes(count) {
  while (unread.length < count) await new Promise((resolve) => { waiting = resolve; });
  const found = unread.subarray(0, count);
  unread = unread.subarray(count);
  return found;
}

async function line() {
  while (unread.indexOf('\r\n') < 0) await new Promise((resolve) => { waiting = resolve; });
  return (await bytes(unread.indexOf('\r\n') + 2)).subarray(0, -2);
}

/** Printable ASCII as it is; other bytes, and what has a meaning of its own, as %xx. */
const escape = (data) =>
  data.toString('latin1').replace(/[^ -~]|[%"\\<]/g, (each) => `%${each.charCodeAt(0).toString(16).padStart(2, '0')}`);
const unescape = (text) => Buffer.from(text.replace(/%(..)/g, (_, hex) => String.fromCharCode(parseInt(hex, 16))), 'latin1');

/** The values of a reply, as the files have them. Lists in lists are flat. */
async function reply() {
  const head = await line();
  const kind = String.fromCharCode(head[0]);
  const text = head.subarray(1);
  if (kind === '*') {
    const values = [];
    for (let left = Number(text); left > 0; left -= 1) values.push(...(await reply()));
    return values;
  }
  if (kind !== '$') return [kind + escape(text)];
  if (Number(text) < 0) return ['_'];
  return ['$' + escape((await bytes(Number(text) + 2)).subarray(0, -2))];
}

async function send(...words) {
  const parts = words.map((each) => (Buffer.isBuffer(each) ? each : Buffer.from(each)));
  socket.write(Buffer.concat([
    Buffer.from(`*${parts.length}\r\n`),
    ...parts.flatMap((each) => [Buffer.from(`$${each.length}\r\n`), each, Buffer.from('\r\n')]),
  ]));
  return reply();
}

/** The text with the values of the names that have one. */
const fill = (text, names) =>
  text.replace(/<([^>]+)>/g, (whole, hole) => {
    const [name, more = '0'] = hole.split('+');
    if (!names.has(name)) return whole;
    const [first, second] = names.get(name).split('-').map(BigInt);
    return second === undefined ? `${first + BigInt(more)}` : `${first}-${second + BigInt(more)}`;
  });

/** Is the value as expected? A name without a value gets it from here. */
function matches(expected, value, names) {
  const text = fill(expected, names);
  const [, start, hole, end] = /^([^<]*)<([^>]+)>(.*)$/.exec(text) ?? [];
  if (hole === undefined) return text === value;
  const inside = value.slice(start.length, value.length - end.length);
  if (start + inside + end !== value) return false;
  if (hole === '...') return true;
  if (hole.includes('..')) {
    const [low, high] = hole.split('..').map(Number);
    return /^-?\d+$/.test(inside) && Number(inside) >= low && Number(inside) <= high;
  }
  names.set(hole, inside);
  return /^\d+(-\d+)?$/.test(inside);
}

/** Is the number, or id, larger than the other one? */
function larger(value, than) {
  const [[a, b = 0n], [c, d = 0n]] = [value, than].map((each) => each.split('-').map(BigInt));
  return a > c || (a === c && b > d);
}

/** Runs one case. Its first step is that line of the file. */
async function run(steps, file, first) {
  const names = new Map();
  const loaded = new Map();
  const load = async (script) => {
    const [sha] = await send('SCRIPT', 'LOAD', readFileSync(new URL(`${script}.lua`, folder)));
    loaded.set(script, sha.slice(1));
  };
  let got = [];
  let note = '';
  await send('FLUSHALL');
  let sent = '';
  for (const [i, [kind, ...words]] of steps.entries()) {
    const where = `${file}:${first + i}`;
    const filled = words.map((each) => fill(each, names));
    if (kind === 'note') note = words[0];
    else if (kind === 'wait') await new Promise((resolve) => { setTimeout(resolve, Number(words[0])); });
    else if (kind === 'load') await load(words[0]);
    else if (kind === 'redis') {
      sent = words[0];
      got = await send(...filled.map(unescape));
    } else if (kind === 'call') {
      sent = words[0];
      if (!loaded.has(words[0])) await load(words[0]);
      got = await send('EVALSHA', loaded.get(words[0]), ...filled.slice(1).map(unescape));
    } else if (kind === 'rises') {
      filled.slice(1).forEach((each, n) => { assert.ok(larger(each, filled[n]), `${where}: ${each} is not larger than ${filled[n]}`); });
    } else if (kind === 'reply') {
      const same = got.length === words.length && words.every((each, n) => matches(each, got[n], names));
      const wanted = words.map((each) => fill(each, names)).join(' ');
      assert.ok(same, `${where}: the reply to ${sent} is ${got.join(' ')}\nand not ${wanted}\n${note}`);
    } else assert.fail(`${where}: there is no step ${kind}`);
  }
}

before(async () => {
  const [size] = await send('DBSIZE');
  if (size === ':0') return;
  console.error(`There is no empty Redis at ${host} ${port}: DBSIZE says ${size.slice(1)}`);
  process.exit(2);
});
after(async () => {
  await send('FLUSHALL');
  socket.end();
});

for (const file of ['transcripts.jsonl', 'scenarios.jsonl']) {
  const lines = readFileSync(new URL(`conformance/${file}`, folder), 'utf8').trim().split('\n').map((each) => JSON.parse(each));
  const starts = lines.flatMap(([kind], i) => (kind === 'case' ? [i] : []));
  starts.forEach((start, i) => {
    test(lines[start][1], () => run(lines.slice(start + 1, starts[i + 1]), file, start + 2));
  });
}

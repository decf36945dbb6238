// Stands between a client and its server: knows each command, and loses calls or replies as a test wants.
import { readdirSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server as NetServer, type Socket } from 'node:net';

import { folder, script } from '../src/scripts.js';

/** A command on its way. `name` is that of the script, or the command itself. */
export interface Sent {
  readonly name: string;
  readonly words: string[];
  readonly bytes: string;
  readonly connection: number;
}

/** What becomes of a command: `lose` its reply with the connection; `mute`: carried out and never answered; `drop` it. */
export type Fate = 'pass' | 'lose' | 'mute' | 'drop';

const names = new Map(readdirSync(folder()).filter((each) => each.endsWith('.lua')).map((each) => [script(each.slice(0, -4)).sha, each.slice(0, -4)]));

export class Proxy {
  readonly sent: Sent[] = [];
  readonly sockets = new Set<Socket>();
  /** How many replies, or parts of one, have passed on each connection. */
  readonly answered = new Map<number, number>();
  fate: (sent: Sent) => Fate = () => 'pass';
  private connections = 0;
  private readonly server: NetServer;

  private constructor(private readonly port: number) {
    this.server = createServer((client) => this.accept(client));
  }

  static async before(url: string): Promise<Proxy> {
    const made = new Proxy(Number(new URL(url).port));
    await new Promise<void>((done) => made.server.listen(0, '127.0.0.1', done));
    return made;
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  of(name: string): Sent[] {
    return this.sent.filter((each) => each.name === name);
  }

  stop(): void {
    this.server.close();
    for (const each of this.sockets) each.destroy();
  }

  private accept(client: Socket): void {
    const connection = ++this.connections;
    const upstream = connect(this.port, '127.0.0.1');
    for (const [one, other] of [[client, upstream], [upstream, client]] as const) {
      this.sockets.add(one);
      one.on('error', () => undefined).on('close', () => {
        this.sockets.delete(one);
        other.destroy();
      });
    }
    let fate: Fate = 'pass';
    let buffer = Buffer.alloc(0);
    client.on('data', (data) => {
      buffer = Buffer.concat([buffer, data]);
      for (let found = parse(buffer); found !== undefined; found = parse(buffer)) {
        const bytes = buffer.subarray(0, found.end);
        buffer = buffer.subarray(found.end);
        const { words } = found;
        const name = /^evalsha$/i.test(words[0]!) ? (names.get(words[1]!) ?? words[1]!) : words[0]!.toLowerCase();
        const sent = { name, words, bytes: bytes.toString('latin1'), connection };
        this.sent.push(sent);
        if (fate === 'pass') fate = this.fate(sent);
        if (fate === 'drop') client.destroy();
        else upstream.write(bytes);
      }
    });
    upstream.on('data', (data) => {
      this.answered.set(connection, (this.answered.get(connection) ?? 0) + 1);
      if (fate === 'pass') client.write(data);
      else if (fate === 'lose') client.destroy();
    });
  }
}

/** The first command in these bytes, if it is complete. */
function parse(data: Buffer): { words: string[]; end: number } | undefined {
  const line = (at: number): [number, number] | undefined => {
    const end = data.indexOf('\r\n', at);
    return end < 0 ? undefined : [Number(data.toString('latin1', at + 1, end)), end + 2];
  };
  const head = line(0);
  if (head === undefined) return undefined;
  let [count, at] = head;
  const words: string[] = [];
  for (; count > 0; count--) {
    const size = line(at);
    if (size === undefined || size[1] + size[0] + 2 > data.length) return undefined;
    words.push(data.toString('utf8', size[1], size[1] + size[0]));
    at = size[1] + size[0] + 2;
  }
  return { words, end: at };
}

// A Redis Cluster: finds the node that has a key, and follows keys that move to another node.
import slotOf from 'cluster-key-slot';

import { Connection } from './connection.js';
import { optionsFor, type Servers } from './servers.js';
import type { Address, ParsedUrl } from './url.js';

const SLOTS = 16384;
/** The node cannot say where the key is, or is no primary any more: ask again who has which slots. */
const STALE = /^(MOVED|CLUSTERDOWN|READONLY|MASTERDOWN)\b/;
const REDIRECT = /^(MOVED|ASK) (\d+) (\S*):(\d+)/;

type Rows = [first: number, last: number, ...nodes: [host: Buffer | null, port: number, ...rest: unknown[]][]][];

export class Cluster implements Servers {
  readonly oneSlot = true;
  private readonly connections = new Map<string, Connection>();
  /** Slot -> its primary. */
  private primaries: (Address | undefined)[] = [];
  private nodes: Address[] = [];
  /** Nodes that did not answer the last time: they are asked last. */
  private readonly lost = new Set<string>();
  private isStale = true;
  private refreshing: Promise<void> | undefined;
  private closed = false;

  constructor(private readonly url: ParsedUrl, private readonly timeout: number) {}

  async connectionFor(key: string): Promise<Connection> {
    return this.shared(await this.primaryOf(key));
  }

  async ownConnectionFor(key: string): Promise<Connection> {
    return this.connect(await this.primaryOf(key));
  }

  anyConnection(): Connection {
    return this.connect(this.known()[0]!);
  }

  learn(connection: Connection | undefined, said: string): Connection | undefined {
    if (connection === undefined || connection.isOver || STALE.test(said)) this.isStale = true;
    const [, word, slot, host, port] = REDIRECT.exec(said) ?? [];
    if (word === undefined) return undefined;
    // An empty host is that of the node that was asked.
    const asked = connection?.redis.options.host ?? this.url.addresses[0]!.host;
    const node = { host: host === '' || host === '?' ? asked : host!, port: Number(port) };
    if (word === 'MOVED') this.primaries[Number(slot)] = node;
    return this.shared(node);
  }

  close(): void {
    this.closed = true;
    for (const each of this.connections.values()) each.close();
  }

  private async primaryOf(key: string): Promise<Address> {
    if (this.isStale) await (this.refreshing ??= this.refresh().finally(() => (this.refreshing = undefined)));
    const node = this.primaries[slotOf(key)];
    if (node === undefined) {
      this.isStale = true;
      throw new Error(`CLUSTERDOWN no node of the cluster has the slot of ${key}`);
    }
    return node;
  }

  private shared(node: Address): Connection {
    const name = nameOf(node);
    const found = this.connections.get(name);
    if (found !== undefined && !found.isOver) return found;
    if (this.closed) throw new Error('the connection is closed');
    const made = this.connect(node);
    this.connections.set(name, made);
    return made;
  }

  private connect(node: Address): Connection {
    return new Connection(optionsFor(this.url.options, node), this.timeout);
  }

  /** Nodes to ask: those that are known in random order, then those of the URL; those that are lost at the end. */
  private known(): Address[] {
    const shuffled = this.nodes.map((node) => ({ node, at: Math.random() })).sort((a, b) => a.at - b.at);
    const all = [...shuffled.map(({ node }) => node), ...this.url.addresses];
    return all.sort((a, b) => Number(this.lost.has(nameOf(a))) - Number(this.lost.has(nameOf(b))));
  }

  /** Ask one node after another who has which slots, until one says that the cluster is well. */
  private async refresh(): Promise<void> {
    let failure: unknown;
    let found: { asked: Address; rows: Rows } | undefined;
    for (const asked of this.known()) {
      try {
        const [info, rows] = await this.shared(asked).once(async (redis) =>
          Promise.all([redis.callBuffer('CLUSTER', 'INFO'), redis.callBuffer('CLUSTER', 'SLOTS')]),
        );
        this.lost.delete(nameOf(asked));
        found = { asked, rows: rows as Rows };
        if ((info as Buffer).includes('cluster_state:ok')) break;
      } catch (error) {
        failure = error;
        this.lost.add(nameOf(asked));
      }
    }
    if (found === undefined) throw failure;
    this.store(found.asked, found.rows);
    this.isStale = false;
  }

  private store(asked: Address, rows: Rows): void {
    const primaries: (Address | undefined)[] = Array.from({ length: SLOTS });
    const nodes = new Map<string, Address>();
    for (const [first, last, ...members] of rows) {
      const found = members.map(([host, port]) => ({ host: host?.toString() || asked.host, port }));
      for (const each of found) nodes.set(nameOf(each), each);
      primaries.fill(found[0], first, last + 1);
    }
    this.primaries = primaries;
    this.nodes = [...nodes.values()];
  }
}

const nameOf = ({ host, port }: Address): string => `${host}:${port}`;

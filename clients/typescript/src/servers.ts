// Which server has a key: the one server, the primary that sentinels name, or a node of a cluster.
import type { RedisOptions } from 'ioredis';

import { Connection } from './connection.js';
import type { Address, ParsedUrl } from './url.js';

/** The servers that a URL names. */
export interface Servers {
  /** Must all keys of one command be in one slot? */
  readonly oneSlot: boolean;
  /** The connection for calls to the server that has this key. Others share it. */
  connectionFor(key: string): Connection | Promise<Connection>;
  /** A connection of one's own to that server. The caller closes it. */
  ownConnectionFor(key: string): Connection | Promise<Connection>;
  /** A connection of one's own to any server, for channels. The caller closes it. */
  anyConnection(): Connection;
  /** Take note of what a call got. Returns the connection to which ASK or MOVED sends it, if one of these did. */
  learn(connection: Connection | undefined, said: string): Connection | undefined;
  close(): void;
}

/** The server is no primary any more: its name may lead elsewhere now. */
const DEMOTED = /^(READONLY|MASTERDOWN)\b/;

/** One server, or the primary that sentinels name: each new connection asks them again. */
export class OneServer implements Servers {
  readonly oneSlot = false;
  private current: Connection | undefined;
  private made = 0;

  constructor(private readonly url: ParsedUrl, private readonly timeout: number) {}

  connectionFor(): Connection {
    if (this.current === undefined || this.current.isOver) this.current = this.anyConnection();
    return this.current;
  }

  ownConnectionFor(): Connection {
    return this.anyConnection();
  }

  anyConnection(): Connection {
    const { kind, addresses, options } = this.url;
    if (kind === 'server') return new Connection({ ...options, ...addresses[0] }, this.timeout);
    // Another sentinel goes first each time: one may not know yet that there was a failover.
    const turn = this.made++ % addresses.length;
    const sentinels = [...addresses.slice(turn), ...addresses.slice(0, turn)];
    const { tls } = options;
    return new Connection({ ...options, sentinels, ...(tls ? { sentinelTLS: tls, enableTLSForSentinelMode: true } : {}) }, this.timeout);
  }

  learn(connection: Connection | undefined, said: string): undefined {
    if (DEMOTED.test(said)) connection?.close();
  }

  close(): void {
    this.current?.close();
  }
}

/** The options of a connection to one node. */
export const optionsFor = (options: RedisOptions, { host, port }: Address): RedisOptions => ({ ...options, host, port });

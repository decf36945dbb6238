// Listens to channels. What they say is a hint: to miss a message costs a heartbeat, never an event.
import type { Connection } from './connection.js';
import type { Servers } from './servers.js';

/** Milliseconds before the next try to connect, and between two looks whether the connection still answers. */
const PAUSE = 200;
const PING = 5000;

export class Listener {
  private connection: Connection | undefined;
  private timer: NodeJS.Timeout | undefined;
  private over = false;

  /** `subscribed` is called after each subscription: what was said before nobody has heard. */
  constructor(
    private readonly servers: Servers,
    private readonly channels: readonly string[],
    private readonly heard: (channel: string) => void,
    private readonly subscribed: () => void,
  ) {
    void this.listen();
  }

  stop(): void {
    this.over = true;
    clearTimeout(this.timer);
    this.connection?.close();
  }

  private async listen(): Promise<void> {
    const connection = (this.connection = this.servers.anyConnection());
    connection.redis.on('message', this.heard).once('end', () => this.again());
    try {
      await connection.once((redis) => redis.subscribe(...this.channels));
      this.subscribed();
      this.ping(connection);
    } catch (error) {
      this.servers.learn(connection, (error as Error).message);
      connection.close(); // Its end is what begins again.
    }
  }

  /** A connection that is cut without a word would wait for ever. */
  private ping(connection: Connection): void {
    this.timer = setTimeout(() => {
      connection.once((redis) => redis.ping()).then(() => this.ping(connection)).catch(() => connection.close());
    }, PING);
  }

  private again(): void {
    clearTimeout(this.timer);
    if (!this.over) this.timer = setTimeout(() => void this.listen(), PAUSE);
  }
}

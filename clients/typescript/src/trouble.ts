// Failures of Redis that last: what people are told of them, and which of them end a worker. No I/O.
import { described, Refused, RunnelError } from './errors.js';

/** These pass by themselves. So does what is no answer of Redis, such as a connection that is lost. */
const PASSING = /^(NOSCRIPT|MOVED|ASK|TRYAGAIN|CLUSTERDOWN|LOADING|BUSY|MASTERDOWN|READONLY|OOM|NOREPLICAS|MISCONF|ERR max number of clients)\b/;
/** These wait for people. */
const MISSING_PERMISSION = /^NOPERM\b|^ERR\b.*(?:ACL failure in script|user executing the script can't run)/;
const WRONG_TYPE = /^WRONGTYPE\b/;

/** Milliseconds for which a failure that passes is none. */
const SOON = 1000;
/** Milliseconds before it is told again: the first time, and at most. */
const AGAIN = 10_000;
const LATEST = 600_000;
/** After so many milliseconds without it, a failure begins anew. */
const QUIET = 15_000;
/** Milliseconds for which an error that nobody knows may last. */
const PATIENCE = 60_000;

interface Lasting {
  readonly since: number;
  last: number;
  tell: number;
  pause: number;
}

export class Trouble {
  /** By what has failed, and the first word of what Redis said. */
  private readonly found = new Map<string, Lasting>();

  constructor(private readonly log: (text: string) => void) {}

  /** `what` has failed once more at this time. Returns the error that is to end the worker, if one is. */
  failed(what: string, error: unknown, time: number): RunnelError | undefined {
    const reply = replyOf(error);
    const text = described(error)[1];
    const passes = reply === undefined || PASSING.test(reply);
    const lasting = this.lasting(`${what} ${reply?.split(' ', 1)[0] ?? ''}`, time, passes ? SOON : 0);
    const seconds = Math.round((time - lasting.since) / 1000);
    const isUnknown = reply !== undefined && !passes && !MISSING_PERMISSION.test(reply) && !WRONG_TYPE.test(reply);
    if (isUnknown && time - lasting.since >= PATIENCE) return new RunnelError(`${what} has failed for ${seconds} s: ${text}`, { cause: error });
    if (time < lasting.tell) return undefined;
    const fix = MISSING_PERMISSION.test(reply ?? '') ? ' (the user lacks a permission: runnel lua acl prints all that a worker needs)' : '';
    this.log(`${what} fails${seconds > 0 ? `, for ${seconds} s now` : ''}, and is tried again: ${text}${fix}`);
    lasting.tell = time + lasting.pause;
    lasting.pause = Math.min(2 * lasting.pause, LATEST);
    return undefined;
  }

  /** It works again. */
  over(): void {
    this.found.clear();
  }

  private lasting(kind: string, time: number, until: number): Lasting {
    let found = this.found.get(kind);
    if (found === undefined || time - found.last > QUIET) {
      found = { since: time, last: time, tell: time + until, pause: AGAIN };
      this.found.set(kind, found);
    }
    found.last = time;
    return found;
  }
}

/** What Redis has answered, if this error is, or comes from, an answer. */
function replyOf(error: unknown): string | undefined {
  const isOwn = error instanceof RunnelError && !(error instanceof Refused);
  const cause = isOwn ? error.cause : error;
  return cause instanceof Refused || (cause instanceof Error && cause.name === 'ReplyError') ? described(cause)[1] : undefined;
}

/** Whether a key has another type than the script expects. */
export const isWrongType = (error: unknown): boolean => WRONG_TYPE.test(replyOf(error) ?? '');

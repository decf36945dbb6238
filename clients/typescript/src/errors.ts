// Errors of the client, and the refusals of the scripts.

/** An error that Runnel raises. */
export class RunnelError extends Error {
  /** If several records were to be sent: what was sent of each, undefined for one that was not sent, or may have been. */
  declare readonly sent?: readonly unknown[];

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** A declaration, an option or an argument cannot work. */
export class ConfigError extends RunnelError {}
/** A record cannot be written, or is not what the stream's schema wants. */
export class EncodeError extends RunnelError {}
/** An entry is not a record of the stream. */
export class DecodeError extends RunnelError {}
/** Redis did not answer in time: what was sent may have arrived. */
export class DeliveryTimeout extends RunnelError {}
/** The stream has no room. */
export class FullError extends RunnelError {}
/** Another process sends under the id of this numbered producer. */
export class ProducerInUse extends RunnelError {}
/** A send of a numbered producer before this one has failed, and must be repeated first. */
export class EarlierNotSent extends RunnelError {}
/** The worker ended because an event failed for good, under the policy `halt`. */
export class Halted extends RunnelError {}
/** The handler did not finish an event in time. */
export class HandlerTimeout extends RunnelError {}
/** One event wrote more than one commit may hold. */
export class TooManyWrites extends RunnelError {}

const WORDS = new Set([
  'BADARG', 'CONFLICT', 'FENCED', 'FULL', 'MISMATCH', 'MISSING', 'NOT_WRITER', 'OUTOFORDER', 'OVERDUE', 'REPLACED',
  'STALE_GRANT', 'UNFORWARDED', 'UNKNOWN_PRODUCER', 'UNREGISTERED',
]);

/** A script has refused a call. It has written nothing. `word` is one of those of lua/README.md. */
export class Refused extends RunnelError {
  readonly word: string;
  readonly details: Readonly<Record<string, string>>;

  constructor(text: string) {
    super(text);
    this.word = text.split(' ', 1)[0] ?? '';
    this.details = Object.fromEntries([...text.matchAll(/(\w+)=(\S*)/g)].map((m) => [m[1]!, m[2]!]));
  }

  /** The refusal that an error reply is, if it is one. */
  static from(error: unknown): Refused | undefined {
    const text = error instanceof Error ? error.message : '';
    return WORDS.has(text.split(' ', 1)[0] ?? '') ? new Refused(text) : undefined;
  }
}

/** Whether `error` is a refusal with one of these words. */
export function refusedWith(error: unknown, ...words: string[]): error is Refused {
  return error instanceof Refused && words.includes(error.word);
}

/** The error, with what was sent of each record before it. */
export function withSent(error: unknown, sent: readonly unknown[]): Error {
  const found = error instanceof Error && Object.isExtensible(error) ? error : new RunnelError(described(error)[1], { cause: error });
  return Object.defineProperty(found, 'sent', { value: [...sent], enumerable: false, configurable: true });
}

/** Type and message of anything that was thrown, each on one line. */
export function described(error: unknown): [type: string, message: string] {
  try {
    const type = error instanceof Error ? error.name || error.constructor.name : typeof error;
    const message = error instanceof Error ? error.message : String(error);
    return [type.replace(/\s+/g, '').toWellFormed() || 'Error', message.replace(/\s+/g, ' ').trim().toWellFormed()];
  } catch {
    return ['Error', 'what was thrown has no text'];
  }
}

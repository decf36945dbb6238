// Checks of options and of what handlers are: each throws ConfigError, which names the option.
import { ConfigError } from './errors.js';

/** The longest time of a timer: Node.js takes a longer one for 1 ms. */
export const MOST_TIME = 2 ** 31 - 1;
export const DAY = 86_400_000;

/** `value` if it is a whole number within the limits. */
export function whole(where: string, value: unknown, least: number, most: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
    throw new ConfigError(`${where} must be a whole number from ${least} to ${most}, not ${shown(value)}`);
  }
  return value;
}

/** `value` if it is a number of milliseconds within the limits, also a fraction. */
export function milliseconds(where: string, value: unknown, least: number, most = MOST_TIME): number {
  if (typeof value !== 'number' || !(value >= least && value <= most)) {
    throw new ConfigError(`${where} must be a number of milliseconds from ${least} to ${most}, not ${shown(value)}`);
  }
  return value;
}

/** `handler` if it is a function whose body runs when it is called. */
export function callable<F>(where: string, handler: F): F {
  if (typeof handler !== 'function') throw new ConfigError(`${where}: the handler must be a function, not ${shown(handler)}`);
  if (/Generator/.test(Object.prototype.toString.call(handler))) {
    throw new ConfigError(`${where}: the handler must not be a generator function, because nothing would run its body: leave the * out`);
  }
  return handler;
}

/** What a handler has returned that nothing runs or waits for, in words; undefined if it is done. */
export function leftOver(result: unknown): string | undefined {
  if (typeof result !== 'object' || result === null) return undefined;
  const { next, [Symbol.asyncIterator]: iterate } = result as { next?: unknown; [Symbol.asyncIterator]?: unknown };
  if (typeof next === 'function' || typeof iterate === 'function') return 'a generator or another iterator, which nothing runs: go through it in the handler';
  if (Array.isArray(result) && result.some(isPromise)) return 'a list with promises, for which nothing waits: return Promise.all of it';
  return undefined;
}

export const isPromise = (value: unknown): value is PromiseLike<unknown> => typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';

const shown = (value: unknown): string => (typeof value === 'string' ? JSON.stringify(value) : typeof value === 'object' && value !== null ? 'an object' : String(value));

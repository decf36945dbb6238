// Turns of the event loop. Handlers that are plain functions would otherwise keep heartbeats and reads from their turn.
import { now } from './link.js';

/** Milliseconds that one turn may take before the others get theirs. */
const LONG = 25;
let began = now();
let next: Promise<void> | undefined;

export const turnIsLong = (): boolean => now() - began > LONG;

/** Wait for the next turn, behind timers and what has arrived. */
export function newTurn(): Promise<void> {
  next ??= new Promise((done) => {
    setImmediate(() => {
      next = undefined;
      began = now();
      done();
    });
  });
  return next;
}

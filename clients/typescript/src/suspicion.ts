// Which of the next events may be the reason for failures or dead workers, and how they are therefore handed out.
import { isAfter } from './ids.js';

/** How many unclean tenures in a row are needed before starts are recorded, and for how many events that lasts. */
const RECORD_AFTER = 3;
const SUSPECTS = 500;

export class Suspicion {
  private left: number;
  private first: number;
  private isolateUntil: string | undefined;

  constructor(public event: string, public attempts: number, public deaths: number, uncleanTenures: number) {
    this.left = uncleanTenures >= RECORD_AFTER || deaths > 0 ? SUSPECTS : 0;
    this.first = uncleanTenures > 0 ? SUSPECTS : 0;
  }

  /** Is the start of the next event to be recorded? */
  get recorded(): boolean {
    return this.left > 0;
  }

  /** Must each event be committed before the next one starts? */
  get commitFirst(): boolean {
    return this.first > 0 || this.recorded;
  }

  /** Must this worker process no other suspected event at the same time? */
  get alone(): boolean {
    return this.deaths > 0;
  }

  get oneByOne(): boolean {
    return this.recorded || this.isolateUntil !== undefined;
  }

  get isolating(): boolean {
    return this.isolateUntil !== undefined;
  }

  killsWorkers(event: string, retries: number): boolean {
    return event === this.event && this.deaths > 1 && this.attempts > retries;
  }

  /** Count a failure. Returns how often the event has failed. */
  failed(event: string): number {
    this.attempts = event === this.event ? this.attempts + 1 : 1;
    this.event = event;
    this.deaths = 0;
    return this.attempts;
  }

  /** One of the events up to this id fails: they are tried one by one, with new counts. */
  isolate(until: string): void {
    this.isolateUntil = until;
    this.attempts = 0;
    this.deaths = 0;
  }

  /** `count` more events are finished, up to this one. */
  survived(id: string, count: number): void {
    if (this.isolateUntil !== undefined && !isAfter(this.isolateUntil, id)) this.isolateUntil = undefined;
    this.left = Math.max(0, this.left - count);
    this.first = Math.max(0, this.first - count);
    if (this.event !== '' && !isAfter(this.event, id)) {
      if (this.deaths > 0) this.left = this.first = 0;
      this.event = '';
      this.attempts = this.deaths = 0;
    }
  }
}

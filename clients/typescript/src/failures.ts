// What becomes of an event that has failed: another try, or what the policy of the processor says.
import { encodeEntry } from './codec.js';
import type { Commits } from './commits.js';
import { Effects, type Sink } from './effects.js';
import { DecodeError, described, Halted, TooManyWrites } from './errors.js';
import { prefixOf } from './keys.js';
import { now } from './link.js';
import type { Failure, Parked } from './parked.js';
import type { Raw } from './processor.js';
import type { Tenure } from './tenure.js';

export class Failures {
  constructor(private readonly tenure: Tenure, private readonly commits: Commits, private readonly parked: Parked) {}

  /** These events have failed, or the first one has ended its workers. Waits before the next try. Throws Halted. */
  async failed(batch: readonly Raw[], error: unknown, killed = false): Promise<void> {
    const { tenure } = this;
    const { suspicion } = tenure;
    const { processor } = tenure.owner;
    const first = batch[0]!;
    const attempts = killed ? suspicion.attempts : suspicion.failed(first.id);
    const noRetry = killed || error instanceof TooManyWrites || error instanceof DecodeError;
    const again = !noRetry && attempts <= processor.retries;
    const giveUp = !again && (batch.length === 1 || suspicion.isolating);
    const [type, message] = described(error);
    const next = again ? '' : giveUp ? `, policy ${processor.policy}` : ', retrying its batch one by one';
    tenure.log(`, event ${first.id} failed (attempt ${attempts})${next}: ${type}: ${message}`);
    if (await tenure.attempt('failure', first.id, batch.length === 1 ? attempts : 0, type, message)) return;
    if (giveUp) await this.giveUp(first, { attempts, type, message }, error);
    else if (again) await this.pause(processor.delay(attempts));
    else suspicion.isolate(batch.at(-1)!.id);
  }

  private async giveUp(raw: Raw, failure: Failure, cause: unknown): Promise<void> {
    const { tenure } = this;
    const { processor } = tenure.owner;
    const { policy } = processor;
    const { attempts, type, message } = failure;
    if (policy === 'halt') {
      throw new Halted(`processor ${processor.name}, partition ${tenure.partition}: event ${raw.id} failed ${attempts} times: ${message}`, { cause });
    }
    if (raw.parked !== undefined && policy !== 'ignore') {
      await this.parked.parkAgain(raw, failure);
      return;
    }
    if (policy === 'quarantine') {
      await tenure.attempt('quarantine', raw.id, attempts, type, message);
      tenure.stop();
      tenure.log(' is quarantined: runnel processor resume, with --skip to leave the event out');
      return;
    }
    const effects = new Effects();
    if (raw.parked !== undefined) this.parked.unpark(effects, raw);
    if (policy === 'park') this.parked.park(effects, raw, failure);
    else if (processor.options.deadLetters) effects.emit(this.deadSink(), this.letter(raw, failure));
    this.commits.finish([raw], effects);
  }

  private deadSink(): Sink {
    const { partition } = this.tenure;
    const { stream, dead } = this.tenure.owner.processor;
    const { partitions, size } = stream;
    return { prefix: prefixOf(stream.app.name, stream.source, partition, dead), stream: dead, partition, partitions, size, derived: true };
  }

  private letter(raw: Raw, { attempts, type, message }: Failure): Uint8Array[] {
    const { stream, name } = this.tenure.owner.processor;
    const of = { stream: stream.name, processor: name, partition: this.tenure.partition, event: raw.id };
    const error = { error_type: type, error_message: message.slice(0, 1000).toWellFormed() };
    return encodeEntry({ ...of, attempts, ...error, at: new Date().toISOString(), fields: raw.fields });
  }

  private async pause(milliseconds: number): Promise<void> {
    const { tenure } = this;
    for (let until = now() + milliseconds; now() < until && !tenure.isEnding; ) await tenure.bell.wait(until - now());
  }
}

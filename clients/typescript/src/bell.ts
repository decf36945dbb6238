// Wakes one waiter; a ring without one is kept for the next.
export class Bell {
  private rung = false;
  private wake: (() => void) | undefined;

  ring(): void {
    if (this.wake) this.wake();
    else this.rung = true;
  }

  /** Wait for a ring, at most so many milliseconds. */
  wait(most: number): Promise<void> {
    if (this.rung || most <= 0) {
      this.rung = false;
      return Promise.resolve();
    }
    return new Promise((done) => {
      const timer = setTimeout(() => this.wake?.(), most);
      this.wake = () => {
        clearTimeout(timer);
        this.wake = undefined;
        done();
      };
    });
  }
}

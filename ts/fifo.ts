/** Places that were taken and are still kept, at least, before the rest moves to the front. */
const SLACK = 64;

/**
 * First in, first out. Taking costs the same however many wait: `Array.shift` moves all the others once an array is too
 * large for V8 to cut at its front.
 */
export class Fifo<T> {
  readonly #items: (T | undefined)[] = [];
  #first = 0;

  /** How many wait. */
  get length(): number {
    return this.#items.length - this.#first;
  }

  /** Places in memory; at most some more than twice as many as wait. */
  get places(): number {
    return this.#items.length;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  /** The oldest, or `undefined`. */
  shift(): T | undefined {
    if (this.length === 0) return undefined;
    const item = this.#items[this.#first];
    // It must not be kept alive from here.
    this.#items[this.#first++] = undefined;
    // As many were taken as are moved: one move for each, over time.
    if (this.#first >= SLACK && this.#first >= this.length) {
      this.#items.splice(0, this.#first);
      this.#first = 0;
    }
    return item;
  }

  /** All of them, taken. */
  drain(): T[] {
    const all = this.#items.slice(this.#first) as T[];
    this.#items.length = 0;
    this.#first = 0;
    return all;
  }
}

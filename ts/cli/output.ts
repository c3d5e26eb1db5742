/** What commands say: lines for people or JSON objects for programs, on standard output; progress on a terminal. */
import { isatty } from "node:tty";
import type { Stop } from "./stop.js";

/** Bytes for people: `1.4 GB`. */
export function bytesText(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let value = bytes;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return unit === 0 ? `${bytes} bytes` : `${value.toPrecision(3)} ${units[unit]}`;
}

/** A count of something, with its noun in singular or plural. */
export function countText(count: number, noun: string): string {
  const plural = noun.endsWith("ch") ? `${noun}es` : `${noun}s`;
  return `${count.toLocaleString("en-US")} ${count === 1 ? noun : plural}`;
}

/** How often a progress line changes, in milliseconds. */
const PROGRESS_INTERVAL = 100;

/** One command's output. */
export class Output {
  readonly json: boolean;
  readonly #stop: Stop;
  readonly #terminal = isatty(2);
  #listening = false;
  #shown = false;
  #last = 0;

  constructor(json: boolean, stop: Stop) {
    this.json = json;
    this.#stop = stop;
  }

  /** One event: the object as a line of JSON, or the text for people; no text, no line. */
  event(object: Record<string, unknown>, text?: string): void {
    if (this.json) this.#line(JSON.stringify(object));
    else if (text !== undefined) this.#line(text);
  }

  /** Where things are, on a terminal's last line; nowhere else. */
  progress(text: () => string): void {
    if (!this.#terminal) return;
    const now = Date.now();
    if (now - this.#last < PROGRESS_INTERVAL) return;
    this.#last = now;
    this.#shown = true;
    process.stderr.write(`\r\x1b[K${text()}`);
  }

  /** Something to know, on standard error. */
  note(text: string): void {
    this.clear();
    process.stderr.write(`arrowlane: ${text}\n`);
  }

  /** Takes the progress line away. */
  clear(): void {
    if (!this.#shown) return;
    this.#shown = false;
    process.stderr.write("\r\x1b[K");
  }

  /** Standard output is touched only here: `subscribe --out -` writes it natively. */
  #line(text: string): void {
    this.clear();
    if (!this.#listening) {
      this.#listening = true;
      process.stdout.on("error", (error: NodeJS.ErrnoException) => {
        if (error.code !== "EPIPE") throw error;
        this.#stop.request("SIGPIPE");
      });
    }
    process.stdout.write(`${text}\n`);
  }
}

import { lane } from "./native/lane.js";

/** Those who wait until a publisher has room, or somebody to send to. The process stays alive for them. */
export class Room {
  #waiting = new Set<() => void>();

  /** Resolves when something changed: then the attempt is to be repeated. */
  wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = () => {
        this.#waiting.delete(finish);
        signal?.removeEventListener("abort", finish);
        lane().native.letGo();
        if (signal?.aborted) reject(signal.reason);
        else resolve();
      };
      this.#waiting.add(finish);
      lane().native.hold();
      if (signal?.aborted) finish();
      else signal?.addEventListener("abort", finish, { once: true });
    });
  }

  /** Something changed. */
  changed(): void {
    for (const finish of [...this.#waiting]) finish();
  }
}

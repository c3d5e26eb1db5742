/** Limits of the system and folders that are not ours alone. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, test } from "@jest/globals";
import {
  codeOf,
  connected,
  first,
  freshTopic,
  isPending,
  numbers,
  runChild,
  Stage,
  take,
  until,
} from "../support.js";
import { PYTHON, Raw, socketOf } from "./raw.js";

const NOBODY = 65534;
const isRoot = process.getuid?.() === 0;
const hasPrlimit = spawnSync("prlimit", ["--version"]).status === 0;
if (!hasPrlimit) console.warn("prlimit is missing: descriptor limits are not tested");
if (!isRoot) console.warn("not root: other users are not tested");

const stage = new Stage();
afterEach(() => stage.clear());

/** `limit(n)`: n more descriptors than are open now, in the child itself. */
const LIMIT = `
import { execFileSync } from "node:child_process";
import { openSync, closeSync, readdirSync } from "node:fs";
const soft = (n) => execFileSync("prlimit", ["--pid", String(process.pid), "--nofile=" + n + ":"]);
const hard = readdirSync("/proc/self/fd").length;
// The limit is on the highest number: what is free below it is filled.
const fill = () => { const open = []; try { for (;;) open.push(openSync("/dev/null")); } catch { return open; } };
`;

(hasPrlimit ? describe : describe.skip)("at the limit of open files", () => {
  test("a publisher serves those it has, and those it turned away once there is room", async () => {
    const topic = freshTopic();
    const host = stage.child(
      topic,
      `${LIMIT}
      const publisher = await publish(topic);
      await until(() => publisher.subscribers === 1);
      soft(hard + 64);
      const open = fill();
      say("full");
      let b = 0, stop = false;
      process.stdin.once("data", () => { for (const fd of open) closeSync(fd); });
      while (publisher.subscribers < 2) { await publisher.send(numbers(++b)); await sleep(2); }
      await publisher.send(numbers(++b));
      await publisher.close();
      say("sent", b);
      process.exit();`,
    );
    const old = stage.subscribe(topic);
    const seen: number[] = [];
    const reading = (async () => {
      for await (const batch of old) {
        seen.push(first(batch) / 1000);
        batch.dispose();
      }
    })();
    await host.said("full");
    const newcomer = take(stage.subscribe(topic));
    newcomer.catch(() => {});
    const before = seen.length;
    await until(() => seen.length > before + 20, "the old one is served");
    expect(await isPending(newcomer)).toBe(true);
    host.tell("go");
    (await newcomer).dispose();
    await reading;
    await host.said(`sent ${seen.length}`);
    expect(seen).toEqual(Array.from({ length: seen.length }, (_, n) => n + 1));
  });

  test("a subscriber that cannot take the memory says why, and the others go on", async () => {
    const { publisher, subscriptions, pending } = await connected(stage);
    const poor = stage.child(
      publisher.topic,
      `${LIMIT}
      const next = subscribe(topic).next();
      next.catch(() => {});
      process.stdin.once("data", async () => {
        soft(hard + 64);
        const open = fill();
        say("full");
        await next.then(() => say("got it"), (error) => { for (const fd of open) closeSync(fd); say(error.code, error.message); });
        process.exit();
      });`,
    );
    await until(() => publisher.subscribers === 2, "both take part");
    poor.tell("go");
    await poor.said("full");
    await publisher.send(numbers(1));
    const ended = await poor.ended;
    expect(ended.stdout).toMatch(/ERR_TRANSPORT .*open files.*ulimit -n/);
    await until(() => publisher.subscribers === 1, "it is gone");
    const more = take(subscriptions[0]);
    await publisher.send(numbers(2));
    for (const batch of [await pending[0], await more]) batch.dispose();
    await until(() => publisher.statistics().bytesInUse === 0, "every block is back");
  });

  test("publish and subscribe reject, and work once there is room", async () => {
    const { stdout } = await runChild(
      `${LIMIT}
      const warm = await publish(topic + "-warm"); await warm.close();
      soft(hard + 64);
      const open = fill();
      await publish(topic).catch((error) => say(error.code));
      await subscribe(topic, { wait: false }).next().catch((error) => say(error.code));
      for (const fd of open) closeSync(fd);
      const publisher = await publish(topic);
      const next = subscribe(topic).next();
      await publisher.send(numbers(3));
      say((await next).value.column("i").get(0));
      process.exit();`,
      { env: { TOPIC: freshTopic() } },
    );
    const [published, subscribed, value] = stdout.trim().split("\n");
    expect(published).toMatch(/^ERR_(TRANSPORT|MEMORY|UNSAFE_FOLDER)$/);
    expect(subscribed).toMatch(/^ERR_(TRANSPORT|UNSAFE_FOLDER)$/);
    expect(value).toBe("3000");
  });
});

describe("a folder of sockets that is not ours alone", () => {
  const tries = `
    await publish(topic).catch((error) => say(error.code));
    await subscribe(topic).next().catch((error) => say(error.code, error.message));`;
  const attempt = (path: string) => runChild(tries, { env: { TOPIC: "x", ARROWLANE_RUNTIME_DIR: path } });

  test.each([
    ["others may read it", 0o755],
    ["others may enter it", 0o711],
    ["its group may write it", 0o720],
  ])("is refused: %s", async (_, mode) => {
    const path = mkdtempSync(join(tmpdir(), "arrowlane-folder-"));
    chmodSync(path, mode);
    expect((await attempt(path)).stdout).toMatch(
      /^ERR_UNSAFE_FOLDER\nERR_UNSAFE_FOLDER .*others may enter it/,
    );
  });

  test("is refused: it is a file", async () => {
    const path = join(mkdtempSync(join(tmpdir(), "arrowlane-folder-")), "file");
    writeFileSync(path, "");
    expect((await attempt(path)).stdout).toMatch(/^ERR_UNSAFE_FOLDER\nERR_UNSAFE_FOLDER /);
  });

  (isRoot ? test : test.skip)("is refused: it belongs to somebody else", async () => {
    const path = join(mkdtempSync(join(tmpdir(), "arrowlane-folder-")), "theirs");
    mkdirSync(path, 0o700);
    chownSync(path, NOBODY, NOBODY);
    expect((await attempt(path)).stdout).toMatch(
      /^ERR_UNSAFE_FOLDER\nERR_UNSAFE_FOLDER .*belongs to user 65534/,
    );
  });
});

const AS_NOBODY = ["--reuid", String(NOBODY), "--clear-groups"];
/** A Python that the other user may run as well. */
const theirPython = [PYTHON, "/usr/bin/python3"].find(
  (python) => isRoot && python && spawnSync("setpriv", [...AS_NOBODY, python, "-c", ""]).status === 0,
);
if (isRoot && theirPython === undefined) console.warn("no setpriv or Python: other users are not tested");

(theirPython !== undefined ? describe : describe.skip)("a process of another user", () => {
  const CONNECT = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.settimeout(10)
try:
    s.connect(sys.argv[1])
    print("connected, then", len(s.recv(4096)), "bytes")
except OSError as error:
    print(type(error).__name__)
`;
  const stranger = (path: string) =>
    new Raw("setpriv", [...AS_NOBODY, theirPython as string, "-c", CONNECT, path]).fate();

  test("cannot reach the socket; where the folder was opened to it, it is turned away; the publisher serves on", async () => {
    // A folder of its own: its mode is going to be changed.
    const folder = mkdtempSync("/tmp/arrowlane-stranger-");
    const topic = freshTopic();
    const host = stage.child(
      topic,
      `const publisher = await publish(topic); say(new URL(publisher.uri.replace(/^shm:/, "file:")).pathname);
       for (let b = 0; ; b++) { await publisher.send(numbers(b)); await sleep(2); }`,
      { ARROWLANE_RUNTIME_DIR: folder },
    );
    await until(() => host.stdout.includes("\n"), "it says where its socket is");
    const path = host.stdout.trim();
    expect(dirname(path)).toBe(folder);
    expect(await stranger(path)).toBe("PermissionError");
    execFileSync("chmod", ["0755", folder]);
    execFileSync("chmod", ["0777", path]);
    expect(await stranger(path)).toBe("connected, then 0 bytes");
    chmodSync(folder, 0o700);
    const served = await runChild(
      `const { value } = await subscribe(topic).next(); say(value.length); process.exit();`,
      { env: { TOPIC: topic, ARROWLANE_RUNTIME_DIR: folder } },
    );
    expect(served.stdout).toBe("10\n");
    expect(host.process.exitCode).toBeNull();
  });
});

test("batches without bytes are bounded like others, and all of them arrive", async () => {
  const { publisher, subscriptions, pending } = await connected(stage, { queue: { batches: 4 } });
  const sends = Array.from({ length: 100 }, () => publisher.send(numbers(0, 0)));
  (await pending[0]).dispose();
  // One was taken and four may be on their way: the sixth waits for the application, however fast it could travel.
  expect(await isPending(sends[8])).toBe(true);
  for (let n = 1; n < 100; n++) {
    const batch = await take(subscriptions[0]);
    expect(batch.length).toBe(0);
    batch.dispose();
  }
  expect(await Promise.all(sends)).toEqual(Array.from({ length: 100 }, () => 1));
});

test("a queue longer than subscribers tolerate cannot be asked for", async () => {
  const queue = { batches: 65_537 };
  expect(await codeOf(stage.publish(freshTopic(), { queue }))).toBe("ERR_INVALID_ARGUMENT");
});

test("a publisher's socket path is where its URI says", async () => {
  const publisher = await stage.publish(freshTopic());
  expect(socketOf(publisher)).toMatch(/^\/.*test-/);
});

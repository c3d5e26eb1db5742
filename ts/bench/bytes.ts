import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { Kind, lane, native } from "../native/lane.js";
import type { Half } from "./child.js";
import { Clock } from "./clock.js";

/** Eight bytes through arrowlane's own poll handle: what no hand-off between two event loops can be faster than. */
export const floor: Half = (task, ready) => {
  const path = join(task.folder, `${task.name}.pulse`);
  return new Promise((resolve, reject) => {
    const { native: natively } = lane();
    const first = task.half === "first";
    const clock = new Clock(task.warm, task.rounds);
    const pulse = native(() => natively.pulseOpen(path, first));
    let sent = 0;
    let left = task.warm + task.rounds;
    const end = () => {
      lane().disown(pulse);
      natively.pulseClose(pulse);
      resolve(first ? clock.oneWay() : {});
    };
    const next = () => {
      sent = Math.random();
      clock.start();
      natively.pulseSend(pulse, sent);
    };
    lane().own(pulse, {
      happened(kind, mailbox, at) {
        if (kind !== Kind.Pulse) return false;
        const value = mailbox[at];
        if (!first) {
          // The first one to come says that the other side is there; answers follow.
          natively.pulseSend(pulse, value + 1);
          if (--left === 0) end();
        } else if (value === HELLO) next();
        else if (value !== sent + 1) reject(new Error(`the floor returned ${value}, not ${sent + 1}`));
        else if (clock.stop()) next();
        else end();
        return false;
      },
    });
    if (first) ready();
    else natively.pulseSend(pulse, HELLO);
  });
};

const HELLO = -1;

/** Eight bytes through Node's own `net`, on a unix socket. */
export const net: Half = (task, ready) => {
  const path = join(task.folder, `${task.name}.net`);
  const clock = new Clock(task.warm, task.rounds);
  const message = Buffer.alloc(8);
  return new Promise((resolve, reject) => {
    if (task.half === "second") {
      const socket = connect(path);
      socket.on("data", (bytes) => {
        message.writeDoubleLE(bytes.readDoubleLE() + 1);
        socket.write(message);
      });
      socket.on("error", reject).on("close", () => resolve({}));
      return;
    }
    const serve = (socket: Socket) => {
      let sent = 0;
      const next = () => {
        sent = Math.random();
        message.writeDoubleLE(sent);
        clock.start();
        socket.write(message);
      };
      socket.on("error", reject).on("data", (bytes) => {
        const value = bytes.readDoubleLE();
        if (value !== sent + 1) reject(new Error(`net returned ${value}, not ${sent + 1}`));
        else if (clock.stop()) next();
        else {
          socket.end();
          server.close();
          resolve(clock.oneWay());
        }
      });
      next();
    };
    const server = createServer(serve).on("error", reject).listen(path, ready);
  });
};

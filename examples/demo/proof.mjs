// Where bytes really are: not what arrowlane says, but what the kernel says in /proc/PID/maps.
import { readFileSync } from "node:fs";

/** The mappings of shared memory in a process: addresses, offset in the memfd, and which memfd. */
function mappings(pid) {
  const found = [];
  for (const line of readFileSync(`/proc/${pid}/maps`, "utf8").split("\n")) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+)/.exec(line);
    if (match === null || match[7] === "0") continue;
    const [start, end, offset] = [match[1], match[2], match[4]].map((hex) => BigInt(`0x${hex}`));
    const device = (Number.parseInt(match[5], 16) << 8) | Number.parseInt(match[6], 16);
    found.push({ start, end, offset, access: match[3], memory: `memfd:${device}:${match[7]}` });
  }
  return found;
}

/** Which memfd an address of a process lies in, and where in it. */
export function placeOf(pid, address) {
  const mapping = mappings(pid).find(({ start, end }) => start <= address && address < end);
  if (mapping === undefined) return undefined;
  const { memory, access, start, offset } = mapping;
  return { memory, access, offset: address - start + offset };
}

/** Where in a process a place in a memfd is mapped. */
export function addressOf(pid, memory, offset) {
  const mapping = mappings(pid).find(
    (m) => m.memory === memory && m.offset <= offset && offset < m.offset + (m.end - m.start),
  );
  return mapping && { access: mapping.access, address: mapping.start + offset - mapping.offset };
}

export const hex = (address) => `0x${address.toString(16)}`;

/** `arrowlane get CONTROL_URI NAME`. */
import { extname } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { ArrowlaneError } from "../errors.js";
import { FileWriter } from "../files.js";
import { connect, type FlightInfo } from "../flight/client.js";
import type { Via } from "../flight/transfer.js";
import { bytesText, countText, Output } from "./output.js";
import type { Stop } from "./stop.js";
import { positive, wrongUsage } from "./usage.js";

interface Options {
  via?: Via[];
  out?: string;
  count?: number;
  bearer?: string;
  json?: boolean;
}

const WAYS = ["shm", "tcp", "ucx", "fabric", "grpc", "http"];

export function addGet(program: Command, stop: Stop): void {
  program
    .command("get")
    .description("fetch a dataset from a server, or join a topic there")
    .argument("<control>", "address of an Arrow Flight service: grpc+tcp://host:port")
    .argument("<name>", "name of the dataset or topic")
    .option(
      "--via <kinds>",
      `ways to try, in this order: ${WAYS.join(", ")}; one alone is the only one`,
      ways,
    )
    .option(
      "--out <file>",
      ".arrow: Arrow IPC file; .arrows: Arrow IPC stream; -: a stream on standard output",
    )
    .option("--count <n>", "stop after so many batches", positive)
    .option("--bearer <token>", "token to show to the service")
    .option("--json", "print one JSON object per line")
    .action((control: string, name: string, options: Options) =>
      new Getter(control, name, options, stop).run(),
    );
}

function ways(text: string): Via[] {
  const list = text.split(",");
  if (list.every((one) => WAYS.includes(one))) return list as Via[];
  throw new InvalidArgumentError(`It must be of ${WAYS.join(", ")}, with commas between them.`);
}

class Getter {
  readonly #control: string;
  readonly #name: string;
  readonly #options: Options;
  readonly #stop: Stop;
  readonly #output: Output;
  #writer: FileWriter | undefined;
  #batches = 0;
  #rows = 0;
  #bytes = 0;
  #zeroCopy = true;

  constructor(control: string, name: string, options: Options, stop: Stop) {
    const { out, json = false } = options;
    if (out !== undefined && out !== "-" && ![".arrow", ".arrows"].includes(extname(out))) {
      throw wrongUsage(
        `--out ${out}: the name must end in .arrow (IPC file) or .arrows (IPC stream), or be -`,
      );
    }
    if (out === "-" && json)
      throw wrongUsage("--out - takes standard output for the stream: leave --json out");
    this.#control = control;
    this.#name = name;
    this.#options = options;
    this.#stop = stop;
    this.#output = new Output(json, stop);
  }

  async run(): Promise<void> {
    const { via, count = Infinity, bearer } = this.#options;
    const { signal } = this.#stop;
    const started = performance.now();
    const client = await connect(this.#control, {
      signal,
      ...(bearer === undefined ? {} : { credentials: { bearer } }),
    });
    const info = await client.info(this.#name, { signal });
    const transfer = client.read(info, { via, signal });
    try {
      for await (const batch of transfer) {
        try {
          this.#batches++;
          this.#rows += batch.length;
          this.#bytes += batch.byteLength;
          this.#zeroCopy &&= batch.zeroCopy;
          this.#output.progress(
            () => `${countText(this.#rows, "row")}, ${bytesText(this.#bytes)}, by ${transfer.via}`,
          );
          this.#begin((out) => FileWriter.create(out, batch));
          await this.#writer?.write(batch);
        } finally {
          batch.dispose();
        }
        if (this.#batches >= count || this.#stop.requested !== undefined) break;
      }
      this.#begin((out) => emptyFile(out, info));
    } catch (error) {
      if (this.#stop.requested === undefined) {
        this.#writer?.abort();
        throw error;
      }
    }
    await this.#writer?.finish();
    this.#output.clear();
    const seconds = (performance.now() - started) / 1000;
    const tried = transfer.tried.map((attempt) => ({ via: attempt.via, error: attempt.error.message }));
    const [rows, bytes] = [this.#rows, this.#bytes];
    for (const attempt of tried) this.#output.note(`not by ${attempt.via}: ${attempt.error}`);
    if (this.#options.out === "-") return;
    this.#output.event(
      {
        dataset: this.#name,
        rows,
        bytes,
        seconds,
        via: transfer.via ?? null,
        zeroCopy: this.#zeroCopy,
        tried,
      },
      `${this.#name}: ${countText(rows, "row")}, ${bytesText(bytes)} in ${seconds.toFixed(3)} s by ${transfer.via}`,
    );
  }

  #begin(create: (out: string) => FileWriter): void {
    const { out } = this.#options;
    if (out !== undefined) this.#writer ??= create(out);
  }
}

/** A file of a dataset without batches. */
function emptyFile(out: string, { schema }: FlightInfo): FileWriter {
  if (schema !== undefined) return FileWriter.forSchema(out, schema);
  throw new ArrowlaneError("ERR_CLOSED", "no batch came, and the service does not say what the schema is");
}

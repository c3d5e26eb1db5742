import type { Data, Vector } from "apache-arrow";
import type { JsonField, JsonSchema } from "./arrow/json-schema.js";
import type { BatchPlan, BodyAccess } from "./arrow/plan.js";
import { arrow } from "./arrow-layer.js";
import { ArrowlaneError, DisposedError } from "./errors.js";
import { readLayout } from "./layout.js";
import { lane, native } from "./native/lane.js";

const disposed = (): ArrowlaneError => new DisposedError();

/** The dictionaries that some batch of this environment has open, by the native key of their values. */
const open = new Map<number, Dictionary>();

/**
 * The values of a dictionary-encoded column. Batches that refer to the same values share one; it ends with the last
 * of them.
 */
export class Dictionary implements BodyAccess {
  readonly vector: Vector;
  guard: BodyAccess["guard"] = undefined;
  readonly #key: number;
  readonly #handle: number;
  readonly #buffers: ArrayBuffer[];
  readonly #made: Data[] = [];
  /** Those that its own values refer to: used for as long as this one is. */
  readonly #inner: Dictionary[] = [];
  /** Opens one of them; there while this one is being made, and no longer, so that it keeps nothing alive. */
  #open: ((id: number) => Dictionary) | undefined;
  #users = 0;
  #abandoned = false;

  private constructor(batch: number, plan: BatchPlan, id: number, index: number, keys: readonly number[]) {
    this.#key = keys[index];
    this.#open = (inner) => Dictionary.open(batch, plan, inner, keys);
    let buffers = native(() => lane().native.openDictionary(batch, index));
    if (typeof buffers === "number") {
      lane().reserve(buffers);
      buffers = native(() => lane().native.openDictionary(batch, index)) as ArrayBuffer | ArrayBuffer[];
    }
    const { scratch } = lane();
    this.#handle = scratch[scratch.length - 1];
    this.#buffers = Array.isArray(buffers) ? buffers : [buffers];
    const layout = readLayout(scratch, 0);
    const rows = layout.nodes[0] ?? 0;
    this.vector = arrow().vectorOf(plan.dictionaryData(id, { ...layout, rows }, this));
    this.#open = undefined;
  }

  /** The dictionary `id` of a batch; one user more. */
  static open(batch: number, plan: BatchPlan, id: number, keys: readonly number[]): Dictionary {
    const index = dictionaryOrder(plan.json).indexOf(id);
    const key = keys[index] ?? 0;
    if (key === 0) {
      throw new ArrowlaneError(
        "ERR_INVALID_DATA",
        `dictionary ${id} was never sent: its producer is at fault`,
      );
    }
    let dictionary = open.get(key);
    if (dictionary === undefined) {
      dictionary = new Dictionary(batch, plan, id, index, keys);
      open.set(key, dictionary);
    }
    dictionary.#users++;
    return dictionary;
  }

  arrayBuffer(index: number): ArrayBuffer {
    return this.#buffers[index];
  }

  dictionary(id: number): Vector {
    if (this.#open === undefined) throw new ArrowlaneError("ERR_INTERNAL", "a dictionary was read twice");
    const inner = this.#open(id);
    this.#inner.push(inner);
    return inner.vector;
  }

  made(data: Data): void {
    this.#made.push(data);
  }

  /**
   * One user less. Arrays of a user that was collected may still be referred to: then nothing is detached. `error` is what
   * reads throw from then on when it was the last.
   */
  release(detach: boolean, error = disposed): void {
    if (!detach) this.#abandoned = true;
    if (--this.#users > 0) return;
    open.delete(this.#key);
    for (const inner of this.#inner) inner.release(!this.#abandoned, error);
    if (this.#abandoned) {
      lane().native.abandonDictionary(this.#handle);
      return;
    }
    arrow().poison(this.#made, error);
    lane().native.closeDictionary(this.#handle, this.#buffers);
  }
}

/** The native keys of a batch's dictionaries, in the native order. */
export function dictionaryKeys(batch: number): number[] {
  const count = native(() => lane().native.dictionaryKeys(batch));
  return Array.from(lane().scratch.subarray(0, count));
}

/** Lets go of what one batch had open. */
export function releaseDictionaries(
  dictionaries: Map<number, Dictionary>,
  { detach, error }: { detach: boolean; error?: () => ArrowlaneError },
): void {
  for (const dictionary of dictionaries.values()) dictionary.release(detach, error);
  dictionaries.clear();
}

const orders = new WeakMap<JsonSchema, number[]>();

/** Dictionary ids in the native order: depth first, those inside a dictionary's values before itself. */
function dictionaryOrder(schema: JsonSchema): number[] {
  let order = orders.get(schema);
  if (order === undefined) {
    const found: number[] = [];
    const visit = (field: JsonField) => {
      field.children.forEach(visit);
      if (field.dictionary !== undefined) found.push(field.dictionary.id);
    };
    schema.fields.forEach(visit);
    orders.set(schema, found);
    order = found;
  }
  return order;
}

import type { JsonSchema } from "./arrow/json-schema.js";
import type { BatchPlan } from "./arrow/plan.js";
import { arrow } from "./arrow-layer.js";
import { lane, native } from "./native/lane.js";

const plans: (BatchPlan | undefined)[] = [];
const jsons: (JsonSchema | undefined)[] = [];
const handles = new WeakMap<object, number>();

/** The schema behind a native handle, as JSON. */
export function schemaJson(handle: number): JsonSchema {
  jsons[handle] ??= JSON.parse(native(() => lane().native.schemaJson(handle))) as JsonSchema;
  return jsons[handle];
}

/** The reading plan of a schema; one for all batches that have it. */
export function planOf(handle: number): BatchPlan {
  plans[handle] ??= new (arrow().BatchPlan)(schemaJson(handle));
  return plans[handle];
}

/** The native handle of a schema given as JSON; `key` is any object that stands for it. */
export function schemaHandle(json: JsonSchema, key: object = json): number {
  let handle = handles.get(key);
  if (handle === undefined) {
    handle = native(() => lane().native.registerSchema(JSON.stringify(json)));
    handles.set(key, handle);
  }
  return handle;
}

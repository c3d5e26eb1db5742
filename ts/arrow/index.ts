/** Between apache-arrow's objects and flat layouts; the only folder that imports apache-arrow. */
export { flattenBatch, flattenTable, isRecordBatch, isSchema, isTable } from "./flatten.js";
export { vectorOf } from "./guarded-vector.js";
export { packedLayout, packInto } from "./pack.js";
export { BatchPlan } from "./plan.js";
export { poison } from "./poison.js";
export { schemaToJson } from "./schema.js";
export { BatchWriter, planWriter } from "./writer.js";

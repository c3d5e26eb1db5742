/** Schemas in both directions: apache-arrow objects and the JSON that crosses to the native side. */
export type { AnySchema } from "./foreign.js";
export type { JsonField, JsonMetadata, JsonSchema, JsonType } from "./json-schema.js";
export {
  columnFromJson,
  fieldFromJson,
  schemaFromJson,
  typeFromJson,
  unsupported,
  unsupportedColumn,
} from "./schema-from-json.js";
export { fieldToJson, schemaToJson } from "./schema-to-json.js";

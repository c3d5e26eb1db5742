import { type Data, type DataType, type Field, RecordBatch, Schema, Struct, Vector } from "apache-arrow";
import { vectorOf } from "./guarded-vector.js";

interface Parts {
  schema: Schema;
  data: Data<Struct>;
  _metadata: Map<string, string>;
}

/**
 * apache-arrow's RecordBatch without its constructor. The constructor rebuilds the schema for every batch, which
 * costs more than all the rest, confuses columns of the same name, and wraps the rows in a Data that nobody told
 * us about. The instances are RecordBatches in all they do: the prototype is theirs.
 */
function SharedRecordBatch(this: Parts, schema: Schema, data: Data<Struct>, metadata: Map<string, string>) {
  this.schema = schema;
  this.data = data;
  this._metadata = metadata;
}

/** What apache-arrow derives by way of its constructor, derived so that it stays behind our guard. */
const derived = {
  slice(this: RecordBatch, begin?: number, end?: number): RecordBatch {
    const [data] = new Vector([this.data]).slice(begin, end).data;
    return sharedRecordBatch(this.schema, data as Data<Struct>, this.metadata);
  },
  select(this: RecordBatch, names: readonly PropertyKey[]): RecordBatch {
    const wanted = new Set(names);
    return select(this, (field) => wanted.has(field.name));
  },
  getChild(this: RecordBatch, name: PropertyKey): Vector | null {
    return this.getChildAt(this.schema.fields.findIndex((field) => field.name === name));
  },
  getChildAt(this: RecordBatch, index: number): Vector | null {
    const data = this.data.children[index];
    return data === undefined ? null : vectorOf(data);
  },
  selectAt(this: RecordBatch, indices: readonly number[]): RecordBatch {
    return pick(
      this,
      indices.filter((i) => i in this.schema.fields),
    );
  },
};

SharedRecordBatch.prototype = Object.create(
  RecordBatch.prototype,
  Object.fromEntries(
    Object.entries(derived).map(([name, value]) => [name, { value, configurable: true, writable: true }]),
  ),
);

const Shared = SharedRecordBatch as unknown as new (
  schema: Schema,
  data: Data<Struct>,
  metadata: Map<string, string>,
) => RecordBatch;

/** Whether this copy of the library builds its RecordBatches of the three parts that we set. */
const known =
  Object.keys(new RecordBatch(new Schema([]), undefined))
    .sort()
    .join() === "_metadata,data,schema";

/** A RecordBatch of exactly this schema and these rows. */
export function sharedRecordBatch(
  schema: Schema,
  data: Data<Struct>,
  metadata: Map<string, string> = new Map(),
): RecordBatch {
  return known ? new Shared(schema, data, metadata) : new RecordBatch(schema, data, metadata);
}

function select(batch: RecordBatch, wanted: (field: Field) => boolean): RecordBatch {
  return pick(
    batch,
    [...batch.schema.fields.keys()].filter((i) => wanted(batch.schema.fields[i])),
  );
}

function pick(batch: RecordBatch, indices: number[]): RecordBatch {
  const schema = new Schema(
    indices.map((i) => batch.schema.fields[i]),
    batch.schema.metadata,
  );
  const { data } = batch;
  const rows = new Struct(schema.fields) as Struct<Record<string, DataType>>;
  const children = indices.map((i) => data.children[i]);
  return sharedRecordBatch(
    schema,
    data.clone(rows, data.offset, data.length, 0, undefined, children),
    batch.metadata,
  );
}

import { describe, expect, test } from "@jest/globals";
import { Dictionary, Field, Int8, Int32, List, Schema, Struct, Utf8 } from "apache-arrow";
import type { JsonField, JsonSchema, JsonType } from "../../ts/arrow/json-schema.js";
import { BatchPlan } from "../../ts/arrow/plan.js";
import { fieldFromJson, schemaFromJson, schemaToJson, unsupported } from "../../ts/arrow/schema.js";
import { commonjs, esm, samples, TestBody } from "./arrow-support.js";

const field = (
  name: string,
  type: JsonType,
  children: JsonField[] = [],
  more: Partial<JsonField> = {},
): JsonField => ({
  name,
  nullable: true,
  type,
  children,
  ...more,
});
const int32: JsonType = { name: "int", bitWidth: 32, isSigned: true };
const dictionary = (id: number, bitWidth = 32) => ({
  dictionary: { id, indexType: { name: "int", bitWidth, isSigned: true } as const, isOrdered: false },
});

describe.each([
  ["ES module", esm],
  ["CommonJS", commonjs],
] as const)("a schema of the %s copy of apache-arrow", (_, A) => {
  const vectors = samples(A);

  test.each(Object.keys(vectors))("says %s in JSON, and back, without a loss", (name) => {
    const json = schemaToJson(new A.Schema([new A.Field(name, vectors[name].type, true)]));
    const back = schemaFromJson(JSON.parse(JSON.stringify(json)));
    expect(schemaToJson(back)).toEqual(json);
    expect(String(back.fields[0].type)).toBe(String(vectors[name].type));
    expect(back.fields[0].type.typeId).toBe(vectors[name].type.typeId);
  });
});

test("names, order, nullability and metadata come through, extension types too", () => {
  const extension = new Map([
    ["ARROW:extension:name", "arrow.uuid"],
    ["ARROW:extension:metadata", ""],
  ]);
  const schema = new Schema(
    [
      new Field("z", new Int32(), false),
      new Field("a", new Utf8(), true, extension),
      new Field("z", new Utf8(), true),
    ],
    new Map([["who", "me"]]),
  );
  const json = schemaToJson(schema);
  expect(json).toEqual({
    fields: [
      field("z", int32, [], { nullable: false }),
      field("a", { name: "utf8" }, [], {
        metadata: [
          { key: "ARROW:extension:name", value: "arrow.uuid" },
          { key: "ARROW:extension:metadata", value: "" },
        ],
      }),
      field("z", { name: "utf8" }),
    ],
    metadata: [{ key: "who", value: "me" }],
  });
  const plan = new BatchPlan(json);
  expect(plan.schema.names).toEqual(["z", "a", "z"]);
  expect(plan.schema.metadata).toEqual(new Map([["who", "me"]]));
  expect(plan.schema.fields[1].metadata).toEqual(extension);
  expect(plan.schema.fields.map((f) => f.nullable)).toEqual([false, true, true]);
  expect(plan.indexOf("z")).toBe(0);
  expect(plan.indexOf("none")).toBe(-1);
});

test("dictionary ids are depth-first from 0, a parent before what its values hold", () => {
  const inner = new Dictionary(new Utf8(), new Int8() as never, 77);
  const outer = new Dictionary(new List(new Field("item", inner, true)), new Int32(), 5);
  const schema = new Schema([
    new Field("a", new Struct([new Field("x", new Dictionary(new Utf8(), new Int32(), 9), true)]), true),
    new Field("b", outer, true),
    new Field("c", new Dictionary(new Utf8(), new Int32(), 5000), true),
  ]);
  const { fields } = schemaToJson(schema);
  expect(fields[0].children[0].dictionary?.id).toBe(0);
  expect(fields[1].dictionary?.id).toBe(1);
  expect(fields[1].children[0].dictionary?.id).toBe(2);
  expect(fields[2].dictionary?.id).toBe(3);
  expect(new BatchPlan({ fields }).dictionaryIds).toEqual([0, 1, 2, 3]);
});

test("a map keeps the names that its producer gave to entries, keys and values", () => {
  const json = field("m", { name: "map", keysSorted: true }, [
    field("key_value", { name: "struct" }, [field("k", { name: "utf8" }), field("v", int32)], {
      nullable: false,
    }),
  ]);
  expect(schemaToJson(new Schema([fieldFromJson(json)])).fields[0]).toEqual(json);
});

describe("a column that apache-arrow cannot hold", () => {
  const item = field("item", int32);
  const cases: [string, JsonField][] = [
    ["listview", field("bad", { name: "listview" }, [item])],
    ["largelistview", field("bad", { name: "largelistview" }, [item])],
    [
      "runendencoded",
      field("bad", { name: "runendencoded" }, [field("run_ends", int32), field("values", int32)]),
    ],
    ["decimal64", field("bad", { name: "decimal", bitWidth: 64, precision: 10, scale: 2 })],
    ["listview", field("bad", { name: "struct" }, [item, field("deep", { name: "listview" }, [item])])],
    ["64-bit indices", field("bad", { name: "utf8" }, [], dictionary(0, 64))],
  ];

  test.each(cases)("is named with its type (%s), and leaves the others readable", (reason, bad) => {
    expect(unsupported(bad)).toContain(reason);
    const plan = new BatchPlan({ fields: [field("a", int32), bad, field("z", int32)] });
    expect(plan.unsupported(0)).toBeUndefined();
    expect(plan.unsupported(1)).toContain(reason);
    const message = (f: () => unknown) => {
      try {
        return f();
      } catch (error) {
        return `${(error as { code: string }).code}: ${(error as Error).message}`;
      }
    };
    for (const f of [
      () => plan.schema,
      () => plan.field(1),
      () => plan.columnData(1, {} as never, {} as never),
    ]) {
      expect(message(f)).toMatch(/^ERR_UNSUPPORTED_TYPE: column "bad"/);
      expect(message(f)).toContain(reason);
    }
  });

  test("does not move the columns after it", () => {
    // listview: 3 buffers and a child of 2; run-end encoded: none, and two children; utf8view: 2 and variadic ones.
    const fields = [
      field("lv", { name: "listview" }, [item]),
      field("ree", { name: "runendencoded" }, [
        field("run_ends", int32),
        field("values", { name: "utf8view" }),
      ]),
      field("view", { name: "utf8view" }),
      field("x", int32),
    ];
    const plan = new BatchPlan({ fields });
    const body = new TestBody(new Int32Array([1, 2, 3]).buffer);
    const nodes = [3, 0, 9, 0, 3, 0, 1, 0, 1, 0, 3, 0, 3, 0];
    const before = 3 + 2 + 0 + 2 + (2 + 4) + (2 + 1);
    const layout = { rows: 3, nodes, buffers: [...Array(before * 2).fill(0), 0, 0, 0, 12], variadic: [4, 1] };
    expect([...plan.columnVector(3, layout, body)]).toEqual([1, 2, 3]);
  });
});

test("a type that is none of Arrow's is an error, not a crash", () => {
  const json = { fields: [field("x", { name: "quaternion" } as never)] } as JsonSchema;
  expect(() => new BatchPlan(json).schema).toThrow(expect.objectContaining({ code: "ERR_INVALID_DATA" }));
  const strange = { fields: [{ name: "x", nullable: true, type: { typeId: 99 } }] };
  expect(() => schemaToJson(strange)).toThrow(expect.objectContaining({ code: "ERR_UNSUPPORTED_TYPE" }));
});

test("a column that is not there is an error", () => {
  const plan = new BatchPlan({ fields: [field("a", int32)] });
  expect(() =>
    plan.columnData(1, { rows: 0, nodes: [], buffers: [], variadic: [] }, new TestBody(new ArrayBuffer(0))),
  ).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARGUMENT" }));
});

/**
 * Jest's Node environment, with what native code makes being of the same classes as what tests make.
 *
 * Jest runs tests in a vm context with intrinsics of its own, while an addon makes its typed arrays and errors in the
 * main one: `x instanceof Float64Array` and `toThrow(TypeError)` would be wrong for values that are right in Node.
 *
 * A file that begins with `@jest-environment-options {"memory": "heap"}` runs with ARROWLANE_MEMORY=heap, in this process (whose
 * real environment native code reads) and in those that it starts.
 */
const { TestEnvironment } = require("jest-environment-node");

const buffers = ["SharedArrayBuffer", "DataView"];
const typedArrays = [
  "Int8",
  "Uint8",
  "Uint8Clamped",
  "Int16",
  "Uint16",
  "Int32",
  "Uint32",
  "Float32",
  "Float64",
];
const bigArrays = ["BigInt64", "BigUint64"];
const errors = [
  "Error",
  "AggregateError",
  "EvalError",
  "RangeError",
  "ReferenceError",
  "SyntaxError",
  "TypeError",
];

class OneRealmEnvironment extends TestEnvironment {
  constructor(config, context) {
    const { memory } = config.projectConfig.testEnvironmentOptions;
    const before = process.env.ARROWLANE_MEMORY;
    if (memory !== undefined) process.env.ARROWLANE_MEMORY = memory;
    super(config, context);
    this.restore = () => {
      if (before === undefined) delete process.env.ARROWLANE_MEMORY;
      else process.env.ARROWLANE_MEMORY = before;
    };
    for (const name of [...buffers, ...[...typedArrays, ...bigArrays].map((element) => `${element}Array`)]) {
      this.global[name] = globalThis[name];
    }
    for (const name of errors) shareInstances(this.global[name], globalThis[name]);
  }

  async teardown() {
    this.restore();
    await super.teardown();
  }
}

/** Makes `error instanceof inside` true for errors of the main context as well; subclasses keep the usual meaning. */
function shareInstances(inside, outside) {
  const usual = Function.prototype[Symbol.hasInstance];
  Object.defineProperty(inside, Symbol.hasInstance, {
    configurable: true,
    value(candidate) {
      return usual.call(this, candidate) || (this === inside && candidate instanceof outside);
    },
  });
}

module.exports = OneRealmEnvironment;

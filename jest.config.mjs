/**
 * How the tests run, and why.
 *
 * - Tests and ts/ are ES modules: @swc/jest turns TypeScript into JavaScript and leaves `import` alone, Jest links the
 *   modules itself (`--experimental-vm-modules`, which `npm test` and `npm run jest` pass). So ts/ and the tests get
 *   one and the same copy of apache-arrow, the ES module one. The CommonJS copy is what `createRequire` gives; tests
 *   of foreign copies use it on purpose.
 * - A test imports what it tests from `../../ts/….js`, as the source does; the resolver finds the .ts file.
 *   `import … from "arrowlane"` in a test is ts/index.ts, with the types of the committed index.d.ts.
 * - The binding is the debug build in ts/native (debug assertions on). Child processes and worker threads that a test
 *   starts run what users run: JavaScript by tsc, in dist-test/ (`process.env.ARROWLANE_DIST`), with the same binding.
 *   The global set-up keeps dist-test/ up to date.
 * - Jest's workers are processes, not threads: the addon is loaded once in each.
 * - `gc()` is there for memory tests (`--expose-gc`).
 *
 * @type {import("jest").Config}
 */
export default {
  rootDir: import.meta.dirname,
  roots: ["<rootDir>/__test__"],
  testMatch: ["**/*.test.ts"],
  extensionsToTreatAsEsm: [".ts"],
  transform: {
    "^.+\\.ts$": [
      "@swc/jest",
      {
        jsc: { parser: { syntax: "typescript", explicitResourceManagement: true }, target: "es2022" },
        module: { type: "es6" },
        sourceMaps: "inline",
      },
    ],
  },
  moduleNameMapper: { "^arrowlane$": "<rootDir>/ts/index.ts" },
  resolver: "<rootDir>/tools/jest/resolver.cjs",
  testEnvironment: "<rootDir>/tools/jest/environment.cjs",
  // Some globals are the main context's own: they must outlive a test file.
  testEnvironmentOptions: { globalsCleanup: "off" },
  globalSetup: "<rootDir>/tools/jest/setup.mjs",
  maxWorkers: 2,
  testTimeout: 30_000,
  watchman: false,
};

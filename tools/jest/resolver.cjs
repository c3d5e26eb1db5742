/** Jest's resolver with TypeScript's rule: in our own sources `./x.js` names `./x.ts`. Packages are left alone. */
const { existsSync } = require("node:fs");
const { resolve, sep } = require("node:path");

module.exports = (request, options) => {
  const ours = options.basedir && !options.basedir.includes(`${sep}node_modules${sep}`);
  if (ours && request.startsWith(".") && request.endsWith(".js")) {
    const source = resolve(options.basedir, request.replace(/\.js$/, ".ts"));
    if (existsSync(source)) return source;
  }
  return options.defaultResolver(request, options);
};

/** index.d.ts, as users' compilers read it. */
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import ts from "typescript";

const file = join(process.cwd(), "index.d.ts");
const program = ts.createProgram([file], {
  target: ts.ScriptTarget.ES2023,
  lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts"],
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  types: ["node"],
  strict: true,
  skipLibCheck: false,
  noEmit: true,
});

test("it has no error of its own, also where compilers look into declarations", () => {
  const source = program.getSourceFile(file);
  const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
  expect(found.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"))).toEqual([]);
});

test("it shows nothing of the inside: no way to make what the library makes, no protected member", () => {
  const shown: string[] = [];
  const errors = new Set(["ArrowlaneError", "DisposedError", "LeaseRevokedError", "UnsupportedTypeError"]);
  const visit = (node: ts.Node): void => {
    if (ts.isClassDeclaration(node)) {
      for (const member of node.members) {
        const { kind } = member;
        const modifiers = ts.canHaveModifiers(member) ? (ts.getModifiers(member) ?? []) : [];
        const isProtected = modifiers.some((one) => one.kind === ts.SyntaxKind.ProtectedKeyword);
        const isPrivate = modifiers.some((one) => one.kind === ts.SyntaxKind.PrivateKeyword);
        if (kind === ts.SyntaxKind.Constructor) {
          const made =
            (member as ts.ConstructorDeclaration).parameters.length > 0 || !(isProtected || isPrivate);
          if (made && !errors.has(node.name?.text ?? "")) shown.push(`${node.name?.text}: constructor`);
        } else if (isProtected) shown.push(`${node.name?.text}: ${member.name?.getText()}`);
      }
    }
    if (ts.isInterfaceDeclaration(node) && /^(Json|Owner$|Place$)/.test(node.name.text))
      shown.push(node.name.text);
    ts.forEachChild(node, visit);
  };
  visit(program.getSourceFile(file) as ts.SourceFile);
  expect(shown).toEqual([]);
});

import { execFileSync } from "node:child_process";

/** A certificate for localhost and its key, as files. */
export function certificate(folder: string): [certificate: string, key: string] {
  const [pem, key] = [`${folder}/certificate.pem`, `${folder}/key.pem`];
  // Not an authority: those are for signing, and are no server's own for every client.
  const end = ["-addext", "basicConstraints=critical,CA:FALSE"];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  execFileSync("openssl", ["req", "-x509", ...kind, "-keyout", key, "-out", pem, ...subject, ...end], {
    stdio: "pipe",
  });
  return [pem, key];
}

// An issuer of tokens with OpenID Connect discovery: its key set over HTTP, keys of three kinds that it may change.
import { generateKeyPairSync, sign } from "node:crypto";
import { createServer } from "node:http";

import { freePorts } from "../js/suite.mjs";

const KINDS = {
  RS256: () => generateKeyPairSync("rsa", { modulusLength: 2048 }),
  ES256: () => generateKeyPairSync("ec", { namedCurve: "P-256" }),
  EdDSA: () => generateKeyPairSync("ed25519"),
};

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function makeKey(algorithm, id) {
  const { publicKey, privateKey } = KINDS[algorithm]();
  return { algorithm, id, privateKey, jwk: { ...publicKey.export({ format: "jwk" }), kid: id, use: "sig", alg: algorithm } };
}

function signature(text, { algorithm, privateKey }) {
  if (algorithm === "EdDSA") return sign(null, Buffer.from(text), privateKey);
  return sign("sha256", Buffer.from(text), algorithm === "ES256" ? { key: privateKey, dsaEncoding: "ieee-p1363" } : privateKey);
}

/** `issuer.token(claims, {algorithm, key})` signs one; `rotate()` replaces all keys; `asked` counts requests for keys. */
export async function startIssuer() {
  const [port] = await freePorts(1);
  const url = `http://127.0.0.1:${port}`;
  let generation = 0;
  let keys = Object.keys(KINDS).map((algorithm) => makeKey(algorithm, `${algorithm}-${generation}`));
  let isAway = false;
  const issuer = {
    url,
    asked: 0,
    get keySet() {
      return { keys: keys.map(({ jwk }) => jwk) };
    },
    keyOf: (algorithm) => keys.find((key) => key.algorithm === algorithm),
    rotate() {
      generation++;
      keys = Object.keys(KINDS).map((algorithm) => makeKey(algorithm, `${algorithm}-${generation}`));
    },
    setAway: (value) => void (isAway = value),
    /** A token for the audience "app" that lives an hour, unless `claims` say otherwise; `header` adds to the header. */
    token(claims = {}, { algorithm = "EdDSA", key = issuer.keyOf(algorithm), header = {} } = {}) {
      const now = Math.floor(Date.now() / 1000);
      const text = `${base64url({ alg: algorithm, kid: key.id, typ: "JWT", ...header })}.${base64url({ iss: url, aud: "app", iat: now, exp: now + 3600, sub: "ann", ...claims })}`;
      return `${text}.${signature(text, key).toString("base64url")}`;
    },
    stop: () => new Promise((done) => server.close(done).closeAllConnections()),
  };
  const server = createServer((request, response) => {
    if (isAway) return void response.writeHead(503).end();
    if (request.url === "/.well-known/openid-configuration") return void response.end(JSON.stringify({ issuer: url, jwks_uri: `${url}/keys` }));
    if (request.url !== "/keys") return void response.writeHead(404).end();
    issuer.asked++;
    response.end(JSON.stringify(issuer.keySet));
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  return issuer;
}

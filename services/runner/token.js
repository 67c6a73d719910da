/** The token of one action that runs (services/gateway/token.h): all that user code has of the deployment's rights. */

import { createHmac } from "node:crypto";

const hmac = (key, text) => createHmac("sha256", key).update(text).digest();

/** `createMint(adminKey)({id, job, attempt, identity, exp})` is a token; `exp` in milliseconds since 1970. */
export function createMint(adminKey) {
  const key = hmac(adminKey, "bitbend action token");
  return (claims) => {
    const text = `bbact1.${Buffer.from(JSON.stringify(claims)).toString("base64url")}`;
    return `${text}.${hmac(key, text).toString("hex")}`;
  };
}

// auth.config.ts: the issuers whose tokens the application accepts, read, checked, and made plain. What
// their keys are the gateways find out.
"use strict";

const { bb } = internals;

const PROVIDERS_MAX = 32;
const FIELDS = new Set(["domain", "applicationID", "type", "issuer", "jwks", "algorithm"]);
const ALGORITHMS = new Set(["RS256", "ES256", "EdDSA"]);
const isSafeUrl = (text) => /^(https:\/\/.|http:\/\/(localhost|127\.0\.0\.1|\[::1\])([:/]|$))/i.test(text);

const isText = (value) => typeof value === "string" && value !== "";

const problemOf = (provider) => {
  if (typeof provider !== "object" || provider === null) {
    return "it must be an object.";
  }
  const unknown = Object.keys(provider).find((name) => !FIELDS.has(name));
  if (unknown !== undefined) {
    return `"${unknown}" is no field of a provider.`;
  }
  const { type, domain, applicationID, issuer, jwks, algorithm } = provider;
  if (applicationID !== undefined && !isText(applicationID)) {
    return "applicationID must be a string.";
  }
  if (type === undefined) {
    if (!isText(domain) || !isSafeUrl(domain.includes("://") ? domain : `https://${domain}`)) {
      return "domain must be the https:// address of an OpenID Connect issuer. Is an environment variable missing?";
    }
    return applicationID === undefined ? "applicationID is missing: the audience (aud) that tokens must name." : null;
  }
  if (type !== "customJwt") {
    return 'type must be "customJwt", or absent for OpenID Connect.';
  }
  if (!isText(issuer)) {
    return "issuer must be a string: the iss of its tokens. Is an environment variable missing?";
  }
  if (algorithm !== undefined && !ALGORITHMS.has(algorithm)) {
    return "algorithm must be RS256, ES256 or EdDSA.";
  }
  const isKeySet = typeof jwks === "object" && jwks !== null && Array.isArray(jwks.keys);
  return isKeySet || (isText(jwks) && (isSafeUrl(jwks) || jwks.startsWith("data:")))
    ? null
    : "jwks must be the https:// address of its keys, a data: URL, or the key set itself.";
};

// The JSON of {providers}, or null when there is no auth.config.ts.
bb.readAuth = (config) => {
  const refuse = (message) => bb.fail("BadRequest", `Deploy refused: auth.config.ts: ${message}`);
  const providers = config?.providers;
  if (!Array.isArray(providers)) {
    refuse("it must have the default export { providers: [..] }.");
  }
  if (providers.length > PROVIDERS_MAX) {
    refuse(`it has ${providers.length} providers, the limit is ${PROVIDERS_MAX}.`);
  }
  providers.forEach((provider, i) => {
    const problem = problemOf(provider);
    if (problem !== null) {
      refuse(`provider ${i}: ${problem}`);
    }
  });
  return JSON.stringify({ providers });
};

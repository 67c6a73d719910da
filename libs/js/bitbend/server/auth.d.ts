/**
 * The default export of `auth.config.ts`: whose tokens (JWT) say who a user is.
 *
 * @example
 * ```ts
 * import type { AuthConfig } from "bitbend/server";
 * export default {
 *   providers: [{ domain: "https://id.example.com", applicationID: "my-app" }],
 * } satisfies AuthConfig;
 * ```
 */
export interface AuthConfig {
  providers: AuthProvider[];
}
export type AuthProvider = OpenIdProvider | CustomJwtProvider;

/** An issuer with OpenID Connect discovery. */
export interface OpenIdProvider {
  /** The issuer: the `iss` of its tokens. */
  domain: string;
  /** What tokens must name as their audience (`aud`). */
  applicationID: string;
}

/** Any issuer that publishes its keys. */
export interface CustomJwtProvider {
  type: "customJwt";
  issuer: string;
  /** Where the key set is, a `data:` URL with it, or the set itself. */
  jwks: string | { keys: object[] };
  /** The only algorithm that is accepted; without it each key's own. */
  algorithm?: "RS256" | "ES256" | "EdDSA";
  /** What tokens must name as their audience (`aud`); without it nothing is asked. */
  applicationID?: string;
}

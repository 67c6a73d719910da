/**
 * The tokens of a user: asked of the application when one is needed, again before it expires, and when the
 * server does not take it.
 */

import { ConnectionError } from "./errors.js";

const DAY_MS = 86_400_000;

/**
 * `renewed()` is called when requests should be made with another token from now on. `token()` gives the one to
 * send, or null.
 */
export function createAuth({ fetchToken, onChange = () => {}, timers, renewed }) {
  let token; // undefined: to be asked for
  let mustBeFresh = false;
  let asking = null;
  let timer;
  let isOver = false;
  let wasUser;

  function take(next) {
    token = next ?? null;
    mustBeFresh = false;
    timers.clearTimeout(timer);
    const ms = lifetimeMs(token);
    if (ms > 0) timer = timers.setTimeout(renew, Math.min(ms * 0.9, DAY_MS));
    tell(token !== null);
    return token;
  }
  function tell(isUser) {
    if (isUser !== wasUser && !isOver) onChange((wasUser = isUser));
  }
  async function ask() {
    try {
      const next = await fetchToken({ forceRefreshToken: mustBeFresh });
      return isOver ? null : take(next);
    } catch (error) {
      throw new ConnectionError("the source of tokens", error);
    } finally {
      asking = null;
    }
  }
  function renew() {
    token = undefined;
    mustBeFresh = true;
    if (!isOver) renewed();
  }

  return {
    token: async () => (token === undefined ? await (asking ??= ask()) : token),
    renew,
    /** The server did not take `refused`. Is there another one? */
    async replaces(refused) {
      if (token === refused && refused !== null) {
        token = undefined;
        mustBeFresh = true;
      }
      const next = await this.token();
      if (next === refused) tell(false);
      return next !== refused;
    },
    end() {
      isOver = true;
      timers.clearTimeout(timer);
    },
  };
}

/** How long the token lives by its own clock, and at most until it expires by ours; 0 when it does not say. */
function lifetimeMs(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));
    const { iat, exp } = JSON.parse(new TextDecoder().decode(bytes));
    const left = exp * 1000 - Date.now();
    const whole = (exp - iat) * 1000;
    return Math.max(0, whole > 0 && whole < left ? whole : left) || 0;
  } catch {
    return 0;
  }
}

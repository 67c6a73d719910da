/** The errors of the client. Each has a stable `code`. */

import { BitBendError } from "../values/errors.js";
import { decodeValue } from "../values/encode.js";

/** A function failed: it threw, its arguments did not fit, it ran too long, ... */
export class FunctionError extends Error {
  constructor(code, message, logLines = []) {
    super(message);
    this.name = "FunctionError";
    this.code = code;
    this.logLines = logLines;
  }
}

/** The server refused the request before any function ran. `status` is that of HTTP. */
export class RequestError extends Error {
  constructor(code, message, status, retryAfterMs = 0) {
    super(message);
    this.name = "RequestError";
    this.code = code;
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Nobody answered. */
export class ConnectionError extends Error {
  constructor(url, cause) {
    super(`Could not reach ${url}: ${cause?.cause?.code ?? cause?.message ?? "the connection was lost"}.`, { cause });
    this.name = "ConnectionError";
    this.code = "ConnectionFailed";
  }
}

/** The client was closed before the answer came. */
export class ClosedError extends Error {
  constructor(text = "The client was closed before the answer came.") {
    super(text);
    this.name = "ClosedError";
    this.code = "ClientClosed";
  }
}

/** The error of an answer `{status: "error", ..}` or of a `failed` event. */
export function errorOfAnswer(answer) {
  if ("errorData" in answer) {
    const error = new BitBendError(decodeValue(answer.errorData, "errorData"));
    if (typeof answer.errorMessage === "string") error.message = answer.errorMessage;
    error.logLines = answer.logLines ?? [];
    return error;
  }
  return new FunctionError(answer.code ?? "ServerError", answer.errorMessage ?? "The function failed.", answer.logLines);
}

/** The error of an answer that is not 200. */
export function errorOfStatus(status, text, retryAfter) {
  const retryAfterMs = Number.isFinite(Number(retryAfter)) ? Number(retryAfter) * 1000 : 0;
  try {
    const { code, message } = JSON.parse(text);
    if (typeof code === "string") return new RequestError(code, message ?? code, status, retryAfterMs);
  } catch {
    // Not from BitBend: a proxy, another server.
  }
  return new RequestError("HttpError", `HTTP ${status}: ${text.slice(0, 200)}`, status, retryAfterMs);
}

/** Sending the same request again may help. */
export function isRetryable(error) {
  return error instanceof ConnectionError || (error instanceof RequestError && [429, 502, 503, 504].includes(error.status));
}

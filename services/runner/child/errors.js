/** What was thrown, as the reply of an action: with the stack of the application's own frames. */

import { encodeValue } from "../../../libs/js/bitbend/values/encode.js";

const BITBEND_ERROR = Symbol.for("bitbend.error");
const SOURCES = "bitbend:///";
/** Codes of errors that functions may fail with by themselves. */
const CODES = new Set(["ArgumentValidation", "ReturnValidation", "NotEncodable", "NotAvailableHere", "ResultTooLarge"]);
const TEXT_MAX = 64 << 10;

export function replyOfError(error) {
  const reply = { status: "error", code: "ServerError", errorMessage: messageOf(error), stack: stackOf(error) };
  if (typeof error !== "object" || error === null) return reply;
  if (error[BITBEND_ERROR] === true) return withData(reply, error);
  if (CODES.has(error.code)) return { ...reply, code: error.code, errorMessage: String(error.message).slice(0, TEXT_MAX) };
  return reply;
}

function withData(reply, error) {
  try {
    return { ...reply, code: "UserError", errorData: encodeValue(error.data ?? null, "data") };
  } catch (trouble) {
    return { ...reply, errorMessage: `the data of a BitBendError is no value: ${trouble.message}` };
  }
}

function messageOf(error) {
  let text;
  if (error instanceof Error || (typeof error?.message === "string" && typeof error?.name === "string")) {
    text = error.name === "Error" ? error.message : `${error.name}: ${error.message}`;
  } else {
    text = thrownText(error);
  }
  return text.slice(0, TEXT_MAX);
}

function thrownText(value) {
  try {
    return typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  } catch {
    return String(value);
  }
}

/** Frames of the application: "at handler (bitbend/mail.ts:7:3)". */
function stackOf(error) {
  const stack = typeof error?.stack === "string" ? error.stack : "";
  return stack
    .split("\n")
    .filter((line) => /^\s+at /.test(line) && line.includes(SOURCES) && !/bitbend\/(server|values)\/\w+\.js/.test(line))
    .map((line) => line.trim().replaceAll(SOURCES, ""))
    .join("\n")
    .slice(0, TEXT_MAX);
}

/** Values of environment variables in texts that go to logs are replaced by their names: a net under mistakes. */

const VALUE_MIN = 8; // shorter ones ("true", "8080") are in texts by chance

/** `createRedactor({NAME: value})(text)`. */
export function createRedactor(environment) {
  const secrets = Object.entries(environment)
    .filter(([, value]) => value.length >= VALUE_MIN)
    .sort(([, a], [, b]) => b.length - a.length);
  return (text) => secrets.reduce((result, [name, value]) => result.replaceAll(value, `[${name}]`), text);
}

const lines = (redact, list) => list.map((line) => ({ ...line, text: redact(line.text) }));

/** The lines of a log. */
export const redactLines = lines;

/** All texts in a value of JSON. */
export function redactValue(redact, value) {
  if (typeof value === "string") return redact(value);
  if (Array.isArray(value)) return value.map((item) => redactValue(redact, item));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [redact(name), redactValue(redact, item)]));
}

/** What a reply carries to logs: its lines, and the text and the frames of an error. */
export function redactReply(redact, reply) {
  const redacted = { ...reply };
  if (reply.logLines !== undefined) redacted.logLines = lines(redact, reply.logLines);
  if (reply.errorMessage !== undefined) redacted.errorMessage = redact(reply.errorMessage);
  if (reply.stack !== undefined) redacted.stack = redact(reply.stack);
  return redacted;
}

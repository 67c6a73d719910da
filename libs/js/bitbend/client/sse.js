/**
 * A parser of server-sent events. `push(text)` takes any piece of the stream and calls `onEvent` with
 * `{ name, data, id }` for each event that is complete. Comments (heartbeats) are dropped.
 */
export function createEventParser(onEvent) {
  let rest = "";
  let data = null;
  let name = "";
  let id;

  function takeLine(line) {
    if (line === "") {
      if (data !== null) onEvent({ name: name || "message", data, id });
      data = null;
      name = "";
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") data = data === null ? value : `${data}\n${value}`;
    else if (field === "event") name = value;
    else if (field === "id") id = value;
  }

  return {
    push(text) {
      // A long event comes in many pieces: search the new piece only, join once.
      if (!/[\r\n]/.test(text)) {
        rest += text;
        return;
      }
      const whole = rest + text;
      let start = 0;
      for (let at = whole.search(/[\r\n]/); at >= 0; at = nextBreak(whole, start)) {
        // "\r" at the very end may be the first half of "\r\n".
        if (whole[at] === "\r" && at === whole.length - 1) break;
        takeLine(whole.slice(start, at));
        start = whole[at] === "\r" && whole[at + 1] === "\n" ? at + 2 : at + 1;
      }
      rest = whole.slice(start);
    },
  };
}

function nextBreak(text, from) {
  for (let at = from; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit === 10 || unit === 13) return at;
  }
  return -1;
}

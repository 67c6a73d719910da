// What the tests of the HTTP API share: plain fetch, no client library.
import { connect } from "node:net";

/** POST of JSON; gives {status, headers, body, text}. */
export async function post(url, route, body, headers = {}) {
  const answer = await fetch(url + route, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return finish(answer);
}

export async function get(url, route, headers = {}) {
  return finish(await fetch(url + route, { headers }));
}

async function finish(answer) {
  const text = await answer.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // not JSON: the test looks at the text
  }
  return { status: answer.status, headers: answer.headers, body, text };
}

/** Asks again while the machine is too busy to say how a call ended: for calls that may run more than once. */
export async function untilTold(ask) {
  for (let left = 6; ; left--) {
    const answer = await ask();
    const { code } = answer.body ?? answer.json ?? answer;
    if (left === 0 || !["OutcomeUnknown", "Overloaded", "Unavailable"].includes(code)) return answer;
  }
}

/** Calls a function and gives its value, or throws with the whole answer. */
export async function value(url, route, path, args = {}, headers = {}) {
  const answer = await post(url, route, { path, args, format: "json" }, headers);
  if (answer.status !== 200 || answer.body?.status !== "success")
    throw Object.assign(new Error(`${path}: ${answer.status} ${answer.text.slice(0, 500)}`), { answer });
  return answer.body.value;
}
export const query = (url, path, args, headers) => value(url, "/api/query", path, args, headers);
export const mutation = (url, path, args, headers) => value(url, "/api/mutation", path, args, headers);

/** Tries until `check` gives something truthy; the last failure is the error. The time is for a machine that is very slow. */
export async function eventually(check, timeoutMs = 60_000) {
  const end = performance.now() + timeoutMs;
  for (;;) {
    let failure;
    try {
      const found = await check();
      if (found) return found;
      failure = new Error("the condition did not become true in time");
    } catch (error) {
      failure = error;
    }
    if (performance.now() > end) throw failure;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** An SSE stream as a list of events {event, id, data} that grows; `next(test)` waits for one. */
export function subscribe(url, path, args, headers = {}) {
  return openStream(`${url}/api/subscribe?path=${encodeURIComponent(path)}&args=${encodeURIComponent(JSON.stringify(args))}`, { headers });
}

/** The same of any request. */
export async function openStream(url, options = {}) {
  const abort = new AbortController();
  const answer = await fetch(url, { ...options, signal: abort.signal });
  const events = [];
  const stream = { status: answer.status, headers: answer.headers, events, ended: false, close: () => abort.abort() };
  let wake = () => {};
  (async () => {
    let rest = "";
    const decoder = new TextDecoder();
    try {
      for await (const chunk of answer.body) {
        rest += decoder.decode(chunk, { stream: true });
        for (let end; (end = rest.indexOf("\n\n")) >= 0; rest = rest.slice(end + 2)) {
          const event = { event: "message", id: null, data: "" };
          for (const line of rest.slice(0, end).split("\n")) {
            if (line.startsWith("event: ")) event.event = line.slice(7);
            else if (line.startsWith("id: ")) event.id = Number(line.slice(4));
            else if (line.startsWith("data: ")) event.data += line.slice(6);
          }
          if (event.data !== "") {
            event.data = JSON.parse(event.data);
            events.push(event);
            wake();
          }
        }
      }
    } catch {
      // aborted, or the server went away
    }
    stream.ended = true;
    wake();
  })();
  stream.next = async (test, timeoutMs = 60_000) => {
    const end = performance.now() + timeoutMs;
    for (let at = 0; ; ) {
      for (; at < events.length; at++) if (test(events[at])) return events[at];
      if (stream.ended) throw new Error(`the stream ended: ${JSON.stringify(events)}`);
      const left = end - performance.now();
      if (left <= 0) throw new Error(`no such event in time: ${JSON.stringify(events).slice(0, 1000)}`);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  };
  return stream;
}

/** Raw bytes in, raw bytes out until the server closes or `until` matches. */
export function raw(url, bytes, until = null, timeoutMs = 60_000) {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect(Number(port), hostname);
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`no answer in time; so far: ${text.slice(0, 200)}`));
    }, timeoutMs);
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(text);
    };
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      if (until !== null && until.test(text)) done();
    });
    socket.on("close", done);
    socket.on("error", () => {});
    socket.write(bytes);
  });
}

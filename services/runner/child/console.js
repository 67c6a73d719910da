/** The console of an action: lines go to the logs of the deployment, at a bounded rate. */

import { format } from "node:util";

const LEVELS = { log: "log", info: "info", warn: "warn", error: "error", debug: "debug", trace: "error" };
const BURST = 2000;
const PER_SECOND = 500;
const LINES_KEPT = 256; // for the answer
const TEXT_MAX = 16 << 10;

/** `begin(post)` at the start of an action, `end()` gives the first lines of it. */
export function installConsole() {
  let post = () => {};
  let kept = [];
  let credit = BURST;
  let creditAt = 0;
  let dropped = 0;

  function write(level, values) {
    const time = Date.now();
    credit = Math.min(BURST, credit + ((time - creditAt) / 1000) * PER_SECOND);
    creditAt = time;
    if (credit < 1) {
      dropped++;
      return;
    }
    credit--;
    const text = format(...values).slice(0, TEXT_MAX);
    const line = { level, text, time };
    if (kept.length < LINES_KEPT) kept.push(line);
    post({ type: "lines", lines: [line] });
  }

  for (const [method, level] of Object.entries(LEVELS)) console[method] = (...values) => write(level, values);

  return {
    begin(send) {
      post = send;
      kept = [];
      credit = BURST;
      creditAt = Date.now();
      dropped = 0;
    },
    end() {
      if (dropped > 0) post({ type: "dropped", count: dropped });
      post = () => {};
      return kept;
    },
  };
}

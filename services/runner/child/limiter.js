/**
 * Log lines on their way: gathered for a moment, and cut when they come too fast. The first of a flood and then
 * a steady trickle get through, and a note tells how many did not.
 */

const GATHER_MS = 100;
const BURST = 1000;
const PER_SECOND = 100;
const BYTES_MAX = 1 << 20; // of what is gathered
const TEXT_MAX = 16 << 10;

export function createLimiter(send, now = Date.now) {
  let lines = [];
  let bytes = 0;
  let dropped = 0;
  let credit = BURST;
  let creditAt = now();
  let timer = null;

  function hasRoom(size) {
    const time = now();
    credit = Math.min(BURST, credit + ((time - creditAt) / 1000) * PER_SECOND);
    creditAt = time;
    return credit >= 1 && bytes + size <= BYTES_MAX;
  }

  function note() {
    if (dropped === 0) return;
    lines.push({ level: "warn", text: `${dropped} log lines were dropped: more than ${PER_SECOND} a second.`, time: now() });
    dropped = 0;
  }

  function flush() {
    timer = null;
    note();
    if (lines.length > 0) send(lines);
    lines = [];
    bytes = 0;
  }

  const soon = () => (timer ??= setTimeout(flush, GATHER_MS));

  return {
    add(more) {
      for (const { level, text, time } of more) {
        const short = text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}... (${text.length} characters)` : text;
        if (!hasRoom(short.length)) {
          dropped++;
          continue;
        }
        credit--;
        bytes += short.length;
        lines.push({ level, text: short, time });
      }
      soon();
    },
    addDropped(count) {
      dropped += count;
      soon();
    },
    end() {
      clearTimeout(timer);
      flush();
    },
  };
}

// A connection to PostgreSQL (protocol 3) with one prepared statement of one text argument: what a writer needs.
import { connect } from "node:net";

const text = (value) => Buffer.from(`${value}\0`);
const int16 = (value) => Buffer.from([value >> 8, value & 255]);
function int32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}
const sized = (...parts) => Buffer.concat([int32(4 + parts.reduce((sum, part) => sum + part.length, 0)), ...parts]);
const message = (type, ...parts) => Buffer.concat([Buffer.from(type), sized(...parts)]);
const SYNC = message("S");

/** Reads messages: an error is kept until the server is ready again, which settles the oldest that waits. */
function settle(socket, waiting) {
  let got = Buffer.alloc(0);
  let error = null;
  const fail = (reason) => waiting.splice(0).forEach(({ reject }) => reject(reason));
  socket.on("error", fail).on("close", () => fail(new Error("postgres closed the connection")));
  socket.on("data", (chunk) => {
    got = got.length === 0 ? chunk : Buffer.concat([got, chunk]);
    let at = 0;
    for (; got.length - at >= 5 && got.length - at > got.readInt32BE(at + 1); at += 1 + got.readInt32BE(at + 1)) {
      const type = String.fromCharCode(got[at]);
      if (type === "E") error = new Error(got.toString("utf8", at + 5, at + 1 + got.readInt32BE(at + 1)).replaceAll("\0", " "));
      if (type !== "Z") continue;
      const { resolve, reject } = waiting.shift();
      if (error === null) resolve();
      else reject(error);
      error = null;
    }
    got = got.subarray(at);
  });
}

export async function openStatement(port, sql) {
  const socket = connect(port, "127.0.0.1").setNoDelay(true);
  const waiting = [];
  settle(socket, waiting);
  const ask = (...messages) =>
    new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      socket.write(Buffer.concat(messages));
    });
  await ask(sized(int32(196608), text("user"), text("postgres"), text("database"), text("postgres"), text("")));
  await ask(message("P", text("w"), text(sql), int16(0)), SYNC);
  return {
    run: (argument) => {
      const bytes = Buffer.from(argument);
      const bind = message("B", text(""), text("w"), int16(0), int16(1), int32(bytes.length), bytes, int16(0));
      return ask(bind, message("E", text(""), int32(0)), SYNC);
    },
    close: () => socket.end(message("X")),
  };
}

/** What the command line prints: colours, tables and progress on a terminal, plain lines elsewhere. */

import { inspect } from "node:util";

import { encodeValue } from "../values/encode.js";

const CODES = { red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36, gray: 90, bold: 1 };

/** An error whose message is for the user as it is: what happened, where, what to do next. */
export class CliError extends Error {
  constructor(message, { exitCode = 1, json = null } = {}) {
    super(message);
    this.exitCode = exitCode;
    this.json = json;
  }
}

export function createOutput({ json = false, stdout = process.stdout, stderr = process.stderr, env = process.env } = {}) {
  const isTerminal = Boolean(stdout.isTTY) && !json;
  const hasColour = isTerminal && !env.NO_COLOR && env.TERM !== "dumb";
  let progressLength = 0;

  function paint(colour, text) {
    return hasColour ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text;
  }
  function clearProgress() {
    if (progressLength > 0) stdout.write(`\r${" ".repeat(progressLength)}\r`);
    progressLength = 0;
  }

  return {
    isTerminal,
    isJson: json,
    paint,

    /** A line of the result. */
    line(text = "") {
      clearProgress();
      stdout.write(`${text}\n`);
    },
    /** A line about what happens; kept out of the way of `--json`. */
    note(text) {
      clearProgress();
      (json ? stderr : stdout).write(`${text}\n`);
    },
    error(text) {
      clearProgress();
      const isColoured = Boolean(stderr.isTTY) && !env.NO_COLOR;
      stderr.write(`${isColoured ? `\u001b[31m${text}\u001b[0m` : text}\n`);
    },
    /** One JSON object on one line. */
    json(value) {
      clearProgress();
      stdout.write(`${JSON.stringify(value)}\n`);
    },
    /** A value of the database. */
    value(value) {
      clearProgress();
      const text = isTerminal ? inspect(value, { depth: null, colors: hasColour, maxArrayLength: null }) : JSON.stringify(encodeValue(value), null, 2);
      stdout.write(`${text}\n`);
    },
    /** Rows of texts under a head; columns separated by tabs when nobody looks. */
    table(head, rows) {
      clearProgress();
      if (!isTerminal) {
        for (const row of [head, ...rows]) stdout.write(`${row.join("\t")}\n`);
        return;
      }
      const room = Math.max(20, Math.floor((stdout.columns || 100) / Math.max(1, Math.min(head.length, 4))));
      const cut = (text) => (text.length > room ? `${text.slice(0, room - 1)}…` : text);
      const cells = [head, ...rows].map((row) => row.map((cell) => cut(String(cell))));
      const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column].length)));
      cells.forEach((row, index) => {
        const text = row.map((cell, column) => cell.padEnd(widths[column])).join("  ").trimEnd();
        stdout.write(`${index === 0 ? paint("bold", text) : text}\n`);
      });
    },
    /** A bar that replaces itself; on no terminal, nothing until it is full. */
    progress(label, done, total) {
      const share = total > 0 ? Math.min(1, done / total) : 1;
      const percent = `${Math.floor(share * 100)} %`;
      if (!isTerminal) {
        if (share === 1) (json ? stderr : stdout).write(`${label}: ${done} of ${total}\n`);
        return;
      }
      const filled = Math.round(share * 24);
      const text = `${label} ${"█".repeat(filled)}${"░".repeat(24 - filled)} ${percent} (${done} of ${total})`;
      stdout.write(`\r${text.padEnd(progressLength)}`);
      progressLength = text.length;
      if (share === 1) {
        stdout.write("\n");
        progressLength = 0;
      }
    },
  };
}

/** A cell of a table for a value of the database. */
export function cellOf(value) {
  if (value === undefined) return "";
  if (typeof value === "string") return /^[^\s"]*$/.test(value) && value !== "" ? value : JSON.stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "number" || typeof value === "boolean" || value === null) return String(value);
  return JSON.stringify(encodeValue(value));
}

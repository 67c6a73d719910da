// May one instance of a module serve all calls? Only if nothing that it makes when it is loaded can
// change later. This reads the module's text (as the bundler prints it) and says no whenever it is not
// sure: no class, no call but of the package's builders and validators, no object that anybody may
// change, no name that anybody assigns. What it says yes to is frozen after it was loaded
// (modules.js), so that a mistake here ends in an exception and not in state that one call leaves for
// the next.
"use strict";

const no = (why) => {
  throw new SyntaxError(why);
};

// ---- tokens ----
// Where V8 might read something else than this does, it says no: code that one takes for text would go unread.

const SPACE = /(?:\s|\/\/[^\n\r\u2028\u2029]*|\/\*[^]*?\*\/)+/y;
const TOKEN =
  /([A-Za-z_$#][\w$]*)|(\d[\w.]*|\.\d\w*)|("(?:[^"\\\n]|\\[^])*"|'(?:[^'\\\n]|\\[^])*')|(=>|\.\.\.|\?\.(?!\d)|\?\?=?|\*\*=?|&&=?|\|\|=?|>>>=?|<<=?|>>=?|===?|!==?|<=|>=|\+\+|--|[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.(){}[\]@])/y;
const REGEXP = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
const BEFORE_REGEXP = new Set(["return", "typeof", "case", "in", "instanceof", "delete", "void", "throw", "new", "else", "do", "extends"]);
const MAYBE_BEFORE_REGEXP = new Set(["of", "await", "yield", "async", "get", "set", "static", "let"]); // or names
const CONDITIONS = new Set(["if", "while", "for", "with", "await"]); // and what may stand behind their brackets
const CLOSERS = { "(": ")", "[": "]", "{": "}" };

const takeAt = (pattern, text, at) => {
  pattern.lastIndex = at;
  return pattern.exec(text);
};

// A token is {text, kind}; kind: "name" "number" "string" "template" "regexp" "sign". The parts of a
// template are tokens between "${" and "}".
const tokenize = (text) => {
  const tokens = [];
  const braces = []; // of what each open "{" is
  let at = 0;
  const push = (kind, value) => tokens.push({ kind, text: value });
  const template = () => {
    const begin = at;
    while (at < text.length && text[at] !== "`" && !(text[at] === "$" && text[at + 1] === "{")) {
      at += text[at] === "\\" ? 2 : 1;
    }
    push("template", text.slice(begin, at));
    if (text[at] === "`") {
      at++;
    } else {
      at += 2;
      push("sign", "{");
      braces.push("template");
    }
  };
  const round = []; // what stands before each open "("
  let beforeClosed; // and before the one that was closed last
  const isMember = () => tokens.length > 1 && (tokens.at(-2).text === "." || tokens.at(-2).text === "?.");
  const isRegexp = () => {
    const last = tokens.at(-1);
    if (last === undefined) {
      return true;
    }
    if (last.kind === "name") {
      if (MAYBE_BEFORE_REGEXP.has(last.text) && !isMember()) {
        no(`a slash after "${last.text}" may begin a regular expression`);
      }
      return BEFORE_REGEXP.has(last.text) && !isMember();
    }
    if (last.kind !== "sign" || last.text === "]") {
      return false;
    }
    if (last.text === "}" || last.text === "++" || last.text === "--" || (last.text === ")" && CONDITIONS.has(beforeClosed))) {
      no(`a slash after "${last.text}" may begin a regular expression`);
    }
    return last.text !== ")";
  };
  while (at < text.length) {
    const space = takeAt(SPACE, text, at);
    if (space !== null) {
      at += space[0].length;
      continue;
    }
    if (text[at] === "`") {
      at++;
      push("sign", "`");
      template();
      continue;
    }
    const regexp = text[at] === "/" && isRegexp() ? takeAt(REGEXP, text, at) : null;
    const found = regexp ?? takeAt(TOKEN, text, at);
    if (found === null) {
      no(`an unexpected "${text[at]}"`);
    }
    if (text.startsWith("<!--", at) || text.startsWith("-->", at)) {
      no("it has a comment as in HTML");
    }
    at += found[0].length;
    push(regexp !== null ? "regexp" : found[1] !== undefined ? "name" : found[2] !== undefined ? "number" : found[3] !== undefined ? "string" : "sign", found[0]);
    if (found[0] === "(") {
      round.push(tokens.at(-2)?.text);
    } else if (found[0] === ")") {
      beforeClosed = round.pop();
    }
    if (found[0] === "{") {
      braces.push("block");
    } else if (found[0] === "}" && braces.pop() === "template") {
      template();
    }
  }
  return tokens;
};

// The place of the bracket that belongs to each bracket.
const match = (tokens) => {
  const partner = new Map();
  const open = [];
  tokens.forEach(({ kind, text }, i) => {
    if (kind !== "sign") {
      return;
    }
    if (CLOSERS[text] !== undefined) {
      open.push(i);
    } else if (text === ")" || text === "]" || text === "}") {
      const from = open.pop();
      if (from === undefined || CLOSERS[tokens[from].text] !== text) {
        no("brackets that do not match");
      }
      partner.set(from, i);
      partner.set(i, from);
    }
  });
  if (open.length > 0) {
    no("brackets that do not match");
  }
  return partner;
};

// ---- what esbuild puts before a module ----

const HELPER = /^__(?:defProp|create|getOwnPropDesc|getOwnPropNames|getProtoOf|hasOwnProp|export|copyProps|toCommonJS|toESM)$/;
const HELPER_TEXTS = new Set([
  "Object.defineProperty", "Object.create", "Object.getOwnPropertyDescriptor", "Object.getOwnPropertyNames",
  "Object.getPrototypeOf", "Object.prototype.hasOwnProperty",
  "(target,all)=>{for(var N in all)__defProp(target,N,{get:all[N],enumerable:true});}",
  '(to,from,except,desc)=>{if(from&&typeof from==="object"||typeof from==="function"){for(let key of __getOwnPropNames(from))' +
    "if(!__hasOwnProp.call(to,key)&&key!==except)__defProp(to,key,{get:()=>from[key],enumerable:!(desc=__getOwnPropDesc(from,key))||desc.enumerable});}return to;}",
  '(mod)=>__copyProps(__defProp({},"__esModule",{value:true}),mod)',
  '(mod,isNodeMode,target)=>(target=mod!=null?__create(__getProtoOf(mod)):{},__copyProps(isNodeMode||!mod||!mod.__esModule?' +
    '__defProp(target,"default",{value:mod,enumerable:true}):target,mod))',
]);

// Most modules begin with these, letter by letter, which are more than many a module itself.
const FIRST_LINES = [
  ["", '"use strict";\n'],
  ["__create", "var __create = Object.create;\n"],
  ["__defProp", "var __defProp = Object.defineProperty;\n"],
  ["__getOwnPropDesc", "var __getOwnPropDesc = Object.getOwnPropertyDescriptor;\n"],
  ["__getOwnPropNames", "var __getOwnPropNames = Object.getOwnPropertyNames;\n"],
  ["__getProtoOf", "var __getProtoOf = Object.getPrototypeOf;\n"],
  ["__hasOwnProp", "var __hasOwnProp = Object.prototype.hasOwnProperty;\n"],
  ["__export", `var __export = (target, all) => {
  for (var name in all)
    __defProp(target, name, { get: all[name], enumerable: true });
};
`],
  ["__copyProps", `var __copyProps = (to, from, except, desc) => {
  if (from && typeof from === "object" || typeof from === "function") {
    for (let key of __getOwnPropNames(from))
      if (!__hasOwnProp.call(to, key) && key !== except)
        __defProp(to, key, { get: () => from[key], enumerable: !(desc = __getOwnPropDesc(from, key)) || desc.enumerable });
  }
  return to;
};
`],
  ["__toCommonJS", 'var __toCommonJS = (mod) => __copyProps(__defProp({}, "__esModule", { value: true }), mod);\n'],
];

// Where a module begins behind them; their names become `helpers`.
const skipFirstLines = (text, helpers) => {
  let at = 0;
  for (const [name, line] of FIRST_LINES) {
    if (text.startsWith(line, at)) {
      at += line.length;
      helpers.add(name);
    }
  }
  return at;
};

const textOf = (tokens) => {
  let text = "";
  for (const [i, token] of tokens.entries()) {
    const isWord = token.kind === "name" || token.kind === "number";
    const wasWord = i > 0 && (tokens[i - 1].kind === "name" || tokens[i - 1].kind === "number");
    text += (isWord && wasWord ? " " : "") + token.text;
  }
  return text;
};
const isHelper = (tokens) => HELPER_TEXTS.has(textOf(tokens).replace(/^(\(target,all\)=>\{for\(var )(name\d*)( in all\)__defProp\(target,)\2(,\{get:all\[)\2\]/, "$1N$3N$4N]"));

// ---- a module ----

const ASSIGNS = new Set(["=", "+=", "-=", "*=", "/=", "%=", "**=", "<<=", ">>=", ">>>=", "&=", "|=", "^=", "&&=", "||=", "??=", "++", "--"]);
const FORBIDDEN = new Set(["module", "exports", "require", "globalThis", "self", "eval", "arguments", "import", "with"]);
const READS_ONLY = new Set(["at", "concat", "every", "filter", "find", "findIndex", "flatMap", "forEach", "has", "hasOwn", "includes",
  "indexOf", "join", "map", "reduce", "slice", "some", "toString", "get", "entries", "keys", "values", "test"]);
const LOOKS_AT = new Set(["keys", "values", "entries", "hasOwn", "stringify", "isArray"]);

const TEXT_MAX = 128 * 1024;

class Module {
  constructor(text, kindOfImport) {
    if (text.length > TEXT_MAX) {
      no(`it is larger than ${TEXT_MAX / 1024} KB`);
    }
    if (/^class /m.test(text)) {
      no("it declares a class");
    }
    this.helpers = new Set();
    this.tokens = tokenize(text.slice(skipFirstLines(text, this.helpers)));
    this.isStrict = text.startsWith('"use strict";\n') ||
      (this.tokens[0]?.kind === "string" && /^.use strict.$/.test(this.tokens[0].text) && this.tokens[1]?.text === ";");
    this.partner = match(this.tokens);
    this.kindOfImport = kindOfImport; // of a path: "own import", "import", or "" when it is not shared
    this.names = new Map(); // of the top level: "import", "own import", "function", "value", "data"
    this.kept = [];
    this.isOwn = true; // it has nothing but what the package exports
    this.code = []; // [from, to) that runs later
  }
  text(i) {
    return this.tokens[i]?.text;
  }
  is(i, ...texts) {
    for (const text of texts) {
      const token = this.tokens[i++];
      if (token === undefined || token.text !== text || token.kind === "string") {
        return false;
      }
    }
    return true;
  }
  // Is the name at `i` that of a field, or a label? What stands before the ":" of a choice may be anything.
  isKey(i) {
    return this.is(i + 1, ":") && (this.is(i - 1, "{") || this.is(i - 1, ","));
  }
  // Does it name something that each instance has, but nobody looks after?
  isOfTheModule(i) {
    const text = this.text(i);
    return FORBIDDEN.has(text) || text.endsWith("_exports") || this.helpers.has(text);
  }
  // The end of the statement that begins at `i`: behind its ";".
  endOf(i) {
    while (i < this.tokens.length && !this.is(i, ";")) {
      i = (CLOSERS[this.text(i)] !== undefined && this.tokens[i].kind === "sign" ? this.partner.get(i) : i) + 1;
    }
    return i + 1;
  }

  look() {
    let i = 0;
    while (i < this.tokens.length) {
      i = this.statement(i);
    }
    for (const [from, to] of this.code) {
      this.lookAtCode(from, to);
    }
    if (!this.isStrict) {
      no("it is not strict, and its functions can find who calls them");
    }
    return this.kept;
  }

  statement(i) {
    const { kind, text } = this.tokens[i];
    if (kind === "string" || text === ";") {
      return i + 1;
    }
    if (text === "var" || text === "let" || text === "const") {
      return this.declaration(i + 1);
    }
    if (text === "function" || (text === "async" && this.is(i + 1, "function"))) {
      return this.functionDeclaration(i);
    }
    if (text === "__export" && this.helpers.has(text)) {
      return this.exported(i);
    }
    if (this.is(i, "module", ".", "exports", "=", "__toCommonJS", "(") && this.helpers.has("__toCommonJS") &&
      this.isExports(i + 6) && this.is(i + 7, ")", ";")) {
      return i + 9;
    }
    if (this.is(i, "require", "(") && this.is(i + 3, ")", ";")) {
      this.imported(i + 2);
      return i + 5;
    }
    return no(text === "class" ? "it declares a class" : `it does more than declare ("${text}")`);
  }

  isExports(i) {
    return this.tokens[i].kind === "name" && this.text(i).endsWith("_exports");
  }
  // __export(x_exports, { a: () => b, "c": () => import_d.e });
  exported(i) {
    let at = i + 5;
    const isName = () => this.tokens[at]?.kind === "name";
    if (!this.is(i + 1, "(") || !this.isExports(i + 2) || !this.is(i + 3, ",", "{")) {
      no("it exports in another way than the bundler does");
    }
    while (!this.is(at, "}")) {
      if ((!isName() && this.tokens[at]?.kind !== "string") || !this.is(at + 1, ":", "(", ")", "=>")) {
        no("it exports in another way than the bundler does");
      }
      at += 5;
      at += isName() && this.is(at + 1, ".") ? 3 : 1;
      if (this.tokens[at - 1].kind !== "name" || (!this.is(at, ",") && !this.is(at, "}"))) {
        no("it exports in another way than the bundler does");
      }
      at += this.is(at, ",") ? 1 : 0;
    }
    if (!this.is(at, "}", ")", ";")) {
      no("it exports in another way than the bundler does");
    }
    return at + 3;
  }

  functionDeclaration(i) {
    while (!this.is(i, "(")) {
      if (this.tokens[i].kind === "name" && this.text(i) !== "async" && this.text(i) !== "function") {
        this.name(this.text(i), "function");
      }
      i++;
    }
    const body = this.partner.get(i) + 1;
    const end = this.partner.get(body) + 1;
    this.code.push([i, end]);
    return end;
  }

  name(name, kind) {
    if (this.names.has(name)) {
      no(`"${name}" is declared twice`);
    }
    this.names.set(name, kind);
    if (kind !== "import" && kind !== "own import") {
      this.kept.push(name);
    }
  }

  imported(i) {
    const path = this.text(i).slice(1, -1);
    const kind = this.kindOfImport(path);
    if (kind === "") {
      no(`it uses "${path}", which is not shared`);
    }
    if (kind === "import") {
      this.isOwn = false;
    }
    return kind;
  }

  declaration(i) {
    const name = this.text(i);
    const end = this.endOf(i);
    if (this.tokens[i].kind !== "name") {
      no("it takes values apart where it declares names");
    }
    if (this.is(i + 1, ";")) {
      no(`"${name}" has no value yet when it is declared`);
    }
    if (!this.is(i + 1, "=")) {
      no(`"${name}" is declared together with others`);
    }
    if (HELPER.test(name) && isHelper(this.tokens.slice(i + 2, end - 1))) {
      this.helpers.add(name);
      return end;
    }
    if (name.endsWith("_exports") && this.is(i + 2, "{", "}", ";")) {
      return end;
    }
    const from = this.is(i + 2, "__toESM", "(") && this.helpers.has("__toESM") ? i + 4 : i + 2;
    if (this.is(from, "require", "(")) {
      if (!this.is(from + 3, ")")) {
        no("it calls require with something else than a name");
      }
      this.name(name, this.imported(from + 2));
      return end;
    }
    this.name(name, this.isValue(i + 2) ? "value" : "data");
    this.loadTime(i + 2, end - 1, this.names.get(name) === "data");
    return end;
  }

  // Is what begins here a function, a primitive or something that the package made?
  isValue(i) {
    const { kind, text } = this.tokens[i];
    return kind === "number" || kind === "string" || this.isOwnName(i) ||
      ["(", "`", "-", "!", "true", "false", "null", "void", "undefined", "function", "async"].includes(text) || this.is(i + 1, "=>");
  }

  // ---- expressions that are evaluated when the module is loaded ----

  isOwnName(i) {
    return this.tokens[i]?.kind === "name" && this.names.get(this.text(i)) === "own import";
  }

  // Does the call whose "(" is at `i` belong to the package? Returns true or says no.
  checkCall(i, allowed) {
    const before = this.tokens[i - 1];
    // (0, import_server.query)(..)
    if (before.text === ")" && before.kind === "sign") {
      const open = this.partner.get(i - 1);
      if (this.is(open, "(", "0", ",") && this.isOwnName(open + 3) && this.is(open + 4, ".") && i - 1 === open + 6) {
        return;
      }
      no("it calls a function when it is loaded");
    }
    // import_values.v.object(..), and .index(..) on what such a call gave
    let at = i - 1;
    while (this.tokens[at]?.kind === "name" && this.is(at - 1, ".")) {
      at -= 2;
    }
    if (this.isOwnName(at) || (this.is(at, ")") && allowed.has(at))) {
      return;
    }
    no(`it calls "${before.text}" when it is loaded`);
  }

  // Behind the function whose parameters or body begin at `i`.
  arrowBody(i, end) {
    if (this.is(i, "{")) {
      return this.partner.get(i) + 1;
    }
    while (i < end && !this.is(i, ",") && !this.is(i, ";") && !this.is(i, ")") && !this.is(i, "]") && !this.is(i, "}")) {
      i = (CLOSERS[this.text(i)] !== undefined && this.tokens[i].kind === "sign" ? this.partner.get(i) : i) + 1;
    }
    return i;
  }

  loadTime(i, end, isData) {
    const allowed = new Set(); // the ends of calls that may be made
    const depth = i;
    while (i < end) {
      const { kind, text } = this.tokens[i];
      if (kind === "regexp") {
        no("it keeps a regular expression, which remembers where it was");
      }
      if (kind === "template" || kind === "number" || kind === "string") {
        i++;
      } else if (text === "`") {
        const before = this.tokens[i - 1];
        if (before.kind === "name" || [")", "]", "}"].includes(before.text)) {
          no("it calls a template's function when it is loaded");
        }
        i++;
      } else if (text === "function") {
        if (!this.is(i + 1, "(") && !this.is(i + 1, "*", "(")) {
          no(`the function "${this.text(i + 1)}" has a name of its own`);
        }
        const open = this.is(i + 1, "*") ? i + 2 : i + 1;
        const body = this.partner.get(open) + 1;
        this.code.push([open, this.partner.get(body) + 1]);
        i = this.partner.get(body) + 1;
      } else if (kind === "name" && this.is(i + 1, "=>")) {
        const to = this.arrowBody(i + 2, end);
        this.code.push([i, to]);
        i = to;
      } else if (text === "(") {
        const close = this.partner.get(i);
        if (this.is(close + 1, "=>")) {
          const to = this.arrowBody(close + 2, end);
          this.code.push([i, to]);
          i = to;
        } else if (this.is(close + 1, "{")) {
          const to = this.partner.get(close + 1) + 1; // a method
          this.code.push([i, to]);
          i = to;
        } else {
          const before = this.tokens[i - 1];
          if (i > depth && (before.kind === "name" || (before.kind === "sign" && [")", "]", "}"].includes(before.text)))) {
            this.checkCall(i, allowed);
            allowed.add(close);
          }
          i++;
        }
      } else if (kind === "name") {
        if (["new", "await", "yield", "import", "class", "delete", "this", "super"].includes(text) || FORBIDDEN.has(text) || (this.isOfTheModule(i) && !this.is(i - 1, "."))) {
          no(`it uses "${text}" when it is loaded`);
        }
        if (text === "process" && !this.is(i - 1, ".") && !this.isKey(i)) {
          no("it reads the environment when it is loaded");
        }
        i++;
      } else {
        if (ASSIGNS.has(text)) {
          no("it assigns when it is loaded");
        }
        const isAccess = text === "[" && (this.tokens[i - 1].kind === "name" || this.is(i - 1, ")") || this.is(i - 1, "]"));
        const isLiteral = (text === "{" || text === "[") && !isAccess && this.tokens[i - 1].kind !== "template";
        if (isLiteral && !(isData && i === depth) && !this.isAfterCall(i, depth)) {
          no("it keeps objects inside of objects");
        }
        i++;
      }
    }
  }
  // Is `i` inside of the brackets of a call?
  isAfterCall(i, from) {
    for (let k = from; k < i; k++) {
      if (this.is(k, "(") && this.partner.get(k) > i && k > from && (this.tokens[k - 1].kind === "name" || this.is(k - 1, ")"))) {
        return true;
      }
    }
    return false;
  }

  // ---- code that runs later ----

  lookAtCode(from, to) {
    for (let i = from; i < to; i++) {
      const { kind, text } = this.tokens[i];
      const isMember = this.is(i - 1, ".") || this.is(i - 1, "?.");
      if (kind === "name" && !isMember) {
        if (this.isOfTheModule(i) && !this.isKey(i)) {
          no(`a function uses "${text}"`);
        }
        if (this.names.has(text)) {
          this.use(i, text);
        }
      } else if (kind === "sign" && ASSIGNS.has(text) && (this.is(i - 1, "]") || this.is(i - 1, "}"))) {
        this.takesApart(this.partner.get(i - 1), i - 1);
      }
      if (kind === "name" && (text === "of" || text === "in") && (this.is(i - 1, "]") || this.is(i - 1, "}"))) {
        this.takesApart(this.partner.get(i - 1), i - 1);
      }
    }
  }
  // [a, b] = ..: is one of them a name of the top level?
  takesApart(from, to) {
    if (this.is(from - 1, "const") || this.is(from - 1, "let") || this.is(from - 1, "var")) {
      return;
    }
    for (let i = from; i < to; i++) {
      if (this.tokens[i].kind === "name" && this.names.has(this.text(i)) && !this.is(i - 1, ".") && !this.is(i + 1, ":")) {
        no(`"${this.text(i)}" may be assigned`);
      }
    }
  }
  use(i, name) {
    const kind = this.names.get(name);
    const changed = (at) => this.tokens[at]?.kind === "sign" && ASSIGNS.has(this.text(at));
    let from = i, to = i; // with brackets around it, it is the same
    while (this.is(from - 1, "(") && this.is(to + 1, ")")) {
      from--;
      to++;
    }
    const isOfLoop = this.is(from - 1, "(") && (this.is(from - 2, "for") || this.is(from - 2, "await"));
    if (changed(to + 1) || this.is(from - 1, "++") || this.is(from - 1, "--") || this.is(from - 1, "delete") ||
      ((this.is(to + 1, "of") || this.is(to + 1, "in")) && isOfLoop)) {
      no(`"${name}" is assigned`);
    }
    if (this.isKey(i)) {
      return;
    }
    let at = i + 1;
    let last = null;
    while (this.is(at, ".") || this.is(at, "?.") || this.is(at, "[")) {
      last = this.is(at, "[") ? null : this.text(at + 1);
      at = this.is(at, "[") ? this.partner.get(at) + 1 : this.is(at, "?.", "[") ? this.partner.get(at + 1) + 1 : at + 2;
    }
    const isMember = at > i + 1;
    if (isMember && (changed(at) || this.is(i - 1, "delete"))) {
      no(`something in "${name}" is assigned`);
    }
    if (kind === "import" && this.is(at, "(") && at > i + 3 && !READS_ONLY.has(last)) {
      no(`something in "${name}" is called, which may change it`);
    }
    if (kind !== "data") {
      return;
    }
    if (isMember && this.is(at, "(") && !READS_ONLY.has(last)) {
      no(`"${name}.${last ?? "[..]"}" is called, which may change it`);
    }
    const isLookedAt = this.is(i - 1, "...") || this.is(i - 1, "in") || this.is(i - 1, "of") ||
      (this.is(i - 1, "(") && LOOKS_AT.has(this.text(i - 2)));
    if (!isMember && !isLookedAt) {
      no(`"${name}" is passed on, and may be changed elsewhere`);
    }
  }
}

// {kept} with the names of the top level, or {why}. `text` is the body of the module.
// {why: "", kept: names of the top level, isOwn} or {why}. `text` is the body of the module.
internals.sharingOf = (text, kindOfImport) => {
  try {
    const module = new Module(text, kindOfImport);
    const kept = module.look();
    return { why: "", kept, isOwn: module.isOwn && kept.length === 0 };
  } catch (error) {
    return { why: error instanceof SyntaxError ? error.message : "it was not understood", kept: [], isOwn: false };
  }
};

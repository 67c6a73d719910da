// The basic URL parser of the WHATWG standard: a record {scheme, username, password, host, port, path,
// query, fragment}; path is a list, or a string when opaque. With `override` it serves the setters.
"use strict";

const { SPECIAL, C0, FRAGMENT, QUERY, SPECIAL_QUERY, PATH, USERINFO, isAlpha, isDigit, encodeAs, parseHost } = internals.url;

const isSpecial = (url) => SPECIAL.has(url.scheme);
const isWindowsLetter = (text) => /^[A-Za-z][:|]$/.test(text);
const startsWithWindowsLetter = (text) => /^[A-Za-z][:|]([/\\?#]|$)/.test(text);
const isSingleDot = (text) => /^(\.|%2e)$/i.test(text);
const isDoubleDot = (text) => /^(\.|%2e){2}$/i.test(text);
const shorten = (url) => {
  if (url.scheme === "file" && url.path.length === 1 && /^[A-Za-z]:$/.test(url.path[0])) {
    return;
  }
  url.path.pop();
};
const blank = () => ({
  scheme: "", username: "", password: "", host: null, port: null, path: [], query: null, fragment: null,
});
const strip = (text) => {
  let [from, to] = [0, text.length];
  while (from < to && text.charCodeAt(from) <= 32) {
    from++;
  }
  while (to > from && text.charCodeAt(to - 1) <= 32) {
    to--;
  }
  return text.slice(from, to);
};

// The record; undefined: failure. With an override `url` is changed in place.
const parse = (input, base, url, override) => {
  let text = String(input);
  if (url === undefined) {
    url = blank();
    text = strip(text);
  }
  const points = [...text.replace(/[\t\n\r]/g, "").toWellFormed()];
  let state = override ?? "scheme start";
  let buffer = "";
  let [sawAt, inBrackets, sawPassword] = [false, false, false];
  const rest = (from) => points.slice(from).join("");

  for (let i = 0; i <= points.length; i++) {
    const c = points[i];
    const isSlash = c === "/" || (isSpecial(url) && c === "\\");
    switch (state) {
      case "scheme start":
        if (c !== undefined && isAlpha(c.charCodeAt(0))) {
          buffer += c.toLowerCase();
          state = "scheme";
        } else if (override === undefined) {
          state = "no scheme";
          i--;
        } else {
          return undefined;
        }
        break;
      case "scheme":
        if (c !== undefined && (isAlpha(c.charCodeAt(0)) || isDigit(c.charCodeAt(0)) || c === "+" || c === "-" || c === ".")) {
          buffer += c.toLowerCase();
        } else if (c === ":") {
          if (override !== undefined) {
            const changesKind = SPECIAL.has(url.scheme) !== SPECIAL.has(buffer);
            const hasAuthority = url.username !== "" || url.password !== "" || url.port !== null;
            if (changesKind || (hasAuthority && buffer === "file") || (url.scheme === "file" && url.host === "")) {
              return url;
            }
            url.scheme = buffer;
            url.port = url.port === SPECIAL.get(buffer) ? null : url.port;
            return url;
          }
          url.scheme = buffer;
          buffer = "";
          if (url.scheme === "file") {
            state = "file";
          } else if (isSpecial(url) && base?.scheme === url.scheme) {
            state = "special relative or authority";
          } else if (isSpecial(url)) {
            state = "special authority slashes";
          } else if (points[i + 1] === "/") {
            state = "path or authority";
            i++;
          } else {
            url.path = "";
            state = "opaque path";
          }
        } else if (override === undefined) {
          buffer = "";
          state = "no scheme";
          i = -1;
        } else {
          return undefined;
        }
        break;
      case "no scheme":
        if (base === undefined || (typeof base.path === "string" && c !== "#")) {
          return undefined;
        }
        if (typeof base.path === "string") {
          Object.assign(url, base, { fragment: "" });
          state = "fragment";
        } else {
          state = base.scheme === "file" ? "file" : "relative";
          i--;
        }
        break;
      case "special relative or authority":
        if (c === "/" && points[i + 1] === "/") {
          state = "special authority ignore slashes";
          i++;
        } else {
          state = "relative";
          i--;
        }
        break;
      case "path or authority":
        if (c === "/") {
          state = "authority";
        } else {
          state = "path";
          i--;
        }
        break;
      case "relative":
        url.scheme = base.scheme;
        if (c === "/" || (isSpecial(url) && c === "\\")) {
          state = "relative slash";
          break;
        }
        Object.assign(url, base, { path: [...base.path], fragment: null });
        if (c === "?") {
          url.query = "";
          state = "query";
        } else if (c === "#") {
          url.fragment = "";
          state = "fragment";
        } else if (c !== undefined) {
          url.query = null;
          shorten(url);
          state = "path";
          i--;
        }
        break;
      case "relative slash":
        if (isSpecial(url) && isSlash) {
          state = "special authority ignore slashes";
        } else if (c === "/") {
          state = "authority";
        } else {
          Object.assign(url, { username: base.username, password: base.password, host: base.host, port: base.port });
          state = "path";
          i--;
        }
        break;
      case "special authority slashes":
        state = "special authority ignore slashes";
        if (c === "/" && points[i + 1] === "/") {
          i++;
        } else {
          i--;
        }
        break;
      case "special authority ignore slashes":
        if (c !== "/" && c !== "\\") {
          state = "authority";
          i--;
        }
        break;
      case "authority":
        if (c === "@") {
          buffer = sawAt ? "%40" + buffer : buffer;
          sawAt = true;
          for (const character of buffer) {
            if (character === ":" && !sawPassword) {
              sawPassword = true;
            } else {
              url[sawPassword ? "password" : "username"] += encodeAs(character, USERINFO);
            }
          }
          buffer = "";
        } else if (c === undefined || isSlash || c === "?" || c === "#") {
          if (sawAt && buffer === "") {
            return undefined;
          }
          i -= [...buffer].length + 1;
          buffer = "";
          state = "host";
        } else {
          buffer += c;
        }
        break;
      case "host":
      case "hostname":
        if (override !== undefined && url.scheme === "file") {
          state = "file host";
          i--;
        } else if (c === ":" && !inBrackets) {
          if (buffer === "" || override === "hostname") {
            return undefined;
          }
          url.host = parseHost(buffer, !isSpecial(url));
          if (url.host === undefined) {
            return undefined;
          }
          buffer = "";
          state = "port";
        } else if (c === undefined || isSlash || c === "?" || c === "#") {
          i--;
          if (isSpecial(url) && buffer === "") {
            return undefined;
          }
          if (override !== undefined && buffer === "" && (url.username !== "" || url.password !== "" || url.port !== null)) {
            return undefined;
          }
          url.host = buffer === "" ? "" : parseHost(buffer, !isSpecial(url));
          if (url.host === undefined) {
            return undefined;
          }
          buffer = "";
          state = "path start";
          if (override !== undefined) {
            return url;
          }
        } else {
          inBrackets = c === "[" ? true : c === "]" ? false : inBrackets;
          buffer += c;
        }
        break;
      case "port":
        if (c !== undefined && isDigit(c.charCodeAt(0))) {
          buffer += c;
        } else if (c === undefined || isSlash || c === "?" || c === "#" || override !== undefined) {
          if (buffer !== "") {
            const port = Number(buffer);
            if (port > 65535) {
              return undefined;
            }
            url.port = String(port) === SPECIAL.get(url.scheme) ? null : String(port);
            buffer = "";
          }
          if (override !== undefined) {
            return url;
          }
          state = "path start";
          i--;
        } else {
          return undefined;
        }
        break;
      case "file":
        url.scheme = "file";
        url.host = "";
        if (c === "/" || c === "\\") {
          state = "file slash";
        } else if (base?.scheme === "file") {
          Object.assign(url, { host: base.host, path: [...base.path], query: base.query });
          if (c === "?") {
            url.query = "";
            state = "query";
          } else if (c === "#") {
            url.fragment = "";
            state = "fragment";
          } else if (c !== undefined) {
            url.query = null;
            if (startsWithWindowsLetter(rest(i))) {
              url.path = [];
            } else {
              shorten(url);
            }
            state = "path";
            i--;
          }
        } else {
          state = "path";
          i--;
        }
        break;
      case "file slash":
        if (c === "/" || c === "\\") {
          state = "file host";
        } else {
          if (base?.scheme === "file") {
            url.host = base.host;
            if (!startsWithWindowsLetter(rest(i)) && /^[A-Za-z]:$/.test(base.path[0] ?? "")) {
              url.path.push(base.path[0]);
            }
          }
          state = "path";
          i--;
        }
        break;
      case "file host":
        if (c === undefined || c === "/" || c === "\\" || c === "?" || c === "#") {
          i--;
          if (override === undefined && isWindowsLetter(buffer)) {
            state = "path";
          } else if (buffer === "") {
            url.host = "";
            if (override !== undefined) {
              return url;
            }
            state = "path start";
          } else {
            const host = parseHost(buffer, false);
            if (host === undefined) {
              return undefined;
            }
            url.host = host === "localhost" ? "" : host;
            if (override !== undefined) {
              return url;
            }
            buffer = "";
            state = "path start";
          }
        } else {
          buffer += c;
        }
        break;
      case "path start":
        if (isSpecial(url)) {
          state = "path";
          if (c !== "/" && c !== "\\") {
            i--;
          }
        } else if (override === undefined && c === "?") {
          url.query = "";
          state = "query";
        } else if (override === undefined && c === "#") {
          url.fragment = "";
          state = "fragment";
        } else if (c !== undefined) {
          state = "path";
          if (c !== "/") {
            i--;
          }
        } else if (override !== undefined && url.host === null) {
          url.path.push("");
        }
        break;
      case "path":
        if (c === undefined || isSlash || (override === undefined && (c === "?" || c === "#"))) {
          if (isDoubleDot(buffer)) {
            shorten(url);
            if (!isSlash) {
              url.path.push("");
            }
          } else if (isSingleDot(buffer)) {
            if (!isSlash) {
              url.path.push("");
            }
          } else {
            if (url.scheme === "file" && url.path.length === 0 && isWindowsLetter(buffer)) {
              buffer = buffer[0] + ":";
            }
            url.path.push(buffer);
          }
          buffer = "";
          if (c === "?") {
            url.query = "";
            state = "query";
          } else if (c === "#") {
            url.fragment = "";
            state = "fragment";
          }
        } else {
          buffer += encodeAs(c, PATH);
        }
        break;
      case "opaque path":
        if (c === "?") {
          url.query = "";
          state = "query";
        } else if (c === "#") {
          url.fragment = "";
          state = "fragment";
        } else if (c !== undefined) {
          url.path += encodeAs(c, C0);
        }
        break;
      case "query":
        if (c === undefined || (override === undefined && c === "#")) {
          url.query += encodeAs(buffer, isSpecial(url) ? SPECIAL_QUERY : QUERY);
          buffer = "";
          if (c === "#") {
            url.fragment = "";
            state = "fragment";
          }
        } else {
          buffer += c;
        }
        break;
      case "fragment":
        if (c !== undefined) {
          url.fragment += encodeAs(c, FRAGMENT);
        }
        break;
    }
  }
  return url;
};

const pathText = (url) =>
  typeof url.path === "string" ? url.path : url.path.map((segment) => "/" + segment).join("");

const serialise = (url) => {
  let text = url.scheme + ":";
  if (url.host !== null) {
    text += "//";
    if (url.username !== "" || url.password !== "") {
      text += url.username + (url.password === "" ? "" : ":" + url.password) + "@";
    }
    text += url.host + (url.port === null ? "" : ":" + url.port);
  } else if (typeof url.path !== "string" && url.path.length > 1 && url.path[0] === "") {
    text += "/.";
  }
  text += pathText(url);
  return text + (url.query === null ? "" : "?" + url.query) + (url.fragment === null ? "" : "#" + url.fragment);
};

Object.assign(internals.url, { parse, serialise, pathText, isSpecial });

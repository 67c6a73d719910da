// Strings and regular expressions.

export function slicing() {
  return ["abcdef".slice(-3, -1), "abcdef".substring(4, 1), "abc".padStart(5, "*"), "abc".padEnd(6, "12"), "x".repeat(3), " a ".trim(), " a".trimStart(), "a,b,,c".split(","), "abc".split("")];
}
export function searching() {
  return ["banana".indexOf("an", 2), "banana".lastIndexOf("an"), "banana".includes("nan"), "banana".startsWith("na", 2), "banana".endsWith("nan", 5), "banana".search(/n/)];
}
export function replacing() {
  return ["a-b-c".replace("-", "+"), "a-b-c".replaceAll("-", "+"), "abc".replace(/(b)(c)/, "$2$1[$&]"), "x1y22".replace(/\d+/g, (n) => `<${+n * 2}>`), "aaa".replace("a", "$$")];
}
export function unicode() {
  return ["😀".length, [..."😀é"].length, "😀".codePointAt(0), String.fromCodePoint(0x1f600), "e\u0301".normalize("NFC").length, "\u00e9".normalize("NFD").length, "ﬁ".normalize("NFKC"), "ß".toUpperCase(), "İ".toLowerCase().length];
}
export function wellFormed() {
  return ["a\ud800".isWellFormed(), "a\ud800".toWellFormed(), "😀".isWellFormed()];
}
export function comparing() {
  return ["a" < "B", "Z" < "a", "é" > "z", "a" < "aa", ["é", "z", "a", "Z"].sort()];
}
export function encodingFunctions() {
  return [encodeURIComponent("ä/? &=😀"), decodeURIComponent("%C3%A4"), encodeURI("http://a/ä b?c=d#e"), decodeURI("%20%23")];
}
export function legacyEscape() {
  return [escape("ä b+c€"), unescape("%E4%20b+c%u20AC")];
}
export function namedGroups() {
  const m = "2024-02-29".match(/(?<y>\d{4})-(?<m>\d\d)-(?<d>\d\d)/)!;
  return [{ ...m.groups }, "2024-02".replace(/(?<y>\d+)-(?<m>\d+)/, "$<m>/$<y>")];
}
export function duplicateNamedGroups() {
  return ["2024", "24-05"].map((t) => t.match(/^(?<y>\d{4})$|^(?<y>\d\d)-\d\d$/)?.groups?.y ?? null);
}
export function lookAround() {
  return ["$42 €17".match(/(?<=€)\d+/)?.[0], "a1b2".replace(/\d(?=b)/, "#"), "foobar foobaz".match(/foo(?!bar)\w+/)?.[0], "price".match(/(?<!x)ice/)?.index];
}
export function stickyAndLastIndex() {
  const r = /a/y;
  const s = "aab";
  return [r.test(s), r.lastIndex, r.test(s), r.test(s), r.lastIndex];
}
export function matchAllGroups() {
  return [..."k1=v1;k2=v2".matchAll(/(\w+)=(\w+)/g)].map((m) => [m[1], m[2], m.index]);
}
export function hasIndices() {
  const m = /(?<num>\d+)/d.exec("ab12c") as any;
  return [m.indices[0], m.indices.groups.num];
}
export function unicodeProperties() {
  return ["Ünïcode Wörter 42".match(/\p{Lu}/gu), "α β".match(/\p{Script=Greek}/gu)?.length, "a😀b".split(/(?:)/u).length, /^\p{Emoji}$/u.test("😀")];
}
export function setNotation() {
  return ["abc123".match(/[[a-z]--[b]]/gv), /[\p{L}&&[a-z]]/v.test("é"), /^\p{RGI_Emoji}$/v.test("👨‍👩‍👧")];
}
export function inlineModifiers() {
  return [/(?i:ab)c/.test("ABc"), /(?i:ab)c/.test("ABC"), RegExp.escape("a.b*c")];
}
export function dotAllAndMultiline() {
  return [/a.b/s.test("a\nb"), "a\nb".match(/^b$/m)?.index, /a.b/.test("a\nb")];
}
export function splitsWithGroups() {
  return ["a1b2c".split(/(\d)/), "2024-01-02".split("-", 2), "".split(","), "".split("")];
}
export function symbolSearch() {
  const finder = { [Symbol.search]: () => 7, [Symbol.replace]: (s: string, r: string) => `${s}!${r}` };
  return ["x".search(finder as any), "x".replace(finder as any, "y")];
}
export function ownRegExpClass() {
  class Loud extends RegExp { override exec(s: string) { const m = super.exec(s); if (m) m[0] = m[0].toUpperCase(); return m; } }
  return ["abc".replace(new Loud("b"), (x) => `<${x}>`), new Loud("b").test("abc")];
}
export function templatesAndJoins() {
  const rows = [["id", "name"], [1, "Ada"]];
  return rows.map((r) => r.map((c) => `"${c}"`).join(",")).join("\r\n");
}
export function slugify() {
  return "Crème Brûlée: l'été — 2024!".normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
}
export function csvParser() {
  const parse = (text: string) => { const out: string[] = []; let cell = ""; let quoted = false; for (let i = 0; i < text.length; i++) { const c = text[i]; if (quoted) { if (c === '"' && text[i + 1] === '"') { cell += '"'; i++; } else if (c === '"') quoted = false; else cell += c; } else if (c === '"') quoted = true; else if (c === ",") { out.push(cell); cell = ""; } else cell += c; } out.push(cell); return out; };
  return parse('a,"b ""c"", d",,e');
}
export function levenshtein() {
  const d = (a: string, b: string) => { let row = Array.from({ length: b.length + 1 }, (_, i) => i); for (let i = 1; i <= a.length; i++) { const next = [i]; for (let j = 1; j <= b.length; j++) next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)); row = next; } return row[b.length]; };
  return [d("kitten", "sitting"), d("", "abc"), d("flaw", "lawn")];
}
export function tokenizer() {
  const re = /\s*(?:(?<num>\d+(?:\.\d+)?)|(?<op>[-+*/()]))/y;
  const text = "3 + 4.5*(2-1)";
  const out: string[] = [];
  for (let m; (m = re.exec(text)) !== null; ) out.push(m.groups!.num ?? m.groups!.op);
  return out;
}
export function concatenation() {
  let s = "";
  for (let i = 0; i < 5000; i++) s += i % 10;
  return [s.length, s.charCodeAt(4999), s.slice(1234, 1240), "a".concat("b", 1 as any)];
}
export function stringRawAndEscapes() {
  return ["\x41\u0042\u{43}\t\0".length, "line\
continued", `multi
line`, String.raw`a\b`];
}
export function jsonTextOfText() {
  return [JSON.stringify("\u0000\u001f\"\\\ud800"), JSON.parse('"\\u00e4\\n"')];
}

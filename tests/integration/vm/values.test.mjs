import assert from "node:assert/strict";
import { test } from "node:test";
import { callEach } from "./engine.mjs";

test("vm: values go both ways unchanged", async () => {
  const values = {
    null: "null", yes: "true", no: "false", zero: "0", minusZero: "-0", tiny: "5e-324", big: "1.7976931348623157e308",
    nan: "NaN", infinity: "-Infinity", int: "123n", min: "-(2n ** 63n)", max: "2n ** 63n - 1n", empty: "''",
    ascii: "'abc'", latin: "'grüße'", wide: "'日本😀'", long: "'ü'.repeat(100000)", bytes: "new Uint8Array([1,2,255]).buffer",
    noBytes: "new ArrayBuffer(0)", list: "[1,[2,[3]],[]]", object: "({b:1,a:{},'':2,'ü':3,'10':4,'9':5})",
    proto: "JSON.parse('{\"__proto__\":1,\"constructor\":2}')", nullProto: "Object.assign(Object.create(null), {x:1})",
  };
  const functions = {};
  for (const [name, text] of Object.entries(values)) {
    functions[name] = `async ({db}) => {
      const same = (a, b) => a instanceof ArrayBuffer
        ? b instanceof ArrayBuffer && String(new Uint8Array(a)) === String(new Uint8Array(b))
        : typeof a !== "object" || a === null ? Object.is(a, b)
        : Array.isArray(a) === Array.isArray(b) && Object.keys(a).sort().join() === Object.keys(b).sort().join()
          && (Array.isArray(a) || Object.getPrototypeOf(b) === Object.prototype) && Object.keys(a).every(k => same(a[k], b[k]));
      const value = ${text};
      return same(value, db.echo(value)) && same(value, await db.later(value)); }`;
  }
  const { byName } = await callEach(functions);
  for (const name of Object.keys(values)) {
    assert.equal(byName[name]?.value, true, `${name}: ${byName[name]?.message}`);
  }
});

test("vm: an object seen often is made by a factory and stays the same", async () => {
  const { byName } = await callEach({
    many: `({db}) => { const out = [];
      for (let i = 0; i < 40; i++) out.push(db.echo({ b: i, a: "x" + i, c: [i], __proto__x: null, "new": 1 }));
      return out.every((o, i) => o.b === i && o.a === "x" + i && o.c[0] === i && Object.keys(o).join() === "__proto__x,a,b,c,new"); }`,
    proto: `({db}) => { let o; for (let i = 0; i < 20; i++) o = db.echo(JSON.parse('{"__proto__":5}'));
      return Object.keys(o).join() + Object.getOwnPropertyDescriptor(o, "__proto__").value; }`,
    independent: `({db}) => { const list = []; for (let i = 0; i < 20; i++) { const o = db.echo({ k: i }); o.k++; list.push(o.k); } return list.at(-1); }`,
  });
  assert.equal(byName.many.value, true);
  assert.equal(byName.proto.value, "__proto__5");
  assert.equal(byName.independent.value, 20);
});

test("vm: b13 what is no value is refused with its place", async () => {
  const cases = {
    fn: ["({a: {b: [1, () => 1]}})", "result.a.b[1]: a function cannot be stored"],
    symbol: ["[Symbol('x')]", "result[0]: a symbol cannot be stored; use a string"],
    date: ["({items: [1, 2, 3, {when: new Date(0)}]})", "result.items[3].when: a Date cannot be stored; use a number (date.getTime())"],
    map: ["new Map()", "result: a Map cannot be stored; use an object (Object.fromEntries(map))"],
    set: ["({s: new Set()})", "result.s: a Set cannot be stored; use an array ([...set])"],
    instance: ["({p: new (class Point { x = 1 })()})", "result.p: an instance of Point cannot be stored; use a plain object"],
    circle: ["(() => { const o = {}; o.self = {o}; return o; })()", /^result\.self\.o: a circular structure, one that contains itself, cannot be stored$/],
    hole: ["[1, , 2]", "result[1]: undefined in an array cannot be stored; use null"],
    undef: ["[undefined]", "result[0]: undefined in an array cannot be stored; use null"],
    high: ["({t: 'a\\ud800'})", "result.t: a string with half of a surrogate pair cannot be stored"],
    low: ["'\\udc00b'", "result: a string with half of a surrogate pair cannot be stored"],
    badName: ["({['\\ud800']: 1})", "result: a field name with half of a surrogate pair cannot be stored"],
    dollarName: ["({a: {$integer: 'AQAAAAAAAAA='}})", "result.a.$integer: a field name may not start with `$`"],
    emptyName: ["({'': 1})", "result.: a field name may not be empty"],
    foreignName: ["[{'\u00e9': 1}]", "result[0].\u00e9: a field name has printable ASCII characters only"],
    longName: ["({['k'.repeat(1025)]: 1})", "result: a field name has at most 1,024 characters"],
    bigger: ["({n: 2n ** 63n})", "result.n: a bigint outside of int64 (-2^63 to 2^63-1) cannot be stored"],
    typed: ["({b: new Uint8Array(3)})", "result.b: a Uint8Array cannot be stored; use an ArrayBuffer (its .buffer)"],
    regexp: ["/x/", "result: a RegExp cannot be stored; use its source as a string"],
    promise: ["[Promise.resolve(1)]", "result[0]: a Promise cannot be stored; await it first"],
    error: ["({e: new Error('x')})", "result.e: an Error cannot be stored; use its message"],
    proxy: ["({p: new Proxy({}, {})})", "result.p: a Proxy cannot be stored; copy it to a plain object"],
    boxed: ["new String('x')", "result: an instance of String cannot be stored; use a plain object"],
    deep: ["(() => { let o = 1; for (let i = 0; i < 70; i++) o = {o}; return o; })()", /a value of more than 64 levels cannot be stored$/],
    url: ["new URL('http://a')", "result: an instance of URL cannot be stored; use a plain object"],
  };
  const { byName } = await callEach(Object.fromEntries(Object.entries(cases).map(([name, [text]]) => [name, `() => ${text}`])));
  for (const [name, [, message]] of Object.entries(cases)) {
    assert.equal(byName[name]?.code, "NotEncodable", `${name}: ${JSON.stringify(byName[name])}`);
    if (typeof message === "string") {
      assert.equal(byName[name].message, message);
    } else {
      assert.match(byName[name].message, message);
    }
  }
});

test("vm: arguments of the host are refused in the function, where it can catch them", async () => {
  const { byName } = await callEach({
    caught: "({db}) => { try { db.echo({when: new Date()}); } catch (e) { return e.code + ' ' + e.message; } }",
    thrown: "({db}) => db.echo({f() {}})",
    undefinedKept: "({db}) => { const o = db.echo({a: undefined, b: [undefined]}); return ['a' in o, o.b.length, o.a === undefined]; }",
    undefinedLeftOut: "() => ({a: undefined, b: 1})",
    getter: "({db}) => { try { db.echo({ get x() { throw new RangeError('mine'); } }); } catch (e) { return e.name + e.message; } }",
    nested: "({db}) => db.echo({ get x() { return db.echo('inner'); }, y: 1 })",
  });
  assert.equal(byName.caught.value, "NotEncodable value.when: a Date cannot be stored; use a number (date.getTime())");
  assert.equal(byName.thrown.code, "NotEncodable");
  assert.deepEqual(byName.undefinedKept.value, [true, 1, true]);
  assert.deepEqual(byName.undefinedLeftOut.value, { b: 1 });
  assert.equal(byName.getter.value, "RangeErrormine");
  assert.deepEqual(byName.nested.value, { x: "inner", y: 1 });
});

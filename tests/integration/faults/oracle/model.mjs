/**
 * What the functions of app/bitbend/checker.ts mean, in JavaScript: the whole database is one state that
 * changes by one mutation at a time.
 */

const byIndex = (a, b) => a.n - b.n || a._creationTime - b._creationTime || (a._id < b._id ? -1 : 1);

export function createModel() {
  const items = new Map(); // id -> document
  const registers = new Map(); // key -> list
  const accounts = new Map(); // name -> balance
  const inGroup = (group) => [...items.values()].filter((item) => item.group === group).sort(byIndex);

  const questions = {
    list: ({ group }) => inGroup(group),
    count: ({ group }) => inGroup(group).length,
    sum: ({ group }) => inGroup(group).reduce((sum, item) => sum + item.n, 0),
    first: ({ group, order }) => inGroup(group).at(order === "desc" ? -1 : 0) ?? null,
    above: ({ group, n, take }) => inGroup(group).filter((item) => item.n > n).slice(0, take),
    get: ({ id }) => items.get(id) ?? null,
    register: ({ key }) => registers.get(key) ?? [],
    balance: ({ name }) => accounts.get(name) ?? 0,
    total: () => [...accounts.values()].reduce((sum, balance) => sum + balance, 0),
  };
  const ask = (question, args) => questions[question](args);

  /** Adds the document that a mutation says it inserted; what it cannot know (id, time) is taken from there. */
  function insert(doc, fields) {
    if (doc === undefined || items.has(doc._id)) throw new Error(`inserted ${JSON.stringify(doc)}, which is missing or there already`);
    items.set(doc._id, { ...fields, _id: doc._id, _creationTime: doc._creationTime });
  }
  const change = (doc, fields) => doc && items.set(doc._id, { ...doc, ...fields });

  const mutations = {
    insert: ({ group, n }, [doc]) => insert(doc, { group, n }),
    copySum: ({ from, to }, [doc]) => insert(doc, { group: to, n: ask("sum", { group: from }) % 50 }),
    bump({ group, by }) {
      const item = ask("first", { group, order: "asc" });
      change(item, { n: (item?.n + by) % 50 });
    },
    edit: ({ id, body }) => change(items.get(id), { body }),
    replace({ id, group, n }) {
      const item = items.get(id);
      if (item) items.set(id, { _id: id, _creationTime: item._creationTime, group, n });
    },
    move: ({ from, to }) => change(ask("first", { group: from, order: "desc" }), { group: to, n: ask("count", { group: to }) }),
    remove: ({ group, order }) => items.delete(ask("first", { group, order })?._id),
    trim: ({ group, n }) => ask("above", { group, n, take: 50 }).forEach((item) => items.delete(item._id)),
    append: ({ keys, value }) => keys.forEach((key) => registers.set(key, [...ask("register", { key }), value])),
    transfer({ from, to, amount }) {
      const right = ask("balance", { name: to }) + amount; // both are read before one is written
      accounts.set(from, ask("balance", { name: from }) - amount);
      accounts.set(to, right);
    },
  };

  return {
    ask,
    /** The state after the mutation; `inserted` are the documents it says it inserted. */
    apply: (name, args, inserted) => mutations[name](args, inserted),
    keys: () => [...registers.keys()],
  };
}

import { BitBendError, Client, v, type Infer } from "bitbend";

import { api, internal } from "./bitbend/_generated/api";
import type { DataModel, Doc, Id } from "./bitbend/_generated/dataModel";

declare const channel: Id<"channels">;
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function assertSame<_T extends true>(): void {}

const client = new Client("http://127.0.0.1:3210");

const stop = client.onUpdate(
  api.messages.list,
  { channel },
  (messages) => {
    assertSame<Same<typeof messages, Doc<"messages">[]>>();
    messages[0]?.body.trim();
  },
  (error) => error.code,
);
stop.getCurrentValue()?.length.toFixed();
stop();

export async function calls(): Promise<void> {
  const sent = await client.mutation(api.messages.send, { channel, author: "Ada", body: "Hello" });
  assertSame<Same<typeof sent, Id<"messages">>>();
  const none = await client.query(api.messages.none);
  assertSame<Same<typeof none, string>>();
  const plain = await client.query(api.messages.plain, { n: 1 });
  assertSame<Same<typeof plain, readonly [number, string | undefined]>>();
  await client.mutation(api.messages.send, { channel, author: "Ada", body: "Hello" }, {
    optimisticUpdate(store, { body }) {
      const list = store.getQuery(api.messages.list, { channel });
      assertSame<Same<typeof list, Doc<"messages">[] | undefined>>();
      if (list) store.setQuery(api.messages.list, { channel }, list.map((message) => ({ ...message, body })));
      // @ts-expect-error That is no result of the query.
      store.setQuery(api.messages.list, { channel }, [1]);
    },
  });
  const shown = client.currentResult(api.messages.list, { channel });
  if (shown?.status === "value") shown.value[0]?.body.trim();
  const nothing = await client.mutation(api.messages.nothing);
  assertSame<Same<typeof nothing, null>>();
  const acted = await client.action(api.sub.deep.act, { channel: "x" });
  assertSame<Same<typeof acted, string>>();
  const defaulted = await client.action(api.sub.deep.default);
  assertSame<Same<typeof defaulted, bigint>>();

  // @ts-expect-error A query is no mutation.
  await client.mutation(api.messages.list, { channel });
  // @ts-expect-error An argument is missing.
  await client.query(api.messages.list, {});
  // @ts-expect-error The arguments are missing.
  await client.query(api.messages.list);
  // @ts-expect-error A text is no id.
  await client.query(api.messages.list, { channel: "general" });
  // @ts-expect-error There is no such argument.
  await client.query(api.messages.none, { x: 1 });
  // @ts-expect-error There is no such function.
  await client.query(api.messages.lst, { channel });
  // @ts-expect-error Clients do not call internal functions.
  await client.mutation(api.messages.hidden, { id: sent });
  void internal.messages.hidden;
}

export async function feed(): Promise<void> {
  for await (const record of client.txs<DataModel>({ from: "now", tables: ["messages"], include: "both" })) {
    assertSame<Same<typeof record.tx, number>>();
    for (const change of record.changes) {
      if (change.table === "messages") assertSame<Same<NonNullable<typeof change.after>, Doc<"messages">>>();
    }
  }
  for await (const record of client.txs({ from: new Date(), include: "diff" })) record.changes[0]?.fields?.anything;
  for await (const record of client.consumer<DataModel>("mailer", { tables: ["channels"] })) await record.ack();
  // @ts-expect-error There is no such table.
  client.txs<DataModel>({ tables: ["message"] });
  // @ts-expect-error Records of a plain iterator are not acknowledged.
  for await (const record of client.txs()) await record.ack();
}

const user = v.object({ name: v.string(), age: v.optional(v.number()), role: v.union(v.literal("a"), v.literal("b")) });
assertSame<Same<Infer<typeof user>, { name: string; age?: number; role: "a" | "b" }>>();

const error = new BitBendError({ code: "full", seats: 3 });
error.data.seats.toFixed();
// @ts-expect-error A function is no value.
new BitBendError({ code: () => 1 });

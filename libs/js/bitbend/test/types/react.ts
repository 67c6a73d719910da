import { useAction, useConnectionState, useMutation, usePaginatedQuery, useQueries, useQuery } from "bitbend/react";

import { api } from "./bitbend/_generated/api";
import type { Doc, Id } from "./bitbend/_generated/dataModel";

declare const channel: Id<"channels">;
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function assertSame<_T extends true>(): void {}

export function Component(): null {
  const messages = useQuery(api.messages.list, { channel });
  assertSame<Same<typeof messages, Doc<"messages">[] | undefined>>();
  const skipped = useQuery(api.messages.list, "skip");
  assertSame<Same<typeof skipped, Doc<"messages">[] | undefined>>();
  const none = useQuery(api.messages.none);
  assertSame<Same<typeof none, string | undefined>>();
  // @ts-expect-error The arguments are missing.
  useQuery(api.messages.list);
  // @ts-expect-error A text is no id.
  useQuery(api.messages.list, { channel: "general" });
  // @ts-expect-error A mutation is no query.
  useQuery(api.messages.send, { channel, author: "a", body: "b" });

  const both = useQueries({ list: { query: api.messages.list, args: { channel } }, none: "skip" });
  assertSame<Same<typeof both.list, Doc<"messages">[] | undefined | Error>>();
  assertSame<Same<typeof both.none, undefined>>();

  const pages = usePaginatedQuery(api.messages.page, { channel }, { initialNumItems: 10 });
  assertSame<Same<typeof pages.results, Doc<"messages">[]>>();
  pages.loadMore(10);
  // @ts-expect-error This query has no pages.
  usePaginatedQuery(api.messages.list, { channel }, { initialNumItems: 10 });

  const send = useMutation(api.messages.send).withOptimisticUpdate((store, { body }) => {
    const list = store.getQuery(api.messages.list, { channel });
    store.setQuery(api.messages.list, { channel }, (list ?? []).map((message) => ({ ...message, body })));
  });
  const sent = send({ channel, author: "a", body: "b" });
  assertSame<Same<typeof sent, Promise<Id<"messages">>>>();
  // @ts-expect-error An argument is missing.
  void send({ channel });
  const act = useAction(api.sub.deep.act);
  assertSame<Same<ReturnType<typeof act>, Promise<string>>>();
  assertSame<Same<ReturnType<typeof useConnectionState>, "idle" | "connecting" | "connected" | "reconnecting" | "closed">>();
  return null;
}

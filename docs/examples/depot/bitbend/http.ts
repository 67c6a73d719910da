import { timingSafeEqual } from "node:crypto";

import { httpRouter } from "bitbend/server";

import { internal } from "./_generated/api";
import { httpAction } from "./_generated/server";

const http = httpRouter();

/** The carrier tells where a parcel is: POST /http/parcels/{code} with {"place": ".."} and the secret that both know. */
http.route({
  path: "/parcels/{code}",
  method: "POST",
  handler: httpAction(async (ctx, request) => {
    if (!knowsSecret(request.headers.get("X-Carrier-Secret"))) return new Response("who are you?", { status: 401 });
    const { place } = await request.json();
    if (typeof place !== "string") return new Response("where is it?", { status: 400 });
    await ctx.runMutation(internal.parcels.moved, { code: ctx.params.code!, place });
    return Response.json({ ok: true });
  }),
});

/** All addresses as a file, made while it is sent. */
http.route({
  path: "/addresses.csv",
  method: "GET",
  handler: httpAction(async (ctx) => {
    let cursor: string | null = null;
    let isDone = false;
    const body = new ReadableStream({
      async pull(controller) {
        if (isDone) return controller.close();
        const page = await ctx.runQuery(internal.imports.page, { cursor });
        ({ isDone, continueCursor: cursor } = page);
        const lines = page.page.map(({ name, street }) => `${name},${street}\n`).join("");
        if (lines !== "") controller.enqueue(new TextEncoder().encode(lines));
        else controller.close();
      },
    });
    return new Response(body, { headers: { "Content-Type": "text/csv; charset=utf-8" } });
  }),
});

function knowsSecret(given: string | null): boolean {
  const expected = Buffer.from(process.env.CARRIER_SECRET ?? "");
  const got = Buffer.from(given ?? "");
  return expected.length > 0 && got.length === expected.length && timingSafeEqual(got, expected);
}

export default http;

import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";

export default defineSchema({
  channels: defineTable({ name: v.string() }).index("by_name", ["name"]),
  messages: defineTable({
    channel: v.id("channels"),
    author: v.string(),
    body: v.string(),
    likes: v.optional(v.int64()),
    place: v.object({ city: v.string(), zip: v.number() }),
  })
    .index("by_channel", ["channel", "author"])
    .index("by_city", ["place.city"]),
  shapes: defineTable(v.union(v.object({ kind: v.literal("circle"), r: v.number() }), v.object({ kind: v.literal("square"), side: v.number() }))).index(
    "by_kind",
    ["kind", "r"],
  ),
});

// @ts-expect-error An index names fields of its table.
defineTable({ a: v.string() }).index("by_b", ["b"]);
// @ts-expect-error An index has at least one field.
defineTable({ a: v.string() }).index("by_b", []);
// @ts-expect-error A field needs a validator.
defineTable({ a: "string" });

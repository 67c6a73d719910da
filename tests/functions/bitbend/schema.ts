import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";

export default defineSchema({
  things: defineTable({ group: v.string(), rank: v.number(), text: v.string() }).index("by_group", ["group", "rank"]),
});

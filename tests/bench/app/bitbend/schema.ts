import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";

export default defineSchema({
  counters: defineTable({ key: v.number(), value: v.number() }).index("by_number", ["key"]),
  documents: defineTable({ group: v.number(), n: v.number(), title: v.string() }).index("by_group", ["group"]),
  accounts: defineTable({ key: v.number(), balance: v.number() }),
  messages: defineTable({ channel: v.number(), text: v.string() }).index("by_channel", ["channel"]),
});

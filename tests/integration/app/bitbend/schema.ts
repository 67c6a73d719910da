import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";

export default defineSchema({
  items: defineTable({ group: v.string(), n: v.number(), body: v.optional(v.any()) })
    .index("by_group", ["group"])
    .index("by_group_n", ["group", "n"]),
  accounts: defineTable({ name: v.string(), balance: v.number() }).index("by_name", ["name"]),
  registers: defineTable({ key: v.string(), list: v.array(v.number()) }).index("by_register", ["key"]),
});

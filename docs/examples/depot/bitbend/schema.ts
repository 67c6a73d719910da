import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";

export default defineSchema({
  parcels: defineTable({ code: v.string(), place: v.string(), events: v.number() }),
  addresses: defineTable({ name: v.string(), street: v.string() }),
  reminders: defineTable({ text: v.string(), isDue: v.boolean() }).index("by_due", ["isDue"]),
  weather: defineTable({ town: v.string(), text: v.string(), at: v.number() }),
});

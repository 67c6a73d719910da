import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";

export default defineSchema({
  samples: defineTable({ series: v.string(), value: v.number() }).index("by_series", ["series"]),
  reports: defineTable({ series: v.string(), count: v.number(), deviation: v.number(), checksum: v.number() }).index("by_series", ["series"]),
});

import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";

export default defineSchema({
  lines: defineTable({ document: v.string(), place: v.number(), text: v.string() }).index("by_place", ["document", "place"]),
});

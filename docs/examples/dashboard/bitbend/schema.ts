import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";

export default defineSchema({
  orders: defineTable({ product: v.string(), amount: v.number() }),
});

import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";

export default defineSchema({
  todos: defineTable({ text: v.string(), isDone: v.boolean() }),
});

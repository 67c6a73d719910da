import { auditTables } from "audit";
import { defineSchema, defineTable } from "bitbend/server";
import { v } from "bitbend/values";

export default defineSchema({
  ...auditTables,
  teams: defineTable({ name: v.string() }),
  members: defineTable({ team: v.id("teams"), email: v.string() }).index("by_email", ["email"]).index("by_team", ["team"]),
  notes: defineTable({ owner: v.string(), text: v.string() }).index("by_owner", ["owner"]),
});

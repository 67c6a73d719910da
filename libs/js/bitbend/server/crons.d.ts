import type { FunctionReference } from "./functions.js";

type Job = FunctionReference<"mutation" | "action", any>;
type Rest<Reference extends Job> =
  Reference extends FunctionReference<any, any, infer Args, any> ? ({} extends Args ? [args?: Args] : [args: Args]) : [];

export interface Crons {
  interval<R extends Job>(name: string, schedule: { seconds: number } | { minutes: number } | { hours: number }, job: R, ...args: Rest<R>): Crons;
  hourly<R extends Job>(name: string, schedule: { minuteUTC: number }, job: R, ...args: Rest<R>): Crons;
  daily<R extends Job>(name: string, schedule: { hourUTC: number; minuteUTC: number }, job: R, ...args: Rest<R>): Crons;
  weekly<R extends Job>(name: string, schedule: { dayOfWeek: DayOfWeek; hourUTC: number; minuteUTC: number }, job: R, ...args: Rest<R>): Crons;
  monthly<R extends Job>(name: string, schedule: { day: number; hourUTC: number; minuteUTC: number }, job: R, ...args: Rest<R>): Crons;
  /** Five fields: minute, hour, day, month, day of week; in UTC. */
  cron<R extends Job>(name: string, expression: string, job: R, ...args: Rest<R>): Crons;
}
export type DayOfWeek = "sunday" | "monday" | "tuesday" | "wednesday" | "thursday" | "friday" | "saturday";

/**
 * The default export of `crons.ts`.
 *
 * ```ts
 * const crons = cronJobs();
 * crons.interval("sweep", { minutes: 10 }, internal.sweep.run);
 * export default crons;
 * ```
 */
export declare function cronJobs(): Crons;

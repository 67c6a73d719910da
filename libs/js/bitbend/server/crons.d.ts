import type { FunctionReference } from "./functions.js";

type Job = FunctionReference<"mutation" | "action", any>;
/** What happens to runs whose time has passed by more than a minute when they could begin: they are left out
 * (the default), or made one after the other. */
export interface CronOptions {
  missed?: "skip" | "catchUp";
}
export interface ExpressionOptions extends CronOptions {
  /** Name of an IANA time zone, such as `"Europe/Berlin"`; UTC without. */
  timeZone?: string;
}
type Rest<Reference extends Job, Options = CronOptions> =
  Reference extends FunctionReference<any, any, infer Args, any>
    ? {} extends Args ? [args?: Args, options?: Options] : [args: Args, options?: Options]
    : [];

export interface Crons {
  interval<R extends Job>(name: string, schedule: { seconds: number } | { minutes: number } | { hours: number }, job: R, ...args: Rest<R>): Crons;
  hourly<R extends Job>(name: string, schedule: { minuteUTC: number }, job: R, ...args: Rest<R>): Crons;
  daily<R extends Job>(name: string, schedule: { hourUTC: number; minuteUTC: number }, job: R, ...args: Rest<R>): Crons;
  weekly<R extends Job>(name: string, schedule: { dayOfWeek: DayOfWeek; hourUTC: number; minuteUTC: number }, job: R, ...args: Rest<R>): Crons;
  monthly<R extends Job>(name: string, schedule: { day: number; hourUTC: number; minuteUTC: number }, job: R, ...args: Rest<R>): Crons;
  /** Five fields: minute, hour, day, month, day of week; in UTC, or in the time zone of the options. */
  cron<R extends Job>(name: string, expression: string, job: R, ...args: Rest<R, ExpressionOptions>): Crons;
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

// smuggle.ts again, in calls that have a context of their own.
import "./patches";
export { look, names, put } from "./smuggle";

export { history } from "audit";

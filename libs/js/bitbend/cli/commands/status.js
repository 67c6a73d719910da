import { connect } from "../app.js";

export async function run({ output, appDir, options }) {
  const admin = connect(appDir, options);
  const [suite, deployment] = await Promise.all([admin.status(), admin.call("_system:status")]);
  const status = { ...suite, deployment };
  if (output.isJson) return output.json({ url: admin.url, ...status });
  output.line(`${output.paint("bold", "url")}  ${admin.url}`);
  printObject(output, status, "");
}

function printObject(output, object, indent) {
  const names = Object.keys(object);
  const width = Math.max(0, ...names.map((name) => name.length));
  for (const name of names) {
    const value = object[name];
    if (Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === "object" && item !== null)) {
      output.line(`${indent}${output.paint("bold", name)}`);
      value.forEach((item) => printObject(output, item, `${indent}  `));
    } else if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      output.line(`${indent}${output.paint("bold", name)}`);
      printObject(output, value, `${indent}  `);
    } else {
      output.line(`${indent}${output.paint("bold", name.padEnd(width))}  ${Array.isArray(value) ? value.join(", ") : value}`);
    }
  }
}

/** A small HTTP server that tests drive by hand: it records requests and answers as a test says. */

import { createServer } from "node:http";

export async function startServer(handler) {
  const requests = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const url = new URL(request.url, "http://x");
    const seen = { method: request.method, path: url.pathname, search: url.searchParams, headers: request.headers, body: body === "" ? undefined : JSON.parse(body) };
    requests.push(seen);
    await handler(seen, {
      json: (value, status = 200, headers = {}) => response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(value)),
      events() {
        response.writeHead(200, { "Content-Type": "text/event-stream" });
        response.flushHeaders();
        return {
          send: (name, data, id) => response.write(`${id === undefined ? "" : `id: ${id}\n`}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`),
          raw: (text) => response.write(text),
          end: () => response.end(),
          cut: () => response.destroy(),
          closed: new Promise((done) => response.once("close", done)),
        };
      },
      cut: () => request.socket.destroy(),
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    requests,
    url: `http://127.0.0.1:${server.address().port}`,
    stop: () => {
      server.closeAllConnections();
      return new Promise((done) => server.close(done));
    },
  };
}

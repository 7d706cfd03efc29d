// The program under test: one server on a folder of its own that is gone afterwards, and one on
// another origin for the page that visits it.

import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

// A House is a running gitroost. Its log is kept; what it says at the end is checked by stop.
export class House {
  // start begins one and waits until it says where it listens.
  static async start(...args) {
    const program = process.env.GITROOST_BIN ?? here("../../gitroost");
    const child = spawn(program, ["serve", "--listen", "127.0.0.1:0", "--ephemeral", ...args], {
      env: { PATH: process.env.PATH, HOME: "/nonexistent", TMPDIR: process.env.TMPDIR ?? "/tmp" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const house = new House();
    house.child = child;
    house.log = "";
    child.stderr.setEncoding("utf8").on("data", (text) => (house.log += text));
    house.ended = new Promise((resolve) => child.once("close", (code, signal) => resolve(code ?? signal)));
    // Whatever happens to the tests, no server stays behind.
    const end = () => child.kill("SIGKILL");
    process.once("exit", end);
    house.ended.then(() => process.off("exit", end));
    child.once("error", (err) => (house.log += `${program}: ${err.message}; make build makes it\n`));
    const lines = createInterface({ input: child.stdout });
    house.url = await Promise.race([
      new Promise((resolve) => lines.on("line", (line) => {
        const said = line.match(/web \+ git \+ relay\s+(\S+)/);
        if (said) resolve(said[1]);
      })),
      house.ended.then((code) => Promise.reject(new Error(`gitroost ended (${code}) instead of serving:\n${house.log}`))),
    ]);
    house.relay = house.url.replace(/^http/, "ws");
    return house;
  }

  // stop asks the server to end, and fails if it did not end well or had something to complain about.
  async stop() {
    this.child.kill("SIGTERM");
    const code = await this.ended;
    const bad = this.log.split("\n").filter((line) => /"level":"ERROR"|level=ERROR|^panic:|^fatal error:/.test(line));
    if (code !== 0 || bad.length > 0) {
      throw new Error(`gitroost ended with ${code}:\n${bad.join("\n") || this.log}`);
    }
  }
}

// What the visiting page may load, and nothing else.
const files = {
  "/": ["page.html", "text/html; charset=utf-8"],
  "/visitor.mjs": ["visitor.mjs", "text/javascript"],
  "/nostr.js": ["node_modules/nostr-tools/lib/nostr.bundle.js", "text/javascript"],
  "/buffer.js": [null, "text/javascript"], // bufferScript
  "/git.js": ["node_modules/isomorphic-git/index.umd.min.js", "text/javascript"],
  "/http.js": ["node_modules/isomorphic-git/http/web/index.umd.js", "text/javascript"],
  "/fs.js": ["node_modules/@isomorphic-git/lightning-fs/dist/lightning-fs.min.js", "text/javascript"],
};

// isomorphic-git wants a Buffer of its own in a page. The package that has it comes as modules of
// Node.js: they are put into one script.
async function bufferScript() {
  const modules = { "base64-js": "base64-js/index.js", ieee754: "ieee754/index.js", buffer: "buffer/index.js" };
  const parts = ["const modules = {}; const require = (name) => modules[name];"];
  for (const [name, path] of Object.entries(modules)) {
    const body = await readFile(here(`node_modules/${path}`));
    parts.push(`{ const module = { exports: {} }; (function (module, exports, require) {\n${body}\n})(module, module.exports, require); modules["${name}"] = module.exports; }`);
  }
  return `(() => { ${parts.join("\n")}\nglobalThis.Buffer = modules.buffer.Buffer; })();`;
}

// serveSite serves the page from an origin that is not the server's: everything that the page does
// there is cross-origin.
export async function serveSite() {
  const server = createServer(async (req, res) => {
    const [path, kind] = files[req.url] ?? [];
    try {
      const body = req.url === "/buffer.js" ? await bufferScript() : await readFile(here(path));
      res.writeHead(200, { "Content-Type": kind, "Cache-Control": "no-store" }).end(body);
    } catch {
      res.writeHead(req.url === "/favicon.ico" ? 204 : 404).end();
    }
  });
  await new Promise((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    stop: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}

// Chromium, as the system has it, and everything it complains about.

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const executablePath = process.env.CHROMIUM || ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

// No name is looked up and nothing but this computer is reached: what a page would load from
// elsewhere fails, and is seen to.
const args = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-proxy-server",
];

export const launch = () => chromium.launch({ executablePath, args });

// open opens url in a window of its own and notes what it says and does:
// complaints (errors in the console, scripts that fail, violations of the content policy),
// requests (method, URL, headers; preflights too) and frames (what relays sent, parsed).
export async function open(browser, url, options = {}) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const seen = { complaints: [], requests: [], frames: [] };
  page.on("console", (m) => {
    if (m.type() === "error" || m.type() === "warning") seen.complaints.push(m.text());
  });
  page.on("pageerror", (err) => seen.complaints.push(String(err)));
  page.on("websocket", (socket) => socket.on("framereceived", (f) => seen.frames.push(JSON.parse(f.payload))));
  const wire = await context.newCDPSession(page);
  await wire.send("Network.enable");
  // A request is told in two parts, in any order: what it is, and the headers as they were sent.
  const known = new Map();
  const about = (id) => known.get(id) ?? known.set(id, { headers: {} }).get(id);
  wire.on("Network.requestWillBeSentExtraInfo", ({ requestId, headers }) => Object.assign(about(requestId).headers, lower(headers)));
  wire.on("Network.requestWillBeSent", ({ requestId, request }) => {
    seen.requests.push(Object.assign(about(requestId), { method: request.method, url: request.url, preflight: request.method === "OPTIONS" }));
  });
  const response = await page.goto(url, { waitUntil: "load" });
  return { page, context, seen, response };
}

const lower = (headers) => Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

// visit opens the visiting page and waits until its tools are there.
export async function visit(browser, site) {
  const visit = await open(browser, site.url);
  await visit.page.waitForFunction(() => window.ready);
  return visit;
}

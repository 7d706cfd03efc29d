// The page of a job that runs, as Chromium shows it: the log goes on by itself, also after the connection was lost,
// nothing is missing and nothing is there twice; at its end the page says how it ended. With GITROOST_SHOTS=<folder>
// pictures are kept there.

import assert from "node:assert/strict";
import { promises } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import "./websocket.mjs";
import git from "isomorphic-git";
import http from "isomorphic-git/http/node";
import * as nostr from "nostr-tools";
import { launch, open } from "./browser.mjs";
import { House } from "./house.mjs";
import { Visitor } from "./visitor.mjs";

const shots = process.env.GITROOST_SHOTS;
const looks = {
  wide: { viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  "wide and dark": { viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  narrow: { viewport: { width: 360, height: 740 }, colorScheme: "light" },
  "narrow and dark": { viewport: { width: 360, height: 740 }, colorScheme: "dark" },
};

let house, browser, visitor, folder, line;

// A Line is a connection to the server that can be cut.
class Line {
  static async to(url) {
    const line = new Line();
    line.sockets = new Set();
    line.server = createServer((near) => {
      const far = connect(Number(new URL(url).port), "127.0.0.1");
      line.sockets.add(near);
      near.pipe(far).pipe(near);
      for (const [one, other] of [[near, far], [far, near]]) {
        one.on("error", () => {});
        one.on("close", () => { other.destroy(); line.sockets.delete(near); });
      }
    });
    await new Promise((resolve, reject) => line.server.once("error", reject).listen(0, "127.0.0.1", resolve));
    line.url = `http://127.0.0.1:${line.server.address().port}`;
    return line;
  }

  cut() {
    for (const s of this.sockets) s.destroy();
  }

  stop() {
    this.cut();
    return new Promise((resolve) => this.server.close(resolve));
  }
}

const go = (n) => writeFile(join(folder, `go-${n}`), "");

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "gitroost-jobs-"));
  visitor = new Visitor({ git, http, fs: { promises }, nostr });
  // The job says a line, and waits for a file before it says the next.
  const script = `echo one; for n in 1 2 3; do while ! test -e ${folder}/go-$n; do sleep 0.05; done; echo "after $n"; seq -f "line %g of $n" 1 200; done`;
  await writeFile(join(folder, "gitroost.yaml"), `jobs_engine: {sandbox: plain}
jobs:
  - name: talk
    repos: ["*/*"]
    on: {push: {}}
    exec: {run: [sh, -c, ${JSON.stringify(script)}], workdir: empty}
trust:
  - match: ["${visitor.key("alice").npub}/*"]
    allow: [site]
    service_request: false
    require_approval: true
`);
  house = await House.start("--config", join(folder, "gitroost.yaml"), "--name", "Roost");
  line = await Line.to(house.url);
  browser = await launch();
});

after(async () => {
  visitor?.close();
  await browser?.close();
  await line?.stop();
  await house?.stop();
  if (folder) await rm(folder, { recursive: true });
});

async function push(dir, files) {
  const tip = await visitor.commit(dir, files);
  const state = await visitor.state(house.url, "alice", "demo", { "refs/heads/main": tip });
  assert.equal(state.ok, true, state.said);
  const done = await visitor.push(dir, visitor.url(house.url, "alice", "demo"), { remoteRef: "refs/heads/main" });
  assert.equal(done.ok, true, JSON.stringify(done));
}

const jobs = async (query) => (await (await fetch(`${house.url}/jobs.json?${query}`)).json()).jobs;

async function keep(page, name) {
  for (const [look, { viewport, colorScheme }] of Object.entries(looks)) {
    await page.setViewportSize(viewport);
    await page.emulateMedia({ colorScheme });
    const tooWide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(tooWide, 0, `${name}, ${look}: ${tooWide} pixels too wide`);
    if (!shots) continue;
    await mkdir(shots, { recursive: true });
    await page.screenshot({ path: join(shots, `${name} ${look}.png`.replaceAll(" ", "-")), fullPage: true });
  }
}

test("the log of a job that runs goes on by itself, over a lost connection, until it ends", async () => {
  const dir = join(folder, "work");
  await visitor.start(dir);
  const announced = await visitor.announce(house.url, "alice", "demo");
  assert.equal(announced.ok, true, announced.said);
  await push(dir, { "README.md": "hello\n" });
  const [job] = await jobs("name=talk");
  const { page, context, seen } = await open(browser, `${line.url}/jobs/${job.id}`, looks.wide);
  page.setDefaultTimeout(120_000); // a busy machine takes its time
  const shown = (text) => page.waitForFunction((text) => document.getElementById("lines").textContent.includes(text), text);
  const note = (text) => page.waitForFunction((text) => document.getElementById("live")?.textContent.includes(text), text);
  try {
    await shown("one\n");
    await note("Live.");
    await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
    await go(1);
    await shown("line 200 of 1\n");
    const atEnd = () => page.evaluate(() => innerHeight + scrollY >= document.documentElement.scrollHeight - 60);
    assert.equal(await atEnd(), true, "who is at the end stays there");

    // Who has scrolled back is left where they are.
    await page.evaluate(() => window.scrollTo(0, 0));
    line.cut();
    await note("trying again");
    await go(2);
    await note("Live.");
    await shown("line 200 of 2\n");
    assert.equal(await page.evaluate(() => scrollY), 0, "who reads elsewhere is not moved");
    const text = await page.evaluate(() => document.getElementById("lines").textContent);
    const want = ["one", ...[1, 2].flatMap((n) => [`after ${n}`, ...Array.from({ length: 200 }, (_, i) => `line ${i + 1} of ${n}`)])];
    assert.deepEqual(text.split("\n").filter((l) => l && !l.startsWith("plain: ")), want, "nothing is missing, and nothing is there twice");
    const again = seen.requests.filter((r) => r.url.includes("/log?") && r.headers["last-event-id"]);
    assert.ok(again.length >= 1, "it came back without saying how far it was");
    await keep(page, "job running");

    const reloaded = page.waitForEvent("load");
    await go(3);
    await reloaded;
    assert.match(await page.textContent(".status"), /ok/);
    assert.match(await page.textContent("#lines"), /line 200 of 3\n/);
    assert.equal(await page.evaluate(() => document.scripts.length), 0, "a job that has ended needs no script");
    await keep(page, "job ended");
    assert.deepEqual(seen.complaints.filter((c) => !/net::ERR_/.test(c)), []);
  } finally {
    await context.close();
  }
});

test("a job that waits for approval says so, and how it is approved", async () => {
  await push(join(folder, "work"), { ".grasp/jobs.yml": "jobs:\n  - {name: pages, on: {push: {}}, site: {}}\n" });
  const [job] = await jobs("state=waiting_for_approval");
  assert.equal(job.name, "pages");
  const { page, context, seen } = await open(browser, job.url, looks.wide);
  try {
    assert.match(await page.textContent(".status"), /waits for approval/);
    assert.match(await page.textContent("main"), new RegExp(`gitroost jobs approve ${job.id}`));
    assert.match(await page.textContent("main"), /\.grasp\/jobs\.yml/);
    await keep(page, "job unapproved");
    await page.goto(`${house.url}/jobs`);
    await keep(page, "jobs");
    assert.deepEqual(seen.complaints, []);
  } finally {
    await context.close();
  }
});

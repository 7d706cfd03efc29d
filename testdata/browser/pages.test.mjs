// The server's own pages, as Chromium shows them: wide and narrow, light and dark. With
// GITROOST_SHOTS=<folder> a picture of each is kept there.

import assert from "node:assert/strict";
import { promises } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import "./websocket.mjs";
import git from "isomorphic-git";
import http from "isomorphic-git/http/node";
import * as nostr from "nostr-tools";
import { launch, open } from "./browser.mjs";
import { House } from "./house.mjs";
import { Visitor } from "./visitor.mjs";

const axe = await readFile(fileURLToPath(new URL("node_modules/axe-core/axe.min.js", import.meta.url)), "utf8");
const shots = process.env.GITROOST_SHOTS;

const looks = {
  wide: { viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  "wide and dark": { viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  narrow: { viewport: { width: 360, height: 740 }, colorScheme: "light" },
  "narrow and dark": { viewport: { width: 360, height: 740 }, colorScheme: "dark" },
};

const long = "a-very-long-name-" + "without-an-end-".repeat(10);

let house, browser, visitor, folder;
const paths = {};

before(async () => {
  house = await House.start("--name", "Roost", "--description", "A server for tests.");
  browser = await launch();
  folder = await mkdtemp(join(tmpdir(), "gitroost-pages-"));
  visitor = new Visitor({ git, http, fs: { promises }, nostr });
  await pushed("alice", "hello", ["a demo repository"]);
  await pushed("bob", "my 🚀 repo", ["مرحبا \u202e<b>&amp;</b> " + "x".repeat(300)]);
  await pushed("carol", long, []);
  await visitor.announce(house.url, "alice", "waiting");
  await pushed("dave", "left", ["withdrawn"]);
  await visitor.publish(house.relay, "dave", 30617, [["d", "left"], ["clone", "https://elsewhere.example/x.git"], ["relays", "wss://elsewhere.example"]]);
  const page = (name, id) => new URL(visitor.url(house.url, name, id)).pathname;
  Object.assign(paths, {
    home: "/",
    repository: page("alice", "hello"),
    odd: page("bob", "my 🚀 repo"),
    long: page("carol", long),
    waiting: page("alice", "waiting"),
    withdrawn: page("dave", "left"),
    missing: page("alice", "nothing"),
    nowhere: "/zzz",
  });
});

after(async () => {
  visitor?.close();
  await browser?.close();
  if (folder) await rm(folder, { recursive: true });
  await house?.stop();
});

// pushed makes a repository with two branches and a tag.
async function pushed(name, id, description) {
  const dir = join(folder, name);
  const relay = house.relay;
  await visitor.publish(relay, name, 30617, [
    ["d", id], ["name", id], ...description.map((d) => ["description", d]), ["clone", visitor.url(house.url, name, id), "https://mirror.example/" + long + ".git"],
    ["relays", relay], ["web", "https://project.example/", "javascript:alert(1)"], ["maintainers", visitor.key("eve").pubkey],
  ]);
  await visitor.start(dir);
  const first = await visitor.commit(dir, { "README.md": "hello\n" });
  const refs = { "refs/heads/main": first, [`refs/heads/${long}`]: first, "refs/tags/v1.0.0": first };
  const state = await visitor.state(house.url, name, id, refs);
  assert.equal(state.ok, true, state.said);
  for (const remoteRef of Object.keys(refs)) {
    const push = await visitor.push(dir, visitor.url(house.url, name, id), { remoteRef });
    assert.equal(push.ok, true, JSON.stringify(push));
  }
}

const status = { missing: 404, nowhere: 404 };

describe("wide and narrow, light and dark", () => {
  for (const name of ["home", "repository", "odd", "long", "waiting", "withdrawn", "missing", "nowhere"]) {
    test(name, async () => {
      const { page, context, seen, response } = await open(browser, house.url + paths[name], { ...looks.wide, reducedMotion: "reduce" });
      try {
        assert.equal(response.status(), status[name] ?? 200);
        assert.match(response.headers()["content-security-policy"], /default-src 'none'/);
        assert.equal(await page.evaluate(() => document.scripts.length), 0);
        for (const [look, { viewport, colorScheme }] of Object.entries(looks)) {
          await page.setViewportSize(viewport);
          await page.emulateMedia({ colorScheme });
          await keep(page, `${name} ${look}`);
          assert.deepEqual(await tooWide(page), [], look);
          assert.deepEqual(await faults(page, look), [], look);
        }
        // Chromium notes every answer that is not a success.
        assert.deepEqual(seen.complaints.filter((c) => !/status of 404/.test(c) || !status[name]), []);
        const strangers = seen.requests.filter((r) => !r.url.startsWith(house.url + "/"));
        assert.deepEqual(strangers.map((r) => r.url), [], "asked elsewhere");
      } finally {
        await context.close();
      }
    });
  }
});

async function keep(page, name) {
  if (!shots) return;
  await mkdir(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `${name.replaceAll(" ", "-")}.png`), fullPage: true });
}

// tooWide names what does not fit into the window: the page itself, or a box whose end is cut off.
const tooWide = (page) => page.evaluate(() =>
  [document.documentElement, ...document.querySelectorAll("pre, table, main *")]
    .filter((e) => e.scrollWidth > e.clientWidth && getComputedStyle(e).display !== "inline")
    .map((e) => `${e.outerHTML.slice(0, 80)} is ${e.scrollWidth - e.clientWidth} pixels too wide`));

// faults are the rules of accessibility that the page breaks, with the element at fault. In another
// look only what looks can change is asked again.
async function faults(page, look) {
  if (look === "wide") await page.evaluate(axe);
  const only = look === "wide" ? {} : { runOnly: { type: "rule", values: ["color-contrast", "target-size", "link-in-text-block", "scrollable-region-focusable"] } };
  const { violations } = await page.evaluate((only) => axe.run({ preload: false, ...only }), only);
  return violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.html}: ${n.failureSummary}`));
}

test("the keyboard reaches the content first, and then everything, in sight", async () => {
  const { page, context } = await open(browser, house.url + paths.repository, looks.narrow);
  try {
    await page.keyboard.press("Tab");
    const skip = await page.evaluate(() => {
      const { left, right, top } = document.activeElement.getBoundingClientRect();
      return { href: document.activeElement.getAttribute("href"), inSight: left >= 0 && right <= innerWidth && top >= 0 };
    });
    assert.deepEqual(skip, { href: "#main", inSight: true });
    const all = await page.evaluate(() => document.querySelectorAll("a[href], [tabindex='0']").length);
    for (let n = 1; n < all; n++) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const e = document.activeElement;
        const { left, right, width, height } = e.getBoundingClientRect();
        return { name: e.textContent.trim(), outline: getComputedStyle(e).outlineStyle, inSight: left >= 0 && right <= innerWidth && width > 0 && height > 0 };
      });
      assert.ok(at.name && at.outline !== "none" && at.inSight, JSON.stringify(at));
    }
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement === document.body), true, "something else takes the focus");
  } finally {
    await context.close();
  }
});

test("the repositories of the front page are one click away, and the way back too", async () => {
  const { page, context } = await open(browser, house.url + "/", looks.narrow);
  try {
    await page.getByRole("link", { name: "hello", exact: true }).click();
    await page.waitForURL(house.url + paths.repository);
    assert.equal(await page.getByRole("heading", { level: 1 }).textContent(), "hello");
    assert.match(await page.getByRole("main").textContent(), /Matches the signed state/);
    await page.getByRole("link", { name: "Roost" }).click();
    await page.waitForURL(house.url + "/");
    assert.doesNotMatch(await page.getByRole("main").textContent(), /waiting/, "what waits is on no page");
  } finally {
    await context.close();
  }
});

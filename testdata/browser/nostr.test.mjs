// nostr-tools in a page of another origin: what a web client of the relay sees.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, visit } from "./browser.mjs";
import { House, serveSite } from "./house.mjs";

let house, site, browser, page, seen;

before(async () => {
  // One after the other: what has begun is ended, also if what follows fails.
  house = await House.start();
  site = await serveSite();
  browser = await launch();
  ({ page, seen } = await visit(browser, site));
});

after(async () => {
  await browser?.close();
  await site?.stop();
  await house?.stop();
});

// deed runs one deed of the page's visitor.
const deed = (name, ...args) => page.evaluate(([name, args]) => window.visitor[name](...args), [name, args]);

// checks 81, 112: a page asks who is there with one simple request.
test("NIP-11 is read from another origin, without a preflight", async () => {
  const { status, headers, body } = await deed("ask", house.url + "/", { headers: { Accept: "application/nostr+json" } });
  assert.equal(status, 200);
  assert.match(headers["content-type"], /^application\/(nostr\+)?json/);
  const info = JSON.parse(body);
  assert.ok(info.supported_grasps.includes("GRASP-01"), body);
  assert.ok(info.supported_nips.includes(11), body);
  assert.deepEqual(seen.requests.filter((r) => r.url.startsWith(house.url)).map((r) => r.method), ["GET"]);
});

test("an announcement waits, and says so", async () => {
  const { ok, said } = await deed("announce", house.url, "alice", "demo");
  assert.equal(ok, true, said);
  assert.equal(said, "purgatory: won't be served until git data arrives");
});

test("a state waits too, and neither is served", async () => {
  const { pubkey } = await deed("key", "alice");
  const { ok, said } = await deed("state", house.url, "alice", "demo", { "refs/heads/main": "1".repeat(40) });
  assert.equal(ok, true, said);
  assert.match(said, /^purgatory: /);
  assert.deepEqual(await deed("query", house.relay, { kinds: [30617, 30618], authors: [pubkey] }), []);
  assert.equal(await deed("count", house.relay, [{ kinds: [30617], authors: [pubkey] }]), 0);
});

test("an event about nothing here is refused with its reason", async () => {
  const { ok, said } = await deed("publish", house.relay, "mallory", 1, [], "buy things");
  assert.equal(ok, false);
  assert.match(said, /^blocked: .*(related|hosted|repositor)/);
});

test("an announcement that does not name this server is refused with what is missing", async () => {
  const { ok, said } = await deed("publish", house.relay, "alice", 30617, [["d", "far"], ["clone", "https://elsewhere.example/x.git"], ["relays", "wss://elsewhere.example"]]);
  assert.equal(ok, false);
  assert.match(said, /^(blocked|invalid): .*(clone|relays)/);
});

test("the state of a stranger is refused with its reason", async () => {
  const { ok, said } = await deed("state", house.url, "mallory", "demo", { "refs/heads/main": "2".repeat(40) });
  assert.equal(ok, false);
  assert.match(said, /^(blocked|invalid|restricted): ./);
});

test("what a push sets free reaches an open subscription, then and not before", async () => {
  const { pubkey } = await deed("key", "carol");
  await deed("announce", house.url, "carol", "live");
  assert.deepEqual(await deed("subscribe", house.relay, "carol", [{ kinds: [30617, 30618], authors: [pubkey] }]), []);
  await deed("start", "/live");
  const commit = await deed("commit", "/live", { "README.md": "live\n" });
  const state = await deed("state", house.url, "carol", "live", { "refs/heads/main": commit });
  assert.match(state.said, /^purgatory: /);
  const url = await deed("url", house.url, "carol", "live");
  const push = await deed("push", "/live", url);
  assert.equal(push.ok, true, JSON.stringify(push));
  assert.equal(await deed("arrival", "carol", state.id), true);
  const now = await deed("query", house.relay, { kinds: [30617, 30618], authors: [pubkey] });
  assert.equal(now.length, 2);
  assert.equal(await deed("count", house.relay, [{ kinds: [30618], authors: [pubkey] }]), 1);
});

test("an issue about a repository is taken and delivered live", async () => {
  const { pubkey } = await deed("key", "carol");
  assert.deepEqual(await deed("subscribe", house.relay, "issues", [{ kinds: [1621], "#a": [`30617:${pubkey}:live`] }]), []);
  const issue = await deed("publish", house.relay, "bob", 1621, [["a", `30617:${pubkey}:live`], ["p", pubkey], ["subject", "it rains"]], "in");
  assert.equal(issue.ok, true, issue.said);
  assert.equal(await deed("arrival", "issues", issue.id), true);
});

test("nobody is asked to authenticate, and the page has nothing to complain about", () => {
  assert.ok(seen.frames.some(([verb]) => verb === "EOSE"), "the frames were not seen");
  assert.deepEqual(seen.frames.filter(([verb]) => verb === "AUTH" || verb === "NOTICE"), []);
  assert.deepEqual(seen.complaints, []);
});

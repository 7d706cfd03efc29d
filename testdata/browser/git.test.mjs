// isomorphic-git, in a page of another origin and in Node.js: the same visits with both.

import assert from "node:assert/strict";
import { promises } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import "./websocket.mjs";
import git from "isomorphic-git";
import http from "isomorphic-git/http/node";
import * as nostr from "nostr-tools";
import { launch, visit } from "./browser.mjs";
import { House, serveSite } from "./house.mjs";
import { Visitor } from "./visitor.mjs";

let house;

before(async () => {
  house = await House.start();
});

after(() => house?.stop());

// visits are what both have in common. deed runs one deed of the visitor, dir names a folder.
function visits(deed, dir) {
  let url, first, second;

  test("a repository that is not here: the reason can be read", async () => {
    const { error } = await deed("clone", dir("nothing"), await deed("url", house.url, "alice", "nothing"));
    assert.equal(error.status, 404);
    assert.match(error.body, /No repository nothing is hosted here/);
  });

  test("announced and empty: it lists no refs and can be cloned", async () => {
    const { ok, said } = await deed("announce", house.url, "alice", "demo");
    assert.equal(ok, true, said);
    url = await deed("url", house.url, "alice", "demo");
    const remote = await deed("remote", url);
    assert.deepEqual([remote.v1, remote.v2, remote.push], [{}, {}, {}]);
    const copy = await deed("clone", dir("empty"), url);
    assert.equal(copy.error, undefined, JSON.stringify(copy.error));
    assert.deepEqual(copy.log, []);
  });

  // check 65: the reason is in the error of the ref, and in the words for the person.
  test("a push without a signed state is refused and says why", async () => {
    await deed("start", dir("demo"));
    first = await deed("commit", dir("demo"), { "README.md": "hello\n", "src/a.txt": "a\n", "noise.bin": 3 << 20 });
    const push = await deed("push", dir("demo"), url);
    assert.equal(push.ok, false);
    assert.match(push.error.refs["refs/heads/main"].error, /^unauthorised: .*publish kind 30618/);
    assert.match(push.messages.join("\n"), /push refused: .*30618/);
  });

  test("once the state is signed it is let in, and is served when push returns", async () => {
    const { id, said } = await deed("state", house.url, "alice", "demo", { "refs/heads/main": first });
    assert.match(said, /^purgatory: /);
    const push = await deed("push", dir("demo"), url);
    assert.equal(push.ok, true, JSON.stringify(push.error));
    assert.equal(push.refs["refs/heads/main"].ok, true);
    assert.deepEqual(await deed("query", house.relay, { ids: [id] }), [id]);
  });

  // check 65
  test("a push of what nobody signed says what was expected", async () => {
    second = await deed("commit", dir("demo"), { "README.md": "hello again\n" }, "second");
    const push = await deed("push", dir("demo"), url);
    assert.equal(push.ok, false);
    const why = new RegExp(`unauthorised: refs/heads/main: signed state [0-9a-f]{7} says ${first.slice(0, 7)}, you pushed ${second.slice(0, 7)}`);
    assert.match(push.error.refs["refs/heads/main"].error, why);
    assert.match(push.error.message, why);
    assert.match(push.messages.join("\n"), /push refused: refs\/heads\/main: /);
    assert.match(push.messages.join("\n"), /hint: publish a new state event/);
  });

  test("refs and capabilities are listed with protocol versions 1 and 2", async () => {
    const remote = await deed("remote", url);
    assert.deepEqual(remote.versions, [1, 2]);
    for (const refs of [remote.v1, remote.v2]) assert.equal(refs["refs/heads/main"], first);
    assert.equal(remote.push["refs/heads/main"], first);
    assert.equal(remote.head, "refs/heads/main");
    for (const want of ["allow-tip-sha1-in-want", "allow-reachable-sha1-in-want", "filter", "shallow", "side-band-64k"]) {
      assert.ok(remote.capabilities.includes(want), want);
    }
    for (const want of ["ls-refs", "fetch"]) assert.ok(remote.commands.includes(want), want);
  });

  test("a clone with version 1 is what was pushed, and tells of its progress", async () => {
    const { id, said } = await deed("state", house.url, "alice", "demo", { "refs/heads/main": second });
    assert.match(said, /^purgatory: /, id);
    const push = await deed("push", dir("demo"), url);
    assert.equal(push.ok, true, JSON.stringify(push.error));
    const copy = await deed("clone", dir("copy"), url);
    const { phases, messages, ...held } = copy;
    assert.deepEqual(held, await deed("contents", dir("demo")));
    assert.deepEqual(held.log, [second, first]);
    assert.ok(phases.some((p) => /objects/i.test(p)), `${phases}`);
    assert.ok(messages.some((m) => /objects/i.test(m)), `${messages}`);
  });

  test("a clone with version 2 is what was pushed", async () => {
    assert.deepEqual(await deed("clone2", dir("copy2"), url), await deed("contents", dir("demo")));
    assert.deepEqual((await deed("clone2", dir("copy2-shallow"), url, { depth: 1 })).log, [second]);
  });

  test("a shallow clone has one commit and can be deepened", async () => {
    const copy = await deed("clone", dir("shallow"), url, { depth: 1, singleBranch: true });
    assert.equal(copy.error, undefined, JSON.stringify(copy.error));
    assert.deepEqual(copy.log, [second]);
    assert.equal(await deed("fetch", dir("shallow"), url, { depth: 2, ref: "main" }), second);
    assert.deepEqual((await deed("contents", dir("shallow"))).log, [second, first]);
  });

  test("a branch, an annotated tag and a deletion go one ref at a time", async () => {
    const tag = await deed("tag", dir("demo"), "v1", second);
    await deed("state", house.url, "alice", "demo", { "refs/heads/main": second, "refs/heads/dev": first, "refs/tags/v1": tag });
    const dev = await deed("push", dir("demo"), url, { ref: first, remoteRef: "refs/heads/dev" });
    assert.equal(dev.ok, true, JSON.stringify(dev.error));
    const pushed = await deed("push", dir("demo"), url, { ref: "refs/tags/v1", remoteRef: "refs/tags/v1" });
    assert.equal(pushed.ok, true, JSON.stringify(pushed.error));
    const { v1 } = await deed("remote", url);
    assert.equal(v1["refs/heads/dev"], first);
    assert.equal(v1["refs/tags/v1"], tag);
    await deed("state", house.url, "alice", "demo", { "refs/heads/main": second });
    const { v1: left } = await deed("remote", url);
    assert.equal(left["refs/heads/dev"], undefined);
  });

  test("history may be rewritten if the state says so", async () => {
    await deed("start", dir("other"));
    const root = await deed("commit", dir("other"), { "README.md": "from scratch\n" });
    await deed("state", house.url, "alice", "demo", { "refs/heads/main": root });
    const push = await deed("push", dir("other"), url, { force: true });
    assert.equal(push.ok, true, JSON.stringify(push.error));
    assert.deepEqual((await deed("clone", dir("rewritten"), url)).log, [root]);
  });

  test("an identifier may be odd", async () => {
    const { ok, said } = await deed("announce", house.url, "alice", "my 🚀 repo");
    assert.equal(ok, true, said);
    const odd = await deed("url", house.url, "alice", "my 🚀 repo");
    await deed("start", dir("odd"));
    const root = await deed("commit", dir("odd"), { "a.txt": "a\n" });
    await deed("state", house.url, "alice", "my 🚀 repo", { "refs/heads/main": root });
    const push = await deed("push", dir("odd"), odd);
    assert.equal(push.ok, true, JSON.stringify(push.error));
    assert.deepEqual((await deed("clone", dir("odd-copy"), odd)).log, [root]);
  });
}

describe("in a page", () => {
  let site, browser, page, seen;

  before(async () => {
    site = await serveSite();
    browser = await launch();
    ({ page, seen } = await visit(browser, site));
  });

  after(async () => {
    await browser?.close();
    await site?.stop();
  });

  const deed = (name, ...args) => page.evaluate(([name, args]) => window.visitor[name](...args), [name, args]);

  visits(deed, (name) => `/${name}`);

  // check 85: the preflights are the browser's own.
  test("the browser asked before it sent Git-Protocol and Authorization, and was allowed", async () => {
    const preflights = (path, header) => seen.requests.filter((r) => r.preflight && r.url.includes(path) &&
      (r.headers["access-control-request-headers"] ?? "").split(",").includes(header));
    assert.ok(preflights("/demo.git/info/refs", "git-protocol").length > 0, "no preflight for git-protocol");
    assert.ok(preflights("/demo.git/git-receive-pack", "content-type").length > 0, "no preflight for a push");
    // An answer is remembered for each address, with all that it allows: so, one not asked before.
    const url = await deed("url", house.url, "alice", "my 🚀 repo");
    const copy = await deed("clone", "/with-headers", url, {
      headers: { Authorization: "Basic eDp4", "X-Requested-With": "page", "X-Git-Request-Id": "1" },
    });
    assert.equal(copy.error, undefined, JSON.stringify(copy.error));
    for (const header of ["authorization", "x-git-request-id", "x-requested-with"]) {
      assert.equal(preflights("repo.git/info/refs", header).length, 1, `preflights for ${header}`);
    }
    const simple = seen.requests.find((r) => r.url.includes("/nothing.git/info/refs"));
    assert.equal(simple.preflight, false, "listing refs with version 1 needs no preflight");
  });

  // check 67: web clients that push by themselves negotiate no side-band.
  test("a client without side-bands reads the reason in the bare report", async () => {
    const line = `${"0".repeat(40)} ${"1".repeat(40)} refs/heads/new\0report-status delete-refs`;
    const { status, body } = await deed("ask", `${await deed("url", house.url, "alice", "demo")}/git-receive-pack`, {
      method: "POST",
      headers: { "Content-Type": "application/x-git-receive-pack-request", Accept: "application/x-git-receive-pack-result" },
      body: (line.length + 4).toString(16).padStart(4, "0") + line + "0000",
    });
    assert.equal(status, 200);
    assert.match(body, /^[0-9a-f]{4}unpack (?!ok)/);
    assert.match(body, /ng refs\/heads\/new unauthorised: /);
  });

  test("a page reads the validator and the reason of an answer", async () => {
    const { status, headers } = await deed("ask", house.url + "/");
    assert.equal(status, 200);
    assert.ok(headers.etag, JSON.stringify(headers));
    assert.equal((await deed("ask", house.url + "/zzz")).status, 404);
  });

  test("the page has nothing to complain about but what is not here", () => {
    // Chromium itself notes every answer that is not a success.
    assert.deepEqual(seen.complaints.filter((c) => !/the server responded with a status of 404/.test(c)), []);
  });
});

describe("in Node.js", () => {
  let visitor, folder;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "gitroost-visit-"));
    visitor = new Visitor({ git, http, fs: { promises }, nostr });
  });

  after(async () => {
    visitor?.close();
    if (folder) await rm(folder, { recursive: true });
  });

  visits((name, ...args) => visitor[name](...args), (name) => join(folder, name));
});

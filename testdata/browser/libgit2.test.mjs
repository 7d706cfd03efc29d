// libgit2, through Python's binding: it pushes in chunks, knows protocol version 0 only, and reads
// a refusal in its own way.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import "./websocket.mjs";
import * as nostr from "nostr-tools";
import { House } from "./house.mjs";
import { Visitor } from "./visitor.mjs";

const script = fileURLToPath(new URL("libgit2.py", import.meta.url));
const python = process.env.PYTHON ?? "/usr/bin/python3"; // the one that Debian's packages are for

// libgit2 runs one deed of the script and returns what it saw.
async function libgit2(...args) {
  const { stdout } = await promisify(execFile)(python, [script, ...args], { timeout: 60_000, env: { PATH: process.env.PATH, HOME: "/nonexistent" } });
  return JSON.parse(stdout);
}

const missing = await libgit2("version").then(() => false, () => "pygit2 is not here; install the package python3-pygit2");

describe("libgit2", { skip: missing }, () => {
  let house, visitor, folder, work, url, first;

  before(async () => {
    house = await House.start();
    folder = await mkdtemp(join(tmpdir(), "gitroost-libgit2-"));
    work = join(folder, "work");
    visitor = new Visitor({ nostr });
    await visitor.announce(house.url, "alice", "demo");
    url = visitor.url(house.url, "alice", "demo");
  });

  after(async () => {
    visitor?.close();
    if (folder) await rm(folder, { recursive: true });
    await house?.stop();
  });

  test("an empty repository is cloned", async () => {
    assert.deepEqual(await libgit2("clone", url, join(folder, "empty")), { head: null, files: [] });
  });

  // check 66: push must fail, or the official client counts the server as one that has it.
  test("a push that nobody signed fails", async () => {
    ({ commit: first } = await libgit2("commit", work, "README.md", "hello\n"));
    const push = await libgit2("push", work, url, "refs/heads/main");
    assert.equal(push.ok, false, JSON.stringify(push));
    assert.match(push.said, /push refused: .*30618/);
  });

  test("a push that a state signed succeeds, and is cloned", async () => {
    const { id, said } = await visitor.state(house.url, "alice", "demo", { "refs/heads/main": first });
    assert.match(said, /^purgatory: /);
    const push = await libgit2("push", work, url, "refs/heads/main");
    assert.deepEqual([push.ok, push.rejected], [true, {}], JSON.stringify(push));
    assert.deepEqual(await visitor.query(house.relay, { ids: [id] }), [id]);
    const { progress, ...copy } = await libgit2("clone", url, join(folder, "copy"));
    assert.deepEqual(copy, { head: first, branch: "main", files: ["README.md"] });
    assert.ok(progress > 0);
  });

  // check 66
  test("a push of another commit fails and says what was expected", async () => {
    const { commit } = await libgit2("commit", work, "README.md", "other\n");
    const push = await libgit2("push", work, url, "refs/heads/main");
    assert.equal(push.ok, false, JSON.stringify(push));
    assert.match(push.said, new RegExp(`push refused: refs/heads/main: signed state .* says ${first.slice(0, 7)}, you pushed ${commit.slice(0, 7)}`));
  });

  test("a repository that is not here is an error", async () => {
    const { error } = await libgit2("clone", visitor.url(house.url, "alice", "nothing"), join(folder, "nothing"));
    assert.match(error, /404/);
  });
});

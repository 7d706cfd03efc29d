// A person with a Nostr client and a git client. The same code runs in the page, with what a
// browser has, and in Node.js: what it needs is handed in.

// Time moves on with every event, so that no two states are equally old.
let clock = Math.floor(Date.now() / 1000) - 300;

const author = { name: "Alice", email: "alice@example.com" };

// told makes of an error what can leave a page.
const told = (err) => ({
  code: err.code ?? err.name,
  message: err.message ?? String(err),
  status: err.data?.statusCode,
  body: err.data?.response,
  refs: err.data?.result?.refs,
});

export class Visitor {
  // tools: git (isomorphic-git), http (its client), fs (a file system), nostr (nostr-tools).
  constructor(tools) {
    Object.assign(this, tools);
    this.keys = {};
    this.relays = new Map();
    this.live = {};
  }

  key(name) {
    this.keys[name] ??= this.nostr.generateSecretKey();
    const pubkey = this.nostr.getPublicKey(this.keys[name]);
    return { pubkey, npub: this.nostr.nip19.npubEncode(pubkey) };
  }

  async relay(url) {
    if (!this.relays.has(url)) this.relays.set(url, await this.nostr.Relay.connect(url));
    return this.relays.get(url);
  }

  sign(name, kind, tags, content = "") {
    this.key(name);
    return this.nostr.finalizeEvent({ kind, tags, content, created_at: clock++ }, this.keys[name]);
  }

  // publish signs an event, sends it and returns it with what the relay said.
  async publish(relay, name, kind, tags, content) {
    const event = this.sign(name, kind, tags, content);
    try {
      return { id: event.id, ok: true, said: await (await this.relay(relay)).publish(event) };
    } catch (err) {
      return { id: event.id, ok: false, said: err.message };
    }
  }

  announce(server, name, id) {
    const relay = server.replace(/^http/, "ws");
    return this.publish(relay, name, 30617, [["d", id], ["name", id], ["clone", this.url(server, name, id)], ["relays", relay]]);
  }

  state(server, name, id, refs, head = "refs/heads/main") {
    const tags = [["d", id], ...Object.entries(refs), ["HEAD", `ref: ${head}`]];
    return this.publish(server.replace(/^http/, "ws"), name, 30618, tags);
  }

  url(server, name, id) {
    return `${server}/${this.key(name).npub}/${encodeURIComponent(id)}.git`;
  }

  // subscribe opens a subscription and returns the ids of what was stored. What comes later is
  // found by arrival.
  async subscribe(url, label, filters) {
    const live = (this.live[label] = { ids: [], waiting: [], stored: true });
    const stored = [];
    const relay = await this.relay(url);
    await new Promise((resolve) => {
      relay.subscribe(filters, {
        onevent: (event) => {
          if (live.stored) stored.push(event.id);
          live.ids.push(event.id);
          live.waiting = live.waiting.filter(({ id, done }) => id !== event.id || done(true));
        },
        oneose: () => {
          live.stored = false;
          resolve();
        },
      });
    });
    return stored;
  }

  // arrival waits until the subscription has brought the event.
  arrival(label, id) {
    const live = this.live[label];
    if (live.ids.includes(id)) return true;
    return new Promise((resolve) => live.waiting.push({ id, done: (yes) => void resolve(yes) }));
  }

  async query(url, filter) {
    const pool = new this.nostr.SimplePool();
    const events = await pool.querySync([url], filter);
    pool.close([url]);
    return events.map((e) => e.id);
  }

  async count(url, filters) {
    return (await this.relay(url)).count(filters, {});
  }

  close() {
    for (const relay of this.relays.values()) relay.close();
    this.relays.clear();
  }

  // start makes an empty repository, commit adds a commit to it and returns its id.
  async start(dir) {
    await this.git.init({ fs: this.fs, dir, defaultBranch: "main" });
  }

  async commit(dir, files, message = "change") {
    for (const [path, content] of Object.entries(files)) {
      const parent = path.includes("/") && `${dir}/${path.slice(0, path.lastIndexOf("/"))}`;
      if (parent) await this.fs.promises.mkdir(parent).catch(() => {});
      // A number asks for so many bytes that do not compress.
      await this.fs.promises.writeFile(`${dir}/${path}`, typeof content === "number" ? noise(content) : content);
      await this.git.add({ fs: this.fs, dir, filepath: path });
    }
    return this.git.commit({ fs: this.fs, dir, message, author: { ...author, timestamp: clock++, timezoneOffset: 0 } });
  }

  // tag makes an annotated tag and returns its object's id.
  async tag(dir, ref, object) {
    await this.git.annotatedTag({ fs: this.fs, dir, ref, object, message: "tagged", tagger: author });
    return this.git.resolveRef({ fs: this.fs, dir, ref: `refs/tags/${ref}` });
  }

  async push(dir, url, options = {}) {
    const { fs, http } = this;
    const messages = [];
    const onMessage = (text) => void messages.push(text);
    try {
      const result = await this.git.push({ fs, http, dir, url, ref: "main", remoteRef: "refs/heads/main", onMessage, ...options });
      return { ok: result.ok, refs: result.refs, messages };
    } catch (err) {
      return { ok: false, error: told(err), messages };
    }
  }

  async clone(dir, url, options = {}) {
    const { fs, http } = this;
    const phases = new Set();
    const messages = [];
    try {
      await this.git.clone({
        fs, http, dir, url,
        onProgress: ({ phase }) => void phases.add(phase),
        onMessage: (text) => void messages.push(text),
        ...options,
      });
    } catch (err) {
      return { error: told(err), messages };
    }
    return { ...(await this.contents(dir)), phases: [...phases], messages };
  }

  async fetch(dir, url, options = {}) {
    const { fs, http } = this;
    const { fetchHead } = await this.git.fetch({ fs, http, dir, url, ...options });
    return fetchHead;
  }

  // contents is what a copy holds: its branch, its history, and its files with the ids of their blobs.
  async contents(dir) {
    const { fs } = this;
    const branch = await this.git.currentBranch({ fs, dir });
    const log = await this.git.log({ fs, dir }).catch(() => []);
    const files = {};
    for (const path of await this.git.listFiles({ fs, dir })) {
      const object = await this.fs.promises.readFile(`${dir}/${path}`);
      files[path] = (await this.git.hashBlob({ object })).oid;
    }
    return { branch, log: log.map((c) => c.oid), files };
  }

  // remote is what the server advertises, asked in every way that the client knows.
  async remote(url) {
    const { http } = this;
    const refs = async (protocolVersion, forPush) =>
      Object.fromEntries((await this.git.listServerRefs({ http, url, protocolVersion, forPush, symrefs: true })).map((r) => [r.ref, r.oid]));
    const old = await this.git.getRemoteInfo({ http, url });
    const one = await this.git.getRemoteInfo2({ http, url, protocolVersion: 1 });
    const two = await this.git.getRemoteInfo2({ http, url, protocolVersion: 2 });
    return {
      head: old.HEAD,
      capabilities: old.capabilities,
      versions: [one.protocolVersion, two.protocolVersion],
      commands: Object.keys(two.capabilities),
      v1: await refs(1, false),
      v2: await refs(2, false),
      push: await refs(1, true),
    };
  }

  // clone2 clones with protocol version 2. isomorphic-git lists refs with it but fetches without, so
  // the one request between is made here; it reads the pack and makes the copy.
  async clone2(dir, url, { depth } = {}) {
    const { fs, http } = this;
    const [head] = await this.git.listServerRefs({ http, url, protocolVersion: 2, prefix: "HEAD", symrefs: true });
    const lines = ["command=fetch", "agent=visitor/1", null, `want ${head.oid}`, ...(depth ? [`deepen ${depth}`] : []), "ofs-delta", "done"];
    const body = lines.map((l) => (l === null ? "0001" : (l.length + 5).toString(16).padStart(4, "0") + l + "\n")).join("") + "0000";
    const response = await fetch(`${url}/git-upload-pack`, {
      method: "POST",
      headers: {
        "Git-Protocol": "version=2",
        "Content-Type": "application/x-git-upload-pack-request",
        Accept: "application/x-git-upload-pack-result",
      },
      body,
    });
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    const { pack, shallow } = readFetch(new Uint8Array(await response.arrayBuffer()));
    await this.git.init({ fs, dir, defaultBranch: "main" });
    await fs.promises.mkdir(`${dir}/.git/objects/pack`).catch(() => {});
    await fs.promises.writeFile(`${dir}/.git/objects/pack/pack-visit.pack`, pack);
    await this.git.indexPack({ fs, dir, filepath: ".git/objects/pack/pack-visit.pack" });
    if (shallow.length) await fs.promises.writeFile(`${dir}/.git/shallow`, shallow.join("\n") + "\n");
    await this.git.writeRef({ fs, dir, ref: head.target, value: head.oid });
    await this.git.checkout({ fs, dir, ref: head.target.replace("refs/heads/", "") });
    return this.contents(dir);
  }

  // ask makes one request and returns what a page may read of the answer.
  async ask(url, options) {
    const response = await fetch(url, options);
    return { status: response.status, headers: Object.fromEntries(response.headers), body: await response.text() };
  }
}

// readFetch takes the answer to a fetch of protocol version 2 apart.
function readFetch(bytes) {
  const text = new TextDecoder();
  const parts = [];
  const shallow = [];
  let section = "";
  for (let at = 0; at < bytes.length; ) {
    const size = parseInt(text.decode(bytes.subarray(at, at + 4)), 16);
    const packet = bytes.subarray(at + 4, at + Math.max(size, 4));
    at += Math.max(size, 4);
    if (size < 4) {
      section = "";
    } else if (section === "packfile") {
      if (packet[0] === 3) throw new Error(text.decode(packet.subarray(1)));
      if (packet[0] === 1) parts.push(packet.subarray(1));
    } else if (section === "") {
      section = text.decode(packet).trim();
      if (section.startsWith("ERR ")) throw new Error(section);
    } else if (section === "shallow-info") {
      shallow.push(text.decode(packet).trim().replace("shallow ", ""));
    }
  }
  const pack = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  parts.reduce((at, p) => (pack.set(p, at), at + p.length), 0);
  return { pack, shallow };
}

function noise(size) {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, Math.min(at + 65536, size)));
  return bytes;
}

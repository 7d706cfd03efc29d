package config

import "time"

// A Setting is one row of the table: what a value is called, what it is for, and what it may be.
type Setting struct {
	Name    string // dotted: "limits.max_push"
	Default string // as one would write it
	Doc     string // a sentence or two: what it does and why one would change it
	Unit    string // "bytes", "duration", "list", … ; for the reference
	Limit   string // what is accepted, in words

	list  bool
	pairs bool // a list of key=value: in the file also a group
	flag  bool // a boolean: --name alone means true
	set   func(string) error
	get   func() string
	num   func() float64 // nil if it is no number
}

// Number returns what is in force as a number: a count, bytes or seconds. ok is false for a setting
// that is none of these.
func (s Setting) Number() (n float64, ok bool) {
	if s.num == nil {
		return 0, false
	}
	return s.num(), true
}

// Flag returns the name of the setting on the command line, without dashes in front.
func (s Setting) Flag() string { return dashed(s.Name) }

// Env returns the name of the setting in the environment.
func (s Setting) Env() string { return envPrefix + upper(s.Name) }

// Value returns what is in force, as one would write it.
func (s Setting) Value() string { return s.get() }

// Settings returns the table, bound to c: Value reads from c.
func (c *Config) Settings() []Setting { return c.settings() }

const day = 24 * time.Hour

// settings is the only place that knows the names. The order is that of the reference.
func (c *Config) settings() []Setting {
	l := &c.Limits
	return append(amongLimits([]Setting{
		text(&c.Listen, "listen", "127.0.0.1:7334", hostport,
			"Where git, the relay and the pages listen. The default is reached from this computer only. Port 0 lets the system choose."),
		text(&c.Domain, "domain", "", authority,
			"The host[:port] by which the world knows this server; announcements must name it. Left empty it follows `listen`. Begin it with http:// if there is no TLS in front; otherwise names get https:// and addresses http://."),
		texts(&c.Aliases, "aliases", authority,
			"Further host[:port] that count as this server, for example an old domain or an onion address."),
		text(&c.Data, "data", "./gitroost-data", notEmpty,
			"The folder of the database and of the repositories. It is made if it is missing. Use a local disk: the database does not work over NFS."),
		boolean(&c.Ephemeral, "ephemeral", "false",
			"Keep everything in a temporary folder and delete it at the end. For trying things and for tests."),
		text(&c.Name, "name", "gitroost", notEmpty,
			"What the server calls itself on its pages and in its NIP-11 document."),
		text(&c.Description, "description", "Git repositories whose refs are signed by their maintainers.", notEmpty,
			"One or two sentences about the server, for its pages and its NIP-11 document."),
		key(&c.Owner, "owner",
			"The operator's public key, npub or hex. It is shown in the NIP-11 document, and its holder may manage the server over the network (NIP-86)."),
		text(&c.Contact, "contact", "", anything,
			"How to reach the operator: a mail address or a URL. Shown to people who are refused."),
		text(&c.Icon, "icon", "", webURL,
			"URL of a picture for clients that show one (NIP-11)."),
		boolean(&c.Search, "search", "true",
			"Answer filters with a search for words (NIP-50) in announcements, issues, patches and pull requests. Without it they are refused; the words are indexed either way."),
		prefixes(&c.TrustedProxies, "trusted_proxies",
			"The address ranges of the reverse proxies in front. Only they are believed when they say who the visitor is; without them, limits per address fall on the proxy."),
		duration(&c.Shutdown, "shutdown", "30s", 0, time.Hour,
			"How long pushes and clones may finish once a stop was asked for. Keep the service manager's own limit longer."),

		text(&c.Admin.Listen, "admin.listen", "", optional(hostport),
			"Where /metrics is served, for example 127.0.0.1:7335. Empty is off. It has no password: do not open it to the world."),
		keys(&c.Admin.Keys, "admin.keys",
			"Further public keys, npub or hex, whose holders may manage the server over the network (NIP-86): deny and allow keys, repositories, kinds and addresses, and change its name, description and icon. The owner and the server's own key always may."),

		text(&c.Git.Path, "git.path", "git", notEmpty,
			"The git program, 2.39.5 or newer."),
		count(&c.Git.Serving, "git.serving", "0", 0, 1024,
			"How many packs are made at a time, each by a git process that one core can keep busy, or, of the last commits for a shallow clone, without one. 0 means two for each core, and at least four. A pack that is made already, or is being made for somebody else, needs no git process and is not counted."),
		count(&c.Git.Receiving, "git.receiving", "64", 1, 1024,
			"How many packs may be taken in at a time, each by a git process."),
		count(&c.Git.Waiting, "git.waiting", "256", 0, 100000,
			"How many clones, and how many pushes, may wait for their turn when all of these are taken; a quarter of them from one network. Beyond that the answer is to try later."),
		duration(&c.Git.Wait, "git.wait", "50s", time.Second, 10*time.Minute,
			"How long they wait before the answer is to try later."),

		count(&c.Git.Upkeep, "git.upkeep", "20", 0, 10000,
			"From how many packs on those of a repository are combined, in the background and at idle priority. Each push adds one. 0 never does it: then see to it yourself."),

		gitConfig(&c.Git.Config, "git.config",
			"Further settings of git, for what making packs may cost: pack.depth=20. In the file also as a group. What git checks, where it goes and which programs it runs cannot be set."),
		size(&c.Cache.Size, "cache.size", "1 GiB", 0, 1<<50,
			"How much space below `data` may hold packs that were made for somebody who fetched, so that others who ask for the same get them at once. 0 keeps none: then a pack is made for each client and at its speed."),
		duration(&c.Cache.Age, "cache.age", "1h", time.Minute, 365*day,
			"How long such a pack is kept after it was made."),

		prefixes(&c.Outward.Allow, "outward.allow",
			"Address ranges that may be contacted although they are not the world: private networks, loopback, link-local and the like, in which URLs of strangers must not reach anything. Name only what serves git, relays or webhooks to you."),
		texts(&c.Outward.Deny, "outward.deny", authority,
			"Hosts that are never contacted, with all names below them: for those who ask not to be called."),
		boolean(&c.Outward.HTTP, "outward.http", "false",
			"Contact http:// and ws:// addresses too. Whoever is on the way can read and change what they say; signatures and object ids still hold."),
		text(&c.Outward.CA, "outward.ca", "", anything,
			"A PEM file with the authorities that certificates of others are verified with, instead of the system's: for a network with an authority of its own."),
		count(&c.Outward.HostConcurrent, "outward.host_concurrent", "5", 1, 1000,
			"Requests to one host at a time."),
		count(&c.Outward.HostPerMinute, "outward.host_per_minute", "30", 4, 100000,
			"Requests to one host, and to one address, in a minute. A fetch of git data counts as three. Hosts are named by strangers: this is what protects them from us."),
		size(&c.Outward.HostRate, "outward.host_rate", "0", 0, 1<<40,
			"Bytes per second that are read of one host. 0 is no bound."),
		size(&c.Outward.FetchSize, "outward.fetch_size", "2 GiB", 1<<20, 1<<40,
			"How much one fetch of git data may bring."),
		duration(&c.Outward.FetchTime, "outward.fetch_time", "30m", time.Second, day,
			"How long one fetch of git data may take."),

		boolean(&c.Sync.Enabled, "sync.enabled", "true",
			"Fetch what the other relays and servers that an announcement names have of its repository (GRASP-02). Nothing is sent to them."),
		count(&c.Sync.Peers, "sync.peers", "200", 1, 10000,
			"How many relays are listened to at a time. If announcements name more, those come first that most owners name."),
		duration(&c.Sync.Delay, "sync.start_delay", "30s", 0, time.Hour,
			"How long after its start the server begins, more or less: many that start together shall not call together."),
		boolean(&c.Sync.Git, "sync.git", "true",
			"Look for git data that is missing here on the other servers that announcements and pull requests name. It is part of sync."),
		duration(&c.Sync.GitWait, "sync.git_wait", "90m", 0, day,
			"How long an event may wait for git data that is looked for elsewhere; purgatory.ttl holds where there is nowhere to look. 0 lets purgatory.ttl hold in any case."),

		boolean(&c.Sites.Serve, "sites.serve", "false",
			"Show the sites that jobs of the kind site publish below `sites` in the data folder: at /sites/<npub>/<identifier>/, or at sites.host. Every page is told to run no scripts."),
		text(&c.Sites.Host, "sites.host", "", optional(bareHost),
			"The name of a host that shows nothing but sites, at /<npub>/<identifier>/, for example pages.example.com. It must lead to this server and have nothing in common with its own name: what strangers wrote is kept away from it."),

		texts(&c.Sync.Relays, "sync.relays", relayAddress,
			"Relays that are asked for announcements though no announcement here names them: wss://relay.example. What they have is held to the same rules."),

		boolean(&c.Sync.Plus, "sync.plus", "false",
			"Fetch what is about repositories that are served here, and the profiles of those who take part in them, from the relays to which these people write, too (GRASP-03): those of their relay lists, three of each. It needs sync.enabled. Such relays are named by whoever answers something."),
		count(&c.Sync.Outboxes, "sync.outboxes", "100", 1, 10000,
			"How many relays are listened to because of sync.plus, beside sync.peers. If people name more, those come first to which most owners and maintainers write."),

		choice(&c.Archive.Mode, "archive.mode", "off", []string{"off", "all", "listed"},
			"Keep repositories whose announcement does not name this server, and follow them (GRASP-05): all of them, or those of archive.repos and archive.services. They are read-only here. It needs sync.enabled; deny beats it."),
		texts(&c.Archive.Repos, "archive.repos", pattern,
			"Which repositories are kept if archive.mode is listed: npub1…, npub1…/identifier or identifier."),
		texts(&c.Archive.Services, "archive.services", authority,
			"And those whose clone URLs name one of these servers, host[:port]."),
		boolean(&c.Archive.ReadOnly, "archive.read_only", "false",
			"Take no pushes of branches and tags at all: what is here follows other servers, and the NIP-11 document says so."),

		count(&c.Archive.History, "archive.history", "1000", 0, 100000,
			"How many older tips are kept of each archived repository: where a branch or tag goes or is moved elsewhere, what it led to stays here, hidden. gitroost sync status --repo tells of them, and git fetch brings them by their ids. 0 keeps none."),
		duration(&c.Archive.HistoryAge, "archive.history_age", "0", 0, 36500*day,
			"How long such a tip is kept. 0 is for good, as long as there are not too many."),

		choice(&c.Log.Level, "log.level", "info", []string{"debug", "info", "warn", "error"},
			"The least important line that is written. Info has one line for every change of state."),
		logRooms(&c.Log.Rooms, "log.rooms",
			"Another log.level for single rooms: git=debug writes what git is called with, secrets masked, and relay=none writes nothing of the relay. --log is the same."),
		choice(&c.Log.Format, "log.format", "auto", []string{"auto", "text", "json"},
			"How lines are written; auto is text on a terminal and JSON elsewhere."),

		duration(&c.Purgatory.TTL, "purgatory.ttl", "30m", time.Minute, day,
			"How long an event waits for its git data before it is let go."),
		duration(&c.Purgatory.OrphanTTL, "purgatory.orphan_ttl", "20m", time.Minute, day,
			"How long a ref under refs/nostr/ waits for its event before it is removed."),

		texts(&c.Repos.Allow, "repos.allow", pattern,
			"Which new repositories are taken: npub1…, npub1…/identifier or identifier. Left empty all are; otherwise nothing else is, and the NIP-11 document says so. What is here already stays."),
		texts(&c.Repos.Deny, "repos.deny", pattern,
			"Which repositories are never taken, in the same three forms. It beats repos.allow. One that is here already is closed, and its data kept for repos.deleted_grace. What gitroost deny says comes on top, without a restart."),
		duration(&c.Repos.WithdrawnGrace, "repos.withdrawn_grace", "30d", 0, 3650*day,
			"How long a repository can still be read after its owner stopped naming this server."),
		duration(&c.Repos.DeletedGrace, "repos.deleted_grace", "90d", 0, 3650*day,
			"How long the data of a deleted repository is kept, unserved, in case its owner announces it again."),

		boolean(&c.Relay.Negentropy, "relay.negentropy", "true",
			"Offer NIP-77, by which other relays and clients find out which events they lack."),
		boolean(&c.Relay.Compression, "relay.compression", "false",
			"Offer to compress WebSocket messages. It costs about 40 KiB of memory for each message on its way."),

		size(&c.Quota.Bytes, "quota.bytes", "0", 0, 1<<50,
			"How much all repositories of one owner may hold together, as they lie on disk. 0 is no bound. What is over it stays and is served; it can only not grow."),
		quotas(&c.Quota.Overrides, "quota.overrides",
			"Another quota.bytes for single owners: npub1…=20 GiB, and npub1…=0 for no bound, on events of the key neither."),
		count(&c.Quota.Repos, "quota.repos", "1000", 0, 1000000,
			"Repositories that one owner may have. 0 is no bound."),
		size(&c.Quota.RepoBytes, "quota.repo_bytes", "0", 0, 1<<50,
			"How much one repository may hold, without what pull requests brought. 0 is no bound."),
		size(&c.Quota.PRBytes, "quota.pr_bytes", "1 GiB", 0, 1<<50,
			"How much pushes of PR refs may add to one repository: anybody may push those, so they count neither for its owner nor in quota.repo_bytes. 0 is no bound."),
		count(&c.Quota.KeyEvents, "quota.events_per_key", "100000", 0, 100000000,
			"Issues, patches, comments and the like that one key may keep here; anybody may publish what connects to something served. 0 is no bound."),
		count(&c.Quota.ThreadEvents, "quota.events_per_root", "20000", 0, 100000000,
			"Events that may answer one event, directly or through others. 0 is no bound."),
		count(&c.Quota.RepoEvents, "quota.events_per_repo", "1000000", 0, 100000000,
			"Events that may be about one repository, directly or through others. 0 is no bound."),
		size(&c.Quota.SubmitterBytes, "quota.submitter_bytes", "1 GiB", 0, 1<<50,
			"How much one key may keep under /prs/, where pull requests to repositories elsewhere are pushed. 0 is no bound."),
		count(&c.Quota.SubmitterRepos, "quota.submitter_repos", "100", 0, 1000000,
			"Repositories that one key may have under /prs/. 0 is no bound."),
		count(&c.Quota.SubmitterRefs, "quota.submitter_refs", "1000", 0, 1000000,
			"Refs that one key may keep under /prs/. 0 is no bound."),

		boolean(&c.PRs.Enabled, "prs.enabled", "false",
			"Let anybody push pull requests to /prs/<npub>/<identifier>.git, also for repositories that live elsewhere (GRASP-06). Their events and commits are served from here; quota.submitter_* are all that bounds them."),

		keys(&c.Authors.Deny, "authors.deny",
			"Public keys, npub or hex, from which nothing is taken. What they published here before is removed, and their repositories are closed."),
		deniedKinds(&c.Kinds.Deny, "kinds.deny",
			"Event kinds that are not taken; those that are here are removed. Deletions, announcements and states cannot be denied."),

		size(&c.Relay.Cache, "relay.cache", "64 MiB", 0, 64<<30,
			"How much memory may hold the events that are asked for often. 0 reads everything from the database."),

		size(&l.StateEvent, "limits.state_event", "1 MiB", 16<<10, 16<<20,
			"The largest state event (kind 30618). A state names every branch and tag: about 100 bytes each."),
		size(&l.Event, "limits.event", "256 KiB", 4<<10, 16<<20,
			"The largest event of any other kind. Patches are the big ones."),
		size(&l.Message, "limits.message", "4 MiB", 64<<10, 64<<20,
			"The largest WebSocket message. Larger than the events, because filters with thousands of values travel in one."),
		size(&l.SendQueue, "limits.send_queue", "8 MiB", 64<<10, 256<<20,
			"How much may wait for one slow reader before its connection is closed. At least one message must fit."),
		count(&l.Subscriptions, "limits.subscriptions", "200", 1, 10000,
			"Open subscriptions of one connection."),
		count(&l.Filters, "limits.filters", "20", 1, 1000,
			"Filters in one REQ. Clients ask for many repositories at once."),
		count(&l.FilterValues, "limits.filter_values", "2000", 1, 100000,
			"Values in one list of a filter."),
		count(&l.QueryResults, "limits.query_results", "500", 1, 100000,
			"Events in one answer, whatever a filter asks for. Clients expect at least 500."),
		count(&l.EventsPerMinute, "limits.events_per_minute", "120", 1, 100000,
			"Events that one connection may publish in a minute, in the long run."),
		count(&l.EventBurst, "limits.event_burst", "120", 1, 100000,
			"Events that one connection may publish at once."),
		count(&l.RequestRate, "limits.requests_per_second", "50", 1, 1000000,
			"Questions (REQ, COUNT and NEG-OPEN) that one connection may ask in a second, in the long run."),
		count(&l.RequestBurst, "limits.request_burst", "500", 1, 1000000,
			"Questions that one connection may ask at once."),
		count(&l.Connections, "limits.connections", "2000", 1, 1000000,
			"Open WebSockets in all. Each needs a file descriptor."),
		count(&l.AddressConns, "limits.address_connections", "100", 1, 1000000,
			"Open WebSockets of one address."),

		size(&l.MaxPush, "limits.max_push", "2 GiB", 1<<20, 1<<40,
			"The largest pack in a push. The pusher is told this number when a push is over it."),
		size(&l.MaxPRPush, "limits.max_pr_push", "256 MiB", 1<<16, 1<<40,
			"The largest pack in a push of PR refs only: anybody may push those."),
		count(&l.PushObjects, "limits.push_objects", "5000000", 1, 1<<31-1,
			"Objects in one pack."),
		count(&l.PushCommands, "limits.push_commands", "10000", 1, 1000000,
			"Refs that one push may change."),
		size(&l.Drain, "limits.drain", "2 GiB", 0, 1<<40,
			"How much of a refused push is read and thrown away, so that git gets to see the reason. What is larger is cut off and the reason is lost."),
		duration(&l.DrainIdle, "limits.drain_idle", "20s", time.Second, time.Hour,
			"How long a refused push may pass without a byte before it is given up."),
		duration(&l.Section, "limits.section", "30s", time.Second, time.Hour,
			"How long a pusher may take to send the list of ref changes that precedes the pack, and a fetcher to send its request."),
		duration(&l.PushTime, "limits.push_time", "60m", time.Minute, day,
			"How long one push or clone may take in all."),

		count(&l.WaitingPerKey, "limits.waiting_per_key", "100", 1, 1000000,
			"Events of one key that may wait for their git data."),
		count(&l.WaitingPerAddress, "limits.waiting_per_address", "1000", 1, 1000000,
			"Events from one network (/24 or /48) that may wait for their git data."),
		count(&l.Waiting, "limits.waiting", "50000", 1, 10000000,
			"Events that may wait for their git data in all."),
		count(&l.NewRepos, "limits.new_repos", "600", 1, 1000000,
			"New repositories per hour from one network (/24 or /48)."),

		size(&l.Header, "limits.header", "16 KiB", 4<<10, 1<<20,
			"The header block of an HTTP request."),
		duration(&l.HeaderTimeout, "limits.header_timeout", "10s", time.Second, time.Minute,
			"How long a visitor may take to send the header block."),
		duration(&l.Idle, "limits.idle", "60s", time.Second, time.Hour,
			"How long a push or a clone may pass without a byte."),
		duration(&l.SocketIdle, "limits.socket_idle", "2m", 10*time.Second, day,
			"How long a WebSocket may be silent, answers to pings included."),
		duration(&l.Keepalive, "limits.keepalive", "2m", time.Second, time.Hour,
			"How long an HTTP connection is kept for the next request."),
	}, relayLimits(&l.RelayLimits)), append(engine(&c.Engine),
		skew(&c.Testing.ClockSkew, "testing.clock_skew", 7*day,
			"For tests alone: how far the clock of this server is ahead of the computer's, or behind with a minus. It is refused where `listen` is an address that the world may reach."),
	)...)
}

// Package config is all that an operator may set: one struct, one table that gives every setting
// its name, default, reason and limits, and the four places a value may come from.
//
// A flag beats the environment, the environment beats the file, the file beats the default, and
// a setting has one name in all of them: limits.max_push, --limits.max-push,
// GITROOST_LIMITS_MAX_PUSH. Every fault is reported at once, in the file with line and column.
// The reference page and the annotated example file are printed from the same table.
//
// The package refuses to know what the rooms do with the values: it parses, bounds and explains.
package config

import (
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/work"
)

// A Config is what is in force. Take one from Load or Default; sizes are in bytes.
type Config struct {
	Listen    string   // host:port of the public listener; port 0 lets the system choose
	Domain    string   // host[:port] under which clients know this server, optionally with http:// or https://; "" follows Listen
	Aliases   []string // further host[:port] that count as this server
	Data      string   // folder of the database and the repositories
	Ephemeral bool     // keep the data in a temporary folder and delete it at the end

	Name        string
	Description string
	Owner       grasp.PubKey // the operator's key, or ""
	Contact     string
	Icon        string // URL, or ""
	Search      bool   // answer searches (NIP-50)

	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed
	Shutdown       time.Duration  // how long pushes and clones may finish after a stop was asked for

	Admin     Admin
	Git       Git
	Cache     Cache
	Outward   Outward
	Sync      Sync
	Sites     Sites
	Archive   Archive
	Log       Log
	Purgatory Purgatory
	Repos     Repos
	PRs       PRs
	Relay     Relay
	Quota     Quota
	Authors   Authors
	Kinds     Kinds
	Limits    Limits
	Engine    Engine
	Testing   Testing

	// What stands in the file alone.
	Jobs    []Job                   // what is done when something happens to a repository
	Secrets map[string]SecretSource // where secrets are, and who may have them
	Targets map[string]work.Target  // who can be told something
	Trust   []Trust                 // which repositories define jobs of their own
}

// Testing is what tests of the whole program set and nobody else should.
type Testing struct {
	ClockSkew time.Duration // by which this server's clock is ahead of the computer's; negative: behind
}

// Admin is what is for the operator alone.
type Admin struct {
	Listen string         // host:port of /metrics; "" is off
	Keys   []grasp.PubKey // who may manage the server over the network (N-044), beside Owner
}

// Authors says whose events are not taken.
type Authors struct {
	Deny []grasp.PubKey
}

// Kinds says which events are not taken.
type Kinds struct {
	Deny []int
}

// Git says which git runs and how much of it at a time.
type Git struct {
	Path      string // program name or path
	Serving   int    // packs made at a time; 0: by the number of cores
	Receiving int    // packs taken in at a time
	Waiting   int    // who may wait for either
	Wait      time.Duration
	Upkeep    int // packs of one repository before they are combined; 0: never

	Config map[string]string // further settings of git
}

// Cache bounds what is kept of the packs that were made.
type Cache struct {
	Size int64 // bytes on disk; 0: nothing is kept
	Age  time.Duration
}

// Outward says where this server may go by itself, and how much of it.
type Outward struct {
	Allow          []netip.Prefix // reached although they are not the world
	Deny           []string       // hosts that are never contacted
	HTTP           bool           // http:// and ws:// too
	CA             string         // PEM file; "": the system's authorities
	HostConcurrent int            // requests to one host
	HostPerMinute  int            // the same
	HostRate       int64          // bytes per second of one host; 0: no bound
	FetchSize      int64          // bytes of one fetch of git data
	FetchTime      time.Duration
}

// Sites says whether the sites that jobs publish are shown by this server.
type Sites struct {
	Serve bool
	Host  string // lower-case, "" is below /sites/ of this server
}

// Sync is how this server keeps up with others that host the same repositories (GRASP-02).
type Sync struct {
	Enabled bool
	Peers   int           // relays that are listened to
	Delay   time.Duration // after the start, more or less (G02-15)
	Git     bool          // look for missing git data too (G02-02)
	GitWait time.Duration // how long an event waits for it
	Relays  []string      // that are asked for announcements, whoever names them

	Plus     bool // ask where people write, too (GRASP-03)
	Outboxes int  // relays that are listened to because of that
}

// Archive says which repositories are kept here though their announcement does not name this server
// (GRASP-05).
type Archive struct {
	Mode     string   // off, all, listed
	Repos    []string // patterns
	Services []string // host[:port]
	ReadOnly bool     // no repository takes branches and tags

	History    int           // older tips that are kept of each repository (G05-06)
	HistoryAge time.Duration // how long; 0 is for good
}

// Retention is how much history is kept, in the words of the rules.
func (a Archive) Retention() grasp.Retention {
	return grasp.Retention{Tips: a.History, Age: int64(a.HistoryAge / time.Second)}
}

// Rules is Archive in the words of the rules. What does not parse was refused when it was set.
func (a Archive) Rules() grasp.Archive {
	if a.Mode != "listed" {
		return grasp.Archive{All: a.Mode == "all"}
	}
	var out grasp.Archive
	for _, s := range a.Repos {
		if p, err := grasp.ParsePattern(s); err == nil {
			out.Repos = append(out.Repos, p)
		}
	}
	var urls []string
	for _, s := range a.Services {
		_, host := splitDomain(s)
		urls = append(urls, "https://"+host)
	}
	if site, err := grasp.NewSite(urls...); err == nil {
		out.Services = site
	}
	return out
}

// Log says what is written about the work.
type Log struct {
	Level  string            // debug, info, warn, error
	Rooms  map[string]string // another level, or none, for single rooms
	Format string            // auto, text, json
}

// Purgatory bounds how long events and refs wait for their other half.
type Purgatory struct {
	TTL       time.Duration // G01-402
	OrphanTTL time.Duration // G01-707
}

// Repos says which repositories are taken, and how long they outlive their announcement.
type Repos struct {
	Allow []string // patterns; if there are any, nothing else is taken (G01-109)
	Deny  []string // patterns; they beat Allow

	WithdrawnGrace time.Duration // G01-115
	DeletedGrace   time.Duration // G01-902
}

// PRs is the contributor endpoint (GRASP-06): a place of their own for pull requests, for people whose
// repositories are anywhere.
type PRs struct {
	Enabled bool // whether /prs/<npub>/<identifier>.git is served
}

// Limits bound every input. Counts are at least 1.
type Limits struct {
	RelayLimits

	StateEvent      int64 // bytes of one event of kind 30618
	Event           int64 // bytes of any other event
	Message         int64 // bytes of one WebSocket message
	SendQueue       int64 // bytes that may wait for one slow reader
	Subscriptions   int   // per connection
	Filters         int   // per REQ
	FilterValues    int   // per list of a filter
	QueryResults    int   // events in one answer
	EventsPerMinute int   // per connection
	EventBurst      int   // per connection
	RequestRate     int   // REQ, COUNT and NEG-OPEN per connection and second
	RequestBurst    int   // per connection
	Connections     int   // WebSockets in all
	AddressConns    int   // WebSockets of one address

	MaxPush      int64         // bytes of a pack
	MaxPRPush    int64         // bytes of a pack that carries only PR refs
	PushObjects  int           // objects in a pack
	PushCommands int           // ref updates in one push
	Drain        int64         // bytes of a refused push that are read and thrown away
	DrainIdle    time.Duration // without a byte of a refused push
	Section      time.Duration // until a push's commands, or a fetch's request, are here
	PushTime     time.Duration // of one push or clone in all

	WaitingPerKey     int
	WaitingPerAddress int
	Waiting           int
	NewRepos          int // per hour and network

	Header        int64 // bytes of an HTTP header block
	HeaderTimeout time.Duration
	Idle          time.Duration // without a byte, on git routes
	SocketIdle    time.Duration // without a word, on WebSockets
	Keepalive     time.Duration // between two requests of one connection
}

// Default returns the configuration of somebody who set nothing.
func Default() Config {
	var c Config
	for _, s := range c.settings() {
		if err := s.set(s.Default); err != nil {
			panic("config: default of " + s.Name + ": " + err.Error()) // a test walks the table
		}
	}
	return c
}

// Rules are Authors, Repos and Kinds in the words of the rules, in this order (G01-109).
func (c Config) Rules() []grasp.Rule {
	var out []grasp.Rule
	add := func(a grasp.Action, s grasp.Subject) {
		out = append(out, grasp.Rule{Source: grasp.FromConfig, Number: len(out) + 1, Action: a, Subject: s})
	}
	patterns := func(a grasp.Action, list []string) {
		for _, s := range list {
			if p, err := grasp.ParsePattern(s); err == nil { // checked when it was set
				add(a, grasp.AboutRepo(p))
			}
		}
	}
	for _, k := range c.Authors.Deny {
		add(grasp.Deny, grasp.AboutAuthor(k))
	}
	patterns(grasp.Deny, c.Repos.Deny)
	for _, k := range c.Kinds.Deny {
		add(grasp.Deny, grasp.AboutKind(k))
	}
	patterns(grasp.Allow, c.Repos.Allow)
	return out
}

// Public returns the URL by which people reach this server, without a trailing slash. bound is
// the address that the listener really has; it matters while Domain is not set. A listener on
// every interface is called localhost: 0.0.0.0 is no address to give to anybody.
func (c Config) Public(bound string) string {
	scheme, authority := splitDomain(c.Domain)
	if authority == "" {
		authority = readable(bound)
	}
	if scheme == "" {
		scheme = "https"
		if local(authority) {
			scheme = "http"
		}
	}
	return scheme + "://" + authority
}

// RelayURL is Public as a WebSocket address: wss://host or ws://host.
func (c Config) RelayURL(bound string) string {
	return "ws" + strings.TrimPrefix(c.Public(bound), "http")
}

// Authorities returns every host[:port] that counts as this server: the public one first, then
// the aliases. A server that is known by a loopback address is known by its other names too
// (G01-102).
func (c Config) Authorities(bound string) []string {
	_, public, _ := strings.Cut(c.Public(bound), "://")
	out := []string{public}
	add := func(a string) {
		for _, have := range out {
			if strings.EqualFold(have, a) {
				return
			}
		}
		out = append(out, a)
	}
	for _, a := range c.Aliases {
		_, a = splitDomain(a)
		add(a)
	}
	if host, port := splitPort(public); loopback(host) {
		for _, twin := range []string{"127.0.0.1", "localhost", "[::1]"} {
			if port != "" {
				twin += ":" + port
			}
			add(twin)
		}
	}
	return out
}

// OnlyHere reports whether nobody but this computer can reach the public listener.
func (c Config) OnlyHere() bool {
	host, _ := splitPort(c.Listen)
	return loopback(host)
}

// private reports whether the public listener has an address that the world cannot reach: loopback, a private
// network, or the link alone. A name or all addresses are none.
func (c Config) private() bool {
	host, _ := splitPort(c.Listen)
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return loopback(host) || err == nil && (ip.IsPrivate() || ip.IsLinkLocalUnicast())
}

func splitDomain(s string) (scheme, authority string) {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		return scheme, strings.TrimSuffix(rest, "/")
	}
	return "", strings.TrimSuffix(s, "/")
}

func readable(bound string) string {
	host, port := splitPort(bound)
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	if port == "" || port == "80" {
		return host
	}
	return host + ":" + port
}

// splitPort is net.SplitHostPort that keeps the brackets of IPv6 and does not insist on a port.
func splitPort(s string) (host, port string) {
	h, p, err := net.SplitHostPort(s)
	if err != nil {
		return s, ""
	}
	if strings.Contains(h, ":") {
		h = "[" + h + "]"
	}
	return h, p
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

// local reports whether no certificate can be had for authority: plain addresses and localhost.
func local(authority string) bool {
	host, _ := splitPort(authority)
	if loopback(host) {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

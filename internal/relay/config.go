package relay

import (
	"net/http"
	"runtime"
	"time"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/negentropy"
)

// Config is what an operator may set of the relay. A zero field means its default; Now is the
// one field that has none.
type Config struct {
	// Now is the clock for everything a client can observe: AUTH, rates. Required. Deadlines of
	// connections run on timers and do not depend on it.
	Now func() time.Time

	// PublicURLs are the addresses under which clients know this relay ("wss://git.example.com").
	// A NIP-42 event must name the authority of one of them (N-038). None: AUTH always fails.
	PublicURLs []string

	// Prefix returns the network a request came from, such as "192.0.2.0/24", or "" for one to which
	// limits per network do not apply. Limits per client
	// count by it, and events are handed in with it. Default: the host of RemoteAddr.
	Prefix func(*http.Request) string

	// Address returns the client's address as far as it is trusted. It is what khatru.GetIP
	// tells policies. Default: the host of RemoteAddr; forwarded headers are never believed.
	Address func(*http.Request) string

	// Policies holds hooks in khatru's form: RejectConnection, OnConnect, OnDisconnect,
	// RejectEvent, RejectFilter and RejectCountFilter are run; see policy.go for what their
	// context offers. Other fields are not used here. Default: none.
	Policies *khatru.Relay

	// Screen says what stands against an event of which only the shape was looked at: its id and
	// signature may be wrong. It must be cheap. A *grasp.Refusal is answered as OK false. Default:
	// nothing does.
	Screen func(*nostr.Event) error

	Info Info // what NIP-11 says; SetInfo changes it

	// Search tells that the Reader answers NIP-50 searches. Off: `unsupported:` (N-006).
	Search bool

	// Compression offers permessage-deflate. It costs about 40 KiB for each message in flight.
	Compression bool

	MaxConnections          int // in all; default 10,000
	MaxPerPrefix            int // per Prefix; default 200
	PrefixConnectsPerMinute int // new ones per Prefix, and as many at once; default 600

	MaxMessage    int // bytes of a message, inflated; default 4 MiB
	MaxStateEvent int // bytes of an event of kind 30618 as sent; default 1 MiB
	MaxEvent      int // bytes of any other event as sent; default 256 KiB
	MaxTags       int // tags of an event; default 20,000
	MaxUploads    int // bytes of messages over 64 KiB that may be on their way in at once, in all; default 32 MiB. One Prefix gets a quarter

	// PrefixBytesPerSecond refills what PrefixByteBurst bounds: bytes of one Prefix, as they come over
	// the wire. Who sends more is read more slowly, and refused nothing. Defaults 4 MiB and 64 MiB.
	PrefixBytesPerSecond int
	PrefixByteBurst      int

	MaxSubscriptions int   // open at once per connection; default 200
	MaxFilters       int   // per REQ or COUNT; default 20
	MaxValues        int   // per list of a filter; default 2,000
	MaxLimit         int   // events per filter; default 500
	DefaultLimit     int   // where a filter names none; default MaxLimit
	MaxFilterBytes   int64 // memory for open subscriptions of one connection; default 32 MiB
	MaxAllFilters    int64 // the same of all connections; default 128 MiB. One Prefix gets half
	MaxSubID         int   // characters of a subscription id; default 250 (N-008)

	// EventsPerMinute refills what EventBurst bounds. Both default to 120, so that any 120
	// events within a minute pass, however they are spread (N-013, check 107).
	EventsPerMinute int
	EventBurst      int

	// PrefixEventsPerMinute and PrefixEventBurst bound the events of all connections of one Prefix
	// whose id is right. Both default to 3,000.
	PrefixEventsPerMinute int
	PrefixEventBurst      int

	// RequestsPerSecond refills what RequestBurst bounds, for REQ and COUNT together. Defaults
	// 50 and 500.
	RequestsPerSecond int
	RequestBurst      int

	// PrefixRequestsPerSecond and PrefixRequestBurst bound the same for all connections of one Prefix.
	// Defaults 200 and 2,000.
	PrefixRequestsPerSecond int
	PrefixRequestBurst      int

	// NoNegentropy turns NIP-77 off. It is on if the Reader is a Keyer.
	NoNegentropy      bool
	MaxNegSessions    int           // reconciliations open at once per connection; default 4
	MaxAllNegSessions int           // in all; default 256. One Prefix gets half of them at most
	MaxNegRecords     int           // records of one reconciliation; default 1,000,000, of about 41 bytes each
	MaxAllNegRecords  int           // in all, at least MaxNegRecords; default 2,000,000. One Prefix as above
	NegFrame          int           // bytes of a message, before they are written as hex; default 60,000, at least 4,096
	NegTime           time.Duration // in which the records of a NEG-OPEN must be found; default 10 s
	NegIdle           time.Duration // after which a silent reconciliation ends; default 60 s

	// BadSignatures closes a connection; default 10. PrefixBadSignatures in a minute put a Prefix
	// behind all others; default 60.
	BadSignatures       int
	PrefixBadSignatures int

	AuthTime time.Duration // by which an AUTH event may be older or newer than our clock; default 10 min
	AuthKeys int           // keys that one connection may authenticate; default 16

	// LightWork is how much processor time a Prefix may have had lately (half of it is forgotten after
	// 4 s) before it is greedy: from then on, while others are here, all greedy ones work in one lane,
	// which has GreedyShare percent of one core, 1 to 100. Defaults 100 ms and 25. Spent tells how much
	// processor time the thread has had that calls it; nil: what passes by Now is taken for it.
	LightWork   time.Duration
	GreedyShare int
	Spent       func() time.Duration

	QueryTime   time.Duration // in which a REQ or COUNT must be answered; default 2 s
	QuerySlice  time.Duration // after which a query makes room for others that wait and have had less; default 50 ms
	QueryWait   time.Duration // for its turn; default 10 s
	MaxQueries  int           // running at once; default Queries(). The Reader must answer Places of so many, and of two for NIP-77, beside all else
	MaxSearches int           // those with a search, beside MaxQueries; default one per core, at least 2. Places as above
	Verifiers   int           // signatures verified at once; default one per core
	ReceiveTime time.Duration // in which the Desk must answer; default 60 s

	QueueBytes  int           // unsent bytes per client beside one largest event; default 1 MiB
	QueueLength int           // unsent messages per client; default 16,384
	MaxQueued   int64         // unsent bytes in all; default 64 MiB. One Prefix gets a quarter, each client 64 KiB at least
	Controls    int           // pings and pongs of one client per second; default 10
	PingEvery   time.Duration // default 30 s
	Idle        time.Duration // without a byte from the client; default 95 s, three pings (N-001)
	MessageTime time.Duration // in which one message must have come in whole; default 2 min
	WriteTime   time.Duration // in which one message must have gone out; default 1 min
}

// Queries is how many queries run at once by default: one per core, at least 2. They are work for a
// core rather than for a disk, and a core that does one of them does nothing else.
func Queries() int { return max(2, runtime.GOMAXPROCS(0)) }

func positive[T int | int64 | time.Duration](v *T, preset T) {
	if *v <= 0 {
		*v = preset
	}
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		panic("relay: Config.Now is required") // a mistake of the wiring, never of a visitor
	}
	if c.Address == nil {
		c.Address = remoteHost
	}
	if c.Screen == nil {
		c.Screen = func(*nostr.Event) error { return nil }
	}
	if c.Prefix == nil {
		c.Prefix = remoteHost
	}
	if c.Policies == nil {
		c.Policies = &khatru.Relay{}
	}
	positive(&c.MaxConnections, 10_000)
	positive(&c.MaxPerPrefix, 200)
	positive(&c.MaxMessage, 4<<20)
	positive(&c.MaxStateEvent, 1<<20)
	positive(&c.MaxEvent, 256<<10)
	positive(&c.MaxTags, 20_000)
	positive(&c.MaxUploads, 32<<20)
	positive(&c.PrefixConnectsPerMinute, 600)
	positive(&c.PrefixBytesPerSecond, 4<<20)
	positive(&c.PrefixByteBurst, 64<<20)
	positive(&c.MaxSubID, 250)
	positive(&c.PrefixEventsPerMinute, 3000)
	positive(&c.PrefixEventBurst, 3000)
	positive(&c.PrefixRequestsPerSecond, 200)
	positive(&c.PrefixRequestBurst, 2000)
	positive(&c.PrefixBadSignatures, 60)
	positive(&c.AuthTime, 10*time.Minute)
	positive(&c.AuthKeys, 16)
	positive(&c.QuerySlice, 50*time.Millisecond)
	positive(&c.QueryWait, 10*time.Second)
	positive(&c.MaxQueued, 64<<20)
	positive(&c.Controls, 10)
	c.MaxUploads = max(c.MaxUploads, c.MaxMessage)
	positive(&c.MaxSubscriptions, 200)
	positive(&c.MaxFilters, 20)
	positive(&c.MaxValues, 2000)
	positive(&c.MaxLimit, 500)
	positive(&c.DefaultLimit, c.MaxLimit)
	c.DefaultLimit = min(c.DefaultLimit, c.MaxLimit)
	positive(&c.MaxFilterBytes, 32<<20)
	positive(&c.MaxAllFilters, 128<<20)
	positive(&c.EventsPerMinute, 120)
	positive(&c.EventBurst, 120)
	positive(&c.RequestsPerSecond, 50)
	positive(&c.RequestBurst, 500)
	positive(&c.MaxNegSessions, 4)
	positive(&c.MaxAllNegSessions, 256)
	positive(&c.MaxNegRecords, 1_000_000)
	positive(&c.MaxAllNegRecords, 2_000_000)
	c.MaxAllNegRecords = max(c.MaxAllNegRecords, c.MaxNegRecords)
	positive(&c.NegFrame, 60_000)
	c.NegFrame = max(c.NegFrame, negentropy.MinFrame)
	positive(&c.NegTime, 10*time.Second)
	positive(&c.NegIdle, time.Minute)
	positive(&c.BadSignatures, 10)
	positive(&c.QueryTime, 2*time.Second)
	positive(&c.LightWork, 100*time.Millisecond)
	positive(&c.GreedyShare, 25)
	c.GreedyShare = min(c.GreedyShare, 100)
	positive(&c.MaxQueries, Queries())
	positive(&c.MaxSearches, max(2, runtime.GOMAXPROCS(0)))
	positive(&c.Verifiers, runtime.GOMAXPROCS(0))
	positive(&c.ReceiveTime, time.Minute)
	positive(&c.QueueBytes, 1<<20)
	positive(&c.QueueLength, 16_384)
	positive(&c.PingEvery, 30*time.Second)
	positive(&c.Idle, 95*time.Second)
	positive(&c.MessageTime, 2*time.Minute)
	positive(&c.WriteTime, time.Minute)
	return c
}

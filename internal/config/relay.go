package config

import (
	"slices"
	"strings"
	"time"
)

// Relay says what the relay offers.
type Relay struct {
	Negentropy  bool  // NIP-77
	Compression bool  // permessage-deflate
	Cache       int64 // bytes of memory for events that are asked for often
}

// memoryFloor is less than any server needs.
const memoryFloor = 32 << 20

// RelayLimits bound what visitors may ask of the relay: one connection, one network, and all
// together.
type RelayLimits struct {
	Memory int64 // bytes that the collector aims at

	EventTags int           // of one event
	Future    time.Duration // by which created_at may be ahead
	Uploads   int64         // bytes of large messages on their way in, in all
	SubID     int           // characters of a subscription id

	FilterMemory      int64 // bytes of open subscriptions of one connection
	FilterMemoryTotal int64 // the same of all

	AddressConnects   int // new WebSockets of one network per minute
	AddressEvents     int // of one network per minute
	AddressEventBurst int
	AddressRequests   int // of one network per second
	AddressReqBurst   int
	AddressBytes      int64 // of one network per second
	AddressByteBurst  int64

	BadSignatures        int // of one connection
	AddressBadSignatures int // of one network per minute

	AuthTime time.Duration // between AUTH and our clock
	AuthKeys int           // of one connection

	LightWork   time.Duration // processor time of one network
	GreedyShare int           // of one core, in percent

	QueryTime   time.Duration
	QuerySlice  time.Duration
	QueryWait   time.Duration
	Queries     int           // at once; 0 follows the cores
	Searches    int           // at once; 0 follows the cores
	Verifiers   int           // at once; 0 follows the cores
	ReceiveTime time.Duration // for deciding about one event

	SendMessages  int   // that may wait for one reader
	SendTotal     int64 // bytes that may wait for all
	ControlFrames int   // per second and connection
	Ping          time.Duration
	MessageTime   time.Duration // until a message is here
	WriteTime     time.Duration // until a message is gone

	NegSessions      int // of one connection
	NegSessionsTotal int
	NegRecords       int // of one reconciliation
	NegRecordsTotal  int
	NegFrame         int64         // bytes of one message
	NegTime          time.Duration // for putting a reconciliation together
	NegIdle          time.Duration // without a word in a reconciliation
}

// relayLimits are rows of the table, put among the other limits.
func relayLimits(l *RelayLimits) []Setting {
	return []Setting{
		size(&l.Memory, "limits.memory", "320 MiB", memoryFloor, 1<<40,
			"How much memory the server tries to get along with, git not counted: from here on garbage is collected more often. It is no hard bound; those are the other limits. GOMEMLIMIT in the environment beats it."),
		count(&l.EventTags, "limits.event_tags", "20000", 100, 1000000,
			"Tags of one event, and items of one tag. A state has one tag for each ref."),
		duration(&l.Future, "limits.future", "15m", time.Second, day,
			"How far created_at may lie ahead of the server's clock."),
		size(&l.Uploads, "limits.uploads", "32 MiB", 64<<10, 64<<30,
			"Memory for messages over 64 KiB that are on their way in, in all. One network gets a quarter; who finds no room waits, then is told so."),
		count(&l.SubID, "limits.subscription_id", "250", 64, 1000,
			"Characters of a subscription id."),
		size(&l.FilterMemory, "limits.filter_memory", "32 MiB", 64<<10, 16<<30,
			"Memory for the open subscriptions of one connection. A value of a filter costs about 250 bytes."),
		size(&l.FilterMemoryTotal, "limits.filter_memory_total", "128 MiB", 64<<10, 64<<30,
			"Memory for all open subscriptions. One network gets half."),

		count(&l.AddressConnects, "limits.address_connects_per_minute", "600", 1, 1000000,
			"New WebSockets from one network (/24 or /48) in a minute."),
		count(&l.AddressEvents, "limits.address_events_per_minute", "3000", 1, 10000000,
			"Events that all connections of one network (/24 or /48) may publish in a minute, in the long run."),
		count(&l.AddressEventBurst, "limits.address_event_burst", "3000", 1, 10000000,
			"Events that all connections of one network may publish at once."),
		count(&l.AddressRequests, "limits.address_requests_per_second", "200", 1, 10000000,
			"REQ, COUNT and NEG-OPEN messages that all connections of one network may send in a second, in the long run."),
		count(&l.AddressReqBurst, "limits.address_request_burst", "2000", 1, 10000000,
			"REQ, COUNT and NEG-OPEN messages that all connections of one network may send at once."),
		size(&l.AddressBytes, "limits.address_bytes_per_second", "4 MiB", 16<<10, 16<<30,
			"How fast the WebSockets of one network are read, in the long run. Who sends more is slowed down and loses nothing."),
		size(&l.AddressByteBurst, "limits.address_byte_burst", "64 MiB", 64<<10, 64<<30,
			"How much one network may send before it is slowed down."),

		count(&l.BadSignatures, "limits.bad_signatures", "10", 1, 1000000,
			"Wrong signatures after which a WebSocket is closed."),
		count(&l.AddressBadSignatures, "limits.address_bad_signatures", "60", 1, 1000000,
			"Wrong signatures in a minute after which a network is served after all others. Those of a connection count from the third on."),

		duration(&l.AuthTime, "limits.auth_time", "10m", time.Second, day,
			"By how much an AUTH event may be older or newer than the server's clock (NIP-42)."),
		count(&l.AuthKeys, "limits.auth_keys", "16", 1, 1000,
			"Keys that one WebSocket may authenticate."),

		duration(&l.LightWork, "limits.light_work", "100ms", time.Millisecond, time.Hour,
			"How much processor time the WebSockets of one network may have had lately, of which half is forgotten after 4 s, before it is greedy. While others are here, all greedy networks work one after another in one lane. Nobody is refused by this."),
		count(&l.GreedyShare, "limits.greedy_share", "25", 1, 100,
			"Percent of one core that all greedy networks have together while others are here. The more it is, the longer the others wait."),
		duration(&l.QueryTime, "limits.query_time", "2s", 10*time.Millisecond, time.Hour,
			"How long the answer to one REQ or COUNT may take in all, waiting for its turn not counted."),
		duration(&l.QuerySlice, "limits.query_slice", "50ms", time.Millisecond, time.Minute,
			"After how long an answer makes room for networks that wait and have had less of the server lately."),
		duration(&l.QueryWait, "limits.query_wait", "10s", 100*time.Millisecond, time.Hour,
			"How long a REQ or COUNT may wait for its turn before it is told to try later."),
		count(&l.Queries, "limits.queries", "0", 0, 10000,
			"Queries that run at once. 0 is one for each core, at least 2. For those that take long there is a quarter more, and one at least."),
		count(&l.Searches, "limits.searches", "0", 0, 10000,
			"Searches (NIP-50) that run at once, beside the queries. 0 is one for each core, at least 2."),
		count(&l.Verifiers, "limits.verifiers", "0", 0, 10000,
			"Signatures that are checked at once. 0 is one for each core."),
		duration(&l.ReceiveTime, "limits.receive_time", "60s", time.Second, time.Hour,
			"How long deciding about one event may take, its place on the disk included."),

		count(&l.SendMessages, "limits.send_messages", "16384", 16, 10000000,
			"Messages that may wait for one slow reader before its connection is closed."),
		size(&l.SendTotal, "limits.send_queue_total", "64 MiB", 64<<10, 64<<30,
			"How much may wait for all readers together. One network gets a quarter; 64 KiB may wait for each reader however full it is."),
		count(&l.ControlFrames, "limits.control_frames", "10", 1, 100000,
			"Pings and pongs of one WebSocket in a second."),
		duration(&l.Ping, "limits.ping", "30s", time.Second, time.Hour,
			"How often a WebSocket is pinged. It must be shorter than limits.socket_idle."),
		duration(&l.MessageTime, "limits.message_time", "2m", time.Second, time.Hour,
			"How long one WebSocket message may take to arrive."),
		duration(&l.WriteTime, "limits.write_time", "1m", time.Second, time.Hour,
			"How long one WebSocket message may take to leave."),

		count(&l.NegSessions, "limits.neg_sessions", "4", 1, 1000,
			"Reconciliations (NIP-77) that one WebSocket may have open."),
		count(&l.NegSessionsTotal, "limits.neg_sessions_total", "256", 1, 100000,
			"Reconciliations open in all. One network gets half."),
		count(&l.NegRecords, "limits.neg_records", "1000000", 1, 100000000,
			"Events that one reconciliation may be about. Each takes 41 bytes of memory."),
		count(&l.NegRecordsTotal, "limits.neg_records_total", "2000000", 1, 1000000000,
			"Events that all open reconciliations may be about. One network gets half."),
		size(&l.NegFrame, "limits.neg_frame", "60000 B", 4<<10, 1<<20,
			"Bytes of one message of a reconciliation, before they are written as hex."),
		duration(&l.NegTime, "limits.neg_time", "10s", 100*time.Millisecond, time.Hour,
			"How long the events of a reconciliation may take to be found."),
		duration(&l.NegIdle, "limits.neg_idle", "60s", time.Second, time.Hour,
			"How long a reconciliation may be silent."),
	}
}

// amongLimits puts more rows behind the last one whose name begins with "limits.", so that the
// reference has one chapter of them.
func amongLimits(table, more []Setting) []Setting {
	at := len(table)
	for at > 0 && !strings.HasPrefix(table[at-1].Name, "limits.") {
		at--
	}
	return slices.Insert(table, at, more...)
}

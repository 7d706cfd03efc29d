package relay

import "sync/atomic"

// counters are what Stats reads.
type counters struct {
	connections, connectionsTotal, connectionsRefused atomic.Int64
	subscriptions, filterBytes                        atomic.Int64
	events, eventsRefused, badSignatures, rateLimited atomic.Int64
	requests, counts, closed, notices, auths          atomic.Int64
	published, delivered, slow, negentropies          atomic.Int64
	bytesIn, bytesOut                                 atomic.Int64
}

// Stats is what has happened since the start. The first group is what is now.
type Stats struct {
	Connections   int64
	Subscriptions int64
	FilterBytes   int64 // estimated memory of open subscriptions
	Negentropy    int64 // open reconciliations (NIP-77)
	NegRecords    int64 // records that these hold in memory
	Queued        int64 // bytes that wait for clients, in all queues

	ConnectionsTotal   int64
	ConnectionsRefused int64 // by limits, policies or shutdown
	Events             int64 // EVENT messages, whatever became of them
	EventsRefused      int64 // answered OK false
	BadSignatures      int64
	RateLimited        int64 // EVENT, REQ, COUNT and NEG-OPEN
	Requests           int64 // REQ
	Counts             int64 // COUNT
	Negentropies       int64 // NEG-OPEN that found room
	Closed             int64 // CLOSED sent
	Notices            int64 // NOTICE sent
	Auths              int64 // keys authenticated
	Published          int64 // calls of Publish
	Delivered          int64 // events handed to live subscriptions
	Slow               int64 // clients given up because they did not read
	BytesIn            int64 // of messages
	BytesOut           int64 // of messages
}

// Stats returns the relay's counters. It may be called at any time.
func (r *Relay) Stats() Stats {
	n := &r.n
	neg := r.recs.count()
	return Stats{
		Connections:        n.connections.Load(),
		Subscriptions:      n.subscriptions.Load(),
		FilterBytes:        n.filterBytes.Load(),
		Negentropy:         int64(neg.open),
		NegRecords:         int64(neg.records),
		Queued:             r.queued.used.Load(),
		ConnectionsTotal:   n.connectionsTotal.Load(),
		ConnectionsRefused: n.connectionsRefused.Load(),
		Events:             n.events.Load(),
		EventsRefused:      n.eventsRefused.Load(),
		BadSignatures:      n.badSignatures.Load(),
		RateLimited:        n.rateLimited.Load(),
		Requests:           n.requests.Load(),
		Counts:             n.counts.Load(),
		Negentropies:       n.negentropies.Load(),
		Closed:             n.closed.Load(),
		Notices:            n.notices.Load(),
		Auths:              n.auths.Load(),
		Published:          n.published.Load(),
		Delivered:          n.delivered.Load(),
		Slow:               n.slow.Load(),
		BytesIn:            n.bytesIn.Load(),
		BytesOut:           n.bytesOut.Load(),
	}
}

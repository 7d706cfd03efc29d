package relay

import "sync/atomic"

// A limit is one of the bounds of Config, by the name that its operator knows.
type limit int

const (
	noLimit limit = iota
	hitConnections
	hitPrefixConns
	hitPrefixConnects
	hitMessage
	hitUploads
	hitStateEvent
	hitEvent
	hitTags
	hitFilters
	hitValues
	hitSubID
	hitSubscriptions
	hitFilterBytes
	hitAllFilters
	hitEvents
	hitPrefixEvents
	hitRequests
	hitPrefixRequests
	hitPrefixBytes
	hitBadSignatures
	hitPrefixBadSignatures
	hitLightWork
	hitQuerySlice
	hitQueryTime
	hitQueryWait
	hitReceiveTime
	hitControls
	hitAuthTime
	hitAuthKeys
	hitNegSessions
	hitAllNegSessions
	hitNegRecords
	hitAllNegRecords
	hitNegTime
	hitNegIdle
	hitQueue
	hitAllQueues
	hitMessageTime
	hitWriteTime
	hitIdle
	limits
)

var limitNames = [limits]string{
	hitConnections: "connections", hitPrefixConns: "address_connections", hitPrefixConnects: "address_connects_per_minute",
	hitMessage: "message", hitUploads: "uploads", hitStateEvent: "state_event", hitEvent: "event", hitTags: "event_tags",
	hitFilters: "filters", hitValues: "filter_values", hitSubID: "subscription_id", hitSubscriptions: "subscriptions",
	hitFilterBytes: "filter_memory", hitAllFilters: "filter_memory_total",
	hitEvents: "events_per_minute", hitPrefixEvents: "address_events_per_minute",
	hitRequests: "requests_per_second", hitPrefixRequests: "address_requests_per_second", hitPrefixBytes: "address_bytes_per_second",
	hitBadSignatures: "bad_signatures", hitPrefixBadSignatures: "address_bad_signatures", hitLightWork: "light_work", hitQuerySlice: "query_slice",
	hitQueryTime: "query_time", hitQueryWait: "query_wait", hitReceiveTime: "receive_time",
	hitControls: "control_frames", hitAuthTime: "auth_time", hitAuthKeys: "auth_keys",
	hitNegSessions: "neg_sessions", hitAllNegSessions: "neg_sessions_total", hitNegRecords: "neg_records",
	hitAllNegRecords: "neg_records_total", hitNegTime: "neg_time", hitNegIdle: "neg_idle",
	hitQueue: "send_queue", hitAllQueues: "send_queue_total",
	hitMessageTime: "message_time", hitWriteTime: "write_time", hitIdle: "socket_idle",
}

type hits [limits]atomic.Int64

func (h *hits) add(l limit) { h[l].Add(1) }

// Hits returns how often each limit of the relay has been met since the start, by the name of its
// setting below "limits.". The names are always the same ones, whoever visits.
func (r *Relay) Hits() map[string]int64 {
	out := make(map[string]int64, limits-1)
	for l := noLimit + 1; l < limits; l++ {
		out[limitNames[l]] = r.hits[l].Load()
	}
	return out
}

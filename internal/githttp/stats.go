package githttp

import "sync/atomic"

// Stats counts what happened at the door.
type Stats struct {
	Adverts     atomic.Int64 // answers to info/refs
	LsRefs      atomic.Int64 // v2 requests for refs
	Fetches     atomic.Int64 // fetches that were given to git
	FetchErrors atomic.Int64 // of these, those that ended in an error
	FetchCached atomic.Int64 // fetches that got what was made for another
	BytesCached atomic.Int64 // what these got
	Unknown     atomic.Int64 // requests for repositories that do not live here
	Busy        atomic.Int64 // answers 503 for lack of a slot
	Probes      atomic.Int64 // empty pushes by which git tries a connection

	PushesOK        atomic.Int64 // refs moved
	PushesNoop      atomic.Int64 // nothing had to move
	PushesRefused   atomic.Int64 // the rules said no
	PushesFailed    atomic.Int64 // the pack, or something here, was at fault
	PushesAborted   atomic.Int64 // the pusher left, or stalled
	PushesMalformed atomic.Int64 // not understood

	BytesIn  atomic.Int64 // of request bodies, as they came
	BytesOut atomic.Int64 // of answers
}

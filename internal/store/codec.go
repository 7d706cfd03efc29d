package store

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// id32 is an event id or a public key as it is stored.
type id32 [32]byte

// parse32 returns the bytes of 64 lower-case hex digits.
func parse32[S ~string](s S) (b id32, ok bool) {
	if !grasp.IsHex(string(s), 64) {
		return b, false
	}
	_, err := hex.Decode(b[:], []byte(s))
	return b, err == nil
}

// need32 is parse32 for what must be right because our own desk said it.
func need32[S ~string](what string, s S) (id32, error) {
	b, ok := parse32(s)
	if !ok {
		return b, fault.Errorf(fault.Invalid, "store: encode", "%s %.80q is not 64 lower-case hex digits", what, string(s))
	}
	return b, nil
}

func (b id32) id() grasp.EventID { return grasp.EventID(hex.EncodeToString(b[:])) }
func (b id32) key() grasp.PubKey { return grasp.PubKey(hex.EncodeToString(b[:])) }

// Scan takes the value of a column.
func (b *id32) Scan(src any) error {
	v, ok := src.([]byte)
	if !ok || len(v) != len(b) {
		return errors.New("a key or id is not 32 bytes long")
	}
	copy(b[:], v)
	return nil
}

// oidBytes returns what a ref points to; nil says that it does not exist.
func oidBytes(o grasp.OID) ([]byte, error) {
	if o.IsZero() {
		return nil, nil
	}
	if !grasp.IsHex(string(o), 40) {
		return nil, fault.Errorf(fault.Invalid, "store: encode", "%.80q is not an object id", string(o))
	}
	return hex.DecodeString(string(o))
}

// nanos returns t for storing; the zero time is NULL. Times outside of what the column can hold
// (years 1678 to 2262) become the nearest that it can.
func nanos(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return clampNanos(t)
}

func clampNanos(t time.Time) int64 {
	switch {
	case t.Unix() >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	case t.Unix() <= math.MinInt64/int64(time.Second):
		return math.MinInt64
	}
	return t.UnixNano()
}

func fromNanos(n *int64) time.Time {
	if n == nil {
		return time.Time{}
	}
	return time.Unix(0, *n)
}

// seconds is for times that the author of an event chose: they may be as far away as int64 goes.
func seconds(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Unix()
}

func fromSeconds(n *int64) time.Time {
	if n == nil {
		return time.Time{}
	}
	return time.Unix(*n, 0)
}

// version returns the d under which ev is one version among others, or false (N-009).
func version(ev *nostr.Event) (d string, ok bool) {
	switch {
	case nostr.IsAddressableKind(ev.Kind):
		return grasp.FirstValue(ev, "d"), true
	case nostr.IsReplaceableKind(ev.Kind):
		return "", true
	}
	return "", false
}

// viewed reports whether events of kind belong to the View of their identifier on either shelf.
func viewed(kind int) bool { return kind == grasp.KindAnnouncement || kind == grasp.KindState }

// entryColumns are what scanEntry expects, in this order.
const entryColumns = `e.raw, e.shelf, e.subjects, e.received, e.deadline, e.expires, e.source`

// scanner is a row.
type scanner interface{ Scan(dest ...any) error }

func scanEntry(row scanner) (steward.Entry, error) {
	var e steward.Entry
	var subjects []byte
	var received, deadline, expires *int64
	if err := row.Scan(&e.Raw, &e.Shelf, &subjects, &received, &deadline, &expires, &e.Source); err != nil {
		return e, err
	}
	e.Received, e.Deadline, e.Expires = fromNanos(received), fromNanos(deadline), fromSeconds(expires)
	if err := json.Unmarshal(subjects, &e.Subjects); err != nil {
		return e, err
	}
	e.Event = new(nostr.Event)
	return e, e.Event.UnmarshalJSON(e.Raw)
}

package grasp

import "fmt"

// A Quota says how much one key may keep here (G01-109, G06-13). A field that is 0 is no bound.
type Quota struct {
	Bytes     int64 // in all its repositories together, as they lie on disk
	Repos     int   // repositories
	RepoBytes int64 // in one repository
	PullBytes int64 // in one repository: what PR refs brought, which anybody may push
	Refs      int   // refs of somebody who proposes changes to the repositories of others

	// Submitter marks the quota of somebody who proposes changes to the repositories of others:
	// its refusals cite G06-13 and begin with "limit:".
	Submitter bool
}

// A Usage is how much is kept, in the dimensions of a Quota, or how much is to be added. Bytes and
// RepoBytes do not include what PR refs brought.
type Usage struct {
	Bytes     int64
	Repos     int
	RepoBytes int64
	PullBytes int64
	Refs      int
}

// Unknown stands for an addition that is at least one byte: refused only if there is no room left
// at all.
const Unknown int64 = 1

// Check refuses to add more to used if that were over q. What does not grow is not looked at, so
// that who is over a quota may still delete, and move refs among what is here. The *Refusal says
// both numbers: "quota: 512 MiB of 512 MiB used".
func (q Quota) Check(used, more Usage) error {
	switch {
	case over(int64(used.Repos), int64(more.Repos), int64(q.Repos)):
		return q.refuse(fmt.Sprintf("%d of %d repositories used", used.Repos, q.Repos), hintRepos)
	case over(int64(used.Refs), int64(more.Refs), int64(q.Refs)):
		text := fmt.Sprintf("%d of %d refs used", used.Refs, q.Refs)
		if used.Refs < q.Refs {
			text += fmt.Sprintf(", this push adds %d", more.Refs)
		}
		return q.refuse(text, hintRefs)
	case over(used.Bytes, more.Bytes, q.Bytes):
		return q.refuse(ofBytes(used.Bytes, more.Bytes, q.Bytes, "used"), hintBytes)
	case over(used.RepoBytes, more.RepoBytes, q.RepoBytes):
		return q.refuse(ofBytes(used.RepoBytes, more.RepoBytes, q.RepoBytes, "used in this repository"), hintRepoBytes)
	case over(used.PullBytes, more.PullBytes, q.PullBytes):
		return q.refuse(ofBytes(used.PullBytes, more.PullBytes, q.PullBytes, "used by pull requests to this repository"), hintPullBytes)
	}
	return nil
}

// What is behind each bound, and what to do about it. The sentences stand behind the numbers.
const (
	hintRepos     = "the operator bounds how many repositories one key may have here\ndelete one that you no longer need, or ask the operator for more"
	hintRefs      = "the operator bounds how many pull requests one key may keep here\ndelete the events of old ones, or ask the operator for more"
	hintBytes     = "all repositories of their owner count together; nothing of this push was kept\ndelete a repository that is no longer needed, or ask the operator for more room"
	hintRepoBytes = "the operator bounds the size of one repository; nothing of this push was kept\nkeep large files elsewhere, or ask the operator for more room"
	hintPullBytes = "the operator bounds what pull requests may add to one repository; nothing of this push was kept\nsend a smaller change, or offer your branch from another server in the event's clone tag"
)

// Left returns how many bytes more may be added to used in the dimensions in which more is not 0,
// and false if there is no bound.
func (q Quota) Left(used, more Usage) (int64, bool) {
	left, bounded := int64(0), false
	for _, d := range [...]struct{ used, more, limit int64 }{
		{used.Bytes, more.Bytes, q.Bytes},
		{used.RepoBytes, more.RepoBytes, q.RepoBytes},
		{used.PullBytes, more.PullBytes, q.PullBytes},
	} {
		if d.more == 0 || d.limit <= 0 {
			continue
		}
		if n := max(0, d.limit-max(0, d.used)); !bounded || n < left {
			left, bounded = n, true
		}
	}
	return left, bounded
}

func over(used, more, limit int64) bool {
	return limit > 0 && more > 0 && (used >= limit || more > limit-used)
}

func (q Quota) refuse(text, hint string) *Refusal {
	if q.Submitter {
		return &Refusal{Rule: "G06-13", Prefix: Restricted, Text: "limit: " + text, Hint: hint}
	}
	return &Refusal{Rule: "G01-109", Prefix: Restricted, Text: "quota: " + text, Hint: hint}
}

func ofBytes(used, more, limit int64, what string) string {
	text := fmt.Sprintf("%s of %s %s", Bytes(used), Bytes(limit), what)
	switch {
	case used >= limit:
	case more-1 == limit-used: // all that is known of a pack that was not read to its end
		text += ", this push adds more than " + Bytes(limit-used)
	default:
		text += ", this push adds " + Bytes(more)
	}
	return text
}

// Bytes says n bytes for people: in the largest unit of which there is one, whole if it fits and
// else with one decimal, rounded down so that what is not full does not look so.
func Bytes(n int64) string {
	for _, u := range [...]struct {
		name string
		n    int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n < u.n {
			continue
		}
		if n%u.n == 0 {
			return fmt.Sprintf("%d %s", n/u.n, u.name)
		}
		return fmt.Sprintf("%d.%d %s", n/u.n, n%u.n*10/u.n, u.name)
	}
	return fmt.Sprintf("%d bytes", n)
}

// Quotas are what an operator grants: the same to everybody, but for those named in Overrides.
// The zero Quotas bound nothing.
type Quotas struct {
	Owner     Quota // of those who announce repositories
	Submitter Quota // of those who propose changes to the repositories of others (G06-13)

	// Overrides are Owner.Bytes of single keys. 0 is no bound, and none for their events either.
	Overrides map[PubKey]int64

	Events Events
}

// Events bound how many events are kept that anybody may publish because they connect to something
// served (G01-801, hardening §10). 0 is no bound.
type Events struct {
	PerKey    int // by one author
	PerThread int // that answer one event, directly or not
	PerRepo   int // about one repository, directly or not
}

// EventsOf returns the bounds for an event by k.
func (q Quotas) EventsOf(k PubKey) Events {
	out := q.Events
	if n, ok := q.Overrides[k]; ok && n == 0 {
		out.PerKey = 0
	}
	return out
}

// CheckKey refuses an event by a key of which n are kept.
func (e Events) CheckKey(n int) error { return full(n, e.PerKey, "events of this key are kept here") }

// CheckThread refuses an event in a thread of which n are kept.
func (e Events) CheckThread(n int) error {
	return full(n, e.PerThread, "events in this thread are kept here")
}

// CheckRepo refuses an event about a repository of which n are kept.
func (e Events) CheckRepo(n int) error {
	return full(n, e.PerRepo, "events about this repository are kept here")
}

func full(n, limit int, what string) error {
	if limit <= 0 || n < limit {
		return nil
	}
	return Quota{}.refuse(fmt.Sprintf("%d of %d %s", n, limit, what), "delete events that are no longer needed, or ask the operator for more")
}

// Of returns the quota of an owner of repositories.
func (q Quotas) Of(k PubKey) Quota {
	out := q.Owner
	if n, ok := q.Overrides[k]; ok {
		out.Bytes = n
	}
	return out
}

// OfSubmitter returns the quota of somebody who proposes changes (G06-13).
func (q Quotas) OfSubmitter() Quota {
	out := q.Submitter
	out.Submitter = true
	return out
}

package grasp_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"testing/quick"

	"github.com/gitroost/gitroost/grasp"
)

const mib, gib = int64(1 << 20), int64(1 << 30)

// G01-109, G06-13, check 279: every text names both numbers, and only what grows is looked at.
func TestQuota(t *testing.T) {
	t.Parallel()
	owner := grasp.Quota{Bytes: 512 * mib, Repos: 1000, RepoBytes: gib, PullBytes: 256 * mib}
	submitter := grasp.Quotas{Submitter: grasp.Quota{Bytes: 64 * mib, Repos: 10, Refs: 100}}.OfSubmitter()
	for _, c := range []struct {
		name       string
		q          grasp.Quota
		used, more grasp.Usage
		want       string // "" is allowed
	}{
		{"nothing is bounded", grasp.Quota{}, grasp.Usage{Bytes: math.MaxInt64, Repos: math.MaxInt}, grasp.Usage{Bytes: math.MaxInt64, Repos: 1}, ""},
		{"empty", owner, grasp.Usage{}, grasp.Usage{Bytes: 1, RepoBytes: 1}, ""},
		{"exactly full", owner, grasp.Usage{Bytes: 500 * mib}, grasp.Usage{Bytes: 12 * mib}, ""},
		{"one byte too many", owner, grasp.Usage{Bytes: 500 * mib}, grasp.Usage{Bytes: 12*mib + 1}, "quota: 500 MiB of 512 MiB used, this push adds more than 12 MiB"},
		{"full", owner, grasp.Usage{Bytes: 512 * mib}, grasp.Usage{Bytes: grasp.Unknown}, "quota: 512 MiB of 512 MiB used"},
		{"nearly full", owner, grasp.Usage{Bytes: 512*mib - 1}, grasp.Usage{Bytes: 7}, "quota: 511.9 MiB of 512 MiB used, this push adds 7 bytes"},
		{"of unknown size", owner, grasp.Usage{Bytes: 512*mib - 1}, grasp.Usage{Bytes: grasp.Unknown}, ""},
		{"over, since copies count", owner, grasp.Usage{Bytes: 600 * mib}, grasp.Usage{Bytes: 5}, "quota: 600 MiB of 512 MiB used"},
		{"over, and nothing grows", owner, grasp.Usage{Bytes: 600 * mib, Repos: 2000, RepoBytes: 2 * gib, PullBytes: gib}, grasp.Usage{}, ""},
		{"more than can be counted", owner, grasp.Usage{Bytes: 1}, grasp.Usage{Bytes: math.MaxInt64}, "quota: 1 bytes of 512 MiB used, this push adds 8388607.9 TiB"},
		{"repositories", owner, grasp.Usage{Repos: 1000}, grasp.Usage{Repos: 1}, "quota: 1000 of 1000 repositories used"},
		{"the last repository", owner, grasp.Usage{Repos: 999}, grasp.Usage{Repos: 1}, ""},
		{"one repository", owner, grasp.Usage{RepoBytes: gib}, grasp.Usage{RepoBytes: 1}, "quota: 1 GiB of 1 GiB used in this repository"},
		{"pull requests", owner, grasp.Usage{Bytes: gib, RepoBytes: gib, PullBytes: 255 * mib}, grasp.Usage{PullBytes: 2 * mib}, "quota: 255 MiB of 256 MiB used by pull requests to this repository, this push adds 2 MiB"},
		{"a submitter's bytes", submitter, grasp.Usage{Bytes: 64 * mib}, grasp.Usage{Bytes: 1}, "limit: 64 MiB of 64 MiB used"},
		{"a submitter's repositories", submitter, grasp.Usage{Repos: 10}, grasp.Usage{Repos: 1}, "limit: 10 of 10 repositories used"},
		{"a submitter's refs", submitter, grasp.Usage{Refs: 99}, grasp.Usage{Refs: 2}, "limit: 99 of 100 refs used, this push adds 2"},
		{"a submitter with room", submitter, grasp.Usage{Bytes: 1, Repos: 1, Refs: 99}, grasp.Usage{Bytes: 1, Refs: 1}, ""},
	} {
		err := c.q.Check(c.used, c.more)
		var r *grasp.Refusal
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: refused: %v", c.name, err)
		case c.want != "" && (!errors.As(err, &r) || r.Text != c.want):
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		case c.want != "":
			rule := "G01-109"
			if c.q.Submitter {
				rule = "G06-13"
			}
			if r.Rule != rule || r.Prefix != grasp.Restricted || strings.Count(r.Hint, "\n") != 1 {
				t.Errorf("%s: %+v", c.name, r)
			}
		}
	}
}

// What Left says fits, fits; a byte more does not.
func TestQuotaLeft(t *testing.T) {
	t.Parallel()
	f := func(limit, used, repoLimit, repoUsed uint16) bool {
		q := grasp.Quota{Bytes: int64(limit), RepoBytes: int64(repoLimit)}
		u := grasp.Usage{Bytes: int64(used), RepoBytes: int64(repoUsed)}
		left, bounded := q.Left(u, grasp.Usage{Bytes: 1, RepoBytes: 1})
		if !bounded {
			return limit == 0 && repoLimit == 0
		}
		if left > 0 && q.Check(u, grasp.Usage{Bytes: left, RepoBytes: left}) != nil {
			return false
		}
		return q.Check(u, grasp.Usage{Bytes: left + 1, RepoBytes: left + 1}) != nil
	}
	if err := quick.Check(f, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
	if n, bounded := (grasp.Quota{Bytes: 10}).Left(grasp.Usage{Bytes: 99}, grasp.Usage{PullBytes: 1}); bounded {
		t.Errorf("pull requests have %d bytes left of what does not bound them", n)
	}
}

func TestQuotaOverrides(t *testing.T) {
	t.Parallel()
	alice, bob, carol := key("alice"), key("bob"), key("carol")
	q := grasp.Quotas{
		Owner:     grasp.Quota{Bytes: 10, Repos: 3},
		Overrides: map[grasp.PubKey]int64{alice: 20, bob: 0},
	}
	for k, want := range map[grasp.PubKey]int64{alice: 20, bob: 0, carol: 10} {
		if got := q.Of(k); got.Bytes != want || got.Repos != 3 || got.Submitter {
			t.Errorf("%s: %+v, want %d bytes", nameOf(k), got, want)
		}
	}
}

// Hardening §10, spam by way of what is related to something served.
func TestEventBounds(t *testing.T) {
	t.Parallel()
	alice, bob := key("alice"), key("bob")
	q := grasp.Quotas{Events: grasp.Events{PerKey: 3, PerThread: 2, PerRepo: 1}, Overrides: map[grasp.PubKey]int64{alice: 0, bob: 7}}
	e := q.EventsOf(bob)
	for text, err := range map[string]error{
		"quota: 3 of 3 events of this key are kept here":           e.CheckKey(3),
		"quota: 5 of 2 events in this thread are kept here":        e.CheckThread(5),
		"quota: 1 of 1 events about this repository are kept here": e.CheckRepo(1),
	} {
		var r *grasp.Refusal
		if !errors.As(err, &r) || r.Text != text || r.Prefix != grasp.Restricted || r.Rule != "G01-109" || r.Unrelated {
			t.Errorf("%v, want %s", err, text)
		}
	}
	for i, err := range []error{
		e.CheckKey(2), e.CheckThread(1), e.CheckRepo(0), q.EventsOf(alice).CheckKey(1 << 30),
		grasp.Events{}.CheckKey(1), grasp.Events{}.CheckThread(1), grasp.Events{}.CheckRepo(1),
	} {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	if q.EventsOf(alice).CheckThread(2) == nil {
		t.Error("an override lifts the bound of a thread")
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 bytes", 1023: "1023 bytes", 1024: "1 KiB", 1536: "1.5 KiB", 512 * mib: "512 MiB", 512*mib - 1: "511.9 MiB",
		gib: "1 GiB", 1<<40 + 1: "1.0 TiB", 1_000_000: "976.5 KiB", -3: "-3 bytes",
	} {
		if got := grasp.Bytes(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

package grasp_test

import (
	"maps"
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

func TestDiffAndApply(t *testing.T) {
	for _, c := range []struct{ was, is, want string }{
		{"", "", ""},
		{"", "main=c1", "main=c1"},
		{"main=c1", "", "-main"},
		{"main=c1", "main=c1", ""},
		{"main=c1", "main=c2", "main=c2"},
		{"main=c1 b=c1 z=c1", "a=c1 main=c2 z=c1", "a=c1 -b main=c2"},
		{"tags/v1=t1 @e1=p1", "tags/v1=t2 main=c1", "main=c1 -@e1 tags/v1=t2"},
	} {
		was, is := refs(c.was), refs(c.is)
		d := grasp.Diff(was, is)
		if got := spellChanges(d); got != c.want {
			t.Errorf("Diff(%s, %s) = %s, want %s", c.was, c.is, got, c.want)
		}
		if got := was.Apply(d); !maps.Equal(got, is) {
			t.Errorf("applying Diff(%s, %s) gives %v", c.was, c.is, got)
		}
		if !maps.Equal(was, refs(c.was)) {
			t.Errorf("Apply changed its receiver: %v", was)
		}
		for _, ch := range d {
			if old, ok := was[ch.Ref]; ok && ch.Old != old || !ok && !ch.Old.IsZero() {
				t.Errorf("Diff(%s, %s): old value of %s is %s", c.was, c.is, ch.Ref, ch.Old)
			}
		}
		if same := was.Digest() == is.Digest(); same != (len(d) == 0) {
			t.Errorf("digests of %q and %q equal: %t", c.was, c.is, same)
		}
	}
}

func TestVerdictNotes(t *testing.T) { // N-004, check 125
	for v, want := range map[grasp.Verdict]string{
		grasp.Accepted:  "",
		grasp.Held:      "purgatory: won't be served until git data arrives",
		grasp.Known:     "duplicate: already have this event",
		grasp.KnownHeld: "purgatory: won't be served until git data arrives",
		grasp.Passed:    "",
	} {
		if got := v.Note(); got != want {
			t.Errorf("%d.Note() = %q, want %q", v, got, want)
		}
	}
}

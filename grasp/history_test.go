package grasp_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

var oldA, oldB = grasp.OID(strings.Repeat("a", 40)), grasp.OID(strings.Repeat("b", 40))

// TestKeptNames: what a hidden ref keeps is in its name, is told by nobody, and cannot be in the way of
// another (G05-06).
func TestKeptNames(t *testing.T) {
	for _, ref := range []grasp.RefName{"refs/heads/main", "refs/heads/a/b-c", "refs/tags/v1%2F2", "refs/heads/%25", "refs/heads/ü",
		grasp.RefName("refs/heads/" + strings.Repeat("a/", 121) + "b")} {
		k := grasp.Kept{At: 1_700_000_000, OID: oldA, Ref: ref}
		got, ok := grasp.ParseKept(k.Name())
		if !ok || got != k {
			t.Errorf("%s becomes %s, then %+v %t", ref, k.Name(), got, ok)
		}
		if k.Name().Visible() || strings.Count(string(k.Name()), "/") != 3 {
			t.Errorf("%s", k.Name())
		}
	}
	for _, name := range []grasp.RefName{
		"refs/heads/main", "refs/gitroost/history/", "refs/gitroost/history/1-x-heads%2Fa", "refs/gitroost/other/1",
		grasp.RefName("refs/gitroost/history/1-" + string(oldA) + "-nostr%2Fa"), grasp.RefName("refs/gitroost/history/1-" + string(oldA) + "-heads/a"),
		grasp.RefName("refs/gitroost/history/01-" + string(oldA) + "-heads%2Fa"), grasp.RefName("refs/gitroost/history/-1-" + string(oldA) + "-heads%2Fa"),
		grasp.RefName("refs/gitroost/history/1-" + string(grasp.ZeroOID) + "-heads%2Fa"), grasp.RefName("refs/gitroost/history/1-" + string(oldA) + "-heads%2F.."),
	} {
		if k, ok := grasp.ParseKept(name); ok {
			t.Errorf("%s keeps %+v", name, k)
		}
	}
}

// TestRetention: what goes is kept, once and as of the last time, so many and so long; PR refs are not
// (G05-06).
func TestRetention(t *testing.T) {
	kept := func(at int64, oid grasp.OID, ref grasp.RefName) grasp.Kept {
		return grasp.Kept{At: at, OID: oid, Ref: ref}
	}
	add := func(k grasp.Kept) grasp.RefChange {
		return grasp.RefChange{Ref: k.Name(), Old: grasp.ZeroOID, New: k.OID}
	}
	drop := func(k grasp.Kept) grasp.RefChange {
		return grasp.RefChange{Ref: k.Name(), Old: k.OID, New: grasp.ZeroOID}
	}
	gone := func(ref grasp.RefName, old grasp.OID) grasp.RefChange {
		return grasp.RefChange{Ref: ref, Old: old, New: grasp.ZeroOID}
	}
	main, dev := grasp.RefName("refs/heads/main"), grasp.RefName("refs/heads/dev")
	many := grasp.Retention{Tips: 10}
	for _, c := range []struct {
		name    string
		r       grasp.Retention
		kept    []grasp.Kept
		leaving []grasp.RefChange
		want    []grasp.RefChange
	}{
		{"nothing happens", many, []grasp.Kept{kept(5, oldA, main)}, nil, nil},
		{"a branch goes", many, nil, []grasp.RefChange{gone(main, oldA)}, []grasp.RefChange{add(kept(100, oldA, main))}},
		{"a tag moves", many, nil, []grasp.RefChange{{Ref: "refs/tags/v1", Old: oldA, New: oldB}}, []grasp.RefChange{add(kept(100, oldA, "refs/tags/v1"))}},
		{"a branch begins", many, nil, []grasp.RefChange{{Ref: main, Old: grasp.ZeroOID, New: oldB}}, nil},
		{"a pull request goes", many, nil, []grasp.RefChange{gone(grasp.PullRef(grasp.EventID(strings.Repeat("c", 64))), oldA)}, nil},
		{"it goes again", many, []grasp.Kept{kept(5, oldA, main)}, []grasp.RefChange{gone(main, oldA)},
			[]grasp.RefChange{add(kept(100, oldA, main)), drop(kept(5, oldA, main))}},
		{"it goes twice in a second", many, []grasp.Kept{kept(100, oldA, main)}, []grasp.RefChange{gone(main, oldA)}, nil},
		{"another goes at the same tip", many, []grasp.Kept{kept(5, oldA, main)}, []grasp.RefChange{gone(dev, oldA)}, []grasp.RefChange{add(kept(100, oldA, dev))}},
		{"too many", grasp.Retention{Tips: 1}, []grasp.Kept{kept(5, oldA, main)}, []grasp.RefChange{gone(main, oldB)},
			[]grasp.RefChange{add(kept(100, oldB, main)), drop(kept(5, oldA, main))}},
		{"too old", grasp.Retention{Tips: 9, Age: 50}, []grasp.Kept{kept(49, oldA, main), kept(50, oldB, main)}, nil, []grasp.RefChange{drop(kept(49, oldA, main))}},
		{"none any more", grasp.Retention{}, []grasp.Kept{kept(5, oldA, main)}, []grasp.RefChange{gone(dev, oldA)}, []grasp.RefChange{drop(kept(5, oldA, main))}},
	} {
		if got := c.r.Plan(c.kept, c.leaving, 100); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n%v\nwant\n%v", c.name, got, c.want)
		}
	}
}

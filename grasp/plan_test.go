package grasp_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

// snapshot spells a repository: "main=c1 HEAD=main". Without HEAD it is the default.
func snapshot(spec string) *grasp.Snapshot {
	s, refs := &grasp.Snapshot{Head: grasp.DefaultHead}, grasp.Refs{}
	for f := range strings.FieldsSeq(spec) {
		if h, ok := strings.CutPrefix(f, "HEAD="); ok {
			s.Head = ref(h)
			continue
		}
		n, o, _ := strings.Cut(f, "=")
		refs[ref(n)] = oid(o)
	}
	s.Refs = refs.List()
	return s
}

func objects(spec string) grasp.OIDSet {
	out := grasp.OIDSet{}
	for o := range strings.FieldsSeq(spec) {
		out.Add(oid(o))
	}
	return out
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name    string
		facts   []fact
		at      map[string]string // what each repository looks like
		have    string            // complete objects
		expired map[string]string // owner → PR ref whose time is over
		want    string
	}{
		{name: "nothing to do", facts: []fact{hosts("O")}, at: map[string]string{"O": ""}},
		{name: "172 nothing to do without a state", facts: []fact{hosts("O")}, at: map[string]string{"O": "master=c1"}},

		// States and their objects (§2.7).
		{
			name: "181 the first state releases its announcement", facts: []fact{waits("O"), pends("O", 10, "main=c1 HEAD=main")},
			at: map[string]string{"O": "main=c1"}, have: "c1",
			want: "O: HEAD=main by O@10; release O's O@10",
		},
		{
			name: "165 a missing commit", facts: []fact{hosts("O"), says("O", 5, "main=c1 HEAD=main"), pends("O", 10, "main=c2")},
			at: map[string]string{"O": "main=c1 HEAD=main"}, have: "c1",
		},
		{
			name: "164 commits known, no push needed", facts: []fact{hosts("O"), says("O", 5, "main=c2 old=c1 HEAD=main"), pends("O", 10, "main=c1 new=c2 HEAD=main")},
			at: map[string]string{"O": "main=c2 old=c1 HEAD=main"}, have: "c1 c2",
			want: "O: main=c1 new=c2 -old by O@10; release O@10",
		},
		{
			name: "158 never complete", facts: []fact{hosts("O"), pends("O", 10, "main=c1 dev=?")},
			at: map[string]string{"O": "main=c1 HEAD=main"}, have: "c1",
		},
		{
			name: "167 one of two is missing", facts: []fact{hosts("O"), pends("O", 10, "main=c1 dev=c2")},
			at: map[string]string{"O": ""}, have: "c1",
		},
		{
			name: "168 an older one of another author moves nothing", facts: []fact{hosts("O", "M1"), says("O", 100, "main=c1 HEAD=main"), pends("M1", 50, "main=c2")},
			at: map[string]string{"O": "main=c1 HEAD=main"}, have: "c1 c2",
			want: "release M1@50",
		},
		{
			name: "169 a newer one, diverged", facts: []fact{hosts("O", "M1"), says("O", 100, "main=c1 HEAD=main"), pends("M1", 150, "main=c2 HEAD=main")},
			at: map[string]string{"O": "main=c1 HEAD=main"}, have: "c1 c2",
			want: "O: main=c2 by M1@150; release M1@150",
		},
		{
			name: "170 the older of two that wait", facts: []fact{hosts("O", "M1"), pends("O", 10, "main=c1"), pends("M1", 11, "main=c2")},
			at: map[string]string{"O": "main=c1 HEAD=main"}, have: "c1",
			want: "release O@10",
		},
		{
			name: "406 the older of two, with all its refs", facts: []fact{hosts("O", "M1"), pends("O", 10, "main=c1 dev=c1"), pends("M1", 11, "main=c2")},
			at: map[string]string{"O": "main=c1 HEAD=main"}, have: "c1",
			want: "O: dev=c1 by O@10; release O@10",
		},
		{
			name: "601 both, the oldest first", facts: []fact{hosts("O", "M1"), pends("O", 10, "main=c1"), pends("M1", 11, "main=c2")},
			at: map[string]string{"O": "main=c1 HEAD=main"}, have: "c1 c2",
			want: "O: main=c2 by M1@11; release O@10 M1@11",
		},
		{
			name: "309 of one author only the newest, the rest is dropped", facts: []fact{hosts("O"), pends("O", 9, "main=c3"), pends("O", 10, "main=c1"), pends("O", 11, "main=c2"), pends("O", 12, "main=c4")},
			at: map[string]string{"O": "HEAD=main"}, have: "c1 c2",
			want: "O: main=c2 by O@11; release O@11; drop O@10 O@9",
		},
		{
			name: "310 what waits and is older than the author's served one", facts: []fact{hosts("O"), says("O", 20, "main=c1 HEAD=main"), pends("O", 10, "main=c2")},
			at: map[string]string{"O": "main=c1 HEAD=main"}, have: "c1 c2",
			want: "drop O@10",
		},
		{
			name: "157 a stranger's is nobody's", facts: []fact{hosts("O"), pends("X", 10, "main=c1")},
			at: map[string]string{"O": ""}, have: "c1",
		},
		{
			name: "153 a removed maintainer's moves the refs back", facts: []fact{hosts("O"), says("O", 10, "main=c1 HEAD=main"), says("M1", 20, "main=c2")},
			at: map[string]string{"O": "main=c2 HEAD=main"}, have: "c1 c2",
			want: "O: main=c1 by O@10",
		},
		{
			name: "205 but not if nothing is left", facts: []fact{hosts("O"), says("M1", 20, "main=c2")},
			at: map[string]string{"O": "main=c2 HEAD=main"}, have: "c2",
		},
		{
			name: "265 a deleted state leaves the refs", facts: []fact{hosts("O")},
			at: map[string]string{"O": "main=c2 HEAD=main"}, have: "c2",
		},
		{
			name: "154 an added maintainer's served state", facts: []fact{hosts("O", "M1"), says("O", 10, "main=c1 HEAD=main"), says("M1", 20, "main=c2 HEAD=main")},
			at: map[string]string{"O": "main=c1 HEAD=main"}, have: "c1 c2",
			want: "O: main=c2 by M1@20",
		},
		{
			name: "D9 the newest was lost, the one before is whole", facts: []fact{hosts("O", "M1"), says("O", 10, "main=c1 HEAD=main"), says("M1", 20, "main=c2 HEAD=main")},
			at: map[string]string{"O": "HEAD=main"}, have: "c1",
			want: "O: main=c1 by O@10",
		},

		// States that declare nothing (G01-311).
		{
			name: "172 served, and nothing deleted", facts: []fact{hosts("O"), pends("O", 10, "")},
			at:   map[string]string{"O": "main=c1 HEAD=main"},
			want: "release O@10",
		},
		{
			name: "172 not before the announcement", facts: []fact{waits("O"), pends("O", 10, "")},
			at: map[string]string{"O": ""},
		},
		{
			name: "311 what it supersedes moves nothing any more", facts: []fact{hosts("O", "M1"), says("M1", 5, "main=c1 HEAD=main"), pends("O", 10, "main=c2 dev=c3"), pends("O", 20, "")},
			at: map[string]string{"O": "main=c2 HEAD=main"}, have: "c1 c2",
			want: "O: main=c1 by M1@5; release O@20; drop O@10",
		},

		// Partial pushes (G01-502).
		{
			name: "185 a part has arrived", facts: []fact{waits("O"), pends("O", 10, "main=c1 dev=c2 HEAD=main")},
			at: map[string]string{"O": "main=c1"}, have: "c1",
			want: "O: HEAD=main",
		},
		{
			name: "185 then the rest", facts: []fact{waits("O"), pends("O", 10, "main=c1 dev=c2 HEAD=main")},
			at: map[string]string{"O": "main=c1 dev=c2 HEAD=main"}, have: "c1 c2",
			want: "release O's O@10",
		},
		{
			name: "186 the rest was here", facts: []fact{hosts("O"), says("O", 5, "main=c1 dev=c2 HEAD=main"), pends("O", 10, "main=c3 dev=c2 HEAD=main")},
			at: map[string]string{"O": "main=c3 dev=c2 HEAD=main"}, have: "c1 c2 c3",
			want: "release O@10",
		},
		{
			name: "502 a part is not undone while the rest is coming", facts: []fact{hosts("O"), says("O", 5, "main=c1 dev=c2 old=c3 HEAD=main"), pends("O", 10, "main=c4 dev=c5 HEAD=main")},
			at: map[string]string{"O": "main=c4 dev=c2 HEAD=main"}, have: "c1 c2 c3 c4",
		},
		{
			name: "502 but when the rest comes no more", facts: []fact{hosts("O"), says("O", 5, "main=c1 dev=c2 old=c3 HEAD=main")},
			at: map[string]string{"O": "main=c4 dev=c2 HEAD=main"}, have: "c1 c2 c3 c4",
			want: "O: main=c1 old=c3 by O@5",
		},
		{
			name: "502 undeclared refs go when all is here", facts: []fact{hosts("O"), pends("O", 10, "main=c1 HEAD=main")},
			at: map[string]string{"O": "main=c1 old=c9 HEAD=main"}, have: "c1",
			want: "O: -old by O@10; release O@10",
		},
		{
			name: "302 no folder in the way", facts: []fact{hosts("O"), says("O", 5, "a=c1 HEAD=a"), pends("O", 10, "a/b=c2 c=c3")},
			at: map[string]string{"O": "a/b=c2 HEAD=a/b"}, have: "c1 c2",
			want: "",
		},

		// Several repositories (G01-602, G01-106, G01-111).
		{
			name: "198 the other's repository follows", facts: []fact{hosts("O", "M1"), waits("M1", "O"), pends("O", 10, "main=c1 HEAD=main")},
			at: map[string]string{"O": "main=c1", "M1": ""}, have: "c1",
			want: "M1: main=c1 HEAD=main by O@10; O: HEAD=main by O@10; release M1's O@10",
		},
		{
			name: "198 but not if it does not list the author", facts: []fact{hosts("O", "M1"), waits("M1"), pends("O", 10, "main=c1 HEAD=main")},
			at: map[string]string{"O": "main=c1 HEAD=main", "M1": ""}, have: "c1",
			want: "release O@10",
		},
		{
			name: "136 a new repository of a known state", facts: []fact{hosts("O"), waits("M1", "O"), says("O", 10, "main=c1 HEAD=main")},
			at: map[string]string{"O": "main=c1 HEAD=main", "M1": ""}, have: "c1",
			want: "M1: main=c1 HEAD=main by O@10; release M1's",
		},
		{
			name: "140 an announcement elsewhere waits with the one that led to it", facts: []fact{waits("O", "M1"), announced("M1", grasp.Waiting, false, grasp.NotHosted), pends("O", 10, "main=c1")},
			at: map[string]string{"O": "main=c1 HEAD=main"},
		},
		{
			name: "111 and is released with it", facts: []fact{waits("O", "M1"), announced("M1", grasp.Waiting, false, grasp.NotHosted), pends("O", 10, "main=c1")},
			at: map[string]string{"O": "main=c1 HEAD=main"}, have: "c1",
			want: "release O's M1's O@10",
		},
		{
			name: "111 nobody leads to it any more", facts: []fact{hosts("O"), announced("M1", grasp.Waiting, false, grasp.NotHosted)},
			at: map[string]string{"O": ""},
		},
		{
			name: "144 a withdrawn repository is left alone", facts: []fact{withdrew("O"), says("O", 5, "main=c1"), pends("O", 10, "main=c2")},
			at: map[string]string{"O": "main=c1 HEAD=main"}, have: "c1 c2",
		},
		{
			name: "223 and a deleted one", facts: []fact{hosts("O"), hosting("O", grasp.Deleted), says("O", 5, "main=c1")},
			at: map[string]string{"O": "main=c2"}, have: "c1 c2",
		},

		// Refs (G01-603).
		{
			name: "194 what is not declared goes, PR refs stay", facts: []fact{hosts("O"), pends("O", 10, "main=c1 HEAD=main")},
			at: map[string]string{"O": "main=c1 old=c1 tags/v1=t1 @e1=p1 HEAD=main"}, have: "c1",
			want: "O: -old -tags/v1 by O@10; release O@10",
		},

		// HEAD (G01-604, G01-605, H-208, H-209).
		{
			name: "195 HEAD alone", facts: []fact{hosts("O"), says("O", 5, "main=c1 develop=c1 HEAD=main"), pends("O", 10, "main=c1 develop=c1 HEAD=develop")},
			at: map[string]string{"O": "main=c1 develop=c1 HEAD=main"}, have: "c1",
			want: "O: HEAD=develop by O@10; release O@10",
		},
		{
			name: "196 HEAD with the commit", facts: []fact{hosts("O"), pends("O", 10, "develop1=c1 HEAD=develop1")},
			at: map[string]string{"O": "develop1=c1"}, have: "c1",
			want: "O: HEAD=develop1 by O@10; release O@10",
		},
		{
			name: "197 HEAD undeclared, stays", facts: []fact{hosts("O"), pends("O", 10, "main=c1 dev=c1 HEAD=gone")},
			at: map[string]string{"O": "main=c1 dev=c1 HEAD=dev"}, have: "c1",
			want: "release O@10",
		},
		{
			name: "197 HEAD undeclared, falls back to main", facts: []fact{hosts("O"), pends("O", 10, "a=c1 main=c1 master=c1 HEAD=gone")},
			at: map[string]string{"O": "HEAD=dev"}, have: "c1",
			want: "O: a=c1 main=c1 master=c1 HEAD=main by O@10; release O@10",
		},
		{
			name: "605 falls back to master", facts: []fact{hosts("O"), pends("O", 10, "a=c1 master=c1")},
			at: map[string]string{"O": "HEAD=dev"}, have: "c1",
			want: "O: a=c1 master=c1 HEAD=master by O@10; release O@10",
		},
		{
			name: "605 falls back to the first", facts: []fact{hosts("O"), pends("O", 10, "z=c1 b=c1")},
			at: map[string]string{"O": ""}, have: "c1",
			want: "O: b=c1 z=c1 HEAD=b by O@10; release O@10",
		},
		{
			name: "605 its branch is deleted", facts: []fact{hosts("O"), says("O", 5, "main=c1 dev=c1 HEAD=main"), pends("O", 10, "dev=c1")},
			at: map[string]string{"O": "main=c1 dev=c1 HEAD=main"}, have: "c1",
			want: "O: -main HEAD=dev by O@10; release O@10",
		},
		{
			name: "208 tags alone leave it", facts: []fact{hosts("O"), pends("O", 10, "tags/v1=t1 HEAD=main")},
			at: map[string]string{"O": ""}, have: "t1",
			want: "O: tags/v1=t1 by O@10; release O@10",
		},
		{
			name: "209 broken, without a state", facts: []fact{hosts("O")},
			at:   map[string]string{"O": "dev=c1 HEAD=gone"},
			want: "O: HEAD=dev",
		},

		// PR refs (§2.11).
		{
			name: "203 the commit of a waiting event has come", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")},
			at: map[string]string{"O": "@e1=p1"}, have: "p1",
			want: "release e1",
		},
		{
			name: "203 not before", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")},
			at: map[string]string{"O": ""},
		},
		{
			name: "204 another commit was pushed", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")},
			at:   map[string]string{"O": "@e1=p2"},
			want: "O: -@e1",
		},
		{
			name: "704 another commit was pushed, but the right one is here", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")},
			at: map[string]string{"O": "@e1=p2 main=p1 HEAD=main"}, have: "p1",
			want: "O: @e1=p1; release e1",
		},
		{
			name: "207 in the repository of each maintainer", facts: []fact{hosts("O"), hosts("M1"), asks("e1", grasp.Waiting, "p1", "O", "M1")},
			at: map[string]string{"O": "@e1=p1", "M1": ""}, have: "p1",
			want: "M1: @e1=p1; release e1",
		},
		{
			name: "705 and where a maintainer is named", facts: []fact{hosts("O", "M1"), hosts("X"), asks("e1", grasp.Waiting, "p1", "M1")},
			at: map[string]string{"O": "", "X": ""}, have: "p1",
			want: "O: @e1=p1; release e1",
		},
		{
			name: "135 a PR ref releases no announcement", facts: []fact{waits("O")},
			at: map[string]string{"O": "@e1=p1"}, have: "p1",
		},
		{
			name: "702 for nobody here", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "X")},
			at: map[string]string{"O": ""}, have: "p1",
		},
		{
			name: "209 its time is over", facts: []fact{hosts("O")},
			at: map[string]string{"O": "@e1=p1 @e2=p2"}, expired: map[string]string{"O": "e1"},
			want: "O: -@e1",
		},
		{
			name: "209 it is gone already", facts: []fact{hosts("O")},
			at: map[string]string{"O": "@e2=p2"}, expired: map[string]string{"O": "e1"},
		},
		{
			name: "210 its event came", facts: []fact{hosts("O"), asks("e1", grasp.Served, "p1", "O")},
			at: map[string]string{"O": "@e1=p1"}, have: "p1", expired: map[string]string{"O": "e1"},
		},
		{
			name: "707 its event waits", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")},
			at: map[string]string{"O": "@e1=p1"}, have: "p1", expired: map[string]string{"O": "e1"},
			want: "release e1",
		},
		{
			name: "707 its event names another commit", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")},
			at: map[string]string{"O": "@e1=p2"}, expired: map[string]string{"O": "e1"},
			want: "O: -@e1",
		},
		{
			name: "212 an update leaves the original alone", facts: []fact{hosts("O"), asks("e1", grasp.Served, "p1", "O"), asks("e2", grasp.Waiting, "p2", "O")},
			at: map[string]string{"O": "@e1=p1 @e2=p2"}, have: "p1 p2",
			want: "release e2",
		},
		// Contributors' boxes (§2.14); P signs every pull request of these tests.
		{
			name: "233 the commit comes into the box", facts: []fact{asks("e1", grasp.Waiting, "p1", "X")},
			at: map[string]string{"box of P": "@e1=p1"}, want: "release e1",
		},
		{
			name: "233 it is mirrored", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")},
			at:   map[string]string{"O": "main=c1 HEAD=main", "box of P": "@e1=p1"},
			want: "O: @e1=p1; release e1",
		},
		{
			name: "278 to those who live here", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O", "X")},
			at:   map[string]string{"O": "", "box of P": "@e1=p1"},
			want: "O: @e1=p1; release e1",
		},
		{
			name: "230 over what was there", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")},
			at:   map[string]string{"O": "@e1=p2", "box of P": "@e1=p1"},
			want: "O: @e1=p1; release e1",
		},
		{
			name: "234 but not back", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")},
			at: map[string]string{"O": "@e1=p1", "box of P": ""}, have: "p1",
			want: "release e1",
		},
		{
			name: "231 what its author put there by mistake", facts: []fact{asks("e1", grasp.Waiting, "p1", "X")},
			at: map[string]string{"box of P": "@e1=p2 @e2=p1"}, want: "box of P: -@e1",
		},
		{
			name: "231 also if the commit came to the repository", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")},
			at: map[string]string{"O": "@e1=p1", "box of P": "@e1=p2"}, have: "p1",
			want: "release e1; box of P: -@e1",
		},
		{
			name: "G06-08 the commit is in the box under another name", facts: []fact{asks("e1", grasp.Waiting, "p1", "X")},
			at: map[string]string{"box of P": "@e2=p1"},
		},
		{
			name: "229 somebody else's box means nothing", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")},
			at: map[string]string{"O": "", "box of X": "@e1=p1"},
		},
		{
			name: "231 and is emptied", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")},
			at: map[string]string{"O": "", "box of X": "@e1=p1"}, expired: map[string]string{"box of X": "e1"},
			want: "box of X: -@e1",
		},
		{
			name: "a box of another identifier counts if it is named", facts: []fact{hosts("O"), func(t testing.TB, v *grasp.View) {
				asks("e1", grasp.Waiting, "p1", "O")(t, v)
				p := v.Pulls[eventID("e1")]
				p.Repos = append(p.Repos, grasp.Addr{Owner: key("X"), ID: "other"})
				v.Pulls[p.ID] = p
			}},
			at: map[string]string{"O": "", "other box of P": "@e1=p1 @e2=p2"}, expired: map[string]string{"other box of P": "e2"},
			want: "O: @e1=p1; release e1",
		},
		{
			name: "and means nothing if not", facts: []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")},
			at: map[string]string{"O": "", "other box of P": "@e1=p1"},
		},
		{
			name: "G01-707 nobody came", facts: []fact{asks("e1", grasp.Served, "p1", "X")},
			at: map[string]string{"box of P": "@e1=p1 @e2=p2"}, expired: map[string]string{"box of P": "e2"},
			want: "box of P: -@e2",
		},
		{
			name: "G01-707 the event came after all", facts: []fact{asks("e1", grasp.Served, "p1", "X")},
			at: map[string]string{"box of P": "@e1=p1"}, expired: map[string]string{"box of P": "e1"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := view(t, c.facts...)
			at := map[grasp.Addr]*grasp.Snapshot{}
			for who, spec := range c.at {
				at[place(who)] = snapshot(spec)
			}
			expired := map[grasp.Addr][]grasp.EventID{}
			for who, e := range c.expired {
				expired[place(who)] = append(expired[place(who)], eventID(e))
			}
			wants := grasp.OIDSet{}
			for _, o := range v.Wants() {
				wants.Add(o)
			}
			have := grasp.OIDSet{} // nobody looks for what is not wanted
			for o := range objects(c.have) {
				if wants.Has(o) {
					have.Add(o)
				}
			}
			p := v.Plan(at, have, expired)
			if got, want := sortParts(spellPlan(p)), sortParts(c.want); got != want {
				t.Errorf("plan: %s\nwant: %s", got, want)
			}
			if p.Empty() != (c.want == "") {
				t.Errorf("Empty() = %t", p.Empty())
			}
			for _, r := range p.Repos {
				for _, e := range r.Edits {
					if was, ok := at[r.Repo].Refs.Tip(e.Ref); ok && e.Old != was || !ok && e.Old != grasp.ZeroOID {
						t.Errorf("%s: old value %s", e.Ref, e.Old)
					}
				}
			}
		})
	}
}

// place is the repository of who, or the box: "box of P", "other box of P".
func place(who string) grasp.Addr {
	if of, ok := strings.CutPrefix(who, "box of "); ok {
		return boxOf(key(of))
	}
	if of, ok := strings.CutPrefix(who, "other box of "); ok {
		return grasp.Addr{Owner: key(of), ID: "other", Box: true}
	}
	return addrOf(key(who))
}

// sortParts puts repositories and dropped events, whose order follows from their keys and ids,
// into the order of their names.
func sortParts(plan string) string {
	parts := strings.Split(plan, "; ")
	slices.Sort(parts)
	for i, p := range parts {
		if ids, ok := strings.CutPrefix(p, "drop "); ok {
			w := strings.Fields(ids)
			slices.Sort(w)
			parts[i] = "drop " + strings.Join(w, " ")
		}
	}
	return strings.Join(parts, "; ")
}

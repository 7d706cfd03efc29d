package grasp_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

// A verdict is what a push comes to: allow(…) or refuse(…).
type verdict struct {
	by      string // the state that grants, or "none"
	partial bool
	less    bool   // not all that was asked remains to be done, but only
	does    string // this

	rule, ref, text, hint string // of the refusal; text and hint are parts
}

// allow: granted by that state ("none" if no head or tag is among the updates).
func allow(by string) verdict { return verdict{by: by} }

// allowPart: granted as a part of that state.
func allowPart(by string) verdict { return verdict{by: by, partial: true} }

// allowOnly: granted, but less is to be done than was asked.
func allowOnly(by, does string) verdict { return verdict{by: by, less: true, does: does} }

// refuse: refused by rule, because of ref, in words that contain text.
func refuse(rule, ref, text string) verdict { return verdict{rule: rule, ref: ref, text: text} }

func (v verdict) hinting(s string) verdict { v.hint = s; return v }

func TestCheckPush(t *testing.T) {
	const noState = "no repository state event authorises this push; publish kind 30618 first"
	short := func(name string) string { return oid(name).Short() }
	says1 := fmt.Sprintf("signed state %s says %s, you pushed %s", eventID("O@10").Short(), short("c1"), short("c2"))

	for _, c := range []struct {
		name  string
		facts []fact
		to    string // whose repository; O's if empty
		now   string
		push  string
		want  verdict
	}{
		// Exactly what a state says (G01-501).
		{"181 all of a waiting state", []fact{waits("O"), pends("O", 10, "main=c1")}, "", "", "main=c1", allow("O@10")},
		{"181 many refs", []fact{hosts("O"), pends("O", 10, "main=c1 dev=c2 tags/v1=t1")}, "", "", "main=c1 dev=c2 tags/v1=t1", allow("O@10")},
		{"186 what is there already need not be pushed", []fact{hosts("O"), says("O", 5, "main=c1 dev=c2"), pends("O", 10, "main=c3 dev=c2")}, "", "main=c1 dev=c2", "main=c3", allow("O@10")},
		{"188 the authoritative state, restored", []fact{hosts("O"), says("O", 10, "main=c1 dev=c2")}, "", "", "main=c1 dev=c2", allow("O@10")},
		{"504 the authoritative state, after others moved", []fact{hosts("O"), says("O", 10, "main=c1")}, "", "main=c9 old=c8", "main=c1 old=0", allow("O@10")},
		{"163 a lightweight tag", []fact{hosts("O"), pends("O", 10, "main=c1 tags/v1=c1")}, "", "main=c1", "tags/v1=c1", allow("O@10")},
		{"163 an annotated tag where the commit is declared", []fact{hosts("O"), pends("O", 10, "main=c1 tags/v1=c1")}, "", "main=c1", "tags/v1=t1", refuse("G01-503", "tags/v1", "says "+short("c1"))},
		{"159 an annotated tag", []fact{hosts("O"), pends("O", 10, "main=c1 tags/v1=t1")}, "", "main=c1", "tags/v1=t1", allow("O@10")},

		// Who may sign (§2.6).
		{"148 an invited maintainer", []fact{hosts("O", "M1"), says("O", 10, "main=c1"), pends("M1", 20, "main=c2")}, "", "main=c1", "main=c2", allow("M1@20")},
		{"149 through a waiting announcement", []fact{hosts("O", "M1"), waits("M1", "M2"), pends("M2", 20, "main=c2")}, "", "", "main=c2", allow("M2@20")},
		{"258 through an announcement elsewhere", []fact{hosts("O", "M1"), elsewhere("M1", "M2"), pends("M2", 20, "main=c2")}, "", "", "main=c2", allow("M2@20")},
		{"150 in a circle", []fact{hosts("O", "M1"), hosts("M1", "O"), pends("O", 20, "main=c2")}, "M1", "", "main=c2", allow("O@20")},
		{"151 not the other way round", []fact{hosts("O", "M1"), hosts("M1"), pends("O", 20, "main=c2")}, "M1", "", "main=c2", refuse("G01-503", "", noState)},
		{"157 a stranger's state", []fact{hosts("O"), pends("X", 20, "main=c2")}, "", "", "main=c2", refuse("G01-503", "", noState)},
		{"147 a stranger's repository of the same name", []fact{hosts("O"), hosts("X"), pends("X", 20, "main=c2")}, "", "", "main=c2", refuse("G01-503", "", noState)},
		{"147 opens the stranger's only", []fact{hosts("O"), hosts("X"), pends("X", 20, "main=c2")}, "X", "", "main=c2", allow("X@20")},
		{"153 a removed maintainer", []fact{hosts("O", "M1"), hosts("O"), says("O", 10, "main=c1"), pends("M1", 20, "main=c2")}, "", "main=c1", "main=c2", refuse("G01-503", "main", "")},
		{"153 the owner's last state, restored", []fact{hosts("O"), says("O", 10, "main=c1"), says("M1", 20, "main=c2")}, "", "main=c2", "main=c1", allow("O@10")},

		// No state, or not what it says (G01-503).
		{"182 no state at all", []fact{hosts("O")}, "", "", "main=c1", refuse("G01-503", "", noState).hinting("ngit push")},
		{"183 another commit", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "", "main=c2", refuse("G01-503", "main", "refs/heads/main: "+says1).hinting("publish a new state event")},
		{"183 another commit than the authoritative", []fact{hosts("O"), says("O", 10, "main=c1")}, "", "main=c1", "main=c2", refuse("G01-503", "main", says1)},
		{"184 one ref too many", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "", "main=c1 extra=c1", refuse("G01-503", "extra", "refs/heads/extra: signed state "+eventID("O@10").Short()+" does not name it")},
		{"184 one ref too many, first", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "", "extra=c1 main=c1", refuse("G01-503", "extra", "does not name it, you pushed "+short("c1"))},
		{"503 the first of several is named", []fact{hosts("O"), pends("O", 10, "main=c1 dev=c2")}, "", "", "main=c1 dev=c3 b=c4", refuse("G01-503", "dev", "says "+short("c2"))},
		{"503 a declared branch, deleted", []fact{hosts("O"), says("O", 10, "main=c1")}, "", "main=c1", "main=0", refuse("G01-503", "main", "says "+short("c1")+", you delete it")},
		{"503 a deletion without a state", []fact{hosts("O")}, "", "main=c1", "main=0", refuse("G01-503", "", noState)},
		{"192 a branch for a pull request", []fact{hosts("O"), says("O", 10, "main=c1")}, "", "main=c1", "pr/1=p1", refuse("G01-503", "pr/1", "does not name it").hinting("refs/nostr/<event-id>")},
		{"508 declared, it is a branch like others", []fact{hosts("O"), pends("O", 10, "main=c1 pr/1=p1")}, "", "main=c1", "pr/1=p1", allow("O@10")},

		// Parts of the newest state (G01-502).
		{"185 one of two branches", []fact{waits("O"), pends("O", 10, "main=c1 dev=c2")}, "", "", "main=c1", allowPart("O@10")},
		{"185 then the other", []fact{waits("O"), pends("O", 10, "main=c1 dev=c2")}, "", "main=c1", "dev=c2", allow("O@10")},
		{"502 undeclared refs may stay for now", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "old=c9", "main=c1", allowPart("O@10")},
		{"502 or go", []fact{hosts("O"), pends("O", 10, "main=c1 dev=c2")}, "", "old=c9", "old=0", allowPart("O@10")},
		{"187 what fits only an older one", []fact{hosts("O", "M1"), pends("O", 10, "main=c1 dev=c1"), pends("M1", 11, "main=c2 dev=c2")}, "", "", "main=c1", refuse("G01-503", "main", "signed state "+eventID("M1@11").Short()+" says "+short("c2"))},
		{"170 all of an older one", []fact{hosts("O", "M1"), pends("O", 10, "main=c1"), pends("M1", 11, "main=c2")}, "", "", "main=c1", allow("O@10")},
		{"170 then all of the newer", []fact{hosts("O", "M1"), says("O", 10, "main=c1"), pends("M1", 11, "main=c2")}, "", "main=c1", "main=c2", allow("M1@11")},
		{"309 siblings of one author", []fact{hosts("O"), pends("O", 10, "main=c1"), pends("O", 11, "main=c2")}, "", "", "main=c1", allow("O@10")},
		{"502 a part of the authoritative state", []fact{hosts("O"), says("O", 10, "main=c1 dev=c2")}, "", "", "dev=c2", allowPart("O@10")},
		{"158 beside a value that is no object id", []fact{hosts("O"), pends("O", 10, "main=c1 dev=?")}, "", "", "main=c1", allowPart("O@10")},
		{"158 a value that is no object id", []fact{hosts("O"), pends("O", 10, "main=?")}, "", "", "main=c1", refuse("G01-503", "main", "says something that is no object id")},
		{"502 a branch in the way of a folder", []fact{hosts("O"), pends("O", 10, "a/b=c1 c=c2")}, "", "a=c9", "a/b=c1", refuse("G01-502", "a/b", "cannot exist in git beside refs/heads/a").hinting("delete refs/heads/a in the same push")},
		{"502 a folder in the way of a branch", []fact{hosts("O"), pends("O", 10, "a=c1 c=c2")}, "", "a/x=c8 a/b=c9", "a=c1", refuse("G01-502", "a", "cannot exist in git beside refs/heads/a/b").hinting("delete refs/heads/a/b in the same push")},
		{"502 out of the way", []fact{hosts("O"), pends("O", 10, "a/b=c1 c=c2")}, "", "a=c9", "a/b=c1 a=0", allowPart("O@10")},
		{"501 out of the way, exactly", []fact{hosts("O"), pends("O", 10, "a/b=c1")}, "", "a=c9", "a/b=c1 a=0", allow("O@10")},

		// Old states (G01-310).
		{"171 older than the served one", []fact{hosts("O", "M1"), says("O", 100, "main=c1"), pends("M1", 50, "main=c2")}, "", "main=c1", "main=c2", refuse("G01-503", "main", "signed state "+eventID("O@100").Short())},
		{"310 an older served one", []fact{hosts("O", "M1"), says("O", 100, "main=c1"), says("M1", 50, "main=c2")}, "", "main=c1", "main=c2", refuse("G01-503", "main", "")},
		{"310 older than another owner's maintainer's", []fact{hosts("O", "M1"), hosts("M1"), says("O", 100, "main=c1"), pends("M1", 50, "main=c2")}, "M1", "", "main=c2", allow("M1@50")},
		{"172 a state without refs", []fact{hosts("O"), pends("O", 10, "")}, "", "main=c1", "main=0", refuse("G01-503", "", noState)},
		{"172 a newer state without refs hides nothing", []fact{hosts("O", "M1"), pends("O", 10, "main=c1"), pends("M1", 20, "")}, "", "", "main=c1", allow("O@10")},

		// Namespaces (G01-506).
		{"190 notes", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "", "refs/notes/commits=c1", refuse("G01-506", "refs/notes/commits", "refs/notes/commits is outside refs/heads/, refs/tags/ and refs/nostr/")},
		{"190 pull", []fact{hosts("O")}, "", "", "refs/pull/1/head=c1", refuse("G01-506", "refs/pull/1/head", "outside")},
		{"190 grasp", []fact{hosts("O")}, "", "", "refs/grasp/x=c1", refuse("G01-506", "refs/grasp/x", "outside")},
		{"190 HEAD", []fact{hosts("O")}, "", "", "!HEAD=c1", refuse("G01-506", "!HEAD", "outside")},
		{"506 a bare name", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "", "!main=c1", refuse("G01-506", "!main", "outside")},
		{"506 replace", []fact{hosts("O")}, "", "", "refs/replace/x=c1", refuse("G01-506", "refs/replace/x", "outside")},
		{"506 a stash", []fact{hosts("O")}, "", "", "refs/stash=c1", refuse("G01-506", "refs/stash", "outside")},
		{"506 mixed with a good one", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "", "main=c1 refs/notes/commits=c1", refuse("G01-506", "refs/notes/commits", "outside")},
		{"506 deleting what does not exist there", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "", "main=c1 refs/notes/commits=0", refuse("G01-506", "refs/notes/commits", "outside")},
		{"253 a bad name", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "", "refs/heads/a..b=c1", refuse("H-253", "refs/heads/a..b", `"refs/heads/a..b" is not a ref name`)},
		{"253 a folder's name", []fact{hosts("O")}, "", "", "refs/heads/=c1", refuse("H-253", "refs/heads/", "is not a ref name")},
		{"253 a climbing name", []fact{hosts("O")}, "", "", "refs/heads/../../x=c1", refuse("H-253", "refs/heads/../../x", "is not a ref name")},
		{"77 the same ref twice", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "", "main=c1 main=c1", refuse("H-253", "main", "is named twice in one push")},
		{"77 the same ref twice, differently", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "", "main=c2 main=c1", refuse("H-253", "main", "is named twice in one push")},
		{"77 the same no-op twice", []fact{hosts("O")}, "", "main=c1", "main=c1 main=c1", refuse("H-253", "main", "is named twice in one push")},
		{"no command at all", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "", "", refuse("H-244", "", "the push names no ref")},

		// What is true already (H-249).
		{"72 no-ops need no state", []fact{hosts("O")}, "", "main=c1", "main=c1 dev=0", allowOnly("none", "")},
		{"70 the server was faster", []fact{hosts("O"), says("O", 10, "main=c2")}, "", "main=c2", "main=c0>c2", allowOnly("none", "")},
		{"71 the server deleted first", []fact{hosts("O"), says("O", 10, "main=c2")}, "", "main=c2", "dev=c1>0", allowOnly("none", "")},
		{"249 old equals new", []fact{hosts("O")}, "", "main=c1", "main=c1>c1", allowOnly("none", "")},
		{"249 zero to zero", []fact{hosts("O")}, "", "", "main=0", allowOnly("none", "")},
		{"249 beside what is to be done", []fact{hosts("O"), says("O", 5, "main=c1 dev=c2"), pends("O", 10, "main=c3 dev=c2")}, "", "main=c1 dev=c2", "dev=c9>c2 main=c3", allowOnly("O@10", "main=c3")},
		{"249 an undeclared ref that is not there", []fact{hosts("O"), pends("O", 10, "main=c3")}, "", "", "main=c3 gone=c9>0", allowOnly("O@10", "main=c3")},
		{"249 in a withdrawn repository", []fact{withdrew("O")}, "", "main=c1", "main=c1", allowOnly("none", "")},
		{"249 old equals new, but is not so", []fact{hosts("O"), says("O", 10, "main=c1")}, "", "main=c1", "main=c2>c2", refuse("G01-503", "main", "")},

		// Old values (H-250).
		{"250 somebody was faster", []fact{hosts("O"), says("O", 10, "main=c1"), pends("O", 20, "main=c3")}, "", "main=c1", "main=c0>c3", refuse("H-250", "main", "fetch first: refs/heads/main is at "+short("c1")+" here, your push expects "+short("c0")).hinting("git fetch")},
		{"250 it does not exist here", []fact{hosts("O"), pends("O", 20, "main=c3")}, "", "", "main=c0>c3", refuse("H-250", "main", "is at absent here")},
		{"250 it exists here", []fact{hosts("O"), pends("O", 20, "main=c3")}, "", "main=c1", "main=0>c3", refuse("H-250", "main", "your push expects absent")},
		{"250 the right to push comes first", []fact{hosts("O")}, "", "main=c1", "main=c0>c3", refuse("G01-503", "", noState)},

		// All or nothing (H-251), and what is never refused for being what it is (H-252).
		{"74 one good, one bad", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "", "main=c1 dev=c2", refuse("G01-503", "dev", "")},
		{"75 not fast-forward", []fact{hosts("O"), says("O", 5, "main=c5"), pends("O", 10, "main=c1")}, "", "main=c5", "main=c1", allow("O@10")},
		{"75 the branch of HEAD, deleted", []fact{hosts("O"), says("O", 5, "main=c5 dev=c5 HEAD=main"), pends("O", 10, "dev=c5 HEAD=dev")}, "", "main=c5 dev=c5", "main=0", allow("O@10")},
		{"75 a tag, deleted", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "main=c1 tags/v1=t1", "tags/v1=0", allow("O@10")},
		{"252 a tag, moved", []fact{hosts("O"), pends("O", 10, "main=c1 tags/v1=t2")}, "", "main=c1 tags/v1=t1", "tags/v1=t2", allow("O@10")},

		// Repositories that take nothing (G01-115, G01-509).
		{"144 withdrawn", []fact{withdrew("O"), says("O", 5, "main=c1"), pends("O", 10, "main=c2")}, "", "main=c1", "main=c2", refuse("G01-115", "main", "repository announcement no longer lists this server")},
		{"144 withdrawn, a PR ref", []fact{withdrew("O")}, "", "", "@e1=p1", refuse("G01-115", "@e1", "no longer lists this server")},
		{"223 deleted", []fact{hosts("O"), hosting("O", grasp.Deleted), pends("O", 10, "main=c2")}, "", "", "main=c2", refuse("G01-115", "main", "")},
		{"155 no repository of this maintainer", []fact{hosts("O", "M1"), pends("M1", 10, "main=c2")}, "M1", "", "main=c2", refuse("G01-115", "main", "")},
		{"155 elsewhere", []fact{hosts("O", "M1"), elsewhere("M1"), pends("M1", 10, "main=c2")}, "M1", "", "main=c2", refuse("G01-115", "main", "")},

		// PR refs (§2.11).
		{"200 an unknown event", []fact{hosts("O")}, "", "", "@e1=p1", allow("none")},
		{"135 an unknown event, while the announcement waits", []fact{waits("O")}, "", "", "@e1=p1", allow("none")},
		{"706 the last one wins", []fact{hosts("O")}, "", "@e1=p1", "@e1=p2", allow("none")},
		{"706 which must know the one before", []fact{hosts("O")}, "", "@e1=p1", "@e1=p0>p2", refuse("H-250", "@e1", "fetch first")},
		{"201 three digits", []fact{hosts("O")}, "", "", "refs/nostr/123=p1", refuse("G01-701", "refs/nostr/123", "does not end in an event id").hinting("64 lower-case hex digits")},
		{"201 capitals", []fact{hosts("O")}, "", "", "refs/nostr/" + strings.ToUpper(string(eventID("e1"))) + "=p1", refuse("G01-701", "refs/nostr/"+strings.ToUpper(string(eventID("e1"))), "event id")},
		{"201 63 digits", []fact{hosts("O")}, "", "", "refs/nostr/" + string(eventID("e1"))[1:] + "=p1", refuse("G01-701", "refs/nostr/"+string(eventID("e1"))[1:], "event id")},
		{"201 65 digits", []fact{hosts("O")}, "", "", "refs/nostr/" + string(eventID("e1")) + "0=p1", refuse("G01-701", "refs/nostr/"+string(eventID("e1"))+"0", "event id")},
		{"201 below", []fact{hosts("O")}, "", "", "refs/nostr/" + string(eventID("e1")) + "/x=p1", refuse("G01-701", "refs/nostr/"+string(eventID("e1"))+"/x", "event id")},
		{"701 a folder", []fact{hosts("O")}, "", "", "refs/nostr/pr/x=p1", refuse("G01-701", "refs/nostr/pr/x", "event id")},
		{"202 the tip of a waiting event", []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")}, "", "", "@e1=p1", allow("none")},
		{"202 another commit", []fact{hosts("O"), asks("e1", grasp.Waiting, "p1", "O")}, "", "", "@e1=p2", refuse("G01-702", "@e1", "must be "+short("p1")+", the tip that its event names, push has "+short("p2"))},
		{"702 another commit than a served event's", []fact{hosts("O"), asks("e1", grasp.Served, "p1", "O")}, "", "@e1=p1", "@e1=p2", refuse("G01-702", "@e1", "must be")},
		{"702 back to the tip", []fact{hosts("O"), asks("e1", grasp.Served, "p1", "O")}, "", "@e1=p2", "@e1=p1", allow("none")},
		{"206 an issue's id", []fact{hosts("O"), foreign("e1")}, "", "", "@e1=p1", refuse("G01-702", "@e1", "carries the id of an event that is no pull request")},
		{"702 a pull request for another identifier", []fact{hosts("O"), asks("e1", grasp.Served, "p1")}, "", "", "@e1=p1", refuse("G01-702", "@e1", "pull request for another repository")},
		{"702 a pull request for a stranger's", []fact{hosts("O"), hosts("X"), asks("e1", grasp.Served, "p1", "X")}, "", "", "@e1=p1", refuse("G01-702", "@e1", "pull request for another repository")},
		{"705 a pull request for a maintainer's", []fact{hosts("O", "M1"), asks("e1", grasp.Waiting, "p1", "M1")}, "", "", "@e1=p1", allow("none")},
		{"208 a deletion", []fact{hosts("O"), asks("e1", grasp.Served, "p1", "O")}, "", "@e1=p1", "@e1=0", refuse("G01-706", "@e1", "cannot be deleted by a push")},
		{"706 a deletion of an unknown one's", []fact{hosts("O")}, "", "@e1=p1", "@e1=0", refuse("G01-706", "@e1", "cannot be deleted by a push")},
		{"249 a deletion of nothing", []fact{hosts("O")}, "", "", "@e1=0", allowOnly("none", "")},
		{"191 with a branch", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "", "main=c1 @e1=p1", allow("O@10")},
		{"191 with a branch, and not its tip", []fact{hosts("O"), pends("O", 10, "main=c1"), asks("e1", grasp.Waiting, "p1", "O")}, "", "", "main=c1 @e1=p2", refuse("G01-702", "@e1", "must be")},
		{"507 with a branch that is not authorised", []fact{hosts("O")}, "", "", "@e1=p1 main=c1", refuse("G01-503", "", noState)},
		{"501 PR refs count for no state", []fact{hosts("O"), pends("O", 10, "main=c1")}, "", "@e1=p1 @e2=p2", "main=c1", allow("O@10")},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := c.to
			if to == "" {
				to = "O"
			}
			now := refs(c.now)
			asked := push(now, c.push)
			g, err := view(t, c.facts...).CheckPush(addr(to), now, asked)
			if c.want.rule != "" {
				checkRefused(t, err, c.want)
				if g.State.ID != "" || g.Updates != nil || g.Pulls != nil {
					t.Errorf("refused, and granted %+v", g)
				}
				return
			}
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if got := nameOf(g.State.ID); got != c.want.by || g.Partial != c.want.partial {
				t.Errorf("granted by %s (partial %t), want %s (%t)", got, g.Partial, c.want.by, c.want.partial)
			}
			does := c.want.does
			if !c.want.less {
				does = spellChanges(asked)
			}
			if got := spellChanges(g.Updates); got != does {
				t.Errorf("remains to be done: %q, want %q", got, does)
			}
			pulls := 0
			for _, u := range g.Updates {
				if is, ok := now[u.Ref]; ok && u.Old != is || !ok && u.Old != grasp.ZeroOID {
					t.Errorf("%s: old value %s", u.Ref, u.Old)
				}
				if u.Ref.IsNostr() {
					pulls++
				}
			}
			if len(g.Pulls) != pulls {
				t.Errorf("pull requests: %v", g.Pulls)
			}
			relies := pulls // G01-404
			if g.State.ID != "" {
				relies++
			}
			if got := g.Relies(); len(got) != relies {
				t.Errorf("relies on %v, want %d events", got, relies)
			}
		})
	}
}

func checkRefused(t *testing.T, err error, want verdict) {
	t.Helper()
	r := refusal(t, err)
	var about grasp.RefName
	if want.ref != "" {
		about = ref(want.ref)
	}
	if r.Rule != want.rule || r.Ref != about {
		t.Errorf("refused by %s because of %q, want %s and %q", r.Rule, r.Ref, want.rule, about)
	}
	if !strings.Contains(r.Text, want.text) {
		t.Errorf("refused with %q, want %q", r.Text, want.text)
	}
	if !strings.Contains(r.Hint, want.hint) {
		t.Errorf("hint %q, want %q", r.Hint, want.hint)
	}
	if strings.Contains(r.Text, "not found") { // H-246
		t.Errorf("%q contains words that scripts look for", r.Text)
	}
}

// Callers hand in parsed object ids; if one does not, the answer is no (H-253, hardening D8).
func TestCheckPushWantsObjectIDs(t *testing.T) {
	v := view(t, hosts("O"), pends("O", 10, "main=c1"))
	for _, o := range []grasp.OID{"abc123", "HEAD", oid("c1") + "0", "\xff", grasp.OID(strings.ToUpper(string(oid("c1")))), "--exec=x"} {
		for _, r := range []grasp.RefName{ref("main"), ref("@e1")} {
			_, err := v.CheckPush(addr("O"), nil, []grasp.RefChange{{Ref: r, Old: grasp.ZeroOID, New: o}})
			checkRefused(t, err, verdict{rule: "H-253", ref: string(r), text: "no object id"})
		}
	}
}

// A View that knows nothing permits nothing, whatever else is asked of it.
func TestZeroView(t *testing.T) {
	var v grasp.View
	if _, err := v.CheckPush(addr("O"), grasp.Refs(nil), push(nil, "main=c1")); err == nil {
		t.Error("the zero View permits a push")
	}
	if _, err := v.CheckPush(addr("O"), grasp.Refs(nil), push(nil, "@e1=p1")); err == nil {
		t.Error("the zero View permits a PR ref")
	}
	if _, err := v.CheckPush(grasp.Addr{}, nil, nil); err == nil {
		t.Error("the zero View permits nothing as if it were something")
	}
	if len(v.Maintainers(key("O"))) != 0 || len(v.Wants()) != 0 {
		t.Error("the zero View knows something")
	}
	if _, ok := v.State(key("O")); ok {
		t.Error("the zero View has a state")
	}
	if p := v.Plan(nil, nil, nil); !p.Empty() {
		t.Errorf("the zero View plans %s", spellPlan(p))
	}
	if _, err := v.AdmitState(state(t, "O", 1, "main=c1")); err == nil {
		t.Error("the zero View admits a state")
	}
}

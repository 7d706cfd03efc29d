package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// A Library is a ledger with books.
type Library interface {
	steward.Ledger
	steward.Books
}

// TestBooks holds what open returns, a new and empty library for each call, to the contract of
// steward.Books (G01-109).
func TestBooks(t *testing.T, open func(t *testing.T) Library) {
	t.Run("Rules", func(t *testing.T) { rules(t, open(t)) })
	t.Run("Concerned", func(t *testing.T) { concerned(t, open(t)) })
	t.Run("ConcernedInBatches", func(t *testing.T) { concernedInBatches(t, open(t)) })
	t.Run("Homes", func(t *testing.T) { homes(t, open(t)) })
}

func rules(t *testing.T, l Library) {
	ctx := context.Background()
	decide := func(a grasp.Action, s grasp.Subject, reason string) grasp.Rule {
		t.Helper()
		r, err := l.Decide(ctx, grasp.Rule{Action: a, Subject: s, Reason: reason, By: "command line", At: 1_750_000_000})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	subjects := []grasp.Subject{
		grasp.AboutAuthor(Key(1)), grasp.AboutRepo(grasp.Pattern{Owner: Key(1), ID: "demo"}), grasp.AboutRepo(grasp.Pattern{ID: "été"}),
		grasp.AboutEvent(ID(1)), grasp.AboutKind(1), {Topic: grasp.OfAddress, Name: "192.0.2.0/24"},
	}
	var want []grasp.Rule
	for i, s := range subjects {
		r := decide(grasp.Deny, s, fmt.Sprintf("reason %d", i))
		if r.Source != grasp.FromTable || i > 0 && r.Number <= want[i-1].Number {
			t.Errorf("the rule was written as %+v", r)
		}
		want = append(want, r)
	}
	same := func(what string) {
		t.Helper()
		if got, err := l.Rules(ctx); err != nil || !slices.Equal(got, want) {
			t.Fatalf("%s: rules are\n%v, %v\nwant\n%v", what, got, err, want)
		}
	}
	same("after they were made")

	// One subject, one decision; the number is a new one.
	r := decide(grasp.Allow, subjects[0], "on second thoughts")
	want = append(want[1:], r)
	same("after one was replaced")
	last := r.Number
	if found, err := l.Withdraw(ctx, subjects[0], grasp.Deny); found || err != nil {
		t.Errorf("what is allowed is withdrawn as denied: %v %v", found, err)
	}
	if found, err := l.Withdraw(ctx, subjects[0], grasp.Allow); !found || err != nil {
		t.Errorf("withdraw: %v %v", found, err)
	}
	want = want[:len(want)-1]
	same("after one was withdrawn")
	if r := decide(grasp.Allow, subjects[0], ""); r.Number <= last {
		t.Errorf("number %d is used again", r.Number)
	}
	if _, err := l.Decide(ctx, grasp.Rule{Action: grasp.Deny, Subject: grasp.AboutKind(30617)}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a rule that cannot be: %v", err)
	}
}

func (b *bench) allConcerned(l steward.Books, s grasp.Subject, limit int) map[string]int {
	b.Helper()
	out := map[string]int{}
	var from steward.Mark
	for range 10_000 {
		list, next, more, err := l.Concerned(context.Background(), s, from, limit)
		if err != nil {
			b.Fatal(err)
		}
		if len(list) > limit {
			b.Fatalf("a batch of %d, at most %d were asked for", len(list), limit)
		}
		for _, e := range list {
			out[e.Event.ID]++
		}
		if !more {
			return out
		}
		from = next
	}
	b.Fatal("it does not end")
	return nil
}

func concerned(t *testing.T, l Library) {
	b := &bench{T: t, Ledger: l}
	addr := func(n int, d string) string { return grasp.Addr{Owner: Key(n), ID: d}.Coordinate() }
	long := fmt.Sprintf("%0200d", 7)
	events := map[string]*nostr.Event{
		"ann1demo":   Announcement(1, "demo", 10),
		"ann1other":  Announcement(1, "other", 11),
		"ann1long":   Announcement(1, long, 11),
		"ann2demo":   Announcement(2, "demo", 12),
		"state2demo": State(2, "demo", 14),
		"issue":      Event(3, 1621, 15, "", nostr.Tag{"a", addr(1, "demo")}),
		"comment":    Event(3, 1111, 16, "", nostr.Tag{"A", addr(1, "demo")}, nostr.Tag{"a", addr(1, "demo")}),
		"longissue":  Event(3, 1621, 17, "", nostr.Tag{"a", addr(1, long)}),
		"quote":      Event(3, 1621, 18, "", nostr.Tag{"q", addr(1, "demo")}),
	}
	for _, ev := range events {
		b.put(ev, grasp.Served)
	}
	waiting := map[string]*nostr.Event{"wait1demo": State(1, "demo", 20), "pull": Event(3, 1618, 21, "", nostr.Tag{"a", addr(1, "demo")})}
	for n, ev := range waiting {
		e := Entry(ev, grasp.Waiting)
		e.Subjects = []string{"demo"}
		b.commit(steward.Change{Put: e})
		events[n] = ev
	}
	repo := func(p grasp.Pattern) grasp.Subject { return grasp.AboutRepo(p) }
	for _, c := range []struct {
		name string
		s    grasp.Subject
		must []string // others may be there: what is about them is looked at again
		not  []string
	}{
		{"author", grasp.AboutAuthor(Key(1)), []string{"ann1demo", "ann1other", "ann1long", "wait1demo"}, []string{"ann2demo", "issue"}},
		{"one repository", repo(grasp.Pattern{Owner: Key(1), ID: "demo"}), []string{"ann1demo", "wait1demo", "issue", "comment"}, []string{"ann1other", "ann2demo", "longissue", "quote"}},
		{"a long name", repo(grasp.Pattern{Owner: Key(1), ID: long}), []string{"ann1long", "longissue"}, []string{"issue", "ann1demo"}},
		{"an owner", repo(grasp.Pattern{Owner: Key(1)}), []string{"ann1demo", "ann1other", "ann1long", "wait1demo"}, []string{"ann2demo"}},
		{"an identifier", repo(grasp.Pattern{ID: "demo"}), []string{"ann1demo", "ann2demo", "state2demo", "wait1demo"}, []string{"ann1other"}},
		{"a kind", grasp.AboutKind(1621), []string{"issue", "longissue", "quote"}, []string{"comment", "ann1demo"}},
		{"a kind that waits", grasp.AboutKind(1618), []string{"pull"}, []string{"issue"}},
		{"an event", grasp.AboutEvent(grasp.EventID(events["issue"].ID)), []string{"issue"}, []string{"comment"}},
		{"an event that waits", grasp.AboutEvent(grasp.EventID(events["pull"].ID)), []string{"pull"}, []string{"issue"}},
		{"an address", grasp.Subject{Topic: grasp.OfAddress, Name: "192.0.2.1"}, nil, []string{"issue"}},
	} {
		for _, limit := range []int{1, 2, 100} {
			got := b.allConcerned(l, c.s, limit)
			for _, n := range c.must {
				if got[events[n].ID] == 0 {
					t.Errorf("%s, by %d: %s is not found", c.name, limit, n)
				}
			}
			for _, n := range c.not {
				if got[events[n].ID] > 0 {
					t.Errorf("%s, by %d: %s is found", c.name, limit, n)
				}
			}
		}
	}
}

// What is removed between two batches hides nothing, and what stays is not found for ever.
func concernedInBatches(t *testing.T, l Library) {
	b := &bench{T: t, Ledger: l}
	const many = 300
	for i := range many {
		b.serve(Event(1, 1621, int64(100+i/7), fmt.Sprint(i))) // many of one second
	}
	var from steward.Mark
	seen := map[string]bool{}
	for {
		list, next, more, err := l.Concerned(context.Background(), grasp.AboutAuthor(Key(1)), from, 20)
		if err != nil {
			t.Fatal(err)
		}
		var drop []grasp.EventID
		for i, e := range list {
			if seen[e.Event.ID] {
				t.Fatalf("%s is found twice", e.Event.ID)
			}
			seen[e.Event.ID] = true
			if i%3 > 0 {
				drop = append(drop, grasp.EventID(e.Event.ID))
			}
		}
		b.commit(steward.Change{Drop: drop})
		if !more {
			break
		}
		from = next
	}
	if len(seen) != many {
		t.Errorf("%d of %d are found", len(seen), many)
	}
}

func homes(t *testing.T, l Library) {
	b := &bench{T: t, Ledger: l}
	for _, a := range []grasp.Addr{{Owner: Key(1), ID: "a"}, {Owner: Key(2), ID: "a"}, {Owner: Key(1), ID: "b"}, {Owner: Key(2), ID: "c"}} {
		b.commit(steward.Change{Repos: []steward.Repo{{Addr: a, Hosting: grasp.Live, Since: arrival}}})
	}
	b.commit(steward.Change{Repos: []steward.Repo{{Addr: grasp.Addr{Owner: Key(1), ID: "d"}, Hosting: grasp.Deleted, Since: arrival}}})
	for _, c := range []struct {
		p    grasp.Pattern
		want string
	}{
		{grasp.Pattern{}, ""},
		{grasp.Pattern{Owner: Key(1)}, "1a 1b 1d "},
		{grasp.Pattern{ID: "a"}, "1a 2a "},
		{grasp.Pattern{Owner: Key(2), ID: "a"}, "2a "},
		{grasp.Pattern{Owner: Key(3), ID: "a"}, ""},
	} {
		for _, limit := range []int{1, 2, 10} {
			got, after := "", grasp.Addr{}
			for {
				list, err := l.Homes(context.Background(), c.p, after, limit)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range list {
					who := "1"
					if r.Addr.Owner == Key(2) {
						who = "2"
					}
					got += who + r.Addr.ID + " "
					if !r.Since.Equal(arrival) {
						t.Errorf("since %v", r.Since)
					}
				}
				if len(list) < limit {
					break
				}
				after = list[len(list)-1].Addr
			}
			if got != c.want {
				t.Errorf("%v, by %d: got %q, want %q", c.p, limit, got, c.want)
			}
		}
	}
}

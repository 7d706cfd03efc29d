package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

func sizes(b *bench) {
	big := Event(1, 1617, 1, strings.Repeat("<ü\n\"", 40_000)) // 200,000 bytes
	wide := nostr.Tag{"e"}
	for i := range 300 {
		wide = append(wide, fmt.Sprintf("%064x", i))
	}
	tags := []nostr.Tag{{"d", "large"}, {"HEAD", "ref: refs/heads/b0"}}
	for i := range 3000 {
		tags = append(tags, nostr.Tag{fmt.Sprintf("refs/heads/b%d", i), fmt.Sprintf("%040x", i)})
	}
	state := Event(1, grasp.KindState, 1, "", tags...)
	many := make([]nostr.Tag, 3000)
	for i := range many {
		many[i] = nostr.Tag{"t", fmt.Sprint(i % 2500), "x"}
	}
	for _, ev := range []*nostr.Event{big, Event(1, 1, 1, "", wide), state, Event(1, 1, 1, "", many...)} {
		e := Entry(ev, grasp.Waiting)
		b.commit(steward.Change{Put: e})
		b.commit(steward.Change{Release: eids(ev)})
		got, err := b.Event(context.Background(), grasp.EventID(ev.ID))
		if err != nil || string(got.Raw) != string(e.Raw) || got.Event.GetID() != ev.ID {
			b.Errorf("kind %d of %d bytes did not come back as it went (%v)", ev.Kind, len(e.Raw), err)
		}
		b.commit(steward.Change{Drop: eids(ev)})
		b.rests(ev, grasp.Nowhere)
	}
	if f := b.view("large"); len(f.Entries) != 0 {
		b.Errorf("view: %d entries", len(f.Entries))
	}
}

func malformed(b *bench) {
	good := State(1, "demo", 1)
	with := func(change func(e *steward.Entry)) steward.Change {
		e := Entry(State(1, "demo", 1), grasp.Served)
		change(e)
		return steward.Change{Put: e, Unsettled: "never"}
	}
	for name, c := range map[string]steward.Change{
		"no JSON":         with(func(e *steward.Entry) { e.Raw = nil }),
		"broken JSON":     with(func(e *steward.Entry) { e.Raw = []byte(`{"id"`) }),
		"another's JSON":  with(func(e *steward.Entry) { e.Raw = []byte(State(2, "demo", 1).String()) }),
		"no shelf":        with(func(e *steward.Entry) { e.Shelf = grasp.Nowhere }),
		"no event":        with(func(e *steward.Entry) { e.Event = nil }),
		"release":         {Release: []grasp.EventID{"x"}, Unsettled: "never"},
		"drop":            {Drop: []grasp.EventID{""}, Unsettled: "never"},
		"extend":          {Extend: map[grasp.EventID]time.Time{"A": arrival}, Unsettled: "never"},
		"tomb by nobody":  {Tombs: []steward.Tomb{{ID: ID(1)}}, Unsettled: "never"},
		"tomb of nothing": {Tombs: []steward.Tomb{{By: Key(1)}}, Unsettled: "never"},
		"repo":            {Repos: []steward.Repo{{Addr: grasp.Addr{Owner: "npub1", ID: "x"}, Hosting: grasp.Live}}, Unsettled: "never"},
		"orphan":          {Orphans: []steward.Orphan{{Repo: grasp.Addr{Owner: Key(1), ID: "x"}, Event: "y", Deadline: arrival}}, Unsettled: "never"},
		"cause":           {Moves: []steward.Moved{{Repo: grasp.Addr{Owner: Key(1), ID: "x"}, Cause: "push"}}, Unsettled: "never"},
	} {
		if _, err := b.Commit(context.Background(), c); !fault.Is(err, fault.Invalid) {
			b.Errorf("%s: %v, want invalid", name, err)
		}
	}
	b.rests(good, grasp.Nowhere)
	if list, _ := b.Unsettled(context.Background()); len(list) > 0 {
		b.Errorf("something was written: %v", list)
	}
}

// nothingOfALostChange commits changes that are turned down beside ones that are not, all at
// once, so that they share transactions where there are such.
func nothingOfALostChange(b *bench) {
	dead := State(9, "dead", 1)
	b.serve(State(1, "demo", 1000))
	b.commit(steward.Change{Tombs: []steward.Tomb{{By: Key(9), ID: grasp.EventID(dead.ID)}}})
	const n = 60
	together(b, n, func(i int) error {
		c := steward.Change{Unsettled: fmt.Sprintf("id-%02d", i)}
		switch i % 3 {
		case 0:
			c.Put = Entry(Event(1, 1, int64(i), ""), grasp.Served)
		case 1:
			c.Put = Entry(State(1, "demo", int64(i)), grasp.Served)
		case 2:
			c.Put = Entry(dead, grasp.Served)
		}
		r, err := b.Commit(context.Background(), c)
		switch {
		case i%3 == 2:
			if !fault.Is(err, fault.Refused) {
				return fmt.Errorf("deleted: %v, want refused", err)
			}
		case err != nil:
			return err
		case r.Stale != (i%3 == 1):
			return fmt.Errorf("stale is %v", r.Stale)
		}
		return nil
	})
	list, err := b.Unsettled(context.Background())
	if err != nil || len(list) != n/3 {
		b.Errorf("%d changes were written, want %d (%v)", len(list), n/3, err)
	}
	for _, id := range list {
		var i int
		if _, err := fmt.Sscanf(id, "id-%d", &i); err != nil || i%3 != 0 {
			b.Errorf("change %s was written", id)
		}
	}
}

// manyAtOnce reads and writes at the same time.
func manyAtOnce(b *bench) {
	together(b, 40, func(i int) error {
		ev := Event(i%4, 1621, int64(i), fmt.Sprint(i), nostr.Tag{"t", fmt.Sprint(i % 3)})
		if _, err := b.Commit(context.Background(), steward.Change{Put: Entry(ev, grasp.Served)}); err != nil {
			return err
		}
		// What was answered is there at once (N-007).
		if _, err := b.Event(context.Background(), grasp.EventID(ev.ID)); err != nil {
			return err
		}
		_, err := b.View(context.Background(), "demo")
		return err
	})
}

func cancelledBefore(b *bench) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	ev := State(1, "demo", 1)
	if _, err := b.Commit(ctx, steward.Change{Put: Entry(ev, grasp.Served)}); err == nil {
		b.Error("a change whose caller had left was committed")
	}
	if _, err := b.View(ctx, "demo"); err == nil {
		b.Error("a view for nobody")
	}
	b.rests(ev, grasp.Nowhere)
}

// together runs f for 0 to n-1 at the same time.
func together(t testing.TB, n int, f func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	start := make(chan struct{})
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("number %d: %v", i, err)
		}
	}
}

package main

import (
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

const (
	owners     = 50 // each with one repository
	authors    = 200
	roots      = 3500 // issues that are commented on
	everyKind  = 10_000
	negKind    = 1630 // exactly everyKind of them are stored
	baseTime   = 1_760_000_000
	fanoutKind = 1621
)

// A person signs.
type person struct{ secret, public, npub string }

func people(n int) []person {
	out := make([]person, n)
	for i := range out {
		secret := fmt.Sprintf("%064x", 0x67697472+i)
		public, err := nostr.GetPublicKey(secret)
		if err != nil {
			panic(err) // a constant is not a key
		}
		npub, _ := nip19.EncodePublicKey(public)
		out[i] = person{secret, public, npub}
	}
	return out
}

func repoName(i int) string { return fmt.Sprint("repo-", i) }

func (w *world) coordinate(i int) string {
	return "30617:" + w.people[i%owners].public + ":" + repoName(i%owners)
}

// signAll signs evs in parallel.
func signAll(evs []*nostr.Event, by func(i int) person) error {
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(evs); i += workers {
				if evs[i].Tags == nil {
					evs[i].Tags = nostr.Tags{}
				}
				if err := evs[i].Sign(by(i).secret); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

var patch = strings.Repeat("-	the line as it was\n+	the line as it is now, somewhat longer\n", 24)

// bulk makes the events of which the store is full: issues, patches, statuses and comments of the
// repositories, as clients write them, spread over time. n is at least 40,000.
func (w *world) bulk(n int) ([]*nostr.Event, error) {
	issues := make([]*nostr.Event, everyKind)
	at := func(i int) nostr.Timestamp { return baseTime + nostr.Timestamp(i*7919%n) }
	by := func(i int) person { return w.people[i%authors] }
	for i := range issues {
		issues[i] = &nostr.Event{Kind: 1621, CreatedAt: at(i), Content: fmt.Sprintf("it does not work when %d things come at once, and here is how to see it", i),
			Tags: nostr.Tags{{"a", w.coordinate(i)}, {"p", w.people[i%owners].public}, {"subject", fmt.Sprint("issue ", i)}, {"t", []string{"bug", "wish", "chat"}[i%3]}}}
	}
	if err := signAll(issues, by); err != nil {
		return nil, err
	}
	evs := issues
	rest := make([]*nostr.Event, 0, n-everyKind)
	for i := everyKind; i < n; i++ {
		root := issues[i%roots]
		ev := &nostr.Event{CreatedAt: at(i)}
		switch {
		case i < 2*everyKind:
			ev.Kind, ev.Content = 1617, fmt.Sprintf("From %040x Mon Sep 17 00:00:00 2001\nSubject: [PATCH] change %d\n---\n%s", i, i, patch)
			ev.Tags = nostr.Tags{{"a", w.coordinate(i)}, {"r", fmt.Sprintf("%040x", i%owners)}, {"p", w.people[i%owners].public}, {"t", "root"}, {"commit", fmt.Sprintf("%040x", i)}}
		case i < 3*everyKind:
			ev.Kind = negKind
			ev.Tags = nostr.Tags{{"e", issues[i-2*everyKind].ID, "", "root"}, {"a", w.coordinate(i)}, {"p", w.people[i%owners].public}}
		default:
			ev.Kind, ev.Content = 1111, fmt.Sprintf("the %d. remark: I see the same here, and it went away when I tried the newest version", i)
			ev.Tags = nostr.Tags{{"E", root.ID}, {"K", "1621"}, {"P", root.PubKey}, {"e", root.ID}, {"k", "1621"}, {"p", root.PubKey}, {"a", w.coordinate(i % roots)}}
		}
		rest = append(rest, ev)
	}
	if err := signAll(rest, func(i int) person { return by(i + everyKind) }); err != nil {
		return nil, err
	}
	w.issues = issues
	return append(evs, rest...), nil
}

// fresh makes n events like those of bulk that are in no other batch. They are older than all of
// bulk and answer none of the questions that are measured.
func (w *world) fresh(batch, n int) ([]*nostr.Event, error) {
	evs := make([]*nostr.Event, n)
	for i := range evs {
		ev := &nostr.Event{Kind: 1111, CreatedAt: baseTime - nostr.Timestamp(1_000_000*(batch+1)) + nostr.Timestamp(i)}
		root := w.issues[roots+(batch*n+i)/20%(len(w.issues)-roots)] // of which no question asks
		ev.Content = fmt.Sprintf("remark %d of batch %d: I see the same here, and it went away when I tried the newest version", i, batch)
		ev.Tags = nostr.Tags{{"E", root.ID}, {"K", "1621"}, {"P", root.PubKey}, {"e", root.ID}, {"k", "1621"}, {"p", root.PubKey}, {"a", w.coordinate(i)}}
		if i%10 == 0 {
			ev.Kind, ev.Content = 1617, fmt.Sprintf("From %040x Mon Sep 17 00:00:00 2001\nSubject: [PATCH] change %d\n---\n%s", i, i, patch)
			ev.Tags = nostr.Tags{{"a", w.coordinate(i)}, {"p", w.people[i%owners].public}, {"t", "root"}}
		}
		evs[i] = ev
	}
	return evs, signAll(evs, func(i int) person { return w.people[i%authors] })
}

// live makes n issues that the subscriptions of the fan-out wait for.
func (w *world) live(batch, n int) ([]*nostr.Event, error) {
	evs := make([]*nostr.Event, n)
	for i := range evs {
		evs[i] = &nostr.Event{Kind: fanoutKind, CreatedAt: baseTime - nostr.Timestamp(500_000_000+1000*batch) + nostr.Timestamp(i),
			Content: fmt.Sprintf("issue %d of batch %d: it does not work, and here is how to see it", i, batch),
			Tags:    nostr.Tags{{"a", w.coordinate(0)}, {"p", w.people[0].public}, {"subject", fmt.Sprint("issue ", i)}, {"t", "live"}}}
	}
	return evs, signAll(evs, func(int) person { return w.people[1] })
}

// announcements makes what has to come first: the repositories, naming the server at addr, and what
// their refs are.
func (w *world) announcements(addr, oid string) (evs []*nostr.Event, err error) {
	for i := range owners {
		p := w.people[i]
		evs = append(evs,
			&nostr.Event{Kind: 30617, CreatedAt: baseTime, Tags: nostr.Tags{{"d", repoName(i)}, {"name", repoName(i)}, {"description", "one of those that are measured"},
				{"clone", "http://" + addr + "/" + p.npub + "/" + repoName(i) + ".git"}, {"relays", "ws://" + addr}}},
			&nostr.Event{Kind: 30618, CreatedAt: baseTime, Tags: nostr.Tags{{"d", repoName(i)}, {"refs/heads/main", oid}, {"HEAD", "ref: refs/heads/main"}}})
	}
	return evs, signAll(evs, func(i int) person { return w.people[i/2] })
}

func encode(ev *nostr.Event) string { return ev.String() }

func publishFrame(ev *nostr.Event) []byte { return frame(nil, `["EVENT",`, encode(ev), `]`) }

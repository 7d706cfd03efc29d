package grasp_test

import (
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// Alice announces a repository on a server and signs a state. Until its commit is here both wait;
// the state grants the push that brings it, and the plan that follows makes both visible.
func Example() {
	site, err := grasp.NewSite("https://git.example.com")
	if err != nil {
		log.Fatal(err)
	}
	alice := strings.Repeat("a1", 32)
	commit := grasp.OID(strings.Repeat("c1", 20))

	announcement, err := site.Announcement(&nostr.Event{
		ID: strings.Repeat("01", 32), PubKey: alice, Kind: grasp.KindAnnouncement, CreatedAt: 1,
		Tags: nostr.Tags{
			{"d", "demo"},
			{"clone", "https://git.example.com/" + grasp.PubKey(alice).Npub() + "/demo.git"},
			{"relays", "wss://git.example.com"},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	repo := announcement.Addr
	state, err := grasp.ParseState(&nostr.Event{
		ID: strings.Repeat("02", 32), PubKey: alice, Kind: grasp.KindState, CreatedAt: 2,
		Tags: nostr.Tags{{"d", "demo"}, {"HEAD", "ref: refs/heads/main"}, {"refs/heads/main", string(commit)}},
	})
	if err != nil {
		log.Fatal(err)
	}

	// May they enter?
	view := grasp.View{ID: repo.ID}
	admission, err := view.AdmitAnnouncement(announcement)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("announcement:", admission.Shelf)
	announcement.Shelf = admission.Shelf
	view.Announcements = map[grasp.PubKey]grasp.Announcement{repo.Owner: announcement}
	view.Hosted = map[grasp.PubKey]grasp.Hosting{repo.Owner: admission.Hosting}

	if admission, err = view.AdmitState(state); err != nil {
		log.Fatal(err)
	}
	fmt.Println("state:", admission.Shelf)
	state.Shelf = admission.Shelf
	view.States = map[grasp.PubKey][]grasp.State{repo.Owner: {state}}

	// May this push move these refs?
	grant, err := view.CheckPush(repo, nil, []grasp.RefChange{
		{Ref: "refs/heads/main", Old: grasp.ZeroOID, New: commit},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("granted by state", grant.State.ID.Short())

	// What must happen, now that the commit is here?
	now := &grasp.Snapshot{Refs: grasp.Refs{"refs/heads/main": commit}.List(), Head: grasp.DefaultHead}
	plan := view.Plan(
		map[grasp.Addr]*grasp.Snapshot{repo: now},
		grasp.OIDSet{commit: {}},
		nil,
	)
	fmt.Println("HEAD becomes", plan.Repos[0].Head)
	for _, id := range plan.Release {
		fmt.Println("release", id.Short())
	}
	// Output:
	// announcement: waiting
	// state: waiting
	// granted by state 0202020
	// HEAD becomes refs/heads/main
	// release 0101010
	// release 0202020
}

// A refusal names the rule and the first ref that offends, and says what was expected.
func ExampleView_CheckPush() {
	owner := grasp.PubKey(strings.Repeat("a1", 32))
	signed, pushed := grasp.OID(strings.Repeat("c1", 20)), grasp.OID(strings.Repeat("c2", 20))
	view := grasp.View{
		ID:            "demo",
		Announcements: map[grasp.PubKey]grasp.Announcement{owner: {Shelf: grasp.Served}},
		Hosted:        map[grasp.PubKey]grasp.Hosting{owner: grasp.Live},
		States: map[grasp.PubKey][]grasp.State{owner: {{
			ID: grasp.EventID(strings.Repeat("02", 32)), Author: owner, At: 2, Shelf: grasp.Waiting,
			Refs: grasp.Refs{"refs/heads/main": signed},
		}}},
	}
	_, err := view.CheckPush(grasp.Addr{Owner: owner, ID: "demo"}, nil, []grasp.RefChange{
		{Ref: "refs/heads/main", Old: grasp.ZeroOID, New: pushed},
	})
	var no *grasp.Refusal
	if errors.As(err, &no) {
		fmt.Println(no.Rule)
		fmt.Println(no.Text)
		fmt.Println(no.Hint)
	}
	// Output:
	// G01-503
	// refs/heads/main: signed state 0202020 says c1c1c1c, you pushed c2c2c2c
	// publish a new state event (kind 30618), then push again
}

// Who is named is a maintainer, and so is whom they name in turn.
func ExampleView_Maintainers() {
	alice := grasp.PubKey(strings.Repeat("a1", 32))
	bob := grasp.PubKey(strings.Repeat("b0", 32))
	carol := grasp.PubKey(strings.Repeat("ca", 32))
	view := grasp.View{
		ID: "demo",
		Announcements: map[grasp.PubKey]grasp.Announcement{
			alice: {Maintainers: []grasp.PubKey{bob}},
			bob:   {Maintainers: []grasp.PubKey{carol}},
		},
	}
	fmt.Println(view.Maintainers(alice).Has(carol), view.Maintainers(bob).Has(alice), len(view.Maintainers(carol)))
	// Output: true false 0
}

package torture_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// A proposal is a pull request for a repository that lives elsewhere, pushed to its author's box.
type proposal struct {
	ev         *nostr.Event
	tip        grasp.OID
	gitFirst   bool
	sent, told answer
}

// The server is killed while somebody proposes changes through a box (GRASP-06). What was confirmed is there
// after the next start; an event is served only with its commit; and whatever was cut off can be done again.
func TestKillWhileProposing(t *testing.T) {
	r := newRun(t)
	r.srv.args = append(r.srv.args, "--prs.enabled")
	pool := newPool(t, filepath.Join(mustMkdir(t, r.dir, "pools"), "box"), r.rand("box"), 10, 40)
	dave, far := r.person("dave"), r.person("elsewhere")
	box := r.srv.url() + "/prs/" + dave.pub().Npub() + "/tool.git"
	rnd := r.rand("proposals")
	var all []*proposal
	propose := func() *proposal {
		p := &proposal{tip: pool.pulls[len(all)], gitFirst: rnd.IntN(2) == 0}
		p.ev = dave.sign(grasp.KindPull, time.Now().Unix(), "please pull",
			nostr.Tag{"a", grasp.Addr{Owner: far.pub(), ID: "tool"}.Coordinate()}, nostr.Tag{"p", string(far.pub())},
			nostr.Tag{"c", string(p.tip)}, nostr.Tag{"clone", box}, nostr.Tag{"subject", fmt.Sprint("change ", len(all))})
		all = append(all, p)
		return p
	}
	carry := func(v *visitor, p *proposal) bool {
		send := func() bool {
			if p.sent == yes {
				return true
			}
			p.sent = maybe
			if v.push(pool.dir, box, string(p.tip)+":"+string(grasp.PullRef(grasp.EventID(p.ev.ID)))) {
				p.sent = yes
			}
			return p.sent == yes
		}
		tell := func() bool {
			if p.told == yes {
				return true
			}
			p.told = maybe
			if v.publish(&record{ev: p.ev}) {
				p.told = yes
			}
			return p.told == yes
		}
		if p.gitFirst {
			return send() && tell()
		}
		return tell() && send()
	}
	cut := 0
	for round := range 5 {
		r.srv.start()
		v := r.visitor(fmt.Sprint("proposes", round))
		r.lookAtBox(v, box, all, "after a start")
		for _, p := range all { // what was cut off
			if !carry(v, p) {
				r.settleFaults("again")
				t.Fatalf("round %d: it cannot be proposed again", round)
			}
		}
		r.lookAtBox(v, box, all, "done again")
		r.settleFaults(fmt.Sprint("round ", round))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for len(all) < min(8*(round+1), len(pool.pulls)) && carry(v, propose()) {
			}
		}()
		select {
		case <-ended:
		case <-time.After(time.Duration(50+rnd.Int64N(500)) * time.Millisecond):
			cut++
		}
		r.srv.kill(round%2 == 0)
		<-ended
		v.close()
	}
	r.srv.start()
	v := r.visitor("looks")
	defer v.close()
	r.lookAtBox(v, box, all, "at the end")
	r.settleFaults("at the end")
	t.Logf("%d proposals, cut off %d times", len(all), cut)
}

// lookAtBox compares what is served of proposals with what is in the box: what was confirmed is there, and no
// event without its commit.
func (r *run) lookAtBox(v *visitor, box string, all []*proposal, when string) {
	why := ""
	until(recovery, func() bool {
		why = ""
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		refs, err := git(ctx, r.dir, nil, "ls-remote", box)
		if err != nil {
			why = fmt.Sprintf("ls-remote: %v\n%s", err, refs)
			return false
		}
		served := map[string]bool{}
		for _, ev := range v.query(nostr.Filter{Kinds: []int{grasp.KindPull}, Limit: 500}) {
			served[ev.ID] = true
		}
		for _, p := range all {
			here := strings.Contains(refs, string(p.tip)+"\t"+string(grasp.PullRef(grasp.EventID(p.ev.ID))))
			switch {
			case served[p.ev.ID] && !here:
				why = fmt.Sprintf("%s is served without its commit", p.ev.ID)
			case p.sent == yes && !here:
				why = fmt.Sprintf("the commit of %s was confirmed and is not in the box", p.ev.ID)
			case p.sent == yes && p.told == yes && !served[p.ev.ID]:
				why = fmt.Sprintf("%s was confirmed with its commit and is not served", p.ev.ID)
			}
		}
		return why == ""
	})
	if why != "" {
		r.fault("%s: %s", when, why)
	}
}

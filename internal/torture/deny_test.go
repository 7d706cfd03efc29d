package torture_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// said by each of those who are denied: more than one batch of what a rule removes.
const saidBefore = 240

// The server is killed while what an operator denied is removed. What was confirmed holds, and is brought to
// its end after the next start; what was not is either whole or nothing (hardening §14, decision 12).
func TestKillWhileDenying(t *testing.T) {
	r := newRun(t)
	tm := r.newTeam(0)
	r.srv.start()
	git := r.visitor("git")
	if !tm.act(git, true) {
		r.settleFaults("preparation")
		t.Fatal("nothing was pushed")
	}
	git.close()
	a := tm.addr(tm.owners[0])
	rnd := r.rand("deny")
	confirmed, cut := 0, 0
	for round := range 3 {
		bad := r.person(fmt.Sprint("mallory", round))
		now := time.Now().Unix()
		var names []int
		for i := range 8 {
			names = append(names, i)
		}
		each(4, names, func(name int) {
			v := r.visitor(fmt.Sprint("says", round, name))
			defer v.close()
			for i := range saidBefore / len(names) {
				v.publish(&record{ev: bad.sign([]int{kindIssue, 1111, 1617}[i%3], now-int64(i), "spam",
					nostr.Tag{"a", a.Coordinate()}, nostr.Tag{"nonce", fmt.Sprint(name, i)})})
			}
		})
		r.settleFaults("before")
		if n := r.says(bad); n != saidBefore {
			t.Fatalf("round %d: %d events are here, want %d", round, n, saidBefore)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		deny := exec.CommandContext(ctx, r.srv.path, "deny", "--data", r.srv.data, "--reason", "spam", bad.pub().Npub())
		done := make(chan error, 1)
		if err := deny.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { done <- deny.Wait() }()
		var denied error
		answered := false
		select {
		case denied = <-done:
			answered = true
		case <-time.After(time.Duration(rnd.Int64N(int64(120 * time.Millisecond)))):
		}
		r.srv.kill(true)
		if !answered {
			denied = <-done // the operator sees that nobody answered, or that it was in time
			cut++
		}
		cancel()
		r.srv.start()
		rules, err := exec.Command(r.srv.path, "rules", "--data", r.srv.data).CombinedOutput()
		if err != nil {
			t.Fatalf("round %d: rules: %v\n%s", round, err, rules)
		}
		holds := strings.Contains(string(rules), bad.pub().Npub())
		if denied == nil {
			confirmed++
			if !holds {
				t.Errorf("round %d: the rule was confirmed and is lost:\n%s", round, rules)
			}
		}
		want := saidBefore
		if holds {
			want = 0
			until(recovery, func() bool { return r.says(bad) == 0 })
		}
		if n := r.says(bad); n != want {
			t.Errorf("round %d: the rule holds: %v, and %d of %d events are here", round, holds, n, saidBefore)
		}
		if out, err := exec.Command(r.srv.path, "deny", "--data", r.srv.data, bad.pub().Npub()).CombinedOutput(); err != nil && !holds {
			t.Errorf("round %d: it cannot be denied afterwards: %v\n%s", round, err, out)
		}
		if n := r.says(bad); n != 0 {
			t.Errorf("round %d: %d events are here though nothing was in the way", round, n)
		}
	}
	t.Logf("%d of 3 were confirmed, %d were cut off", confirmed, cut)
	r.checkRefs(r.visitor("check"), tm, time.Now())
	r.settleFaults("the repository that was talked about")
}

// says returns how many events of somebody are served.
func (r *run) says(p *person) int {
	v := r.visitor("looks")
	defer v.close()
	return len(v.query(nostr.Filter{Authors: []string{string(p.pub())}, Limit: 500}))
}

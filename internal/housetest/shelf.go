package housetest

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// HeldText is what the relay says of an event that waits for its git data (N-004, G01-401).
const HeldText = "purgatory: won't be served until git data arrives"

// Held publishes events that have to be accepted to wait.
func (c *Conn) Held(events ...*nostr.Event) {
	c.t.Helper()
	for _, ev := range events {
		if ok, msg := c.Publish(ev); !ok || msg != HeldText {
			c.t.Fatalf("kind %d: got OK %v %q, want OK true %q", ev.Kind, ok, msg, HeldText)
		}
	}
}

// Accepted publishes events that have to be stored and served at once.
func (c *Conn) Accepted(events ...*nostr.Event) {
	c.t.Helper()
	for _, ev := range events {
		if ok, msg := c.Publish(ev); !ok || msg != "" {
			c.t.Fatalf("kind %d: got OK %v %q, want OK true without a word", ev.Kind, ok, msg)
		}
		c.Shows(ev)
	}
}

// Shows fails the test unless every event is served, exactly as it was signed.
func (c *Conn) Shows(events ...*nostr.Event) {
	c.t.Helper()
	for _, ev := range events {
		got := c.Query(nostr.Filter{IDs: []string{ev.ID}})
		if len(got) != 1 {
			c.t.Fatalf("kind %d: %d events are served under its id, want it", ev.Kind, len(got))
		}
		Same(c.t, got[0], ev)
	}
}

// Hides fails the test if any of events is served: by its id, by its author, or in a count.
func (c *Conn) Hides(events ...*nostr.Event) {
	c.t.Helper()
	for _, ev := range events {
		if got := c.Query(nostr.Filter{IDs: []string{ev.ID}}); len(got) > 0 {
			c.t.Fatalf("kind %d is served: %v", ev.Kind, got[0])
		}
		for _, other := range c.Query(nostr.Filter{Authors: []string{ev.PubKey}, Kinds: []int{ev.Kind}}) {
			if other.ID == ev.ID {
				c.t.Fatalf("kind %d is served to those who ask by author", ev.Kind)
			}
		}
		if n := c.Count(nostr.Filter{IDs: []string{ev.ID}}); n > 0 {
			c.t.Fatalf("kind %d is counted", ev.Kind)
		}
	}
}

// Same fails the test unless two events are equal in every field.
func Same(t testing.TB, got, want *nostr.Event) {
	t.Helper()
	if got.ID != want.ID || got.PubKey != want.PubKey || got.Kind != want.Kind || got.CreatedAt != want.CreatedAt ||
		got.Content != want.Content || got.Sig != want.Sig || !reflect.DeepEqual(got.Tags, want.Tags) {
		t.Fatalf("the event came back changed:\ngot  %v\nwant %v", got, want)
	}
}

// Count asks how many served events match.
func (c *Conn) Count(filters ...nostr.Filter) int64 {
	c.t.Helper()
	msg := []any{"COUNT", "how many"}
	for _, f := range filters {
		msg = append(msg, f)
	}
	c.Send(msg...)
	m := c.Next("COUNT", func(l string, m []json.RawMessage) bool { return l == "COUNT" && text(m, 1) == "how many" })
	var n struct{ Count *int64 }
	if err := json.Unmarshal(m[2], &n); err != nil || n.Count == nil {
		c.t.Fatalf("COUNT answered %s", m[2])
	}
	return *n.Count
}

// Message waits for the next message with this label and returns its elements that are texts.
func (c *Conn) Message(label string) []string {
	c.t.Helper()
	m := c.Next(label, func(l string, _ []json.RawMessage) bool { return l == label })
	out := make([]string, len(m))
	for i := range m {
		out[i] = text(m, i)
	}
	return out
}

// None fails the test if a message with this label has come that nobody took, or comes before the
// answer to a question that is asked now.
func (c *Conn) None(label string) {
	c.t.Helper()
	c.Query(nostr.Filter{IDs: []string{strings.Repeat("0", 64)}})
	for _, m := range c.kept {
		if text(m, 0) == label {
			c.t.Fatalf("unexpected message %s", m)
		}
	}
}

// Deletion is an event of kind 5 with the given tags.
func (k *Key) Deletion(at int64, tags ...nostr.Tag) *nostr.Event {
	return k.Sign(nostr.KindDeletion, at, "", tags...)
}

// Advertised returns the status with which both services of a repository answer; they have to
// agree.
func (h *House) Advertised(repo string) int {
	h.t.Helper()
	fetch, _ := h.Get(repo + "/info/refs?service=git-upload-pack")
	push, _ := h.Get(repo + "/info/refs?service=git-receive-pack")
	if fetch.StatusCode != push.StatusCode {
		h.t.Fatalf("%s: upload-pack answers %d and receive-pack %d", repo, fetch.StatusCode, push.StatusCode)
	}
	return fetch.StatusCode
}

// Lives fails the test unless a repository answers git.
func (h *House) Lives(repo string) {
	h.t.Helper()
	if got := h.Advertised(repo); got != http.StatusOK {
		h.t.Fatalf("%s answers %d, want 200", repo, got)
	}
}

// Gone fails the test unless a repository is unknown here.
func (h *House) Gone(repo string) {
	h.t.Helper()
	if got := h.Advertised(repo); got != http.StatusNotFound {
		h.t.Fatalf("%s answers %d, want 404", repo, got)
	}
}

// Refs fails the test unless url advertises exactly these branches, tags and PR refs, written as
// State takes them. HEAD and peeled tags are left out.
func Refs(t testing.TB, url string, want ...string) {
	t.Helper()
	got := Remote(t, url)
	for name := range got {
		if name == "HEAD" || strings.HasSuffix(name, "^{}") {
			delete(got, name)
		}
	}
	expect := map[string]string{}
	for _, w := range want {
		name, oid, _ := strings.Cut(w, "=")
		if !strings.Contains(name, "/") {
			name = "refs/heads/" + name
		}
		expect[name] = oid
	}
	if !reflect.DeepEqual(got, expect) {
		t.Fatalf("%s has the refs\n%v\nwant\n%v", url, got, expect)
	}
}

// Head returns the branch that HEAD of url names, as stock git sees it.
func Head(t testing.TB, url string) string {
	t.Helper()
	out, err := Git(t, ".", "ls-remote", "--symref", url, "HEAD")
	if err != nil {
		t.Fatalf("git ls-remote %s: %v\n%s", url, err, out)
	}
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, "ref: "); ok {
			branch, _, _ := strings.Cut(rest, "\t")
			return branch
		}
	}
	return ""
}

// A Victim is a house in a process of its own, which can be killed.
type Victim struct {
	*House // its clock cannot be moved
	kill   func()
}

// victimData names the data folder to a process that is to be a Victim.
const victimData = "GITROOST_TEST_VICTIM"

// StartVictim runs the test named test again, in another process, with its data in folder data.
// That test has to call BeVictim first of all.
func StartVictim(t testing.TB, test, data string) *Victim {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.v=false")
	cmd.Env = append(os.Environ(), victimData+"="+data)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dead := false
	v := &Victim{kill: func() {
		if !dead {
			dead = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			in.Close()
		}
	}}
	t.Cleanup(v.kill)
	var line strings.Builder
	for b := make([]byte, 1); ; {
		if _, err := out.Read(b); err != nil {
			t.Fatalf("the other process said %q and ended", line.String())
		}
		if b[0] == '\n' {
			break
		}
		line.Write(b)
	}
	url := line.String()
	v.House = &House{t: t, URL: url, Host: strings.TrimPrefix(url, "http://")}
	return v
}

// Kill ends the house at once, as SIGKILL does.
func (v *Victim) Kill() { v.kill() }

// BeVictim is a house until the process is killed, if StartVictim made this process. In any other
// it returns.
func BeVictim(t testing.TB, start func(data string) *House) {
	data := os.Getenv(victimData)
	if data == "" {
		return
	}
	h := start(data)
	os.Stdout.WriteString(h.URL + "\n")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the one who started it is gone
	t.SkipNow()
}

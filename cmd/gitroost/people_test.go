package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/client"
)

// A person has a home with a key in it, and a folder in which they work. $ALICE is alice's npub,
// $ALICE_HEX the same key in hex.
type person struct {
	name, home, dir string
	key             client.Key
	draft           *nostr.Event
}

// enter makes a person with a new key.
func (s *story) enter(env *testscript.Env, name string) error {
	home := filepath.Join(s.dir, name)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	key, err := client.NewKey()
	if err != nil {
		return err
	}
	if err := key.Save(filepath.Join(home, name+".key")); err != nil {
		return err
	}
	s.people[name] = &person{name: name, home: home, dir: home, key: key}
	s.names[key.Public().Npub()] = strings.ToUpper(name)
	env.Setenv(strings.ToUpper(name), key.Public().Npub())
	env.Setenv(strings.ToUpper(name)+"_HEX", string(key.Public()))
	return nil
}

// act is one line of a script. Times of events that are signed by hand grow from line to line;
// "at=-100" makes one 100 seconds older than now.
//
//	git …, gitroost …               run that, here
//	cd <folder>                     work there from now on
//	commit <file> <text>            write a file and commit it
//	random <file> <n>               write n bytes that cannot be made smaller
//	announce <id> [key=value …]     30617: maintainers=<hex>,… clone=<url> relays=<url> at=…
//	withdraw <id>                   30617 that names another server
//	state <id> <ref>=<rev> …        30618: a name without a slash is a branch; HEAD=<branch>; at=…
//	pull draft <owner hex> <id> <rev> [<clone>]   sign 1618 and keep it; its id is $PULL. pull send: publish it
//	issue <owner hex> <id> <text>   1621
//	delete e|a <value>              kind 5
//	events <kind> [<id>]            list what is served: kind, author, d or content
//
// Publishing prints the relay's answer, and fails if that is no.
func (p *person) act(ts *testscript.TestScript, s *story, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("%s does nothing", p.name)
	}
	before := ts.MkAbs(".")
	ts.Check(ts.Chdir(p.dir))
	defer func() { ts.Check(ts.Chdir(before)) }()
	for k, v := range map[string]string{
		"HOME": p.home, "GITROOST_KEY_FILE": filepath.Join(p.home, p.name+".key"), "LC_ALL": "C", "TZ": "UTC",
		"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "XDG_CONFIG_HOME": p.home,
		"GIT_AUTHOR_NAME": p.name, "GIT_AUTHOR_EMAIL": p.name + "@example.com", "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
		"GIT_COMMITTER_NAME": p.name, "GIT_COMMITTER_EMAIL": p.name + "@example.com", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
	} {
		ts.Setenv(k, v)
	}
	need := func(n int) {
		if len(args) < n+1 {
			ts.Fatalf("%s %s: %d words are missing", p.name, args[0], n+1-len(args))
		}
	}
	switch args[0] {
	case "git", "gitroost":
		err := ts.Exec(args[0], args[1:]...)
		if neg == (err == nil) {
			ts.Fatalf("%s %s: %v", p.name, strings.Join(args, " "), err)
		}
	case "cd":
		need(1)
		dir := filepath.Join(p.home, args[1])
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			ts.Fatalf("%s has no folder %s", p.name, args[1])
		}
		p.dir = dir
	case "commit":
		need(2)
		ts.Check(os.WriteFile(filepath.Join(p.dir, args[1]), []byte(args[2]+"\n"), 0o644))
		ts.Check(ts.Exec("git", "add", args[1]))
		ts.Check(ts.Exec("git", "commit", "-q", "-m", args[2]))
	case "random":
		need(2)
		b := make([]byte, offset(ts, args[2]))
		_, _ = rand.Read(b)
		ts.Check(os.WriteFile(filepath.Join(p.dir, args[1]), b, 0o644))
	case "announce", "withdraw":
		need(1)
		p.publish(ts, s, neg, p.announcement(ts, s, args))
	case "state":
		need(1)
		ev := p.state(ts, s, args[1], args[2:])
		s.names[grasp.EventID(ev.ID).Short()] = "STATE"
		p.publish(ts, s, neg, ev)
	case "pull":
		need(1)
		if args[1] == "draft" {
			need(4)
			p.draft = p.sign(ts, s, grasp.KindPull, 0, "please pull",
				nostr.Tag{"a", "30617:" + args[2] + ":" + args[3]}, nostr.Tag{"p", args[2]}, nostr.Tag{"c", p.rev(ts, args[4])},
				append(nostr.Tag{"clone"}, args[5:]...))
			s.names[p.draft.ID] = "PULL"
			ts.Setenv("PULL", p.draft.ID)
			return
		}
		p.publish(ts, s, neg, p.draft)
	case "issue":
		need(3)
		p.publish(ts, s, neg, p.sign(ts, s, grasp.KindIssue, 0, args[3], nostr.Tag{"a", "30617:" + args[1] + ":" + args[2]}))
	case "delete":
		need(2)
		p.publish(ts, s, neg, p.sign(ts, s, nostr.KindDeletion, 0, "", nostr.Tag{args[1], args[2]}))
	case "events":
		need(1)
		p.list(ts, s, args[1:])
	default:
		ts.Fatalf("%s cannot %s", p.name, args[0])
	}
}

// rev resolves a revision in the person's folder; 40 hex digits stand for themselves.
func (p *person) rev(ts *testscript.TestScript, rev string) string {
	if grasp.IsHex(rev, 40) {
		return rev
	}
	if err := ts.Exec("git", "rev-parse", "--verify", rev); err != nil {
		ts.Fatalf("%s knows no %s", p.name, rev)
	}
	return strings.TrimSpace(ts.ReadFile("stdout"))
}

// offset reads "at=-100".
func offset(ts *testscript.TestScript, s string) int {
	n, err := strconv.Atoi(s)
	ts.Check(err)
	return n
}

// sign makes an event. at is in seconds from now; 0 is later than everything before.
func (p *person) sign(ts *testscript.TestScript, s *story, kind, at int, content string, tags ...nostr.Tag) *nostr.Event {
	if at == 0 {
		s.events++
		at = 5 * s.events // the program, too, signs later than what it finds
	}
	ev := &nostr.Event{Kind: kind, CreatedAt: nostr.Timestamp(time.Now().Unix() + int64(at)), Content: content, Tags: tags}
	ts.Check(p.key.Sign(ev))
	return ev
}

func (p *person) announcement(ts *testscript.TestScript, s *story, args []string) *nostr.Event {
	home := grasp.Addr{Owner: p.key.Public(), ID: args[1]}
	server, err := client.ParseServer(ts.Getenv("SERVER"))
	ts.Check(err)
	tags := map[string]nostr.Tag{"clone": {"clone", server.Clone(home)}, "relays": {"relays", server.Relay()}}
	if args[0] == "withdraw" {
		tags["clone"], tags["relays"] = nostr.Tag{"clone", "https://other.example/x.git"}, nostr.Tag{"relays", "wss://other.example"}
	}
	at := 0
	for _, kv := range args[2:] {
		k, v, ok := strings.Cut(kv, "=")
		switch {
		case !ok:
			ts.Fatalf("announce: %q is not key=value", kv)
		case k == "at":
			at = offset(ts, v)
		default:
			tags[k] = append(nostr.Tag{k}, strings.Split(v, ",")...)
		}
	}
	list := nostr.Tags{{"d", args[1]}}
	for _, tag := range tags {
		list = append(list, tag)
	}
	return p.sign(ts, s, grasp.KindAnnouncement, at, "", list...)
}

func (p *person) state(ts *testscript.TestScript, s *story, id string, refs []string) *nostr.Event {
	tags, at, head := nostr.Tags{{"d", id}}, 0, ""
	for _, r := range refs {
		name, rev, ok := strings.Cut(r, "=")
		switch {
		case !ok:
			ts.Fatalf("state: %q is not ref=revision", r)
		case name == "at":
			at = offset(ts, rev)
		case name == "HEAD":
			head = rev
		default:
			if !strings.Contains(name, "/") {
				if head == "" {
					head = name
				}
				name = "refs/heads/" + name
			}
			tags = append(tags, nostr.Tag{name, p.rev(ts, rev)})
		}
	}
	if head != "" {
		tags = append(tags, nostr.Tag{"HEAD", "ref: refs/heads/" + head})
	}
	return p.sign(ts, s, grasp.KindState, at, "", tags...)
}

// relay opens a connection to the house.
func relay(ts *testscript.TestScript) (*client.Relay, context.Context, func()) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	server, err := client.ParseServer(ts.Getenv("SERVER"))
	ts.Check(err)
	r, err := client.Dial(ctx, server.Relay())
	if err != nil {
		cancel()
		ts.Fatalf("%v", err)
	}
	return r, ctx, func() {
		r.Close()
		cancel()
	}
}

func (p *person) publish(ts *testscript.TestScript, s *story, neg bool, ev *nostr.Event) {
	r, ctx, done := relay(ts)
	defer done()
	answer, err := r.Publish(ctx, ev)
	ts.Check(err)
	ts.Setenv("EVENT", ev.ID)
	fmt.Fprintln(ts.Stdout(), answer)
	if answer.OK == neg {
		ts.Fatalf("%s: kind %d: %s", p.name, ev.Kind, answer)
	}
}

func (p *person) list(ts *testscript.TestScript, s *story, args []string) {
	kind, err := strconv.Atoi(args[0])
	ts.Check(err)
	f := nostr.Filter{Kinds: []int{kind}}
	if len(args) > 1 {
		f.Tags = nostr.TagMap{"d": {args[1]}}
	}
	r, ctx, done := relay(ts)
	defer done()
	events, err := r.Query(ctx, f)
	ts.Check(err)
	for _, ev := range events {
		author := s.names[grasp.PubKey(ev.PubKey).Npub()]
		what := ev.Content
		if what == "" {
			what = ev.Tags.GetD()
		}
		fmt.Fprintf(ts.Stdout(), "%d %s %s\n", ev.Kind, author, what)
	}
	if len(events) == 0 {
		fmt.Fprintln(ts.Stdout(), "none")
	}
}

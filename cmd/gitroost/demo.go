package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/client"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
)

const demoHelp = `A key is made, a repository announced, its state signed, pushed and cloned; then a
push that nobody signed is refused. The server and its data are temporary.

  --server <url>   use a server that runs already, on this computer
  --keep           keep the data, and say where it is
  --then-serve     go on serving until Ctrl-C
`

// demoListen is tried first, so that the address looks like the one of the manual.
const demoListen = "127.0.0.1:7334"

// A tour is one demonstration.
type tour struct {
	*app
	git    client.Git // with an identity, and without the person's own configuration
	dir    string     // for everything that the tour writes
	key    client.Key
	server client.Server
	addr   grasp.Addr
}

func (a *app) demo(ctx context.Context, args []string) error {
	f := newFlags("demo")
	url := f.String("server", "", "")
	keep, thenServe := f.Bool("keep", false, ""), f.Bool("then-serve", false, "")
	if err := f.parse(args, 0); err != nil {
		return err
	}
	if *url != "" && *thenServe {
		return usageError("demo: --then-serve is about the demo's own server; leave --server out")
	}
	dir, err := os.MkdirTemp("", "gitroost-demo-")
	if err != nil {
		return fault.Errorf(fault.Invalid, "demo", "cannot make a temporary folder: %v", err)
	}
	if !*keep {
		defer os.RemoveAll(dir)
	}
	t := &tour{app: a, git: tourist(a.git), dir: dir}
	end := make(chan error, 1)
	note := "it runs already"
	serveCtx, stop := context.WithCancel(ctx)
	defer stop()
	if *url == "" {
		base, err := t.open(serveCtx, end)
		if err != nil {
			return err
		}
		*url, note = base, "data in a temporary folder; --keep to keep it"
		if *keep {
			note = "data in " + t.data()
		}
	} else {
		end <- nil
	}
	if t.server, err = client.ParseServer(*url); err == nil {
		t.say("server", "%s   (%s)", t.server, note)
		err = t.walk(ctx)
	}
	if err == nil {
		t.farewell(*keep, *thenServe)
		if *thenServe {
			return <-end
		}
	}
	stop()
	return errors.Join(err, <-end)
}

// say prints one line of the tour.
func (t *tour) say(what, format string, args ...any) {
	fmt.Fprintf(t.out, "%-9s %s\n", what, fmt.Sprintf(format, args...))
}

func (t *tour) data() string { return filepath.Join(t.dir, "data") }

// open starts the tour's own server and returns its address.
func (t *tour) open(ctx context.Context, end chan<- error) (string, error) {
	cfg := config.Default()
	cfg.Listen, cfg.Data, cfg.Log.Level = demoListen, t.data(), "error"
	if l, err := net.Listen("tcp", demoListen); err != nil {
		cfg.Listen = "127.0.0.1:0"
	} else {
		l.Close()
	}
	h, err := t.house(ctx, cfg, newLog(t.err, cfg.Log))
	if err != nil {
		return "", err
	}
	failed := make(chan error, 1)
	go func() {
		err := h.Run(ctx)
		failed <- err
		end <- err
	}()
	select {
	case <-h.Ready():
		return cfg.Public(h.Addr()), nil
	case err := <-failed:
		return "", errors.Join(fault.E(fault.Busy, "demo", "the server ended before it was ready"), err)
	}
}

// walk shows everything once.
func (t *tour) walk(ctx context.Context) error {
	var err error
	if t.key, err = client.NewKey(); err != nil {
		return err
	}
	t.key.Demo = true
	if err := t.key.Save(filepath.Join(t.dir, "demo.key")); err != nil {
		return err
	}
	t.addr = grasp.Addr{Owner: t.key.Public(), ID: "hello"}
	url := t.server.Clone(t.addr)
	t.say("key", "%s   (demo only)", t.key)

	work := filepath.Join(t.dir, "work")
	if err := t.prepare(ctx, work); err != nil {
		return err
	}
	c := &client.Client{Git: t.git, Now: t.now}
	local, err := c.Local(ctx, work)
	if err != nil {
		return err
	}
	_, answers, err := c.Announce(ctx, t.key, []client.Server{t.server}, client.Announcement{
		ID: t.addr.ID, Name: "Hello", Description: "A repository of the demonstration.",
		Clone: []string{url}, Relays: []string{t.server.Relay()}, Root: local.Root,
	})
	if err != nil {
		return err
	}
	t.say("announce", "kind %d %s            %s", grasp.KindAnnouncement, t.addr.ID, answers[0])
	if !answers[0].OK {
		return fault.E(fault.Refused, "demo", "the server refused the announcement")
	}
	done, err := c.Push(ctx, client.Push{Dir: work, Home: client.Home{Server: t.server, Addr: t.addr}, Key: t.key})
	if done.State != nil {
		t.say("state", "kind %d main=%s     %s", grasp.KindState, local.Refs["refs/heads/main"].Short(), done.Answer)
	}
	if done.Output != "" {
		t.say("push", "git push %s main", url)
		t.quote(done.Output)
	}
	if err != nil {
		return err
	}
	if err := t.clone(ctx, url, local.Refs["refs/heads/main"]); err != nil {
		return err
	}
	return t.refused(ctx, work, url)
}

// prepare makes a repository with three files and one commit.
func (t *tour) prepare(ctx context.Context, work string) error {
	if err := os.MkdirAll(filepath.Join(work, "src"), 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"README.md":    "# Hello\n\nThis repository was made by gitroost demo.\n",
		"NOTES.md":     "Where main points is said by a signed event.\n",
		"src/hello.sh": "#!/bin/sh\necho hello\n",
	} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"}, {"add", "."}, {"commit", "--quiet", "--message=hello"},
	} {
		if _, err := t.must(ctx, work, args...); err != nil {
			return err
		}
	}
	return nil
}

func (t *tour) clone(ctx context.Context, url string, want grasp.OID) error {
	copied := filepath.Join(t.dir, "clone")
	if _, err := t.must(ctx, t.dir, "clone", "--quiet", url, copied); err != nil {
		return err
	}
	files, err := t.must(ctx, copied, "ls-files")
	if err != nil {
		return err
	}
	got, err := t.must(ctx, copied, "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	if strings.TrimSpace(got) != string(want) {
		return fault.Errorf(fault.Internal, "demo", "the clone is at %s, not at %s", strings.TrimSpace(got), want)
	}
	t.say("clone", "git clone %s   %d files", url, len(strings.Fields(files)))
	return nil
}

// refused pushes a commit that no state names.
func (t *tour) refused(ctx context.Context, work, url string) error {
	if _, err := t.must(ctx, work, "commit", "--quiet", "--allow-empty", "--message=nobody signed this"); err != nil {
		return err
	}
	_, stderr, err := t.git(ctx, work, "push", url, "main")
	if err == nil {
		return fault.E(fault.Internal, "demo", "a push that nobody signed was accepted")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.say("refused", "a second push, without a signed state:")
	t.quote(stderr)
	if !strings.Contains(stderr, "rejected") {
		return fault.E(fault.Internal, "demo", "the push failed, but not because the server refused it")
	}
	return nil
}

func (t *tour) farewell(keep, thenServe bool) {
	page := t.server.Clone(t.addr)
	switch {
	case thenServe && keep:
		fmt.Fprintf(t.out, "Open %s   Ctrl-C stops.\n", page)
	case thenServe:
		fmt.Fprintf(t.out, "Open %s   Ctrl-C stops and deletes.\n", page)
	case keep:
		fmt.Fprintf(t.out, "Kept in %s; serve it again with: gitroost serve --data %s\n", t.dir, t.data())
	default:
		fmt.Fprint(t.out, "Done, and deleted. --then-serve goes on serving, --keep keeps the data.\n")
	}
}

// quote prints what git said, without the lines that only repeat the address.
func (t *tour) quote(stderr string) {
	for line := range strings.Lines(stderr) {
		line = strings.TrimRight(line, "\r\n ")
		if line == "" || strings.HasPrefix(line, "To ") || strings.HasPrefix(line, "error: failed to push") {
			continue
		}
		t.say("", "%s", strings.TrimSpace(line))
	}
}

// must runs git, and turns what it says into an error.
func (t *tour) must(ctx context.Context, dir string, args ...string) (string, error) {
	out, stderr, err := t.git(ctx, dir, args...)
	if err == nil {
		return out, nil
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	var e *fault.Error
	if errors.As(err, &e) {
		return "", err
	}
	return "", fault.Errorf(fault.Invalid, "demo", "git %s failed: %s", args[0], strings.TrimSpace(stderr))
}

// tourist gives git an identity and keeps the configuration of the person out of the tour: no
// signing, no rewritten addresses, no proxy.
func tourist(git client.Git) client.Git {
	return func(ctx context.Context, dir string, args ...string) (string, string, error) {
		return git(ctx, dir, append([]string{
			"-c", "user.name=Alice", "-c", "user.email=alice@example.com", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null",
			"-c", "http.proxy=", "-c", "init.templateDir=", "-c", "push.default=simple",
		}, args...)...)
	}
}

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/client"
	"github.com/gitroost/gitroost/internal/fault"
)

const announceHelp = `The folder is a git repository, by default the one you are in. The event is signed and
sent to the relay of the server; the first push makes it visible.

  --key <file>          your key; or GITROOST_KEY_FILE, or the key itself in GITROOST_KEY
  --server <url>        where to host it; several times for several servers
  --id <name>           what it is called in addresses; default: the name of the folder
  --name, --description what people read
  --web <url>           its page elsewhere
  --maintainer <npub>   who else may push; several times for several people
`

const pushHelp = `The state that is signed is the one that is served, with the pushed branches changed.
Without a branch, the one that is checked out is pushed.

  --key <file>   your key; or GITROOST_KEY_FILE, or the key itself in GITROOST_KEY
  --to <url>     the address to clone it from; default: where it was announced, or origin
  --tags         and every tag
  --all          every branch and tag, and nothing else
  --force        also where commits would be lost
`

func (a *app) client() *client.Client { return &client.Client{Git: a.git, Now: a.now} }

func (a *app) keyNew(_ context.Context, args []string) error {
	f := newFlags("key new")
	out := f.String("out", "", "")
	if err := f.parse(args, 0); err != nil {
		return err
	}
	k, err := client.NewKey()
	if err != nil {
		return err
	}
	if *out != "" {
		if err := k.Save(*out); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s\nThe secret is in %s; whoever has that file is you.\n", k, *out)
		return nil
	}
	// "gitroost key new > alice.key" made the file with the shell's permissions; close it before
	// the secret is in it.
	if file, ok := a.out.(*os.File); ok {
		if st, err := file.Stat(); err == nil && st.Mode().IsRegular() {
			if err := file.Chmod(0o600); err != nil {
				return fault.Errorf(fault.Invalid, "key new", "cannot close the file to others: %v; use --out <file>", err)
			}
		}
	}
	fmt.Fprint(a.out, k.File())
	return nil
}

func (a *app) keyShow(_ context.Context, args []string) error {
	f := newFlags("key show")
	if err := f.parse(args, 1); err != nil {
		return err
	}
	file := ""
	if len(f.rest) == 1 {
		file = f.rest[0]
	}
	k, err := a.key(file)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s\n%s\n", k, k.Public())
	return nil
}

// key returns the key in file, or the one that the environment names.
func (a *app) key(file string) (client.Key, error) {
	if file == "" {
		file = lookup(a.env, "GITROOST_KEY_FILE")
	}
	if file != "" {
		return client.LoadKey(file)
	}
	if secret := lookup(a.env, "GITROOST_KEY"); secret != "" {
		return client.ParseKey(secret)
	}
	return client.Key{}, usageError("no key is named; use --key <file>, and make one with: gitroost key new --out alice.key")
}

func (a *app) announce(ctx context.Context, args []string) error {
	f := newFlags("announce")
	keyFile, id := f.String("key", "", ""), f.String("id", "", "")
	name, description := f.String("name", "", ""), f.String("description", "", "")
	var servers, web, maintainers list
	f.Var(&servers, "server", "")
	f.Var(&web, "web", "")
	f.Var(&maintainers, "maintainer", "")
	if err := f.parse(args, 1); err != nil {
		return err
	}
	dir := "."
	if len(f.rest) == 1 {
		dir = f.rest[0]
	}
	key, err := a.key(*keyFile)
	if err != nil {
		return err
	}
	c := a.client()
	ann := client.Announcement{ID: *id, Name: *name, Description: *description, Web: web}
	for _, m := range maintainers {
		k, err := grasp.ParseNpub(m)
		if err != nil {
			return usageError(fmt.Sprintf("announce: --maintainer %q is not an npub", m))
		}
		ann.Maintainers = append(ann.Maintainers, k)
	}
	local, err := c.Local(ctx, dir)
	if err != nil {
		return err
	}
	ann.Root = local.Root
	if ann.ID == "" {
		if ann.ID, err = a.nameOf(ctx, dir); err != nil {
			return err
		}
	}
	if len(servers) == 0 {
		return usageError("announce: no server is named; use --server https://git.example.com")
	}
	home := client.Home{Addr: grasp.Addr{Owner: key.Public(), ID: ann.ID}}
	var to []client.Server
	for _, s := range servers {
		server, err := client.ParseServer(s)
		if err != nil {
			return err
		}
		to = append(to, server)
		ann.Clone = append(ann.Clone, server.Clone(home.Addr))
		ann.Relays = append(ann.Relays, server.Relay())
	}
	home.Server = to[0]
	_, answers, err := c.Announce(ctx, key, to, ann)
	if err != nil {
		return err
	}
	refused := 0
	for i, ans := range answers {
		fmt.Fprintf(a.out, "announce  kind %d %s on %s  %s\n", grasp.KindAnnouncement, ann.ID, to[i], ans)
		if !ans.OK {
			refused++
		}
	}
	if refused > 0 {
		return fault.Errorf(fault.Refused, "announce", "%d of %d servers refused the announcement", refused, len(to))
	}
	if err := c.SetHome(ctx, dir, home); err != nil {
		return err
	}
	next := "gitroost push"
	if *keyFile != "" {
		next += " --key " + *keyFile
	}
	fmt.Fprintf(a.out, "clone     git clone %s\nnext      %s\n", home.Server.Clone(home.Addr), next)
	return nil
}

// nameOf returns the name of the folder that holds the repository in dir.
func (a *app) nameOf(ctx context.Context, dir string) (string, error) {
	top, _, err := a.git(ctx, dir, "rev-parse", "--show-toplevel")
	if err != nil || strings.TrimSpace(top) == "" { // a bare repository has no top
		if top, err = filepath.Abs(dir); err != nil {
			return "", err
		}
	}
	return strings.TrimSuffix(filepath.Base(strings.TrimSpace(top)), ".git"), nil
}

func (a *app) push(ctx context.Context, args []string) error {
	f := newFlags("push")
	keyFile, to := f.String("key", "", ""), f.String("to", "", "")
	tags, all, force := f.Bool("tags", false, ""), f.Bool("all", false, ""), f.Bool("force", false, "")
	dir := f.String("C", ".", "")
	if err := f.parse(args, -1); err != nil {
		return err
	}
	if *all && len(f.rest) > 0 {
		return usageError("push: --all pushes every branch; name branches or use --all, not both")
	}
	key, err := a.key(*keyFile)
	if err != nil {
		return err
	}
	c := a.client()
	var home client.Home
	if *to != "" {
		home, err = client.ParseHome(*to)
	} else {
		home, err = c.Home(ctx, *dir)
	}
	if err != nil {
		return err
	}
	done, err := c.Push(ctx, client.Push{
		Dir: *dir, Home: home, Key: key, Branches: f.rest, Tags: *tags, All: *all, Force: *force,
	})
	if done.Answer.OK {
		fmt.Fprintf(a.out, "state     kind %d %s  %s\n", grasp.KindState, describe(done), done.Answer)
	}
	if done.Output != "" {
		fmt.Fprint(a.out, indent(done.Output, "push      "))
	}
	return err
}

// describe says in a word what was pushed.
func describe(p client.Pushed) string {
	switch len(p.Refs) {
	case 0:
		return ""
	case 1:
		return short(p.Refs[0])
	}
	return fmt.Sprintf("%s and %d more", short(p.Refs[0]), len(p.Refs)-1)
}

func short(r grasp.RefName) string {
	return strings.TrimPrefix(strings.TrimPrefix(string(r), "refs/heads/"), "refs/")
}

// indent puts head before the first line of text and as much space before the others.
func indent(text, head string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(head + strings.TrimRight(line, "\r\n ") + "\n")
		head = strings.Repeat(" ", len(head))
	}
	return b.String()
}

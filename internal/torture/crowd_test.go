package torture_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

const (
	kindIssue   = 1621
	kindComment = 1111
)

// A crowd is everybody who is no maintainer.
type crowd struct {
	r     *run
	dave  *person // opens issues and pull requests
	erin  *person // comments, and takes it back
	other *pool   // commits that no state names
}

func (r *run) newCrowd() *crowd {
	return &crowd{
		r: r, dave: r.person("dave"), erin: r.person("erin"),
		other: newPool(r.t, filepath.Join(mustMkdir(r.t, r.dir, "pools"), "other"), r.rand("other"), 12, 0),
	}
}

// somewhere returns a team whose repositories are open.
func somewhere(v *visitor, teams []*team) *team {
	if len(teams) == 0 {
		return nil
	}
	t := teams[v.rnd.IntN(len(teams))]
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.open {
		return nil
	}
	return t
}

// requestPull brings one pull request a step further, or begins one (G01-701 to G01-705).
func (c *crowd) requestPull(v *visitor, t *team) bool {
	t.mu.Lock()
	i := slices.IndexFunc(t.pulls, func(p *pull) bool { return p.told != yes || p.sent != yes })
	var p *pull
	switch {
	case i >= 0:
		p = t.pulls[i]
	case len(t.pulls) < len(t.pool.pulls):
		p = &pull{by: c.dave, tip: t.pool.pulls[len(t.pulls)], to: t.owners[v.rnd.IntN(len(t.owners))], gitFirst: v.rnd.IntN(2) == 0}
		tags := nostr.Tags{{"c", string(p.tip)}, {"subject", "a change"}}
		for _, o := range t.owners {
			tags = append(tags, nostr.Tag{"a", t.addr(o).Coordinate()}, nostr.Tag{"p", string(o.pub())})
		}
		p.ev = c.dave.sign(grasp.KindPull, time.Now().Unix(), "", tags...)
		t.pulls = append(t.pulls, p)
	}
	t.mu.Unlock()
	if p == nil {
		return true
	}
	send := func() bool {
		if p.sent == yes {
			return true
		}
		p.sent = maybe
		if !v.push(t.pool.dir, c.r.srv.repo(t.addr(p.to)), string(p.tip)+":"+string(grasp.PullRef(grasp.EventID(p.ev.ID)))) {
			return false
		}
		p.sent = yes
		return true
	}
	tell := func() bool {
		if p.told == yes {
			return true
		}
		p.told = maybe
		rec := t.note(p.ev)
		if !v.publish(rec) {
			return false
		}
		p.told = yes
		return true
	}
	if p.gitFirst {
		return send() && tell()
	}
	return tell() && send()
}

// talk publishes an issue, a comment, or the deletion of a comment.
func (c *crowd) talk(v *visitor, t *team) bool {
	t.mu.Lock()
	var issues, comments []*record
	for _, rec := range t.records {
		switch {
		case rec.ev.Kind == kindIssue && rec.acked:
			issues = append(issues, rec)
		case rec.ev.Kind == kindComment && rec.acked && rec.gone == never:
			comments = append(comments, rec)
		}
	}
	t.mu.Unlock()
	now := time.Now().Unix()
	nonce := nostr.Tag{"nonce", strconv.FormatUint(v.rnd.Uint64(), 36)} // two comments of one second are two
	switch n := v.rnd.IntN(10); {
	case len(issues) == 0 || n < 3:
		a := t.addr(t.owners[v.rnd.IntN(len(t.owners))])
		ev := c.dave.sign(kindIssue, now, strings.Repeat("It does not work. ", 1+v.rnd.IntN(200)),
			nostr.Tag{"a", a.Coordinate()}, nostr.Tag{"p", string(a.Owner)}, nostr.Tag{"subject", "a fault"}, nonce)
		return v.publish(t.note(ev))
	case len(comments) == 0 || n < 8:
		root := issues[v.rnd.IntN(len(issues))].ev
		ev := c.erin.sign(kindComment, now, strings.Repeat("Here it does. ", 1+v.rnd.IntN(50)),
			nostr.Tag{"E", root.ID}, nostr.Tag{"K", "1621"}, nostr.Tag{"P", root.PubKey},
			nostr.Tag{"e", root.ID}, nostr.Tag{"k", "1621"}, nostr.Tag{"p", root.PubKey}, nonce)
		return v.publish(t.note(ev))
	default:
		rec := comments[v.rnd.IntN(len(comments))]
		rec.gone = maybe
		rec.by = c.erin.sign(grasp.KindDeletion, now, "", nostr.Tag{"e", rec.ev.ID})
		if !v.publish(t.note(rec.by)) {
			return false
		}
		rec.gone = yes
		return true
	}
}

// intrude pushes what no state asks for. It must be refused, with a reason.
func (c *crowd) intrude(v *visitor, t *team) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ref := []string{"refs/heads/main", "refs/heads/evil", "refs/tags/evil"}[v.rnd.IntN(3)]
	oid := string(c.other.commits[v.rnd.IntN(len(c.other.commits))])
	url := c.r.srv.repo(t.addr(t.owners[v.rnd.IntN(len(t.owners))]))
	out, err := git(ctx, c.other.dir, nil, "push", url, "+"+oid+":"+ref)
	switch {
	case err == nil:
		c.r.fault("%s: a push that nobody signed was accepted\n%s", t.id, out)
	case strings.Contains(out, "[remote rejected]"), c.r.srv.dying.Load():
		c.r.count(func(s *stats) { s.refused++ })
	default:
		c.r.fault("%s: a push that nobody signed was refused without a reason: %v\n%s", t.id, err, out)
	}
	return !c.r.srv.dying.Load()
}

// clone reads a repository while it is being changed.
func (c *crowd) clone(v *visitor, t *team) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dir, err := os.MkdirTemp(c.r.dir, "clone-")
	if err != nil {
		c.r.fault("%v", err)
		return false
	}
	defer os.RemoveAll(dir)
	args := []string{"clone", "-q", "--bare"}
	if v.rnd.IntN(3) == 0 {
		args = append(args, "--depth=1")
	}
	url := c.r.srv.repo(t.addr(t.owners[v.rnd.IntN(len(t.owners))]))
	out, err := git(ctx, dir, nil, append(args, url, filepath.Join(dir, "c"))...)
	if err != nil && !c.r.srv.dying.Load() {
		c.r.fault("%s: clone: %v\n%s", t.id, err, out)
	}
	if err == nil {
		c.r.count(func(s *stats) { s.clones++ })
	}
	return err == nil
}

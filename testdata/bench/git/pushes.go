package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gitroost/gitroost/internal/client"
)

const mainRef = "refs/heads/main"

// workAt returns the line of work on one ref of a repository at p.
func (b *bench) workAt(p *peer, repo, ref string) *work {
	k := p.name + " " + repo + " " + ref
	if b.works[k] == nil {
		r := b.repos["small"]
		if repo == "push-50k" {
			r = b.repos["refs-50k"]
		}
		b.works[k] = r.newWork(k)
		if ref != mainRef { // a branch of its own begins at main
			b.works[k].made = -1
		}
	}
	return b.works[k]
}

// A shove is one push that is ready to go.
type shove struct {
	repo, ref, tip string
	body           []byte
}

// ready makes the next commit of a line of work, and the push that brings it. Ours is told of it
// before, unless quiet.
func (b *bench) ready(p *peer, repo, ref string) (shove, error) {
	s := b.unsaid(p, repo, ref)
	if p.name != ours {
		return s, nil
	}
	b.refs[repo][ref] = s.tip
	return s, b.house.say(repo, b.refs[repo])
}

func (b *bench) unsaid(p *peer, repo, ref string) shove {
	w := b.workAt(p, repo, ref)
	fresh := w.made < 0
	if fresh {
		w.made = 0
	}
	pack, old := w.next()
	if fresh {
		old = zero
	}
	return shove{repo, ref, w.tip, push(pack, command{old, w.tip, ref})}
}

// shove pushes, and makes sure that it was accepted.
func (p *peer) shove(s shove) (answer, error) {
	a, err := p.do(context.Background(), request{repo: s.repo, what: "receive", body: s.body}, true)
	if err == nil {
		err = pushed(a.body, s.ref)
	}
	return a, err
}

// landed makes sure that all refs are where they were pushed to, and that the last of them can be
// fetched from there: what was pushed, without the contents of files, which would cost more than
// the push.
func (b *bench) landed(p *peer, all ...shove) error {
	last := all[len(all)-1]
	a, err := p.do(context.Background(), upload(last.repo, lsRefs("refs/heads/")), true)
	if err != nil {
		return err
	}
	for _, s := range all {
		if !bytes.Contains(a.body, []byte(s.tip+" "+s.ref+"\n")) {
			return fmt.Errorf("%s is not at %s", s.ref, s.tip)
		}
	}
	if a, err = p.do(context.Background(), upload(last.repo, fetch("deepen 1", "filter blob:none", "want "+last.tip)), true); err != nil {
		return err
	}
	return b.checkPack(packing{min: 2}, a, false)
}

// pushing measures pushes of one commit, one after another.
func pushing(name, what, repo string, peers []string, rounds [2]int, n [2]int, watch bool) scenario {
	return scenario{
		name: name, what: what, peers: peers, rounds: rounds,
		ready: func(b *bench, p *peer) error { // the first push finds everything cold
			s, err := b.ready(p, repo, mainRef)
			if err == nil {
				_, err = p.shove(s)
			}
			return err
		},
		run: func(b *bench, p *peer, _ int) (out sample, err error) {
			var ms []float64
			var cpu time.Duration
			var last shove
			one := func() error {
				s, err := b.ready(p, repo, mainRef)
				if err != nil {
					return err
				}
				before := p.box.cpu()
				a, err := p.shove(s)
				ms, last = append(ms, millis(a.took)), s
				cpu += p.box.cpu() - before
				return err
			}
			for range n[b.mode()] {
				if err := one(); err != nil {
					return nil, err
				}
			}
			out = sample{mMS: median(ms), mP99: quantile(ms, 0.99), mCPU: millis(cpu) / float64(len(ms))}
			if watch {
				if _, err := b.watched(p, true, &out, one); err != nil {
					return nil, err
				}
			}
			return out, b.landed(p, last)
		},
	}
}

func (b *bench) mode() int {
	if b.quick {
		return 0
	}
	return 1
}

// graspUpdate measures an event and the push that it allows, as one.
func graspUpdate() scenario {
	return scenario{
		name: "grasp-update", what: "a signed state and the push it allows; at the others the push alone", peers: []string{ours, nginx, goCGI}, rounds: [2]int{5, 7},
		run: func(b *bench, p *peer, _ int) (sample, error) {
			return b.stock(p, 6, func(int) (time.Duration, error) {
				if p.name != ours {
					s, err := b.ready(p, "update", mainRef)
					began := time.Now()
					if err == nil {
						_, err = p.shove(s)
					}
					return time.Since(began), err
				}
				s := b.unsaid(p, "update", mainRef)
				b.refs["update"][mainRef] = s.tip
				ev, err := b.house.state(b.house.key, "update", b.refs["update"])
				if err != nil {
					return 0, err
				}
				began := time.Now()
				if err := b.house.publish(ev); err != nil {
					return 0, err
				}
				_, err = p.shove(s)
				return time.Since(began), err
			})
		},
	}
}

// pushSeq makes one push after another, and compares the last tenth with the first.
func pushSeq() scenario {
	return scenario{
		name: "push-seq", what: "1,000 pushes in a row to one repository (120 in a quick run)", peers: []string{ours, nginx, goCGI, daemon}, rounds: [2]int{1, 1},
		run: func(b *bench, p *peer, _ int) (sample, error) {
			n := [2]int{120, 1000}[b.mode()]
			var ms []float64
			var sum time.Duration
			var last shove
			for range n {
				s, err := b.ready(p, "push-seq", mainRef)
				if err != nil {
					return nil, err
				}
				a, err := p.shove(s)
				if err != nil {
					return nil, err
				}
				ms, last = append(ms, millis(a.took)), s
				sum += a.took
			}
			tenth := n / 10
			return sample{
				mMS: median(ms), mP99: quantile(ms, 0.99), mRate: float64(n) / sum.Seconds(),
				mRatio: median(ms[n-tenth:]) / median(ms[:tenth]),
			}, b.landed(p, last)
		},
	}
}

// pushCrowd has 16 pushers at a time, in repositories of their own or all in one.
func pushCrowd(name, what string, same bool) scenario {
	return scenario{
		name: name, what: what, peers: servers, rounds: [2]int{2, 5},
		run: func(b *bench, p *peer, _ int) (sample, error) {
			var ms []float64
			var sum, cpu time.Duration
			var mu sync.Mutex
			for range [2]int{2, 5}[b.mode()] {
				all := make([]shove, crowd)
				for i := range all {
					if same {
						ref := fmt.Sprintf("refs/heads/work-%d", i)
						all[i] = b.unsaid(p, "push-same", ref)
						if p.name == ours {
							b.refs["push-same"][ref] = all[i].tip
						}
						continue
					}
					var err error
					if all[i], err = b.ready(p, fmt.Sprintf("push-%d", i), mainRef); err != nil {
						return nil, err
					}
				}
				if same && p.name == ours {
					if err := b.house.say("push-same", b.refs["push-same"]); err != nil {
						return nil, err
					}
				}
				before, began := p.box.cpu(), time.Now()
				err := each(crowd, crowd, func(i int) error {
					a, err := p.shove(all[i])
					mu.Lock()
					defer mu.Unlock()
					ms = append(ms, millis(a.took))
					return err
				})
				sum += time.Since(began)
				cpu += p.box.cpu() - before
				if err == nil && same {
					err = b.landed(p, all...)
				} else if err == nil {
					err = b.landed(p, all[crowd-1])
				}
				if err != nil {
					return nil, err
				}
			}
			n := float64(len(ms))
			return sample{mMS: median(ms), mP99: quantile(ms, 0.99), mRate: n / sum.Seconds(), mCPU: millis(cpu) / n}, nil
		},
	}
}

// bigPack is a commit of 200 files of 512 KiB that cannot be compressed: so many that everybody keeps
// the pack instead of unpacking it.
func bigPack() (tip string, pack []byte) {
	r := rand.NewChaCha8([32]byte{4})
	var all []object
	var tree []byte
	for i := range 200 {
		data := make([]byte, 512<<10)
		r.Read(data)
		o := newObject(kindBlob, data)
		all = append(all, o)
		tree = append(tree, fmt.Sprintf("100644 %03d\x00%s", i, unhex(o.name))...)
	}
	t := newObject(kindTree, tree)
	c := newObject(kindCommit, fmt.Appendf(nil, "tree %s\nauthor B <b@example.com> 1700000000 +0000\ncommitter B <b@example.com> 1700000000 +0000\n\nbig\n", t.name))
	return c.name, packOf(0, append([]object{c, t}, all...)...)
}

// pushBig pushes 100 MB into an empty repository.
func pushBig() scenario {
	return scenario{
		name: "push-big", what: "a push of 100 MB", peers: servers, rounds: [2]int{2, 5},
		run: func(b *bench, p *peer, round int) (out sample, err error) {
			tip, pack := b.big()
			repo := fmt.Sprintf("big-%d", round)
			if p.name == ours {
				err = b.house.announce(repo)
				if err == nil {
					err = b.house.say(repo, map[string]string{mainRef: tip})
				}
			} else {
				_, err = git(b.dir, "init", "-q", "--bare", "--initial-branch=main", p.dir(repo))
				if err == nil {
					_, err = git(p.dir(repo), "config", "http.receivepack", "true")
				}
				if err == nil {
					_, err = git(p.dir(repo), "config", "uploadpack.allowFilter", "true")
				}
			}
			if err != nil {
				return nil, err
			}
			s := shove{repo, mainRef, tip, push(pack, command{zero, tip, mainRef})}
			before := p.box.cpu()
			out = sample{}
			out, err = b.watched(p, true, &out, func() error {
				a, err := p.shove(s)
				out[mMS] = millis(a.took)
				return err
			})
			if err != nil {
				return nil, err
			}
			out[mCPU] = millis(p.box.cpu() - before)
			return out, b.landed(p, s)
		},
	}
}

// big makes the pack of push-big once.
func (b *bench) big() (string, []byte) {
	if b.bigPack == nil {
		b.bigTip, b.bigPack = bigPack()
	}
	return b.bigTip, b.bigPack
}

// rejecting measures pushes that nobody signed.
func rejecting(name, what, repo string, rounds [2]int, n int, big bool, ready func(b *bench, p *peer) error) scenario {
	return scenario{
		name: name, what: what, peers: []string{ours}, rounds: rounds,
		ready: func(b *bench, p *peer) error {
			if ready != nil {
				if err := ready(b, p); err != nil {
					return err
				}
			}
			return b.gitIsTold(p, repo)
		},
		run: func(b *bench, p *peer, _ int) (out sample, err error) {
			w := b.repos["small"].newWork("nobody")
			pack, old := w.next()
			body := push(pack, command{old, w.tip, mainRef})
			if big {
				tip, pack := b.big()
				body = push(pack, command{old, tip, mainRef})
			}
			before := p.box.cpu()
			var ms []float64
			out = sample{}
			out, err = b.watched(p, big, &out, func() error {
				for range n {
					a, err := p.do(context.Background(), request{repo: repo, what: "receive", body: body}, true)
					if err == nil {
						err = refused(a.body)
					}
					if err != nil {
						return err
					}
					ms = append(ms, millis(a.took))
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			out[mMS], out[mP99], out[mCPU] = median(ms), quantile(ms, 0.99), millis(p.box.cpu()-before)/float64(n)
			return out, nil
		},
	}
}

// gitIsTold makes sure that stock git shows the reason of a refusal.
func (b *bench) gitIsTold(p *peer, repo string) error {
	dir := filepath.Join(b.dir, "refused")
	defer os.RemoveAll(dir)
	if _, err := git(b.dir, "clone", "-q", p.url(repo), dir); err != nil {
		return err
	}
	if _, err := git(dir, "commit", "-q", "--allow-empty", "-m", "nobody signed this"); err != nil {
		return err
	}
	_, err := git(dir, "push", "-q", "origin", "main")
	if err == nil {
		return errors.New("git could push what nobody signed")
	}
	if !strings.Contains(err.Error(), "unauthorised:") {
		return fmt.Errorf("git was not told why: %w", err)
	}
	return nil
}

// crowded has strangers state something about a repository of the same name: a thousand, or in a
// quick run two hundred.
func crowded(b *bench, p *peer) error {
	if b.refs["crowd"] == nil {
		small := b.repos["small"]
		if err := b.house.seed(small, "crowd"); err != nil {
			return err
		}
		b.refs["crowd"] = small.heads()
		return b.house.strangers([2]int{200, 1000}[b.mode()], "crowd")
	}
	return nil
}

// creating measures how long a new repository takes; beside it, what init and config take.
func creating() scenario {
	return scenario{
		name: "create-repo", what: "an announcement until OK; beside it git init and four git config", peers: []string{ours, local}, rounds: [2]int{5, 9},
		run: func(b *bench, p *peer, round int) (sample, error) {
			return b.stock(p, 10, func(i int) (time.Duration, error) {
				name := fmt.Sprintf("new-%d-%d", round, i)
				if p.name == ours {
					ev, err := b.house.announcement(b.house.key, name)
					if err != nil {
						return 0, err
					}
					began := time.Now()
					err = b.house.publish(ev)
					took := time.Since(began)
					if err == nil {
						_, err = p.do(context.Background(), advert(name, "receive-pack", 0), false)
					}
					return took, err
				}
				dir := filepath.Join(b.dir, "new", name)
				began := time.Now()
				_, err := git(b.dir, "init", "-q", "--bare", dir)
				for _, key := range []string{"http.receivepack", "uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant", "receive.autogc"} {
					if err == nil {
						_, err = git(dir, "config", key, "true")
					}
				}
				return time.Since(began), err
			})
		},
	}
}

// idle says what everybody held in memory before the first request.
func idle() scenario {
	return scenario{
		name: "idle", what: "private memory before the first request", peers: servers, rounds: [2]int{1, 1},
		run: func(b *bench, p *peer, _ int) (sample, error) { return sample{mMem: p.idle}, nil },
	}
}

// starting measures from the start of the process to its first answer.
func starting(name, what string, rounds [2]int, repos, events int) scenario {
	var data string
	return scenario{
		name: name, what: what, peers: []string{ours}, rounds: rounds,
		ready: func(b *bench, _ *peer) error {
			if repos == 0 {
				return nil
			}
			h := *b.house
			err := h.fill(b.cache, repos, events, b.say)
			data = h.data
			return err
		},
		run: func(b *bench, _ *peer, round int) (sample, error) {
			h := *b.house
			h.relay, h.at = (*client.Relay)(nil), maps.Clone(h.at)
			h.data = data
			if data == "" {
				h.data = filepath.Join(b.dir, "start", fmt.Sprint(round))
			}
			var err error
			if h.addr, err = freePort(); err != nil {
				return nil, err
			}
			if err := os.MkdirAll(h.data, 0o700); err != nil {
				return nil, err
			}
			h.box = &box{} // nothing between the start and the program
			cmd := h.command()
			began := time.Now()
			if err := h.box.start(cmd); err != nil {
				return nil, err
			}
			err = h.healthy()
			out := sample{mMS: millis(time.Since(began))}
			out[mMem] = h.box.private()
			web.CloseIdleConnections()
			http.DefaultClient.CloseIdleConnections()
			return out, errors.Join(err, h.box.stop())
		},
	}
}

// pushScenarios are about everything that changes something, and about standing still.
func pushScenarios() []scenario {
	return []scenario{
		pushing("push-raw", "one commit, the POST alone", "push", servers, [2]int{5, 7}, [2]int{8, 12}, false),
		pushing("push-raw-50krefs", "the same among 50,000 refs", "push-50k", servers, [2]int{3, 5}, [2]int{2, 4}, true),
		graspUpdate(),
		briefly(pushSeq(), ours, goCGI),
		briefly(pushCrowd("push-c16-distinct", "16 pushers, each in a repository of their own", false), ours, nginx, goCGI),
		briefly(pushCrowd("push-c16-same", "16 pushers, each on a branch of one repository", true), ours, nginx, goCGI),
		briefly(pushBig(), ours, daemon),
		rejecting("reject-raw", "a push that nobody signed", "reject", [2]int{5, 9}, 40, false, nil),
		rejecting("reject-crowded", "the same, beside 1,000 strangers' states (200 in a quick run)", "crowd", [2]int{5, 9}, 40, false, crowded),
		rejecting("reject-big", "a push of 100 MB that nobody signed", "reject", [2]int{3, 5}, 1, true, nil),
		creating(),
		starting("start", "from the start to the first answer, empty", [2]int{5, 9}, 0, 0),
		starting("start-full", "the same with 100,000 repositories and 1,000,000 events", [2]int{0, 5}, 100_000, 1_000_000),
	}
}

package main

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

var (
	everybody = []string{ours, nginx, goCGI, daemon, local, staticS}
	packers   = []string{ours, tidy, nginx, goCGI, daemon, local}
	servers   = []string{ours, nginx, goCGI, daemon}
)

// short is the effort of a round of short requests.
func (b *bench) short() effort {
	if b.quick {
		return effort{3, 60 * time.Millisecond}
	}
	return effort{10, 250 * time.Millisecond}
}

// reads makes a scenario of one request that changes nothing.
func reads(name, what string, clients int, peers []string, r request, verify func(b *bench, a answer) error) scenario {
	return scenario{
		name: name, what: what, peers: peers, rounds: [2]int{3, 7},
		ready: func(b *bench, p *peer) error {
			if p.name == staticS {
				return b.keepStatic(p, r)
			}
			a, err := p.do(context.Background(), r, true)
			if err != nil {
				return err
			}
			return errors.Join(flushed(a), verify(b, a))
		},
		run: func(b *bench, p *peer, _ int) (sample, error) {
			return b.load(p, clients, b.short(), func(int) request { return r }, flushed)
		},
	}
}

// keepStatic makes a file of the answer that somebody gives to r.
func (b *bench) keepStatic(p *peer, r request) error {
	a, err := b.peers[goCGI].do(context.Background(), r, true)
	if err != nil {
		return err
	}
	return os.WriteFile(p.dir(staticName(r)), a.body, 0o644)
}

func advert(repo, service string, version int) request {
	return request{repo: repo, what: "advert", service: service, version: version}
}

func upload(repo string, body []byte) request {
	return request{repo: repo, what: "upload", version: 2, body: body}
}

// saysV2 makes sure that protocol 2 is offered, with what clients need.
func saysV2(_ *bench, a answer) error {
	for _, want := range []string{"version 2\n", "ls-refs", "fetch=", "object-format=sha1"} {
		if !bytes.Contains(a.body, []byte(want)) {
			return fmt.Errorf("no %q in %q", want, a.body)
		}
	}
	return nil
}

// names makes sure that an answer names the refs of repo that match, and no others.
func names(repo string, match ...string) func(b *bench, a answer) error {
	return func(b *bench, a answer) error {
		all, err := packets(a.body)
		if err != nil {
			return err
		}
		got := map[string]string{}
		for _, line := range all {
			if strings.HasPrefix(line, "# service") || len(line) < 42 || line[40] != ' ' {
				continue
			}
			line, _, _ = strings.Cut(strings.TrimSuffix(line, "\n"), "\x00")
			name, _, _ := strings.Cut(line[41:], " ")
			if name != "HEAD" && !strings.HasSuffix(name, "^{}") && name != "capabilities^{}" {
				got[name] = line[:40]
			}
		}
		want := 0
		for name, oid := range b.repos[repo].refs {
			if len(match) > 0 && !slices.ContainsFunc(match, func(m string) bool { return strings.HasPrefix(name, m) }) {
				continue
			}
			want++
			if got[name] != oid {
				return fmt.Errorf("%s is %q, want %s", name, got[name], oid)
			}
		}
		if len(got) != want {
			return fmt.Errorf("%d refs, want %d", len(got), want)
		}
		return nil
	}
}

// readScenarios are about advertisements and refs.
func readScenarios() []scenario {
	v2 := advert("refs-1k", "upload-pack", 2)
	noLimits := everybody[:len(everybody)-2]
	return []scenario{
		reads("advert-v2-1k", "advertisement of protocol 2", 1, everybody, v2, saysV2),
		reads("advert-v2-1k-c8", "the same, 8 clients", 8, append(slices.Clone(noLimits), staticS), v2, saysV2),
		reads("lsrefs-10", "ls-refs, 10 refs", 1, everybody, upload("small", lsRefs()), names("small")),
		reads("lsrefs-1k", "ls-refs, 1,000 refs", 1, everybody, upload("refs-1k", lsRefs()), names("refs-1k")),
		reads("lsrefs-1k-c8", "the same, 8 clients", 8, append(slices.Clone(noLimits), staticS), upload("refs-1k", lsRefs()), names("refs-1k")),
		reads("lsrefs-50k", "ls-refs, 50,000 refs", 1, everybody, upload("refs-50k", lsRefs()), names("refs-50k")),
		reads("lsrefs-50k-heads", "its branches and tags alone", 1, everybody, upload("refs-50k", lsRefs("refs/heads/", "refs/tags/")), names("refs-50k", "refs/heads/", "refs/tags/")),
		reads("advert-v0-50k", "advertisement of protocol 0, 50,000 refs", 1, everybody, advert("refs-50k", "upload-pack", 0), names("refs-50k")),
		reads("push-advert-50k", "advertisement for pushing, 50,000 refs", 1, noLimits, advert("refs-50k", "receive-pack", 0), namesHeads("refs-50k")),
		unknown(),
		lsRemote(),
	}
}

// namesHeads is names for a push: PR refs need not be shown.
func namesHeads(repo string) func(b *bench, a answer) error {
	return func(b *bench, a answer) error {
		for name, oid := range b.repos[repo].heads() {
			if !bytes.Contains(a.body, []byte(oid+" "+name)) {
				return fmt.Errorf("no %s", name)
			}
		}
		return nil
	}
}

func unknown() scenario {
	return scenario{
		name: "unknown-repo", what: "advertisement of a repository that is not there", peers: []string{ours, nginx, goCGI}, rounds: [2]int{3, 7},
		run: func(b *bench, p *peer, _ int) (sample, error) {
			// load wants a 200; here 404 is right.
			e, before, began := b.short(), p.box.cpu(), time.Now()
			var ms []float64
			for len(ms) < e.n || time.Since(began) < e.long {
				a, _ := p.do(context.Background(), advert("not-there", "upload-pack", 2), false)
				if a.status != 404 {
					return nil, fmt.Errorf("status %d, want 404", a.status)
				}
				ms = append(ms, millis(a.took))
			}
			return sample{mMS: median(ms), mP99: quantile(ms, 0.99), mCPU: millis(p.box.cpu()-before) / float64(len(ms))}, nil
		},
	}
}

func lsRemote() scenario {
	return scenario{
		name: "ls-remote-1k", what: "git ls-remote, 1,000 refs", peers: servers, rounds: [2]int{3, 7},
		run: func(b *bench, p *peer, _ int) (sample, error) {
			return b.stock(p, 8, func(int) (time.Duration, error) {
				began := time.Now()
				out, err := git(b.dir, "ls-remote", "-q", p.url("refs-1k"))
				took := time.Since(began)
				if n := strings.Count(out, "refs/heads/"); err == nil && n != 501 {
					err = fmt.Errorf("%d branches, want 501", n)
				}
				return took, err
			})
		},
	}
}

// stock measures n commands of stock git, one after another.
func (b *bench) stock(p *peer, n int, do func(i int) (time.Duration, error)) (sample, error) {
	before := time.Duration(0)
	if p.box != nil {
		before = p.box.cpu()
	}
	var ms []float64
	for i := range n {
		took, err := do(i)
		if err != nil {
			return nil, err
		}
		ms = append(ms, millis(took))
	}
	s := sample{mMS: median(ms)}
	if p.box != nil {
		s[mCPU] = millis(p.box.cpu()-before) / float64(n)
	}
	return s, nil
}

// A packing is one kind of request for a pack.
type packing struct {
	name, what string
	repo       string
	min        int                                     // objects that the pack has at least
	whole      bool                                    // everything that can be reached from the tip is in it
	body       func(r *repository, variant int) []byte // each variant asks in other words
}

var (
	rawSmall   = packing{"raw-clone-small", "clone of 1 MB, thrown away", "small", 500, true, cloneBody}
	rawMedium  = packing{"raw-clone-medium", "clone of 60 MB, thrown away", "medium", 10_000, true, cloneBody}
	rawLarge   = packing{"raw-clone-large", "clone of 300 MB, thrown away", "large", 20_000, true, cloneBody}
	rawShallow = packing{"raw-shallow-medium", "depth 1", "medium", 5_000, false, func(r *repository, v int) []byte {
		return fetch("deepen 1", "want "+r.old[v%len(r.old)])
	}}
	rawFetch = packing{"raw-fetch-medium", "the last 50 commits", "medium", 100, false, func(r *repository, v int) []byte {
		lines := []string{"want " + r.tip, "have " + r.old[50]}
		if v > 0 {
			lines = append(lines, "have "+r.old[50+v])
		}
		return fetch(lines...)
	}}
	rawBlobless = packing{"blobless-medium", "without blobs", "medium", 10_000, false, func(r *repository, v int) []byte {
		lines := []string{"filter blob:none", "want " + r.tip}
		if v > 0 {
			lines = append(lines, "want "+r.old[v])
		}
		return fetch(lines...)
	}}
)

// cloneBody asks for everything. Other variants name one more commit, which is part of it anyway.
func cloneBody(r *repository, v int) []byte {
	lines := []string{"want " + r.tip}
	if v > 0 {
		lines = append(lines, "want "+r.old[v%len(r.old)])
	}
	return fetch(lines...)
}

// variant returns a number that was not used at p for this packing.
func (b *bench) variant(k packing, p *peer) int {
	b.uniq[k.repo+p.name]++
	return b.uniq[k.repo+p.name]
}

// checkPack makes sure that an answer holds a good pack of what was asked for. thorough has git
// index it, and walk it if it is a whole one.
func (b *bench) checkPack(k packing, a answer, thorough bool) error {
	pack, err := band1(a.body)
	if err != nil {
		return err
	}
	if len(pack) < 32 || string(pack[:4]) != "PACK" {
		return fmt.Errorf("%d bytes that are no pack", len(pack))
	}
	if n := int(binary.BigEndian.Uint32(pack[8:])); n < k.min {
		return fmt.Errorf("the pack has %d objects, at least %d are needed", n, k.min)
	}
	if sum := sha1.Sum(pack[:len(pack)-20]); !bytes.Equal(sum[:], pack[len(pack)-20:]) {
		return errors.New("the pack's checksum is wrong")
	}
	if !thorough {
		return nil
	}
	dir := filepath.Join(b.dir, "check.git")
	defer os.RemoveAll(dir)
	if _, err := git(b.dir, "init", "-q", "--bare", dir); err != nil {
		return err
	}
	cmd := exec.Command("git", "index-pack", "--stdin")
	cmd.Dir, cmd.Env, cmd.Stdin = dir, gitEnv(), bytes.NewReader(pack)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git index-pack: %v: %s", err, out)
	}
	tip := b.repos[k.repo].tip
	if _, err := git(dir, "cat-file", "-e", tip); err != nil {
		return fmt.Errorf("the tip is not in the pack: %w", err)
	}
	if k.whole {
		_, err = git(dir, "rev-list", "--objects", "--quiet", tip)
	}
	return err
}

// first measures requests that nobody made before.
func (k packing) first(rounds [2]int) scenario {
	return scenario{
		name: k.name, what: k.what + ", for the first time", peers: packers, rounds: rounds,
		ready: func(b *bench, p *peer) error {
			a, err := p.do(context.Background(), upload(k.repo, k.body(b.repos[k.repo], 0)), true)
			if err != nil {
				return err
			}
			mine := p.name == ours || p.name == tidy || !b.quick && k.repo != "large"
			return errors.Join(flushed(a), b.checkPack(k, a, mine))
		},
		run: func(b *bench, p *peer, _ int) (sample, error) {
			return b.load(p, 1, effort{n: 1}, func(int) request {
				return upload(k.repo, k.body(b.repos[k.repo], b.variant(k, p)))
			}, flushed)
		},
	}
}

// again measures one request that was made before.
func (k packing) again(rounds [2]int, clients, n int) scenario {
	name, what := k.name+"-again", k.what+", repeated"
	peers := []string{ours, tidy, goCGI, staticS} // the others remember nothing either
	if clients > 1 {
		name, what = fmt.Sprintf("%s-c%d", k.name, clients), fmt.Sprintf("%s, repeated by %d clients", k.what, clients)
		peers = []string{ours, tidy, nginx, goCGI, daemon, staticS}
	}
	return scenario{
		name: name, what: what, peers: peers, rounds: rounds,
		ready: func(b *bench, p *peer) error {
			r := upload(k.repo, k.body(b.repos[k.repo], 0))
			if p.name == staticS {
				return b.keepStatic(p, r)
			}
			for range 2 { // whoever remembers may want to see it twice
				a, err := p.do(context.Background(), r, true)
				if err != nil {
					return err
				}
				if err := errors.Join(flushed(a), b.checkPack(k, a, false)); err != nil {
					return err
				}
			}
			return nil
		},
		run: func(b *bench, p *peer, _ int) (s sample, err error) {
			r := upload(k.repo, k.body(b.repos[k.repo], 0))
			do := func() error {
				s, err = b.load(p, clients, effort{n: n}, func(int) request { return r }, flushed)
				return err
			}
			return b.watched(p, clients > 1, &s, do)
		},
	}
}

// watched adds to a sample the peak of memory, and how far that is above what it was just before.
func (b *bench) watched(p *peer, watch bool, s *sample, do func() error) (sample, error) {
	if !watch || p.box == nil {
		err := do()
		return *s, err
	}
	rest := p.box.private()
	m, err := p.box.peak(do)
	if err == nil {
		(*s)[mMem], (*s)[mGrow] = m, m-rest
	}
	return *s, err
}

// different has many clients clone at the same time, each something else.
func different(rounds [2]int, clients int) scenario {
	k := rawMedium
	return scenario{
		name: fmt.Sprintf("raw-clone-medium-c%d-different", clients), what: fmt.Sprintf("%d clients, each with another clone of 60 MB", clients),
		peers: []string{ours, tidy, nginx, goCGI, daemon}, rounds: rounds,
		run: func(b *bench, p *peer, _ int) (s sample, err error) {
			var reqs []request
			for range clients {
				reqs = append(reqs, upload(k.repo, k.body(b.repos[k.repo], b.variant(k, p))))
			}
			do := func() error {
				s, err = b.load(p, clients, effort{n: clients}, func(i int) request { return reqs[i] }, flushed)
				return err
			}
			return b.watched(p, true, &s, do)
		},
	}
}

// clones has git itself clone, work tree and all.
func clones(name, repo string, rounds [2]int, peers []string) scenario {
	return scenario{
		name: name, what: "git clone of " + repo + ", by stock git", peers: peers, rounds: rounds,
		run: func(b *bench, p *peer, _ int) (sample, error) {
			from := ""
			if p.name == local {
				from = "file://" + p.dir(repo)
			} else {
				from = p.url(repo)
			}
			return b.stock(p, 1, func(int) (time.Duration, error) {
				to := filepath.Join(b.dir, "clone")
				defer os.RemoveAll(to)
				began := time.Now()
				_, err := git(b.dir, "clone", "-q", from, to)
				took := time.Since(began)
				if err != nil {
					return 0, err
				}
				tip, err := git(to, "rev-parse", "HEAD")
				if err == nil && strings.TrimSpace(tip) != b.repos[repo].tip {
					err = fmt.Errorf("cloned %s, want %s", tip, b.repos[repo].tip)
				}
				return took, err
			})
		},
	}
}

// slowReaders has 16 clients who ask for a clone and read nothing of it.
func slowReaders() scenario {
	const stalled = 16
	return scenario{
		name: "slow-readers", what: "advertisement beside 16 clones that nobody reads", peers: servers, rounds: [2]int{1, 3},
		run: func(b *bench, p *peer, _ int) (sample, error) {
			ask := func() (sample, error) {
				return b.load(p, 1, effort{30, 200 * time.Millisecond}, func(int) request { return advert("small", "upload-pack", 2) }, flushed)
			}
			before, err := ask()
			if err != nil {
				return nil, err
			}
			rest := p.box.private()
			body := cloneBody(b.repos["medium"], 0)
			for range stalled {
				conn, err := stall(p, "medium", body)
				if err != nil {
					return nil, err
				}
				defer conn.Close()
			}
			time.Sleep(time.Second) // for the answers to fill whatever holds them
			p.box.quiet(10 * time.Second)
			var during sample
			m, err := p.box.peak(func() (err error) { during, err = ask(); return err })
			if err != nil {
				return nil, err
			}
			return sample{
				mMS: during[mMS], mSlow: during[mMS] / before[mMS], mMem: m, mGrow: m - rest, mGits: float64(p.box.gits()),
			}, nil
		},
	}
}

// stall sends a request for a pack on a connection of its own.
func stall(p *peer, repo string, body []byte) (net.Conn, error) {
	u, err := url.Parse(p.url(repo))
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	conn.(*net.TCPConn).SetReadBuffer(4096)
	if p.name == daemon {
		_, err = conn.Write([]byte(pkt("git-upload-pack /"+repo+"\x00host=x\x00\x00version=2\x00") + string(body)))
		return conn, err
	}
	_, err = fmt.Fprintf(conn, "POST %s/git-upload-pack HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-git-upload-pack-request\r\nGit-Protocol: version=2\r\nContent-Length: %d\r\n\r\n%s",
		u.EscapedPath(), u.Host, len(body), body)
	return conn, err
}

// briefly leaves all but some out of a quick run.
func briefly(s scenario, some ...string) scenario {
	s.brief = some
	return s
}

// packScenarios are about clones and fetches.
func packScenarios() []scenario {
	often, some, few := [2]int{5, 7}, [2]int{3, 5}, [2]int{1, 3}
	return []scenario{
		rawSmall.first(often), rawSmall.again(often, 1, 3),
		briefly(rawMedium.first([2]int{2, 5}), ours, nginx, goCGI, local), rawMedium.again([2]int{1, 5}, 1, 1),
		rawLarge.first([2]int{0, 3}), rawLarge.again([2]int{0, 3}, 1, 1),
		briefly(rawMedium.again(few, 32, 32), ours, goCGI), briefly(different(few, 32), ours, goCGI), // ten seconds each
		briefly(rawShallow.first([2]int{2, 5}), ours, nginx, goCGI), rawShallow.again([2]int{1, 5}, 1, 1),
		rawFetch.first(often), rawFetch.again(often, 1, 2),
		rawBlobless.first(some), rawBlobless.again(some, 1, 1),
		clones("clone-small", "small", some, packers),
		briefly(clones("clone-medium", "medium", few, packers), ours, daemon),              // five seconds each
		clones("clone-large", "large", [2]int{0, 1}, []string{ours, goCGI, daemon, local}), // half a minute each
		briefly(slowReaders(), ours, nginx),
	}
}

package gitdir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/steward"
)

// H-250, H-251, hardening §5: what Apply refuses changes nothing.
func TestApplyRefuses(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", "1\n")
	c2 := w.commit("a", "2\n")
	tree, blob := w.tip("HEAD^{tree}"), w.tip("HEAD:a")
	w.git("tag", "-a", "-m", "x", "v1")
	must(t, h.push(demo, bytes.NewReader(w.pack("main", "v1")), create(mainRef, c2), create("refs/heads/a/b", c1)))
	gone := grasp.OID(strings.Repeat("9", 40))
	for _, c := range []struct {
		name  string
		edits []grasp.RefChange
		head  grasp.RefName
		code  fault.Code
		words string
	}{
		{"old is not what it is", []grasp.RefChange{update(mainRef, c1, c1)}, "", fault.Stale, "moved"},
		{"create what is there", []grasp.RefChange{create(mainRef, c1)}, "", fault.Stale, "moved"},
		{"delete what is not there", []grasp.RefChange{remove(devRef, c1)}, "", fault.Stale, "moved"},
		{"one of two is stale", []grasp.RefChange{create(devRef, c1), update(mainRef, c1, c1)}, "", fault.Stale, "moved"},
		{"missing object", []grasp.RefChange{create(devRef, gone)}, "", fault.Refused, "missing"},
		{"tree", []grasp.RefChange{create(devRef, tree)}, "", fault.Refused, "tree"},
		{"tag at a branch", []grasp.RefChange{create(devRef, w.tip("v1"))}, "", fault.Refused, "is a tag"},
		{"blob", []grasp.RefChange{create(grasp.PullRef(grasp.EventID(alice)), blob)}, "", fault.Refused, "blob"},
		{"below a ref", []grasp.RefChange{create("refs/heads/main/x", c1)}, "", fault.Refused, "together with refs/heads/main"},
		{"above a ref", []grasp.RefChange{create("refs/heads/a", c1)}, "", fault.Refused, "together with refs/heads/a/b"},
		{"in each other's way", []grasp.RefChange{create("refs/tags/x", c1), create("refs/tags/x/y/z", c1)}, "", fault.Refused, "together with"},
		{"twice", []grasp.RefChange{create(devRef, c1), create(devRef, c2)}, "", fault.Refused, "twice"},
		{"name", []grasp.RefChange{create("refs/heads/a b", c1)}, "", fault.Refused, "not legal"},
		{"line feed", []grasp.RefChange{create("refs/heads/a\n"+grasp.RefName(c1)+" refs/heads/b", c1)}, "", fault.Refused, "not legal"},
		{"short id", []grasp.RefChange{create(devRef, c1[:39])}, "", fault.Refused, "not an object id"},
		{"upper-case id", []grasp.RefChange{create(devRef, grasp.OID(strings.ToUpper(string(c1))))}, "", fault.Refused, "not an object id"},
		{"namespace", []grasp.RefChange{create("refs/notes/x", c1)}, "", fault.Refused, "only"},
		{"HEAD at a tag", nil, "refs/tags/v1", fault.Refused, "HEAD"},
		{"HEAD at nonsense", nil, "refs/heads/..", fault.Refused, "HEAD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := h.refs(demo)
			refused(t, h.Apply(t.Context(), demo, c.edits, c.head), c.code, c.words)
			if h.refs(demo) != before {
				t.Error("the snapshot changed")
			}
		})
	}
	h.sound(demo)
	// A name may take the place of one that goes in the same change.
	must(t, h.Apply(t.Context(), demo, []grasp.RefChange{remove("refs/heads/a/b", c1), create("refs/heads/a", c2), create("refs/tags/tree", tree)}, "refs/heads/a"))
	h.sound(demo)
}

// G01-307, check 167: an object that is here without what it points to is not complete.
func TestHave(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", "1\n")
	c2 := w.commit("a", "2\n")
	c3 := w.commit("a", "3\n")
	w.git("tag", "-a", "-m", "x", "v1")
	tag := w.tip("v1")
	gone := grasp.OID(strings.Repeat("9", 40))
	must(t, h.push(demo, bytes.NewReader(w.pack(string(c1))), create(mainRef, c1)))
	// Somebody put objects here that miss what they need: c3 without c2.
	put := func(pack []byte) {
		git(t, h.path(demo), bytes.NewReader(pack), "index-pack", "--stdin")
	}
	put(w.packOf(string(c3), string(tag), string(w.tip("HEAD^{tree}")), string(w.tip("HEAD:a"))))
	all := []grasp.OID{c1, c2, c3, tag, gone, "", grasp.ZeroOID, "xyz", w.tip("HEAD^{tree}"), w.tip("HEAD:a"), w.tip(string(c1) + "^{tree}"), c1}
	want := func(n int, oids ...grasp.OID) {
		t.Helper()
		for range 2 {
			got := h.have(demo, all...)
			for _, o := range oids {
				if !got.Has(o) {
					t.Errorf("%s is not there", o)
				}
			}
			if len(got) != n {
				t.Errorf("have %v", got)
			}
		}
	}
	want(4, c1, w.tip("HEAD^{tree}"), w.tip("HEAD:a"), w.tip(string(c1)+"^{tree}"))
	put(w.packOf(string(c2), string(w.tip(string(c2)+"^{tree}")), string(w.tip(string(c2)+":a"))))
	want(7, c1, c2, c3, tag)
	if got := h.starts(func() { h.have(demo, c1, c2, c3, tag, gone) }); len(got) != 0 {
		t.Errorf("asking again starts %v", got)
	}
	if got := h.have(fork, c1); len(got) != 0 {
		t.Errorf("another repository has %v", got)
	}
}

// Loose objects, deltas, tags that are deltas, and indexes of the old kind: whatever git put there
// is seen.
func TestObjectsOfAnyShape(t *testing.T) {
	for _, shape := range []string{"loose", "packed", "old index"} {
		t.Run(shape, func(t *testing.T) {
			h, w := open(t), newWork(t)
			var edits []grasp.RefChange
			message := strings.Repeat("many words that make deltas worth while\n", 50)
			for i := range 12 {
				c := w.commit("a", fmt.Sprint(message, i))
				name := fmt.Sprint("v", i)
				w.git("tag", "-a", "-m", fmt.Sprint(message, i), name)
				edits = append(edits, create(grasp.RefName("refs/tags/"+name), w.tip(name)), create(grasp.RefName("refs/heads/"+name), c))
			}
			w.git("repack", "-adfq", "--depth=50", "--window=50")
			pack := w.packWith([]string{"--all"})
			must(t, h.Apply(t.Context(), demo, nil, mainRef))
			switch shape {
			case "loose":
				git(t, h.path(demo), bytes.NewReader(pack), "unpack-objects", "-q")
			case "packed":
				git(t, h.path(demo), bytes.NewReader(pack), "index-pack", "--stdin")
			case "old index":
				git(t, h.path(demo), bytes.NewReader(pack), "-c", "pack.indexVersion=1", "index-pack", "--stdin")
			}
			must(t, h.Apply(t.Context(), demo, edits, ""))
			h.sound(demo)
			if s := h.refs(demo); peels(s) != 12 {
				t.Errorf("%d tags are peeled", peels(s))
			}
			if got := h.have(demo, w.tip("HEAD"), w.tip("HEAD^{tree}"), w.tip("v3")); len(got) != 3 {
				t.Errorf("have %v", got)
			}
		})
	}
}

// The refs that an operator's git moved are seen at once, and stay.
func TestForeignHand(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", "1\n")
	c2 := w.commit("a", "2\n")
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c2)))
	dir := h.path(demo)
	for i, c := range []struct {
		do   []string
		want string
	}{
		{[]string{"update-ref", "refs/heads/new", string(c1)}, "refs/heads/new"},
		{[]string{"update-ref", "refs/heads/deep/er/x", string(c1)}, "refs/heads/deep/er/x"},
		{[]string{"update-ref", "refs/nostr/" + string(alice), string(c1)}, "refs/nostr/" + string(alice)},
		{[]string{"update-ref", "refs/keep/1", string(c1)}, ""},
		{[]string{"update-ref", "refs/heads/main", string(c1)}, "refs/heads/main"},
		{[]string{"update-ref", "-d", "refs/heads/new"}, ""},
		{[]string{"pack-refs", "--all"}, ""},
		{[]string{"symbolic-ref", "HEAD", "refs/heads/deep/er/x"}, ""},
	} {
		gen := h.refs(demo).Gen
		git(t, dir, nil, c.do...)
		s := h.refs(demo)
		if c.want != "" && s.Refs.OID(grasp.RefName(c.want)) != c1 {
			t.Errorf("%v: not seen", c.do)
		}
		if i < 6 && s.Gen <= gen {
			t.Errorf("%v: generation %d after %d", c.do, s.Gen, gen)
		}
		h.sound(demo)
	}
	if s := h.refs(demo); s.Head != "refs/heads/deep/er/x" || s.Refs.Len() != 3 {
		t.Errorf("refs %s", tell(s))
	}
	must(t, h.Apply(t.Context(), demo, []grasp.RefChange{update(mainRef, c1, c2)}, mainRef))
	h.sound(demo)
	if got := strings.TrimSpace(git(t, dir, nil, "rev-parse", "refs/keep/1")); got != string(c1) {
		t.Errorf("a ref that is not ours was lost: %s", got)
	}
	git(t, dir, nil, "update-ref", "refs/heads/mean", string(c1))
	must(t, h.Apply(t.Context(), demo, []grasp.RefChange{create(devRef, c2)}, ""))
	h.sound(demo)
}

// Hardening §7 and §12: what a power cut or a stranger did to a repository is mended.
func TestMended(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", "1\n")
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c1)))
	must(t, h.Apply(t.Context(), demo, nil, mainRef))
	dir := h.path(demo)
	put := func(name, text string) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		old := time.Now().Add(-time.Hour)
		must(t, os.Chtimes(filepath.Join(dir, name), old, old))
	}
	for _, c := range []struct {
		name string
		do   func()
		head grasp.RefName
	}{
		{"stale locks", func() {
			put("packed-refs.lock", "half")
			put("HEAD.lock", "")
			put("refs/heads/main.lock", "")
			put("objects/pack/tmp_pack_abc", "x")
			put("objects/pack/pack-0123.pack", "x")
		}, mainRef},
		{"empty ref", func() { put("refs/heads/broken", "") }, mainRef},
		{"ref to nothing", func() { put("refs/heads/broken", strings.Repeat("7", 40)+"\n") }, mainRef},
		{"garbage ref", func() { put("refs/heads/broken", "\x00\x01\x02") }, mainRef},
		{"empty HEAD", func() { put("HEAD", "") }, grasp.DefaultHead},
		{"no HEAD", func() { os.Remove(filepath.Join(dir, "HEAD")) }, grasp.DefaultHead},
		{"hostile configuration", func() {
			put("config", "[core]\n\tbare = true\n\tfsmonitor = touch /tmp/pwned\n[uploadpack]\n\tpackObjectsHook = false\n")
		}, mainRef},
		{"no refs folder", func() { os.RemoveAll(filepath.Join(dir, "refs")) }, mainRef},
		{"empty configuration", func() { put("config", "") }, mainRef},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.Close()
			c.do()
			h = openAt(t, h.root, gitdir.Config{})
			s := h.refs(demo)
			if s.Head != c.head || s.Refs.Len() != 1 || s.Refs.OID(mainRef) != c1 {
				t.Errorf("refs %s", tell(s))
			}
			h.sound(demo)
			h.noHalfPacks()
			if b, _ := os.ReadFile(filepath.Join(dir, "config")); strings.Contains(string(b), "fsmonitor") || len(b) == 0 {
				t.Errorf("configuration %q", b)
			}
			must(t, h.Apply(t.Context(), demo, nil, mainRef))
			h.sound(demo)
		})
	}
}

// A lock that a living git holds is respected, and waited for.
func TestLivingLock(t *testing.T) {
	h, w := open(t), newWork(t)
	h.Close()
	h = openAt(t, h.root, gitdir.Config{LockWait: 50 * time.Millisecond})
	c1 := w.commit("a", "1\n")
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c1)))
	lock := filepath.Join(h.path(demo), "packed-refs.lock")
	must(t, os.WriteFile(lock, nil, 0o644))
	edit := []grasp.RefChange{create(devRef, c1)}
	refused(t, h.Apply(t.Context(), demo, edit, ""), fault.Busy, "try again")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Apply(ctx, demo, edit, ""); !fault.Is(err, fault.Closing) {
		t.Errorf("error %v", err)
	}
	must(t, os.Remove(lock))
	must(t, h.Apply(t.Context(), demo, edit, ""))
	h.sound(demo)
}

// G01-602: objects go from one repository to another, and no more of them than needed.
func TestCopy(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", "1\n")
	c2 := w.commit("a", "2\n")
	w.git("tag", "-a", "-m", "x", "v1")
	tag := w.tip("v1")
	must(t, h.push(demo, bytes.NewReader(w.pack("main", "v1")), create(mainRef, c2), create("refs/tags/v1", tag)))
	must(t, h.Copy(t.Context(), demo, fork, []grasp.OID{c1}))
	must(t, h.Apply(t.Context(), fork, []grasp.RefChange{create(mainRef, c1)}, mainRef))
	h.sound(fork)
	if got := h.have(fork, c1, c2, tag); len(got) != 1 {
		t.Errorf("have %v", got)
	}
	must(t, h.Copy(t.Context(), demo, fork, []grasp.OID{c2, tag, c2}))
	must(t, h.Apply(t.Context(), fork, []grasp.RefChange{update(mainRef, c1, c2), create("refs/tags/v1", tag)}, ""))
	h.sound(fork)
	packs, _ := filepath.Glob(filepath.Join(h.path(fork), "objects/pack/*.idx"))
	count := 0
	for _, p := range packs {
		count += strings.Count(git(t, h.root, strings.NewReader(readFile(t, p)), "show-index"), "\n")
	}
	if count != 3+3+1 {
		t.Errorf("%d objects were copied", count)
	}
	if got := h.starts(func() { must(t, h.Copy(t.Context(), demo, fork, []grasp.OID{c1, c2, tag})) }); len(got) != 0 {
		t.Errorf("copying nothing starts %v", got)
	}
	missing := grasp.OID(strings.Repeat("9", 40))
	if err := h.Copy(t.Context(), demo, fork, []grasp.OID{missing}); !fault.Is(err, fault.NotFound) {
		t.Errorf("error %v", err)
	}
	if err := h.Copy(t.Context(), grasp.Addr{Owner: bob, ID: "none"}, fork, []grasp.OID{missing}); !fault.Is(err, fault.NotFound) {
		t.Errorf("error %v", err)
	}
	h.sound(fork)
}

// H-254, hardening §2: limits are kept while the pack comes in.
func TestLimits(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", strings.Repeat("text ", 1000))
	pack := w.pack("main")
	for _, c := range []struct {
		opt   steward.IngestOptions
		words string
	}{
		{steward.IngestOptions{MaxBytes: int64(len(pack) - 1)}, "larger than"},
		{steward.IngestOptions{MaxBytes: 5}, "larger than"},
		{steward.IngestOptions{MaxObjects: 2}, "3 objects, at most 2"},
	} {
		_, err := h.Ingest(t.Context(), demo, bytes.NewReader(pack), c.opt)
		refused(t, err, fault.TooLarge, c.words)
	}
	q, err := h.Ingest(t.Context(), demo, bytes.NewReader(pack), steward.IngestOptions{MaxBytes: int64(len(pack)), MaxObjects: 3})
	must(t, err)
	if err := q.Admit(t.Context()); err == nil {
		t.Error("admitted without a check")
	}
	must(t, q.Check(t.Context(), []grasp.RefChange{create(mainRef, c1)}))
	q.Discard()
	q.Discard()
	h.sound(demo)
	if len(h.have(demo, c1)) != 0 {
		t.Error("discarded objects count")
	}
}

// Remove is at once; what was begun before cannot come in afterwards.
func TestRemove(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", "1\n")
	c2 := w.commit("a", "2\n")
	must(t, h.push(demo, bytes.NewReader(w.pack(string(c1))), create(mainRef, c1)))
	old := h.refs(demo)
	q, err := h.Ingest(t.Context(), demo, bytes.NewReader(w.packWith([]string{"--thin"}, "main", "^"+string(c1))), ingestOptions())
	must(t, err)
	defer q.Discard()
	must(t, q.Check(t.Context(), []grasp.RefChange{update(mainRef, c1, c2)}))
	must(t, h.Remove(t.Context(), demo))
	must(t, h.Remove(t.Context(), demo))
	if h.Exists(demo) || h.refs(demo).Refs.Len() != 0 || len(h.have(demo, c1)) != 0 {
		t.Error("it is still there")
	}
	if err := q.Admit(t.Context()); !fault.Is(err, fault.Stale) {
		t.Errorf("admitted into a repository that is gone: %v", err)
	}
	q.Discard()
	if h.Exists(demo) || old.Refs.Len() != 1 {
		t.Error("it came back, or an old snapshot changed")
	}
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c2)))
	if s := h.refs(demo); s.Gen <= old.Gen {
		t.Errorf("generation %d after %d", s.Gen, old.Gen)
	}
	h.sound(demo)
	h.Close()
	h = openAt(t, h.root, gitdir.Config{})
	h.Close()
}

func TestClosed(t *testing.T) {
	h := open(t)
	h.Close()
	if _, err := h.Refs(t.Context(), demo); !fault.Is(err, fault.Closing) {
		t.Errorf("error %v", err)
	}
}

// S3-23: which git is used is looked at when a vault is opened: one that is too old is refused.
func TestOpenRefuses(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	fake, older := filepath.Join(dir, "git"), filepath.Join(dir, "git-2.30")
	must(t, os.WriteFile(fake, []byte("#!/bin/sh\necho git version 2.39.2\n"), 0o755))
	must(t, os.WriteFile(older, []byte("#!/bin/sh\necho git version 2.30.2\n"), 0o755))
	for _, c := range []struct {
		name, root string
		cfg        gitdir.Config
		words      string
	}{
		{"no git", filepath.Join(dir, "a"), gitdir.Config{Git: "no-such-git"}, "not found"},
		{"old git", filepath.Join(dir, "b"), gitdir.Config{Git: fake}, "2.39.5 or newer"},
		{"older git", filepath.Join(dir, "b"), gitdir.Config{Git: older}, "2.39.5 or newer"},
		{"colon", filepath.Join(dir, "c:d"), gitdir.Config{}, "colon"},
	} {
		if _, err := gitdir.Open(t.Context(), c.root, c.cfg, log); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// S3-23: the operator is told of a git that is old, and it works.
func TestOpenWarns(t *testing.T) {
	dir := t.TempDir()
	for version, warns := range map[string]bool{"2.39.5": true, "2.45.2": true, "2.50.1": false} {
		fake := filepath.Join(dir, "git-"+version)
		must(t, os.WriteFile(fake, []byte("#!/bin/sh\necho git version "+version+"\n"), 0o755))
		var said bytes.Buffer
		v, err := gitdir.Open(t.Context(), filepath.Join(dir, "data-"+version), gitdir.Config{Git: fake}, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Errorf("%s: %v", version, err)
			continue
		}
		v.Close()
		if got := strings.Contains(said.String(), "git is old"); got != warns {
			t.Errorf("%s: the log says %q", version, said.String())
		}
	}
}

// What is remembered is bounded, and forgetting changes nothing.
func TestForgetting(t *testing.T) {
	h := openAt(t, filepath.Join(t.TempDir(), "data"), gitdir.Config{CacheRepos: 2, CacheRefs: 60})
	w := newWork(t)
	c1 := w.commit("a", "1\n")
	pack := w.pack("main")
	var last uint64
	for round := range 3 {
		for i := range 6 {
			repo := grasp.Addr{Owner: alice, ID: fmt.Sprint("r", i)}
			if round == 0 {
				must(t, h.push(repo, bytes.NewReader(pack), create(mainRef, c1), create(devRef, c1)))
			}
			s := h.refs(repo)
			if s.Refs.Len() != 2 || len(h.have(repo, c1)) != 1 {
				t.Errorf("%s: %s", repo, tell(s))
			}
			if s.Gen < last {
				t.Errorf("generation %d after %d", s.Gen, last)
			}
			last = s.Gen
		}
	}
}

// Many at a time: every snapshot is one that somebody made, and of rivals one wins. H-250, check 73.
func TestTogether(t *testing.T) {
	h, w := open(t), newWork(t)
	var commits []grasp.OID
	for i := range 9 {
		commits = append(commits, w.commit("a", fmt.Sprint(i)))
	}
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, commits[0]), create(devRef, commits[0])))
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				s, err := h.Refs(ctx, demo)
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					return
				}
				if s.Refs.OID(mainRef) != s.Refs.OID(devRef) {
					t.Errorf("a mixture: %s", tell(s))
				}
			}
		})
	}
	for round := range 8 {
		old := commits[round]
		var won, lost int
		var mu sync.Mutex
		var rivals sync.WaitGroup
		for range 3 {
			rivals.Go(func() {
				err := h.push(demo, bytes.NewReader(w.pack()), update(mainRef, old, commits[round+1]), update(devRef, old, commits[round+1]))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won++
				case fault.Is(err, fault.Stale):
					lost++
				default:
					t.Error(err)
				}
			})
		}
		rivals.Wait()
		if won != 1 || lost != 2 {
			t.Errorf("round %d: %d won, %d lost", round, won, lost)
		}
	}
	cancel()
	wg.Wait()
	h.sound(demo)
}

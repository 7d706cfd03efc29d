package gitdir_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
)

// odd pushes a repository in which there is one of everything, in several packs, and returns main's commits.
func odd(t *testing.T, h *house) (w *work, c []grasp.OID) {
	t.Helper()
	w = newWork(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return string(b)
	}
	text := func(n int) string { // of which deltas are worth making
		var b strings.Builder
		for b.Len() < n {
			fmt.Fprintf(&b, "line %x\n", rnd.Uint64())
		}
		return b.String()
	}
	w.write("noise", noise(300_000)) // lies whole in its pack, and is more than is read at a time
	w.write("deep/er/and/deeper/file", "x\n")
	w.write("same/a", "the same\n")
	w.write("again/b", "the same\n")
	w.write("empty", "")
	must(t, os.Symlink("deep/er", filepath.Join(w.dir, "link")))
	w.write("run", "#!/bin/sh\n")
	must(t, os.Chmod(filepath.Join(w.dir, "run"), 0o755))
	w.git("add", "-A")
	w.git("update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("5", 40)+",module")
	w.git("commit", "-q", "-m", "all sorts")
	large, many := text(1_500_000), text(40_000)
	var last grasp.OID = grasp.ZeroOID
	push := func(options ...string) {
		tip := w.tip("main")
		revs := []string{"main"}
		if last != grasp.ZeroOID {
			revs = append(revs, "^"+string(last))
		}
		must(t, h.push(demo, bytes.NewReader(w.packWith(options, revs...)), grasp.RefChange{Ref: mainRef, Old: last, New: tip}))
		last = tip
	}
	for i := range 12 {
		many = many[:i*1000] + fmt.Sprintf("change %d\n", i) + many[i*1000:]
		w.write("many", many)
		if i%6 == 0 {
			large += fmt.Sprintf("change %d\n", i)
			w.write("large", large)
		}
		c = append(c, w.commit("few", fmt.Sprintln(i)))
		if i%5 == 2 {
			push("--thin") // its deltas are of what is in another pack, until git completes it
		}
	}
	empty := w.git("commit-tree", "-m", "nothing at all", "-p", "main", w.git("hash-object", "-t", "tree", "-w", "--stdin"))
	w.git("update-ref", "refs/heads/main", empty)
	push()
	w.git("update-ref", "refs/heads/main", w.git("commit-tree", "-m", "all again", "-p", empty, string(c[11])+"^{tree}"))
	c = append(c, grasp.OID(empty), w.tip("main"))
	push("--no-delta-base-offset")
	// The last trees once more, with deltas that name their bases.
	must(t, h.push(demo, bytes.NewReader([]byte(git(t, w.dir, strings.NewReader(string(c[10])+"\n"+string(c[11])+"\n^"+string(c[8])+"\n"),
		"pack-objects", "--revs", "--stdout", "-q", "--window=50"))), create(devRef, c[11])))
	return w, c
}

// again is a house whose data are those of h.
func again(t *testing.T, h *house) *house {
	t.Helper()
	root := filepath.Join(t.TempDir(), "data")
	must(t, os.CopyFS(root, os.DirFS(h.root)))
	return openAt(t, root, gitdirConfig())
}

// One of everything, asked for by one who has nothing.
func TestOwnPack(t *testing.T) {
	h := open(t)
	w, c := odd(t, h)
	t.Run("as upload-pack", func(t *testing.T) { ownPackIsUploadPacks(t, again(t, h), c) })
	t.Run("left", func(t *testing.T) { ownPackLeft(t, again(t, h), c) })
	t.Run("many at a time", func(t *testing.T) { ownPacksTogether(t, again(t, h), c) })
	t.Run("outlives packs", func(t *testing.T) { ownPackOutlivesPacks(t, again(t, h), c) })
	for _, which := range []string{"noise", "many"} { // copied, and made anew
		t.Run("damaged "+which, func(t *testing.T) { ownPackDamaged(t, again(t, h), c, w.tip(string(c[0])+":"+which)) })
	}
}

// H-226: whatever lies in the packs and in whichever form, what is made here is what upload-pack would send, and
// stock git takes it.
func ownPackIsUploadPacks(t *testing.T, h *house, c []grasp.OID) {
	want := func(o grasp.OID) string { return line("want %s\n", o) }
	type question struct {
		c     grasp.OID
		lines []string
	}
	few := []question{{c[0], []string{line("ofs-delta"), line("deepen 1")}}, {c[11], []string{line("ofs-delta"), line("deepen 1")}},
		{c[11], []string{line("deepen 5")}}}
	all := append(few, question{c[12], []string{line("deepen 1")}}, question{c[13], []string{line("deepen 1")}},
		question{c[13], []string{line("ofs-delta"), line("thin-pack"), line("deepen 3")}},
		question{c[9], []string{line("ofs-delta"), line("deepen 2"), line("filter blob:none\n")}})
	ask := func(t *testing.T, list []question) {
		t.Helper()
		for _, q := range list {
			if started := sameAsUploadPack(t, h, true, fetch2(append(q.lines, want(q.c))...)); len(started) > 0 {
				t.Errorf("%q: started %v", q.lines, started)
			}
		}
		out, err := uploadedAs(t, h, 2, true, fetch2(line("ofs-delta"), line("deepen 1"), want(c[11])))
		must(t, err)
		_, pack, _ := sections(t, out)
		dir := t.TempDir()
		git(t, dir, nil, "init", "-q", "--bare", ".")
		must(t, os.WriteFile(filepath.Join(dir, "shallow"), []byte(string(c[11])+"\n"), 0o644))
		git(t, dir, bytes.NewReader(pack), "index-pack", "--stdin", "--strict")
		git(t, dir, nil, "update-ref", "refs/heads/main", string(c[11]))
		git(t, dir, nil, "fsck", "--full", "--strict")
	}
	t.Run("pushed", func(t *testing.T) { ask(t, all) })
	// All in one, with long chains, as git gc leaves it; and the same in the old form that names bases.
	for _, how := range [][]string{{"repack", "-qadf", "--depth=60", "--window=60"}, {"-c", "repack.useDeltaBaseOffset=false", "repack", "-qadf"}} {
		git(t, h.path(demo), nil, how...)
		t.Run(strings.Join(how, " "), func(t *testing.T) { ask(t, few) })
	}
	h.sound(demo)
}

// What is deeper than git makes it, loose, elsewhere or too much is left to git.
func TestOwnPackFallsBack(t *testing.T) {
	for _, q := range []struct {
		name string
		do   func(t *testing.T, h *house, dir string)
	}{
		{"long chains", func(t *testing.T, h *house, dir string) {
			var in strings.Builder
			// The newest is at the end of the chain.
			tip := strings.TrimSpace(git(t, dir, nil, "rev-parse", "refs/heads/main"))
			for i := range 300 {
				fmt.Fprintf(&in, "blob\nmark :%d\ndata <<END\n%send %d\nEND\n", i+1, strings.Repeat("the same line over and over\n", 40), i)
			}
			fmt.Fprintf(&in, "commit refs/heads/main\ncommitter a <a@x> 1700000000 +0000\ndata 1\nx\nfrom %s\nM 100644 :300 chain\n", tip)
			git(t, dir, strings.NewReader(in.String()), "-c", "fastimport.unpackLimit=0", "fast-import", "--quiet", "--depth=400")
			git(t, dir, nil, "pack-refs", "--all")
		}},
		{"loose", func(t *testing.T, h *house, dir string) {
			git(t, dir, strings.NewReader("loose\n"), "hash-object", "-w", "--stdin")
		}},
		{"alternates", func(t *testing.T, h *house, dir string) {
			other := t.TempDir()
			git(t, other, nil, "init", "-q", "--bare", ".")
			must(t, os.WriteFile(filepath.Join(dir, "objects/info/alternates"), []byte(filepath.Join(other, "objects")+"\n"), 0o644))
		}},
		{"an old index", func(t *testing.T, h *house, dir string) {
			for _, idx := range must1(filepath.Glob(filepath.Join(dir, "objects/pack/*.idx"))) {
				os.Remove(idx)
				git(t, dir, nil, "index-pack", "--index-version=1", strings.TrimSuffix(idx, ".idx")+".pack")
			}
		}},
	} {
		t.Run(q.name, func(t *testing.T) {
			h := open(t)
			w := newWork(t)
			first := w.commit("a", "1\n")
			must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, first)))
			ask := func() map[string]int64 {
				tip := h.refs(demo).Refs.OID(mainRef)
				return sameAsUploadPack(t, h, true, fetch2(line("ofs-delta"), line("deepen 1"), line("want %s\n", tip)))
			}
			if started := ask(); len(started) > 0 {
				t.Fatalf("as usual: started %v", started)
			}
			q.do(t, h, h.path(demo))
			h = openAt(t, h.root, gitdirConfig()) // nothing is remembered of before
			if started := ask(); len(started) != 1 {
				t.Errorf("started %v", started)
			}
		})
	}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// What is damaged on disk is not passed on as if it were whole: the answer breaks off, and git, which has the words
// for it, makes the next one.
func ownPackDamaged(t *testing.T, h *house, c []grasp.OID, blob grasp.OID) {
	dir := h.path(demo)
	git(t, dir, nil, "repack", "-qadf", "--depth=50")
	request := fetch2(line("ofs-delta"), line("deepen 1"), line("want %s\n", c[0]))
	if _, err := uploadedAs(t, h, 2, true, request); err != nil {
		t.Fatal(err)
	}
	idx := must1(filepath.Glob(filepath.Join(dir, "objects/pack/*.idx")))[0]
	var off, size int
	for l := range strings.Lines(git(t, dir, nil, "verify-pack", "-v", idx)) {
		if strings.HasPrefix(l, string(blob)) {
			f := strings.Fields(l)
			fmt.Sscan(f[3], &size)
			fmt.Sscan(f[4], &off)
		}
	}
	pack := strings.TrimSuffix(idx, ".idx") + ".pack"
	must(t, os.Chmod(pack, 0o644))
	f := must1(os.OpenFile(pack, os.O_RDWR, 0))
	var b [1]byte
	at := int64(off + size - 6)
	must1(f.ReadAt(b[:], at))
	b[0] ^= 1
	must1(f.WriteAt(b[:], at))
	f.Close()
	var out string
	var err error
	started := h.starts(func() { out, err = uploadedAs(t, h, 2, true, request) })
	if len(started) > 0 || err == nil || strings.HasSuffix(out, "0000") {
		t.Errorf("started %v; %v; ends with %.20q", started, err, out[max(0, len(out)-20):])
	}
	if fault.Is(err, fault.NotFound) || out == "" {
		t.Errorf("%v; %d bytes", err, len(out))
	}
	if started := h.starts(func() { _, err = uploadedAs(t, h, 2, true, request) }); started["pack-objects"] != 1 {
		t.Errorf("the next one: started %v; %v", started, err)
	}
}

// Packs that upkeep takes away while an answer is being made of them are read to the end.
func ownPackOutlivesPacks(t *testing.T, h *house, c []grasp.OID) {
	request := fetch2(line("ofs-delta"), line("deepen 1"), line("want %s\n", c[11]))
	var out bytes.Buffer
	first := true
	started := h.starts(func() {
		must(t, h.UploadPack(t.Context(), demo, 2, true, strings.NewReader(request), writerFunc(func(b []byte) (int, error) {
			if first {
				first = false
				git(t, h.path(demo), nil, "repack", "-qad")
			}
			return out.Write(b)
		})))
	})
	if first || len(started) > 0 {
		t.Errorf("started %v", started)
	}
	_, pack, _ := sections(t, out.String())
	dir := t.TempDir()
	git(t, dir, nil, "init", "-q", "--bare", ".")
	git(t, dir, bytes.NewReader(pack), "index-pack", "--stdin")
	sameAsUploadPack(t, h, true, request)
}

// Many have their packs made while one does not take what was made.
func ownPacksTogether(t *testing.T, h *house, c []grasp.OID) {
	ctx, leave := context.WithCancel(t.Context())
	stuck, gone := make(chan struct{}), make(chan error, 1)
	request := fetch2(line("ofs-delta"), line("deepen 1"), line("want %s\n", c[0]))
	go func() {
		once := sync.OnceFunc(func() { close(stuck) })
		gone <- h.UploadPack(ctx, demo, 2, true, strings.NewReader(request), writerFunc(func([]byte) (int, error) {
			once()
			<-ctx.Done()
			return 0, ctx.Err()
		}))
	}()
	<-stuck
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if out, err := uploadedAs(t, h, 2, true, request); err != nil || !strings.HasSuffix(out, "0000") {
				t.Errorf("%d bytes, %v", len(out), err)
			}
		})
	}
	all.Wait()
	leave()
	if err := <-gone; err == nil {
		t.Error("who left had an answer")
	}
	if started := sameAsUploadPack(t, h, true, request); len(started) > 0 {
		t.Errorf("started %v", started)
	}
}

// A client that goes away ends the work, and is no reason to doubt the packs.
func ownPackLeft(t *testing.T, h *house, c []grasp.OID) {
	request := fetch2(line("ofs-delta"), line("deepen 1"), line("want %s\n", c[11]))
	broken := errors.New("broken")
	for after := range 4 {
		err := h.UploadPack(t.Context(), demo, 2, true, strings.NewReader(request), writerFunc(func(b []byte) (int, error) {
			if after--; after < 0 {
				return 0, broken
			}
			return len(b), nil
		}))
		if !errors.Is(err, broken) || fault.Is(err, fault.Internal) {
			t.Errorf("the client went away: %v", err)
		}
	}
	if started := sameAsUploadPack(t, h, true, request); len(started) > 0 {
		t.Errorf("started %v", started)
	}
}

// A delta that says little and makes much of it is not made in memory here: the answer breaks off, and git makes the
// next one.
func TestOwnPackHostileDelta(t *testing.T) {
	h, w := open(t), newWork(t)
	small := strings.Repeat("the same line\n", 75_000)
	before := w.commit("a", small)
	after := w.commit("a", strings.Repeat(small, 9))
	base, much := w.tip(string(before)+":a"), w.tip(string(after)+":a")
	number := func(n int) (b []byte) {
		for ; n > 127; n >>= 7 {
			b = append(b, byte(n)|0x80)
		}
		return append(b, byte(n))
	}
	delta := append(number(len(small)), number(9*len(small))...)
	for range 9 { // copies of all of the base, from its beginning on
		for off := 0; off < len(small); off += 0xffff {
			n := min(0xffff, len(small)-off)
			delta = append(delta, 0xb7, byte(off), byte(off>>8), byte(off>>16), byte(n), byte(n>>8))
		}
	}
	list := strings.Fields(w.git("rev-list", "--objects", "--no-object-names", "main"))
	pack := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(list)))
	for _, o := range list {
		var id []byte
		kind := map[string]uint8{"commit": 1, "tree": 2, "blob": 3}[w.git("cat-file", "-t", o)]
		text := []byte(git(t, w.dir, nil, "cat-file", w.git("cat-file", "-t", o), o))
		if o == string(much) {
			id, text = must1(hex.DecodeString(string(base))), delta
		}
		pack = append(pack, gitdir.AppendPart(kind, int64(len(text)), 0, id)...)
		var z bytes.Buffer
		zw := zlib.NewWriter(&z)
		must1(zw.Write(text))
		must(t, zw.Close())
		pack = append(pack, z.Bytes()...)
	}
	sum := sha1.Sum(pack)
	must(t, h.push(demo, bytes.NewReader(append(pack, sum[:]...)), create(mainRef, after)))
	request := fetch2(line("ofs-delta"), line("deepen 1"), line("want %s\n", after))
	out, err := uploadedAs(t, h, 2, true, request)
	if err == nil || strings.HasSuffix(out, "0000") {
		t.Errorf("%v; %d bytes", err, len(out))
	}
	if started := sameAsUploadPack(t, h, true, request); started["pack-objects"] != 1 {
		t.Errorf("the next one: started %v", started)
	}
}

// What a person reads is what stock git says.
func TestOwnPackSays(t *testing.T) {
	h, w := open(t), newWork(t)
	c := w.commit("a", "1\n")
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c)))
	request := strings.Replace(fetch2(line("deepen 1"), line("want %s\n", c)), line("no-progress"), "", 1)
	out, err := uploadedAs(t, h, 2, true, request)
	must(t, err)
	if _, _, said := sections(t, out); !strings.Contains(said, "Enumerating objects: 3, done.\n") || !strings.Contains(said, "Total 3 (delta 0), reused 3 (delta 0)") {
		t.Errorf("said %q", said)
	}
}

// Whatever stands where an object begins: it is read within its bytes, and what is written is read as the same.
func FuzzPartHeader(f *testing.F) {
	f.Add([]byte{0x95, 0x0a, 0x78, 0x9c})
	f.Add([]byte{0x65, 0x81, 0x00, 0x78})
	f.Add(append([]byte{0x75}, make([]byte, 20)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, size, used, back, id, ok := gitdir.PartHeader(b)
		if !ok {
			return
		}
		if used <= 0 || used > len(b) || size < 0 || back < 0 {
			t.Fatalf("%d of %d bytes, size %d, back %d", used, len(b), size, back)
		}
		again := gitdir.AppendPart(k, size, back, id)
		k2, size2, used2, back2, id2, ok := gitdir.PartHeader(again)
		if !ok || k2 != k || size2 != size || back2 != back || used2 != len(again) || !bytes.Equal(id, id2) {
			t.Fatalf("%x: %v %d %d %x, written as %x: %v %d %d %x", b, k, size, back, id, again, k2, size2, back2, id2)
		}
	})
}

// Trees of strangers are read like parseTree reads them, to the end or not at all.
func FuzzTreeEntry(f *testing.F) {
	f.Add([]byte("100644 a\x0001234567890123456789"))
	f.Add([]byte("40000 a\x000123456789012345678940000 b\x0001234567890123456789"))
	f.Add([]byte("100644 a\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, okA := gitdir.TreeEntries(b)
		c, okC := gitdir.ParseTree(b)
		if okA != okC || okA && a != c {
			t.Fatalf("%q: %v %q, parseTree says %v %q", b, okA, a, okC, c)
		}
	})
}

package gitdir_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/run"
)

// A packer writes packs by hand: also such as git never would.
type packer struct {
	bytes.Buffer
	n uint32
}

func deflate(b []byte) []byte {
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

func (p *packer) header(kind byte, size int) {
	c := kind<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		p.WriteByte(c | 0x80)
		c = byte(size & 0x7f)
	}
	p.WriteByte(c)
	p.n++
}

func (p *packer) add(kind byte, content []byte) (id string) {
	p.header(kind, len(content))
	p.Write(deflate(content))
	return oid(kind, content)
}

// delta adds an object made of the object base.
func (p *packer) delta(base string, delta []byte) {
	p.header(7, len(delta))
	raw, _ := hex.DecodeString(base)
	p.Write(raw)
	p.Write(deflate(delta))
}

func oid(kind byte, content []byte) string {
	name := [...]string{1: "commit", 2: "tree", 3: "blob", 4: "tag"}[kind]
	h := sha1.New()
	fmt.Fprintf(h, "%s %d\x00", name, len(content))
	h.Write(content)
	return hex.EncodeToString(h.Sum(nil))
}

func (p *packer) pack() []byte {
	out := append([]byte("PACK\x00\x00\x00\x02"), binary.BigEndian.AppendUint32(nil, p.n)...)
	out = append(out, p.Bytes()...)
	sum := sha1.Sum(out)
	return append(out, sum[:]...)
}

func varint(n int) (b []byte) {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

const (
	commitKind = 1
	treeKind   = 2
	blobKind   = 3
	tagKind    = 4
)

func commitText(tree string, more string) []byte {
	return []byte("tree " + tree + "\nauthor a <a@x> 1700000000 +0000\ncommitter a <a@x> 1700000000 +0000\n" + more + "\nx\n")
}

func treeText(entries ...string) []byte { // mode, name, id, mode, name, id, …
	var b bytes.Buffer
	for i := 0; i < len(entries); i += 3 {
		raw, _ := hex.DecodeString(entries[i+2])
		fmt.Fprintf(&b, "%s %s\x00%s", entries[i], entries[i+1], raw)
	}
	return b.Bytes()
}

// Hardening §6: 20 KB that want to become 1 GiB are refused in a moment, within little memory.
func TestDeltaBomb(t *testing.T) {
	h := open(t)
	var p packer
	base := make([]byte, 16<<20)
	id := p.add(blobKind, base)
	for range 4 {
		delta := append(varint(len(base)), varint(64*0xffffff)...)
		for range 64 {
			delta = append(delta, 0xf0, 0xff, 0xff, 0xff) // copy 0xffffff bytes from the beginning
		}
		p.delta(id, delta)
	}
	pack := p.pack()
	began := time.Now()
	err := h.push(demo, bytes.NewReader(pack), create(mainRef, grasp.OID(id)))
	refused(t, err, fault.TooLarge, "larger than")
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	h.sound(demo)
}

// Hardening §6: processor time is bounded by what arrived.
func TestProcessorTime(t *testing.T) {
	if testing.Short() {
		t.Skip()
	}
	h := openAt(t, filepath.Join(t.TempDir(), "data"), gitdir.Config{IndexCPU: time.Second, IndexCPUPerMiB: time.Millisecond})
	var p packer
	var z bytes.Buffer
	w, _ := zlib.NewWriterLevel(&z, zlib.BestSpeed)
	zeros := make([]byte, 1<<20)
	const size = 33 << 20
	for range size >> 20 {
		w.Write(zeros)
	}
	w.Close()
	for range 64 {
		p.header(blobKind, size)
		p.Write(z.Bytes())
	}
	err := h.push(demo, bytes.NewReader(p.pack()), create(mainRef, grasp.OID(strings.Repeat("1", 40))))
	refused(t, err, fault.TooLarge, "processor time")
	h.sound(demo)
}

// Hardening §6: what would bite whoever checks it out does not come in; old honest faults do.
func TestContents(t *testing.T) {
	var blobs packer
	blob := blobs.add(blobKind, []byte("x"))
	good := string(treeText("100644", "a", blob))
	for _, c := range []struct {
		name   string
		tree   []byte
		commit string // more headers
		author string // instead of the ordinary one
		ok     bool
	}{
		{name: "ordinary", ok: true},
		{name: "folder .git", tree: treeText("40000", ".git", oid(treeKind, []byte(good)))},
		{name: "file .GIT", tree: treeText("100644", ".GIT", blob)},
		{name: "HFS spelling", tree: treeText("100644", ".g\u200cit", blob)},
		{name: "NTFS spelling", tree: treeText("100644", "git~1", blob)},
		{name: "dot dot", tree: treeText("100644", "..", blob)},
		{name: "slash", tree: treeText("100644", "a/b", blob)},
		{name: "no name", tree: treeText("100644", "", blob)},
		{name: "twice", tree: treeText("100644", "a", blob, "100644", "a", blob)},
		{name: "not sorted", tree: treeText("100644", "b", blob, "100644", "a", blob)},
		{name: "zero id", tree: treeText("100644", "a", strings.Repeat("0", 40))},
		{name: "gitmodules is a link", tree: treeText("120000", ".gitmodules", blob)},
		{name: "padded mode", tree: treeText("0100644", "a", blob), ok: true},
		{name: "missing blob", tree: treeText("100644", "a", strings.Repeat("5", 40))},
		{name: "submodule elsewhere", tree: treeText("160000", "a", strings.Repeat("5", 40)), ok: true},
		{name: "no author", author: "\n"},
		{name: "bad time zone", author: "author a <a@x> 1700000000 +1\n", ok: true},
		{name: "no space before date", author: "author a <a@x>1700000000 +0000\n", ok: true},
		{name: "two authors", author: "author a <a@x> 1 +0000\nauthor a <a@x> 1 +0000\n"},
		{name: "missing parent", commit: "", author: "parent " + strings.Repeat("5", 40) + "\nauthor a <a@x> 1 +0000\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t)
			var p packer
			p.add(blobKind, []byte("x"))
			p.add(treeKind, []byte(good))
			if c.tree == nil {
				c.tree = []byte(good)
			}
			tree := oid(treeKind, []byte(good))
			if !bytes.Equal(c.tree, []byte(good)) {
				tree = p.add(treeKind, c.tree)
			}
			text := string(commitText(tree, c.commit))
			if c.author != "" {
				text = strings.Replace(text, "author a <a@x> 1700000000 +0000\n", c.author, 1)
			}
			id := p.add(commitKind, []byte(text))
			err := h.push(demo, bytes.NewReader(p.pack()), create(mainRef, grasp.OID(id)))
			if c.ok {
				must(t, err)
			} else {
				refused(t, err, fault.Refused, "")
			}
			h.sound(demo)
		})
	}
}

func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	r.Read(b)
	return b
}

// Hardening §6: an authorised ref does not bring strangers' objects along; sending again what is
// here already is no fault, and is not kept.
func TestJunk(t *testing.T) {
	h, w := open(t), newWork(t)
	w.git("config", "core.compression", "0")
	must(t, os.WriteFile(filepath.Join(w.dir, "big"), noise(3<<20, 1), 0o644))
	c1 := w.commit("a", "1\n")
	git(t, w.dir, nil, "checkout", "-q", "--orphan", "other")
	must(t, os.WriteFile(filepath.Join(w.dir, "big"), noise(5<<20, 2), 0o644))
	other := w.commit("a", "x\n")
	git(t, w.dir, nil, "checkout", "-q", "main")
	c2 := w.commit("a", "2\n")

	err := h.push(demo, bytes.NewReader(w.pack("main", "other")), create(mainRef, w.tip("main~1^0")), create(devRef, c2))
	refused(t, err, fault.Refused, "belong to none of the refs")
	h.sound(demo)

	size := func() (n int64) {
		filepath.WalkDir(filepath.Join(h.path(demo), "objects"), func(p string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				fi, _ := d.Info()
				n += fi.Size()
			}
			return nil
		})
		return n
	}
	must(t, h.push(demo, bytes.NewReader(w.pack(string(c1))), create(mainRef, c1)))
	before := size()
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), update(mainRef, c1, c2))) // all of it once more
	if after := size(); after > before+10_000 {
		t.Errorf("it grew from %d to %d bytes", before, after)
	}
	h.sound(demo)
	if len(h.have(demo, c1, c2)) != 2 || len(h.have(demo, other)) != 0 {
		t.Error("not what was asked for")
	}
	// Nothing new at all: the pack is dropped.
	before = size()
	must(t, h.push(demo, bytes.NewReader(w.pack("main", "other")), create(devRef, c2)))
	if after := size(); after != before {
		t.Errorf("it grew from %d to %d bytes", before, after)
	}
	// A thin pack brings its bases along when it is completed: they are not counted.
	text := bytes.Clone(noise(3<<20, 1))
	copy(text, "a small change")
	must(t, os.WriteFile(filepath.Join(w.dir, "big"), text, 0o644))
	c3 := w.commit("a", "3\n")
	must(t, h.push(demo, bytes.NewReader(w.packWith([]string{"--thin"}, "main", "^"+string(c2))), update(mainRef, c2, c3)))
	h.sound(demo)
	// What no ref names any more is still here, and nobody can know: it is sent again, beside what is new.
	must(t, h.push(demo, bytes.NewReader(w.pack("other")), update(devRef, c2, other)))
	must(t, h.Apply(context.Background(), demo, []grasp.RefChange{remove(devRef, other)}, ""))
	if len(h.have(demo, other)) != 1 { // after this it is remembered
		t.Error("what no ref names any more is gone at once")
	}
	git(t, w.dir, nil, "checkout", "-q", "--orphan", "tiny")
	git(t, w.dir, nil, "rm", "-q", "-f", "big")
	tiny := w.commit("a", "4\n")
	before = size()
	must(t, h.push(demo, bytes.NewReader(w.pack("tiny", "other")), create("refs/heads/tiny", tiny), create(devRef, other)))
	if after := size(); after > before+10_000 {
		t.Errorf("it grew from %d to %d bytes", before, after)
	}
	h.sound(demo)
}

// Memory does not grow with the pack.
func TestMemoryStaysFlat(t *testing.T) {
	if testing.Short() {
		t.Skip()
	}
	h, w := open(t), newWork(t)
	w.git("config", "core.compression", "0")
	w.git("config", "pack.window", "0")
	for i := range 4 {
		must(t, os.WriteFile(filepath.Join(w.dir, fmt.Sprint("big", i)), noise(6<<20, uint64(i)), 0o644))
	}
	c1 := w.commit("a", "1\n")
	file := filepath.Join(t.TempDir(), "pack")
	must(t, os.WriteFile(file, w.pack("main"), 0o644))
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	peak := uint64(0)
	reader := readerFunc(func(b []byte) (int, error) {
		n, err := f.Read(b)
		if runtime.ReadMemStats(&now); now.HeapAlloc > peak {
			peak = now.HeapAlloc
		}
		return n, err
	})
	must(t, h.push(demo, reader, create(mainRef, c1)))
	if peak > before.HeapAlloc+8<<20 {
		t.Errorf("the heap grew by %d bytes", peak-before.HeapAlloc)
	}
	must(t, h.Copy(t.Context(), demo, fork, []grasp.OID{c1}))
	if runtime.ReadMemStats(&now); now.HeapAlloc > before.HeapAlloc+8<<20 {
		t.Errorf("the heap grew by %d bytes", now.HeapAlloc-before.HeapAlloc)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// H-255, hardening §13: the environment of every child is the list, whatever ours is; arguments
// from outside are never options.
func TestEnvironment(t *testing.T) {
	for _, k := range []string{"GIT_DIR", "GIT_CONFIG_PARAMETERS", "GIT_TRACE", "GIT_OBJECT_DIRECTORY", "http_proxy", "LD_PRELOAD_", "GIT_EXEC_PATH_"} {
		t.Setenv(k, "/evil")
	}
	real, err := run.Find("git", "/usr/local/bin:/usr/bin:/bin")
	must(t, err)
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	fake := filepath.Join(dir, "git")
	must(t, os.WriteFile(fake, []byte("#!/bin/sh\n{ echo \"ARGS $*\"; /usr/bin/env; } >>"+log+"\nexec "+real+" \"$@\"\n"), 0o755))
	h := openAt(t, filepath.Join(dir, "data"), gitdir.Config{Git: fake})
	w := newWork(t)
	c1 := w.commit("a", "1\n")
	c2 := w.commit("a", "2\n")
	nasty := grasp.RefName("refs/heads/--upload-pack=$(id)")
	must(t, h.push(demo, bytes.NewReader(w.pack(string(c1))), create(nasty, c1)))
	must(t, h.push(demo, bytes.NewReader(w.packWith([]string{"--thin"}, "main", "^"+string(c1))), update(nasty, c1, c2)))
	w.git("mv", "a", "b") // what is here already, at another place
	w.git("commit", "-q", "-m", "moved")
	must(t, h.push(demo, bytes.NewReader(w.packWith([]string{"--thin", "--no-sparse"}, "main", "^"+string(c2))), update(nasty, c2, w.tip("main"))))
	git(t, h.path(demo), nil, "update-ref", "refs/heads/loose", string(c1))
	h.refs(demo)
	must(t, h.Copy(t.Context(), demo, fork, []grasp.OID{c1}))
	must(t, h.UploadPack(t.Context(), demo, 2, false, strings.NewReader("0000"), io.Discard))
	h.sound(demo)
	known := map[string]bool{"PATH": true, "HOME": true, "XDG_CONFIG_HOME": true, "LC_ALL": true, "TZ": true, "TMPDIR": true, "SSH_ASKPASS": true,
		"PWD": true, "OLDPWD": true, "SHLVL": true, "_": true, "ARGS": true} // the shell's own
	allowedGit := []string{"GIT_CONFIG_", "GIT_ATTR_NOSYSTEM", "GIT_TERMINAL_PROMPT", "GIT_ASKPASS", "GIT_SSH_COMMAND", "GIT_ALLOW_PROTOCOL",
		"GIT_NO_REPLACE_OBJECTS", "GIT_NO_LAZY_FETCH", "GIT_ALLOC_LIMIT", "GIT_OPTIONAL_LOCKS", "GIT_PROTOCOL", "GIT_DIR", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"}
	kinds := map[string]bool{}
	for line := range strings.Lines(readFile(t, log)) {
		line = strings.TrimSpace(line)
		if args, ok := strings.CutPrefix(line, "ARGS "); ok {
			kinds[strings.Fields(args)[0]] = true
			if strings.Contains(args, "$(id)") {
				t.Errorf("a ref name became an argument: %s", args)
			}
			continue
		}
		k, v, _ := strings.Cut(line, "=")
		ours := known[k] || slices.ContainsFunc(allowedGit, func(p string) bool { return strings.HasPrefix(k, p) })
		if !ours || strings.Contains(v, "/evil") {
			t.Errorf("in the environment: %s", line)
		}
	}
	for _, k := range []string{"version", "index-pack", "rev-list", "pack-refs", "pack-objects", "upload-pack", "fsck"} {
		if !kinds[k] {
			t.Errorf("%s was not seen: %v", k, kinds)
		}
	}
}

// G7: a full disk is not the pusher's fault, and never looks like success.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	fake := filepath.Join(dir, "git")
	must(t, os.WriteFile(fake, []byte("#!/bin/sh\ncase $1 in version) echo git version 2.50.1;; *) cat >/dev/null; echo 'fatal: sha1 file write error: No space left on device' >&2; exit 128;; esac\n"), 0o755))
	h := openAt(t, filepath.Join(dir, "data"), gitdir.Config{Git: fake})
	w := newWork(t)
	c1 := w.commit("a", "1\n")
	refused(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c1)), fault.Busy, "no space")
	if h.refs(demo).Refs.Len() != 0 {
		t.Error("refs moved")
	}
}

package main

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	flush = "0000"
	delim = "0001"
)

func pkt(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }

// nextPkt reads one packet: its kind, "" or one of the constants above, and its bytes.
func nextPkt(r io.Reader, buf []byte) (kind string, b []byte, err error) {
	if _, err := io.ReadFull(r, buf[:4]); err != nil {
		return "", nil, err
	}
	n, err := strconv.ParseUint(string(buf[:4]), 16, 16)
	if err != nil {
		return "", nil, fmt.Errorf("not a packet: %q", buf[:4])
	}
	if n < 4 {
		return string(buf[:4]), nil, nil
	}
	_, err = io.ReadFull(r, buf[:n-4])
	return "", buf[:n-4], err
}

// packets splits a whole answer.
func packets(b []byte) (out []string, err error) {
	r, buf := bytes.NewReader(b), make([]byte, 65536)
	for r.Len() > 0 {
		kind, data, err := nextPkt(r, buf)
		if err != nil {
			return out, err
		}
		if kind != "" {
			out = append(out, kind)
			continue
		}
		if strings.HasPrefix(string(data), "ERR ") {
			return out, errors.New(string(data))
		}
		out = append(out, string(data))
	}
	return out, nil
}

// band1 returns what an answer carries in the first side-band, and what it says in the third.
func band1(b []byte) (data []byte, err error) {
	all, err := packets(b)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		switch {
		case p == flush || p == delim || p == "":
		case p[0] == 1:
			data = append(data, p[1:]...)
		case p[0] == 3:
			return data, fmt.Errorf("the server says: %s", p[1:])
		}
	}
	return data, nil
}

// lsRefs asks for refs in protocol 2.
func lsRefs(prefixes ...string) []byte {
	s := pkt("command=ls-refs\n") + pkt("agent=git/bench\n") + pkt("object-format=sha1\n") + delim + pkt("peel\n") + pkt("symrefs\n")
	for _, p := range prefixes {
		s += pkt("ref-prefix " + p + "\n")
	}
	return []byte(s + flush)
}

// fetch asks for a pack in protocol 2. lines are wants, haves and options, without line ends.
func fetch(lines ...string) []byte {
	s := pkt("command=fetch\n") + pkt("agent=git/bench\n") + pkt("object-format=sha1\n") + delim + pkt("no-progress\n") + pkt("ofs-delta\n")
	for _, l := range lines {
		s += pkt(l + "\n")
	}
	return []byte(s + pkt("done\n") + flush)
}

// A command moves one ref in a push.
type command struct{ old, new, ref string }

// push is the body of a push of one or more commands.
func push(pack []byte, cmds ...command) []byte {
	var b bytes.Buffer
	for i, c := range cmds {
		line := c.old + " " + c.new + " " + c.ref
		if i == 0 {
			line += "\x00 report-status side-band-64k object-format=sha1 agent=git/bench"
		}
		b.WriteString(pkt(line))
	}
	b.WriteString(flush)
	b.Write(pack)
	return b.Bytes()
}

// pushed makes sure that an answer reports success for refs.
func pushed(b []byte, refs ...string) error {
	data, err := band1(b)
	if err != nil {
		return err
	}
	lines, err := packets(data)
	if err != nil {
		return err
	}
	said := strings.Join(lines, "\n")
	if !strings.HasPrefix(said, "unpack ok") || strings.Contains(said, "ng refs/") {
		return fmt.Errorf("the push was refused: %q", said)
	}
	for _, r := range refs {
		if !strings.Contains(said, "ok "+r+"\n") {
			return fmt.Errorf("no word of %s in %q", r, said)
		}
	}
	return nil
}

// refused makes sure that an answer reports a refusal, with a reason.
func refused(b []byte) error {
	data, err := band1(b)
	if err != nil {
		return err
	}
	if !bytes.Contains(data, []byte("ng refs/")) || bytes.Contains(data, []byte("unpack ok")) {
		return fmt.Errorf("the push was not refused: %q", data)
	}
	return nil
}

const (
	kindCommit = 1
	kindTree   = 2
	kindBlob   = 3
)

// An object is one git object.
type object struct {
	kind int
	data []byte
	name string // its id
}

func newObject(kind int, data []byte) object {
	h := sha1.New()
	fmt.Fprintf(h, "%s %d\x00", [...]string{"", "commit", "tree", "blob"}[kind], len(data))
	h.Write(data)
	return object{kind, data, hex.EncodeToString(h.Sum(nil))}
}

// packOf writes objects one after another, without deltas. level is zlib's.
func packOf(level int, objects ...object) []byte {
	var b bytes.Buffer
	b.WriteString("PACK")
	binary.Write(&b, binary.BigEndian, [2]uint32{2, uint32(len(objects))})
	for _, o := range objects {
		n := len(o.data)
		c := byte(o.kind<<4 | n&15)
		for n >>= 4; n > 0; n >>= 7 {
			b.WriteByte(c | 0x80)
			c = byte(n & 0x7f)
		}
		b.WriteByte(c)
		z, _ := zlib.NewWriterLevel(&b, level)
		z.Write(o.data)
		z.Close()
	}
	sum := sha1.Sum(b.Bytes())
	b.Write(sum[:])
	return b.Bytes()
}

// A line of work grows commits, each on the one before, each with one changed file.
type work struct {
	tree []byte // the root of where it began, without its own file
	tip  string
	made int
	name string // what tells its commits from those of others
}

const workFile = "zzzz-bench.txt" // sorts behind everything

// next makes a commit. It returns its pack, and moves the tip.
func (w *work) next() (pack []byte, old string) {
	w.made++
	blob := newObject(kindBlob, fmt.Appendf(nil, "%s: line of work %d\n%s\n", w.name, w.made, strings.Repeat("something to store ", 20)))
	tree := newObject(kindTree, append(bytes.Clone(w.tree), "100644 "+workFile+"\x00"+unhex(blob.name)...))
	old = w.tip
	commit := newObject(kindCommit, fmt.Appendf(nil, "tree %s\nparent %s\nauthor B <b@example.com> %[3]d +0000\ncommitter B <b@example.com> %[3]d +0000\n\n%s %d\n",
		tree.name, old, 1_700_000_000+w.made, w.name, w.made))
	w.tip = commit.name
	return packOf(zlib.DefaultCompression, commit, tree, blob), old
}

func unhex(s string) string {
	b, _ := hex.DecodeString(s)
	return string(b)
}

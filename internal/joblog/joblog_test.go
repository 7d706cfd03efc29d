package joblog_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/joblog"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

var (
	_ jobs.Log    = (*joblog.Log)(nil)
	_ work.Masker = (*joblog.Log)(nil)
)

const job = "01J00000000000000000000001"

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func open(t *testing.T, dir string, limit int64) (*joblog.Logs, *clock) {
	t.Helper()
	c := &clock{time.UnixMilli(1_800_000_000_000)}
	l, err := joblog.Open(joblog.Config{Dir: dir, Now: c.Now, MaxBytes: limit})
	if err != nil {
		t.Fatal(err)
	}
	return l, c
}

func begin(t *testing.T, l *joblog.Logs, attempt int) *joblog.Log {
	t.Helper()
	g, err := l.Begin(job, attempt)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func text(t *testing.T, l *joblog.Logs, attempt int) string {
	t.Helper()
	x, err := l.Text(job, attempt)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	b, err := io.ReadAll(x)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != x.Size {
		t.Errorf("the text has %d bytes and says that it has %d", len(b), x.Size)
	}
	return string(b)
}

// all follows a log that has ended, from a place.
func all(t *testing.T, l *joblog.Logs, from int64) (out []joblog.Line, whole string) {
	t.Helper()
	f, err := l.Follow(job, 1, from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b []byte
	for {
		lines, err := f.Next(t.Context())
		for _, line := range lines {
			b = line.AppendTo(b)
			line.Text = bytes.Clone(line.Text)
			out = append(out, line)
		}
		if err == io.EOF {
			return out, string(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// S0-19: what a job said is what is read, while it runs and afterwards, with the time and the stream of each
// line.
func TestLines(t *testing.T) {
	l, c := open(t, t.TempDir(), 0)
	g := begin(t, l, 1)
	io.WriteString(g.Stream("stdout"), "one\ntw")
	c.now = c.now.Add(1500 * time.Millisecond)
	io.WriteString(g.Stream("stderr"), "oh\n")
	io.WriteString(g.Stream("stdout"), "o\n\nlast")
	if got, want := text(t, l, 1), "one\noh\ntwo\n\n"; got != want {
		t.Errorf("while it runs: %q, want %q", got, want)
	}
	if n, err := g.Close(); err != nil || n == 0 {
		t.Errorf("Close: %d, %v", n, err)
	}
	io.WriteString(g.Stream("stdout"), "too late\n")
	const want = "one\noh\ntwo\n\nlast"
	if got := text(t, l, 1); got != want {
		t.Errorf("afterwards: %q, want %q", got, want)
	}
	lines, whole := all(t, l, 0)
	if whole != want {
		t.Errorf("followed: %q", whole)
	}
	var seen []string
	for _, line := range lines {
		seen = append(seen, fmt.Sprintf("%d %s %s %d-%d %v", line.Time.UnixMilli()-1_800_000_000_000, line.Stream, line.Text, line.Offset, line.Next, line.Part))
	}
	if want := []string{"0 stdout one 0-4 false", "1500 stderr oh 4-7 false", "1500 stdout two 7-11 false", "1500 stdout  11-12 false", "1500 stdout last 12-16 true"}; !slices.Equal(seen, want) {
		t.Errorf("lines:\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
	x, err := l.Text(job, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if at, _ := x.Seek(-4, io.SeekEnd); at != 12 {
		t.Errorf("four before the end is %d", at)
	}
	if b, _ := io.ReadAll(x); string(b) != "last" {
		t.Errorf("from there: %q", b)
	}
	x.Seek(4, io.SeekStart)
	if b, _ := io.ReadAll(io.LimitReader(x, 2)); string(b) != "oh" {
		t.Errorf("back again: %q", b)
	}
	// What lies on the disk is what a client that understands gzip is sent.
	packed, size, ok := x.Gzip()
	if !ok {
		t.Fatal("it is not compressed")
	}
	raw, _ := io.ReadAll(packed)
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil || int64(len(raw)) != size {
		t.Fatalf("%d of %d bytes, %v", len(raw), size, err)
	}
	if b, err := io.ReadAll(z); string(b) != want || err != nil {
		t.Errorf("unzipped: %q, %v", b, err)
	}
}

// S0-21: a follower from any place, at any time, misses nothing and is woken for each line.
func TestFollow(t *testing.T) {
	l, _ := open(t, t.TempDir(), 1<<20)
	g := begin(t, l, 1)
	var want []byte
	marks := []int64{0}
	say := func(s string) {
		io.WriteString(g.Stream("stdout"), s)
		want = append(want, s...)
		marks = append(marks, int64(len(want)))
	}
	for i := range 3000 {
		say(fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", i%200)))
	}
	type result struct {
		from int64
		text string
		err  error
	}
	results := make(chan result)
	there := marks[3000]
	waiting := make(chan struct{}, 20)
	for i := range 20 {
		from := marks[i*(len(marks)-1)/19]
		if i%3 == 1 {
			from += 2 // in the middle of a line
		}
		f, err := l.Follow(job, 1, from)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer f.Close()
			var b []byte
			for first := true; ; {
				lines, err := f.Next(t.Context())
				for _, line := range lines {
					b = line.AppendTo(b)
				}
				if err != nil {
					results <- result{from, string(b), err}
					return
				}
				if first && from+int64(len(b)) >= there {
					first = false
					waiting <- struct{}{}
				}
			}
		}()
	}
	for range 17 { // the last ones begin at or behind what is there
		<-waiting
	}
	for i := range 50 {
		say(fmt.Sprintf("more %d\n", i))
	}
	if _, err := g.Close(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		r := <-results
		if r.err != io.EOF || r.text != string(want[r.from:]) {
			t.Errorf("from %d: %d bytes of %d, %v", r.from, len(r.text), len(want)-int(r.from), r.err)
		}
	}
	for _, from := range []int64{0, marks[1], marks[1000], marks[3001] + 1, int64(len(want))} {
		if _, got := all(t, l, from); got != string(want[from:]) {
			t.Errorf("afterwards from %d: %d bytes of %d", from, len(got), len(want)-int(from))
		}
	}
}

// A follower ends when its reader leaves and when the server stops.
func TestFollowEnds(t *testing.T) {
	l, _ := open(t, t.TempDir(), 0)
	g := begin(t, l, 1)
	defer g.Close()
	f, err := l.Follow(job, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Next(ctx); err != context.Canceled {
		t.Errorf("its reader left: %v", err)
	}
	io.WriteString(g.Stream("stdout"), "said before\n")
	l.Close()
	if lines, err := f.Next(t.Context()); err != nil || len(lines) != 1 {
		t.Errorf("what was said before: %d lines, %v", len(lines), err)
	}
	if _, err := f.Next(t.Context()); !fault.Is(err, fault.Closing) {
		t.Errorf("the server stops: %v", err)
	}
	io.WriteString(g.Stream("stdout"), "the job may write on\n")
	if got := text(t, l, 1); !strings.HasSuffix(got, "write on\n") {
		t.Errorf("%q", got)
	}
}

// A log that is too large keeps its beginning and its end, and says so where something is missing and at the end.
// Places in it hold, whenever somebody comes back.
func TestTruncated(t *testing.T) {
	const limit = 100 << 10
	l, _ := open(t, t.TempDir(), limit)
	g := begin(t, l, 1)
	var said []string
	for i := range 20_000 {
		said = append(said, fmt.Sprintf("line %06d\n", i))
		io.WriteString(g.Stream("stdout"), said[i])
	}
	check := func(when, got string) {
		t.Helper()
		if len(got) > limit+200 {
			t.Errorf("%s: %d bytes are kept", when, len(got))
		}
		lines := strings.SplitAfter(got, "\n")
		at := slices.IndexFunc(lines, func(s string) bool { return strings.Contains(s, "dropped here") })
		if at < 0 {
			t.Fatalf("%s: nothing says that it was truncated", when)
		}
		var n int
		fmt.Sscanf(lines[at], "gitroost: truncated, %d bytes dropped here", &n)
		first := strings.Join(lines[:at], "")
		rest := strings.Join(lines[at+1:], "")
		rest, _, _ = strings.Cut(rest, "gitroost: truncated")
		all := strings.Join(said, "")
		if !strings.HasPrefix(all, first) || !strings.HasSuffix(all, rest) || len(rest) == 0 || len(first)+n+len(rest) != len(all) {
			t.Errorf("%s: %d bytes, %d dropped, %d bytes of %d", when, len(first), n, len(rest), len(all))
		}
	}
	check("while it runs", text(t, l, 1))
	follow, err := l.Follow(job, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer follow.Close()
	var live []joblog.Line
	var followed []byte
	for len(live) == 0 || live[len(live)-1].Next < int64(len(said)*12) {
		lines, err := follow.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			followed = line.AppendTo(followed)
			line.Text = bytes.Clone(line.Text)
			live = append(live, line)
		}
	}
	check("followed", string(followed))
	g.Close()
	got := text(t, l, 1)
	check("afterwards", got)
	if last := got[strings.LastIndexByte(strings.TrimSuffix(got, "\n"), '\n')+1:]; !strings.HasPrefix(last, "gitroost: truncated, ") || !strings.HasSuffix(last, "bytes dropped\n") {
		t.Errorf("the last line is %q", last)
	}
	for _, line := range []joblog.Line{live[10], live[len(live)-5]} {
		later, _ := all(t, l, line.Next)
		want := said[line.Next/12]
		if string(later[0].Text)+"\n" != want || later[0].Offset != line.Next {
			t.Errorf("from %d: %q at %d, want %q", line.Next, later[0].Text, later[0].Offset, want)
		}
	}
	if lines, _ := all(t, l, 150_000); !strings.Contains(string(lines[0].Text), "dropped here") {
		t.Errorf("from what was dropped: %q", lines[0].Text)
	}
}

// S0-12: a secret never reaches the disk: not as it is, not by line, not encoded, not in two writes.
func TestMasked(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir, 0)
	g := begin(t, l, 1)
	const token = "tk/gä!heim+0815&x"
	const key = "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA1234567890abcdefghijklmnop\nab\nZm9vYmFy\n-----END KEY-----\n"
	g.Mask([]byte(token))
	g.Mask([]byte(key))
	g.Mask([]byte("abc"))
	g.Mask(nil)
	out := g.Stream("stdout")
	for _, s := range []string{
		"plain " + token + " end\n",
		"twice " + token + token + "\n",
		"base64 " + base64.StdEncoding.EncodeToString([]byte(token)) + "\n",
		"basic " + base64.StdEncoding.EncodeToString([]byte("user:"+token)) + "\n",
		"basic " + base64.StdEncoding.EncodeToString([]byte("us:"+token+":more")) + "\n",
		"url " + url.QueryEscape(token) + " " + url.PathEscape(token) + " " + strings.ToLower(url.QueryEscape(token)) + "\n",
		key,
		"abc stays\n",
	} {
		io.WriteString(out, s)
	}
	for i := range token { // in two writes
		io.WriteString(out, "split "+token[:i])
		io.WriteString(out, token[i:]+"\n")
	}
	long := strings.Repeat("x", 16<<10-7) + token + strings.Repeat("y", 100) // where a long line is cut
	io.WriteString(out, long+"\n")
	wrapped := base64.StdEncoding.EncodeToString([]byte(key))
	for i := 0; i < len(wrapped); i += 76 {
		io.WriteString(out, wrapped[i:min(i+76, len(wrapped))]+"\n")
	}
	io.WriteString(out, "at the end "+token[:9])
	io.WriteString(out, token[9:])
	live, err := os.ReadFile(filepath.Join(dir, "live", job+".1.log"))
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	got := text(t, l, 1)
	for _, data := range []string{string(live), got} {
		for _, secret := range []string{token, "MIIEow", "Zm9vYmFy", "BEGIN KEY", wrapped[:70], wrapped[76:120], "heim", "08125", base64.StdEncoding.EncodeToString([]byte(token))[2:20]} {
			if strings.Contains(data, secret) {
				t.Errorf("%q is readable", secret)
			}
		}
	}
	for _, want := range []string{"plain *** end\n", "twice ***", "url *** *** ***", "abc stays\n", "split ***\n", strings.Repeat("x", 100) + "***" + strings.Repeat("y", 100) + "\n", "at the end ***"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%.3000s", want, strings.ReplaceAll(got, "xxxx", ""))
		}
	}
}

// Secrets that overlap, in a text that is cut anywhere, leave nothing to read; a text without any is unchanged.
func FuzzMask(f *testing.F) {
	f.Add("secret", "cret", "a secret and creto", uint64(1))
	f.Add("aaaa", "aaaaaaab", "aaaaaaaaaaaaaab aaa b", uint64(7))
	f.Add("abcdef", "defghi", "xabcdefghix\nabcdef", uint64(3))
	f.Fuzz(func(t *testing.T, a, b, said string, seed uint64) {
		if len(a) > 100 || len(b) > 100 || len(said) > 40_000 {
			return
		}
		l, _ := open(t, t.TempDir(), 0)
		g := begin(t, l, 1)
		g.Mask([]byte(a))
		g.Mask([]byte(b))
		rnd := rand.New(rand.NewPCG(seed, 0))
		for rest := said; rest != ""; {
			n := 1 + rnd.IntN(min(len(rest), 1+rnd.IntN(20_000)))
			io.WriteString(g.Stream("stdout"), rest[:n])
			rest = rest[n:]
		}
		g.Close()
		got := text(t, l, 1)
		there := false
		for _, s := range []string{a, b} {
			s = strings.Trim(s, "\r\n")
			if len(s) < 4 || strings.ContainsAny(s, "\r\n") || strings.Contains(s, "*") {
				there = there || len(s) >= 4
				continue
			}
			there = there || strings.Contains(said, s)
			if strings.Contains(got, s) && !strings.Contains(said, "*") {
				t.Errorf("%q is readable in %q of %q", s, got, said)
			}
		}
		if a == "" && b == "" && got != said {
			t.Errorf("%q became %q", said, got)
		}
	})
}

// What a killed process left is read as far as it is whole, wherever it was cut.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir, 0)
	g := begin(t, l, 1)
	for i := range 5 {
		fmt.Fprintf(g.Stream("stdout"), "line %d\n", i)
	}
	path := filepath.Join(dir, "live", job+".1.log")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const said = "line 0\nline 1\nline 2\nline 3\nline 4\n"
	for i := range 2 * (len(whole) + 1) {
		n, zeros := i/2, make([]byte, 9*(i%2)) // what a file system may leave after a power cut
		dir := t.TempDir()
		os.MkdirAll(filepath.Join(dir, "live"), 0o700)
		os.WriteFile(filepath.Join(dir, "live", job+".1.log"), append(whole[:n:n], zeros...), 0o600)
		os.WriteFile(filepath.Join(dir, "live", "not-ours"), nil, 0o600)
		l, _ := open(t, dir, 0)
		got := text(t, l, 1)
		first, ok := strings.CutSuffix(got, "gitroost: the server died while this ran\n")
		first = strings.TrimRight(first, "\x00\n")
		if !ok || !strings.HasPrefix(said, first) || n == len(whole) && first+"\n" != said {
			t.Fatalf("cut at %d: %q", n, got)
		}
		if _, err := os.Stat(filepath.Join(dir, "live", job+".1.log")); !os.IsNotExist(err) {
			t.Fatalf("cut at %d: the file stays: %v", n, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "live", "not-ours")); err != nil {
			t.Fatal("what is not ours was removed")
		}
	}
	g.Close()
}

// Every attempt has a log of its own; one that did not count is replaced; all go together.
func TestAttempts(t *testing.T) {
	dir := t.TempDir()
	l, c := open(t, dir, 0)
	for _, n := range []int{1, 2, 2, 10} {
		changed := l.Changed()
		g := begin(t, l, n)
		<-changed
		fmt.Fprintf(g.Stream("stdout"), "attempt %d\n", n)
		if _, err := l.Begin(job, n); !fault.Is(err, fault.Duplicate) {
			t.Errorf("begun twice: %v", err)
		}
		changed = l.Changed()
		g.Close()
		<-changed
	}
	if got, err := l.Attempts(job); err != nil || !slices.Equal(got, []int{1, 2, 10}) {
		t.Errorf("attempts: %v, %v", got, err)
	}
	if got := text(t, l, 2); got != "attempt 2\n" {
		t.Errorf("%q", got)
	}
	shelves, _ := l.Shelves()
	if stored, err := l.Stored(shelves[0], c.now.Add(100*365*24*time.Hour)); len(shelves) != 1 || err != nil || !slices.Equal(stored, []string{job}) {
		t.Errorf("stored: %v %v, %v", shelves, stored, err)
	}
	if err := l.Remove(job); err != nil {
		t.Fatal(err)
	}
	if got, _ := l.Attempts(job); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
	if _, err := l.Text(job, 1); !fault.Is(err, fault.NotFound) {
		t.Errorf("what was removed: %v", err)
	}
	if shelves, _ := l.Shelves(); len(shelves) > 0 {
		t.Errorf("empty folders: %v", shelves)
	}
	for _, name := range []string{"", "a", "../../etc/passwd", "x/y", "a.b", strings.Repeat("A", 100)} {
		if _, err := l.Begin(name, 1); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := l.Text(name, 1); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A log that cannot become what it should is read as it is, and the next start tries again.
func TestUnfinished(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir, 0)
	g := begin(t, l, 1)
	io.WriteString(g.Stream("stdout"), "hello\n")
	inTheWay := filepath.Join(dir, job[len(job)-2:])
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Close(); err == nil {
		t.Fatal("there was room for a folder where a file is")
	}
	if got := text(t, l, 1); got != "hello\n" {
		t.Errorf("%q", got)
	}
	if _, got := all(t, l, 0); got != "hello\n" {
		t.Errorf("followed: %q", got)
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	l, _ = open(t, dir, 0)
	if got := text(t, l, 1); !strings.HasPrefix(got, "hello\n") {
		t.Errorf("after a start: %q", got)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "live")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

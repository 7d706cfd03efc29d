package answers_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/answers"
)

func open(t *testing.T, cfg answers.Config) *answers.Cache {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "answers")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c, err := answers.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func key(s string) answers.Key { return sha256.Sum256([]byte(s)) }

// text is n bytes that are the same at each call.
func text(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func fill(b []byte) answers.Fill {
	return func(_ context.Context, w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

func all(t *testing.T, r *answers.Reader) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	buf := make([]byte, 10_000)
	for {
		n, err := r.Next(t.Context(), buf)
		out.Write(buf[:n])
		if err == io.EOF {
			return out.Bytes(), nil
		}
		if err != nil {
			return out.Bytes(), err
		}
	}
}

func want(t *testing.T, r *answers.Reader, b []byte) {
	t.Helper()
	got, err := all(t, r)
	if err != nil || !bytes.Equal(got, b) {
		t.Fatalf("got %d bytes, %v; want %d", len(got), err, len(b))
	}
}

func files(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// An answer is kept from its second use on, whether it fits into memory or not.
func TestKeptFromTheSecondUse(t *testing.T) {
	for name, size := range map[string]int{"empty": 0, "small": 1000, "large": 3 << 20} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a")
			c := open(t, answers.Config{Dir: dir, Bytes: 1 << 30})
			body := text(size)
			for i, expect := range []answers.How{answers.Made, answers.Made, answers.Hit, answers.Hit} {
				r, how := c.Get(key("x"), fill(body))
				if how != expect {
					t.Errorf("request %d: %v, want %v", i, how, expect)
				}
				want(t, r, body)
				if how == answers.Hit {
					r2, _ := c.Get(key("x"), fill(nil))
					if n, ok := r2.Whole(); !ok || n != int64(size) {
						t.Errorf("whole: %d, %v", n, ok)
					}
					f := r2.File()
					if (f != nil) != (name == "large") {
						t.Errorf("file: %v", f)
					}
					if f != nil {
						got, err := io.ReadAll(f)
						if err != nil || !bytes.Equal(got, body) {
							t.Errorf("the file has %d bytes, %v", len(got), err)
						}
						f.Close()
					}
					r2.Close()
				}
				r.Close()
				if i == 0 {
					if n, disk := c.Kept(); n != 0 || disk != 0 || files(t, dir) != 0 {
						t.Errorf("after one use %d are kept, %d bytes, %d files", n, disk, files(t, dir))
					}
				}
			}
			if n, disk := c.Kept(); n != 1 || name == "large" && disk != int64(size) || name != "large" && disk != 0 {
				t.Errorf("%d kept, %d bytes on disk", n, disk)
			}
		})
	}
}

// Many follow one writer, some of them slowly; all get the same, and it is made once.
func TestManyFollowOne(t *testing.T) {
	for name, bytes := range map[string]int64{"room": 1 << 30, "little room": 2 << 20} {
		t.Run(name, func(t *testing.T) {
			c := open(t, answers.Config{Bytes: bytes, Small: 20_000})
			body := text(5 << 20)
			start := make(chan struct{})
			var made int
			f := func(_ context.Context, w io.Writer) error {
				made++
				<-start
				for rest := body; len(rest) > 0; {
					n := min(len(rest), 1+rand.IntN(100_000))
					if _, err := w.Write(rest[:n]); err != nil {
						return err
					}
					rest = rest[n:]
				}
				return nil
			}
			var wg sync.WaitGroup
			for range 12 {
				r, _ := c.Get(key("x"), f)
				wg.Go(func() {
					defer r.Close()
					want(t, r, body)
				})
			}
			close(start)
			wg.Wait()
			if made != 1 {
				t.Errorf("made %d times", made)
			}
			if c.Stats().Joined.Load() != 11 {
				t.Errorf("%d joined", c.Stats().Joined.Load())
			}
			if paced := c.Stats().Paced.Load(); (paced == 1) != (name != "room") {
				t.Errorf("paced %d times", paced)
			}
			if _, disk := c.Kept(); disk > bytes {
				t.Errorf("%d bytes on disk", disk)
			}
		})
	}
}

// A reader that does not read holds up neither the writer nor another reader.
func TestStalledReader(t *testing.T) {
	c := open(t, answers.Config{Bytes: 1 << 30})
	body := text(4 << 20)
	written := make(chan struct{})
	stalled, _ := c.Get(key("x"), func(ctx context.Context, w io.Writer) error {
		defer close(written)
		return fill(body)(ctx, w)
	})
	<-written
	other, how := c.Get(key("x"), fill(nil))
	if how != answers.Joined {
		t.Error("did not join")
	}
	want(t, other, body)
	other.Close()
	want(t, stalled, body)
	stalled.Close()
}

// An answer that is asked for once, by somebody who keeps up, never touches the disk; from where the
// reader falls behind it does, and the writer goes on. A second one to ask gets one of its own then.
func TestOnlyReader(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	c := open(t, answers.Config{Dir: dir, Bytes: 1 << 30, Small: 100_000})
	body := text(3 << 20)
	turn, done := make(chan int), make(chan struct{})
	r, _ := c.Get(key("x"), func(_ context.Context, w io.Writer) error {
		for at := 0; at < len(body); {
			n := min(<-turn, len(body)-at)
			if _, err := w.Write(body[at : at+n]); err != nil {
				return err
			}
			at += n
			done <- struct{}{}
		}
		return nil
	})
	defer r.Close()
	buf := make([]byte, 50_000)
	read := 0
	take := func(upTo int) {
		for read < upTo {
			n, err := r.Next(t.Context(), buf)
			if err != nil || !bytes.Equal(buf[:n], body[read:read+n]) {
				t.Fatalf("at %d: %d bytes, %v", read, n, err)
			}
			read += n
		}
	}
	sent := 0
	for sent < 1<<20 {
		turn <- 40_000
		<-done
		sent += 40_000
		take(sent)
	}
	if n := files(t, dir); n != 0 {
		t.Errorf("%d files for a reader that keeps up", n)
	}
	other, how := c.Get(key("x"), fill(body))
	if how != answers.Made {
		t.Errorf("%v: joined what has lost its beginning", how)
	}
	want(t, other, body)
	other.Close()
	for sent < len(body) { // nobody reads now
		turn <- 40_000
		<-done
		sent += 40_000
	}
	if n := files(t, dir); n == 0 {
		t.Error("the rest is nowhere")
	}
	take(len(body))
	if _, err := r.Next(t.Context(), buf); err != io.EOF {
		t.Error(err)
	}
	if _, ok := r.Whole(); ok {
		t.Error("it says that it is whole")
	}
}

// Without room the writer keeps no more than a little in memory ahead of its readers.
func TestPaced(t *testing.T) {
	c := open(t, answers.Config{Small: 1000})
	body := text(100_000)
	var mu sync.Mutex
	written := 0
	r, _ := c.Get(key("x"), func(_ context.Context, w io.Writer) error {
		for i := range body {
			if _, err := w.Write(body[i : i+1]); err != nil {
				return err
			}
			mu.Lock()
			written++
			mu.Unlock()
		}
		return nil
	})
	buf := make([]byte, 700)
	read := 0
	for {
		n, err := r.Next(t.Context(), buf)
		if !bytes.Equal(buf[:n], body[read:read+n]) {
			t.Fatal("other bytes")
		}
		mu.Lock()
		if written > read+2000 {
			t.Fatalf("%d written, %d read", written, read)
		}
		mu.Unlock()
		read += n
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if read != len(body) {
		t.Errorf("read %d", read)
	}
	r.Close()
	if n, disk := c.Kept(); n != 0 || disk != 0 {
		t.Error("something is kept")
	}
}

// Readers of an answer whose writer fails get what there is and then the error. It is not kept.
func TestFailure(t *testing.T) {
	boom := errors.New("boom")
	for name, size := range map[string]int{"at once": 0, "small": 1000, "large": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a")
			c := open(t, answers.Config{Dir: dir, Bytes: 1 << 30})
			body := text(size)
			for range 3 {
				r, how := c.Get(key("x"), func(_ context.Context, w io.Writer) error {
					w.Write(body)
					return boom
				})
				if how == answers.Hit {
					t.Fatal("a broken answer was kept")
				}
				got, err := all(t, r)
				if !errors.Is(err, boom) || !bytes.Equal(got, body) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				if _, ok := r.Whole(); ok {
					t.Error("it says that it is whole")
				}
				r.Close()
			}
			if n, disk := c.Kept(); n != 0 || disk != 0 || files(t, dir) != 0 {
				t.Errorf("%d kept, %d bytes, %d files", n, disk, files(t, dir))
			}
		})
	}
}

// The writer ends when its last reader leaves, and the next to ask gets a new one.
func TestLastReaderLeaves(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	c := open(t, answers.Config{Dir: dir, Bytes: 1 << 30})
	ended := make(chan error, 1)
	begun := make(chan struct{})
	r, _ := c.Get(key("x"), func(ctx context.Context, w io.Writer) error {
		w.Write(text(1 << 20))
		close(begun)
		<-ctx.Done()
		_, err := w.Write([]byte("more"))
		ended <- err
		return err
	})
	r2, _ := c.Get(key("x"), nil)
	<-begun
	r.Close()
	select {
	case <-ended:
		t.Fatal("ended while somebody reads")
	default:
	}
	r2.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the writer got %v", err)
	}
	r, how := c.Get(key("x"), fill([]byte("new")))
	if how != answers.Made {
		t.Errorf("joined a dead one: %v", how)
	}
	want(t, r, []byte("new"))
	r.Close()
}

func TestBounds(t *testing.T) {
	clock := time.Unix(1_700_000_000, 0)
	dir := filepath.Join(t.TempDir(), "a")
	c := open(t, answers.Config{
		Dir: dir, Bytes: 10 << 20, Memory: 10_000, Small: 5000, Age: time.Hour,
		Now: func() time.Time { return clock },
	})
	get := func(name string, size int) answers.How {
		r, how := c.Get(key(name), fill(text(size)))
		defer r.Close()
		want(t, r, text(size))
		return how
	}
	twice := func(name string, size int) {
		get(name, size)
		get(name, size)
	}
	for _, n := range []string{"a", "b", "c"} {
		twice(n, 4<<20)
	}
	if n, disk := c.Kept(); n != 2 || disk != 8<<20 || files(t, dir) != 2 {
		t.Errorf("%d kept with %d bytes in %d files", n, disk, files(t, dir))
	}
	if get("c", 4<<20) != answers.Hit || get("a", 4<<20) == answers.Hit {
		t.Error("the wrong one was forgotten")
	}
	for _, n := range []string{"d", "e", "f"} {
		twice(n, 4000)
	}
	if get("f", 4000) != answers.Hit || get("d", 4000) == answers.Hit {
		t.Error("memory is not bounded")
	}
	clock = clock.Add(time.Hour + time.Second)
	c.Sweep()
	if n, disk := c.Kept(); n != 0 || disk != 0 || files(t, dir) != 0 {
		t.Errorf("after its age: %d kept with %d bytes in %d files", n, disk, files(t, dir))
	}
}

func TestNextHeedsItsContext(t *testing.T) {
	c := open(t, answers.Config{Bytes: 1 << 20})
	r, _ := c.Get(key("x"), func(ctx context.Context, _ io.Writer) error {
		<-ctx.Done()
		return ctx.Err()
	})
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Next(ctx, make([]byte, 10)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Readers that come, stall, leave early and join late, writers that fail, and too little room: a
// reader that gets to the end has the whole answer.
func TestChurn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	c := open(t, answers.Config{Dir: dir, Bytes: 3 << 20, Memory: 100_000, Small: 130_000, Patience: time.Millisecond})
	boom := errors.New("boom")
	bodies := map[string][]byte{}
	names := []string{"a", "b", "c", "d", "e", "f"}
	for i, n := range names {
		bodies[n] = text(1 << (10 + 2*i))
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(7, uint64(worker)))
			buf := make([]byte, 1+rnd.IntN(100_000))
			for range 60 {
				name := names[rnd.IntN(len(names))]
				body := bodies[name]
				breaks := rnd.IntN(5) == 0
				r, _ := c.Get(key(name), func(_ context.Context, w io.Writer) error {
					upTo := len(body)
					if breaks {
						upTo /= 2
					}
					for at := 0; at < upTo; at += 50_000 {
						if _, err := w.Write(body[at:min(at+50_000, upTo)]); err != nil {
							return err
						}
					}
					if breaks {
						return boom
					}
					return nil
				})
				leaveAt := len(body) + 1
				if rnd.IntN(4) == 0 {
					leaveAt = rnd.IntN(len(body))
				}
				for at := 0; at < leaveAt; {
					n, err := r.Next(t.Context(), buf)
					if !bytes.Equal(buf[:n], body[at:at+n]) {
						t.Errorf("%s: other bytes at %d", name, at)
						break
					}
					at += n
					if err == io.EOF && at != len(body) {
						t.Errorf("%s ended at %d of %d", name, at, len(body))
					}
					if err != nil {
						break
					}
				}
				r.Close()
			}
		})
	}
	wg.Wait()
	c.Close()
	if n, disk := c.Kept(); n != 0 || disk != 0 || files(t, dir) != 0 {
		t.Errorf("left behind: %d answers, %d bytes, %d files", n, disk, files(t, dir))
	}
}

// A writer with patience waits for the only reader of an answer that nobody asked for before, and needs no file.
func TestPatience(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	c := open(t, answers.Config{Dir: dir, Bytes: 1 << 30, Small: 100_000, Patience: time.Hour})
	body := text(3 << 20)
	r, _ := c.Get(key("x"), func(_ context.Context, w io.Writer) error {
		for at := 0; at < len(body); at += 10_000 {
			if _, err := w.Write(body[at:min(at+10_000, len(body))]); err != nil {
				return err
			}
			if n := files(t, dir); n != 0 {
				t.Errorf("%d files", n)
			}
		}
		return nil
	})
	want(t, r, body)
	r.Close()
}

// It ends: a reader that stalls holds no writer. Nor does one that goes, or who joins.
func TestPatienceEnds(t *testing.T) {
	c := open(t, answers.Config{Bytes: 1 << 30, Small: 100_000, Patience: 20 * time.Millisecond})
	body := text(1 << 20)
	pieces := func(ended chan error) answers.Fill {
		return func(_ context.Context, w io.Writer) (err error) {
			defer func() { ended <- err }()
			for at := 0; at < len(body) && err == nil; at += 10_000 {
				_, err = w.Write(body[at:min(at+10_000, len(body))])
			}
			return err
		}
	}
	ended := make(chan error, 1)
	r, _ := c.Get(key("stalls"), pieces(ended))
	if err := <-ended; err != nil {
		t.Error(err)
	}
	want(t, r, body)
	r.Close()

	patient := open(t, answers.Config{Bytes: 1 << 30, Small: 100_000, Patience: time.Hour})
	r, _ = patient.Get(key("goes"), pieces(ended))
	if n, err := r.Next(t.Context(), make([]byte, 10)); n == 0 || err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := <-ended; err == nil {
		t.Error("the writer of an answer that nobody reads came to its end")
	}
}

// More than one piece can hold goes to a file at once.
func TestPatienceLargePiece(t *testing.T) {
	c := open(t, answers.Config{Bytes: 1 << 30, Small: 100_000, Patience: time.Hour})
	body := text(1 << 20)
	ended := make(chan struct{})
	r, _ := c.Get(key("x"), func(_ context.Context, w io.Writer) error {
		defer close(ended)
		_, err := w.Write(body)
		return err
	})
	<-ended
	want(t, r, body)
	r.Close()
}

// Where two read one answer nothing of it may be forgotten, however much both have taken: the writer does not wait
// for that, not even for a moment. The clock stands still, so patience would never end.
func TestPatienceOfTwo(t *testing.T) {
	now := time.Now()
	c := open(t, answers.Config{Bytes: 1 << 30, Small: 100_000, Patience: time.Hour, Now: func() time.Time { return now }})
	body := text(1 << 20)
	turn := make(chan struct{})
	pieces := func(_ context.Context, w io.Writer) error {
		for at := 0; at < len(body); at += 50_000 {
			<-turn
			if _, err := w.Write(body[at:min(at+50_000, len(body))]); err != nil {
				return err
			}
		}
		return nil
	}
	var both []*answers.Reader
	for range 2 {
		r, _ := c.Get(key("x"), pieces)
		defer r.Close()
		both = append(both, r)
	}
	ended := time.AfterFunc(time.Minute, func() { panic("the writer is waiting") })
	defer ended.Stop()
	got := [2][]byte{}
	buf := [10_000]byte{}
	for at := 0; at < len(body); at += 50_000 {
		turn <- struct{}{}
		for i, r := range both {
			for len(got[i]) < min(at+50_000, len(body)) {
				n, err := r.Next(t.Context(), buf[:])
				if err != nil {
					t.Fatal(err)
				}
				got[i] = append(got[i], buf[:n]...)
			}
		}
	}
	for i, r := range both {
		if rest, err := all(t, r); err != nil || len(rest) != 0 || !bytes.Equal(got[i], body) {
			t.Errorf("reader %d got %d bytes, and %d at the end, %v", i, len(got[i]), len(rest), err)
		}
	}
}

package githttp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/answers"
	"github.com/gitroost/gitroost/internal/githttp"
)

func keeping(t *testing.T) *answers.Cache {
	t.Helper()
	c, err := answers.Open(answers.Config{Dir: filepath.Join(t.TempDir(), "answers"), Bytes: 1 << 30, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// holding is a desk whose repository has branches at oids.
func holding(gen uint64, oids ...string) *fakeDesk {
	refs := grasp.Refs{}
	for i, o := range oids {
		refs[grasp.RefName(fmt.Sprintf("refs/heads/b%d", i))] = grasp.OID(o)
	}
	snap := &grasp.Snapshot{Refs: refs.List(), Head: grasp.DefaultHead, Gen: gen}
	return &fakeDesk{refs: func() (*grasp.Snapshot, error) { return snap, nil }}
}

const otherOne = "2222222222222222222222222222222222222222"

var wantOne = pkts("command=fetch", "0001", "want "+one, "done", "0000")

// The same fetch, again and again and at the same time, costs one git for as long as the refs stay
// where they are; the wants may come in any order and twice.
func TestSameFetchIsMadeOnce(t *testing.T) {
	const two = otherOne
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	git := &fakeGit{run: func(_ context.Context, _ int, _ io.Reader, w io.Writer) error {
		_, err := w.Write(body)
		return err
	}}
	d := holding(1, one, two)
	moved := holding(2, one, two)
	h := open(t, githttp.Config{Answers: keeping(t)}, d, git)
	ask := func(wants ...string) {
		t.Helper()
		lines := []string{"command=fetch", "0001"}
		for _, w := range wants {
			lines = append(lines, "want "+w)
		}
		a := h.fetch(pkts(append(lines, "done", "0000")...), "Git-Protocol: version=2")
		if a.StatusCode != 200 || a.body != string(body) {
			t.Fatalf("%d, %d bytes", a.StatusCode, len(a.body))
		}
	}
	ask(one, two)
	ask(two, one, two)
	if n := git.started.Load(); n != 2 {
		t.Fatalf("git ran %d times for the first two", n)
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { ask(one, two) })
	}
	wg.Wait()
	if n := git.started.Load(); n != 2 {
		t.Errorf("git ran %d times", n)
	}
	if n, b := h.Stats().FetchCached.Load(), h.Stats().BytesCached.Load(); n != 10 || b != 10*int64(len(body)) {
		t.Errorf("%d fetches and %d bytes are counted as shared", n, b)
	}
	d.refs = moved.refs
	ask(one, two)
	if n := git.started.Load(); n != 3 {
		t.Errorf("after a push git ran %d times", n)
	}
	ask(one)
	if n := git.started.Load(); n != 4 {
		t.Errorf("for another want git ran %d times", n)
	}
}

// A client that stops reading holds neither git nor a slot (hardening §4).
func TestStalledClientHoldsNothing(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // more than all buffers on the way
	ended := make(chan struct{}, 1)
	git := &fakeGit{run: func(_ context.Context, _ int, _ io.Reader, w io.Writer) error {
		defer func() { ended <- struct{}{} }()
		_, err := w.Write(body)
		return err
	}}
	h := open(t, githttp.Config{Answers: keeping(t), MaxFetches: 1}, holding(1, one), git)
	conn, err := net.Dial("tcp", h.srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /%s/demo.git/git-upload-pack HTTP/1.1\r\nHost: x\r\nGit-Protocol: version=2\r\n%s\r\nContent-Length: %d\r\n\r\n%s",
		owner.Npub(), uploadType, len(wantOne), wantOne)
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		t.Fatal("git waits for a client that does not read")
	}
	if a := h.fetch(wantOne, "Git-Protocol: version=2"); a.StatusCode != 200 || a.body != string(body) {
		t.Errorf("another client: %d, %d bytes", a.StatusCode, len(a.body))
	}
	// And it gets all of it when it goes on.
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != string(body) {
		t.Errorf("the stalled client: %d bytes, %v", len(got), err)
	}
}

// An answer that breaks off does not end like a whole one, for nobody who follows it.
func TestBrokenAnswerBreaks(t *testing.T) {
	for name, cache := range map[string]bool{"kept": true, "passed on": false} {
		t.Run(name, func(t *testing.T) {
			begun, goOn := make(chan struct{}), make(chan struct{})
			begin := sync.OnceFunc(func() { close(begun) })
			git := &fakeGit{run: func(_ context.Context, _ int, _ io.Reader, w io.Writer) error {
				w.Write([]byte("000dpackfile\n"))
				begin()
				<-goOn
				return errors.New("killed")
			}}
			cfg := githttp.Config{}
			if cache {
				cfg.Answers = keeping(t)
			}
			h := open(t, cfg, holding(1, one), git)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					req, _ := http.NewRequest("POST", h.srv.URL+"/"+owner.Npub()+"/demo.git/git-upload-pack", strings.NewReader(wantOne))
					req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
					req.Header.Set("Git-Protocol", "version=2")
					resp, err := http.DefaultClient.Do(req)
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					if b, err := io.ReadAll(resp.Body); err == nil {
						t.Errorf("%q ended well", b)
					}
				})
			}
			<-begun
			close(goOn)
			wg.Wait()
		})
	}
}

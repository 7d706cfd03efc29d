package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/client"
)

// relay is the least that a client can talk to: it keeps what it accepts and finds it again.
type relay struct {
	*httptest.Server
	accept func(*nostr.Event) (bool, string) // nil accepts everything
	noise  []string                          // sent before every answer
	dead   chan struct{}                     // if set, nothing is answered until it is closed

	mu     sync.Mutex
	events []*nostr.Event
}

func newRelay(t *testing.T) *relay {
	r := &relay{}
	var up websocket.Upgrader
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		conn, err := up.Upgrade(w, req, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			_, data, err := conn.ReadMessage()
			if err != nil {
				return
			}
			if r.dead != nil {
				<-r.dead
				return
			}
			for _, n := range r.noise {
				conn.WriteMessage(websocket.TextMessage, []byte(n))
			}
			for _, answer := range r.answer(data) {
				conn.WriteJSON(answer)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *relay) answer(data []byte) (out [][]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var parts []json.RawMessage
	json.Unmarshal(data, &parts)
	switch kind := string(parts[0]); kind {
	case `"EVENT"`:
		var ev nostr.Event
		if err := json.Unmarshal(parts[1], &ev); err != nil {
			return nil
		}
		ok, text := true, ""
		if r.accept != nil {
			ok, text = r.accept(&ev)
		}
		if ok {
			r.events = append(r.events, &ev)
		}
		return [][]any{{"OK", ev.ID, ok, text}}
	case `"REQ"`:
		var sub string
		var f nostr.Filter
		json.Unmarshal(parts[1], &sub)
		json.Unmarshal(parts[2], &f)
		for _, ev := range r.events {
			if f.Matches(ev) {
				out = append(out, []any{"EVENT", sub, ev})
			}
		}
		return append(out, []any{"EOSE", sub})
	}
	return nil
}

func (r *relay) server(t *testing.T) client.Server {
	t.Helper()
	s, err := client.ParseServer(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// git runs the installed git away from the configuration of whoever runs the test. from is
// answered by the repository at to.
func git(from, to string) client.Git {
	return func(ctx context.Context, dir string, args ...string) (string, string, error) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = dir
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL=a@example.com",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=url." + to + ".insteadOf", "GIT_CONFIG_VALUE_0=" + from,
		}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		return stdout.String(), stderr.String(), err
	}
}

type world struct {
	t      *testing.T
	relay  *relay
	c      *client.Client
	key    client.Key
	dir    string // the working copy
	bare   string // what the server would hold
	home   client.Home
	clock  time.Time
	server client.Server
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, relay: newRelay(t), dir: t.TempDir(), bare: t.TempDir(), clock: time.Unix(1800000000, 0)}
	key, err := client.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	w.key = key
	w.server = w.relay.server(t)
	w.home = client.Home{Server: w.server, Addr: grasp.Addr{Owner: key.Public(), ID: "hello"}}
	w.c = &client.Client{Git: git(w.server.Clone(w.home.Addr), w.bare), Now: func() time.Time { return w.clock }}
	w.git(w.bare, "init", "-q", "--bare")
	w.git(w.dir, "init", "-q", "-b", "main")
	w.commit("one")
	return w
}

func (w *world) git(dir string, args ...string) string {
	w.t.Helper()
	out, stderr, err := w.c.Git(w.t.Context(), dir, args...)
	if err != nil {
		w.t.Fatalf("git %q: %v: %s", args, err, stderr)
	}
	return strings.TrimSpace(out)
}

func (w *world) commit(text string) grasp.OID {
	w.t.Helper()
	w.git(w.dir, "commit", "-q", "--allow-empty", "-m", text)
	return grasp.OID(w.git(w.dir, "rev-parse", "HEAD"))
}

func (w *world) push(p client.Push) (client.Pushed, error) {
	p.Dir, p.Home, p.Key = w.dir, w.home, w.key
	return w.c.Push(w.t.Context(), p)
}

// state returns what the newest state on the relay says.
func (w *world) state() grasp.State {
	w.t.Helper()
	w.relay.mu.Lock()
	defer w.relay.mu.Unlock()
	for _, ev := range slices.Backward(w.relay.events) {
		if ev.Kind == grasp.KindState {
			s, err := grasp.ParseState(ev)
			if err != nil {
				w.t.Fatal(err)
			}
			return s
		}
	}
	w.t.Fatal("no state was published")
	return grasp.State{}
}

package torture_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

const (
	perNetwork = 500 // repositories that one network announces; fewer than it may
	related    = 8   // events about each of them, beside its announcement and its state
)

// New keys announce -crush repositories that nobody ever pushes to, and talk about them: ten events
// for each. Half of what would wait may, or 50,000. The server's memory grows by 64 MiB at most, its disk by
// what waits, and no repository gets a folder (hardening §10, G01-408).
func TestPurgatoryFlood(t *testing.T) {
	r := newRun(t)
	waiting := min(*crush, 50_000)
	r.srv.args = []string{"--trusted-proxies=127.0.0.1", "--admin.listen=" + freeAddr(t), "--log.format=json", "--log.level=warn",
		fmt.Sprint("--limits.waiting=", waiting), fmt.Sprint("--limits.waiting-per-address=", min(waiting, 1000)), fmt.Sprint("--limits.waiting-per-key=", min(waiting, 100)),
		"--limits.events-per-minute=100000", "--limits.event-burst=100000",
		"--limits.address-events-per-minute=1000000", "--limits.address-event-burst=1000000", "--limits.address-byte-burst=1GiB"}
	r.srv.start()
	f := &flooder{addr: r.srv.addr}
	var sent, held, full, unrelated atomic.Int64
	var networks []int
	for i := range max(1, *crush/perNetwork) {
		networks = append(networks, i)
	}
	visit := func(n, repos int) {
		ws, err := dialFrom(context.Background(), r.srv.addr, fmt.Sprintf("10.%d.%d.1", n/250, n%250), 0)
		if err != nil {
			r.fault("not connected: %v", err)
			return
		}
		defer ws.Close()
		rnd := rand.New(rand.NewPCG(uint64(r.seed), uint64(n)))
		for range repos {
			evs := f.estate(rnd)
			for _, ev := range evs {
				b, err := json.Marshal([]any{"EVENT", ev})
				if err == nil {
					err = text(ws, b)
				}
				if err != nil {
					r.fault("cut off: %v", err)
					return
				}
			}
			for _, ev := range evs {
				answer, err := okOf(ws, ev.ID)
				sent.Add(1)
				switch {
				case err != nil:
					r.fault("kind %d: %v", ev.Kind, err)
					return
				case strings.Contains(answer, "purgatory: "):
					held.Add(1)
				case strings.Contains(answer, "wait for their git data"):
					full.Add(1)
				case strings.Contains(answer, `"blocked: `), strings.Contains(answer, `"invalid: no announcement`):
					unrelated.Add(1)
				default:
					r.fault("kind %d is answered %s", ev.Kind, answer)
				}
			}
		}
	}
	visit(1000, 100) // what every server needs is not what is measured
	before, disk := memory(t, r.srv.pid(), "VmRSS"), diskUse(r.srv.data)
	began := time.Now()
	each(4, networks, func(n int) { visit(n, min(*crush, perNetwork)) })
	took := time.Since(began)
	r.settleFaults("flood")

	grown, onDisk := memory(t, r.srv.pid(), "VmHWM")-before, diskUse(r.srv.data)-disk
	t.Logf("%d events in %v: %d wait, %d found no room, %d related to nothing; %d MiB more memory, %d MiB more on disk",
		sent.Load(), took.Round(time.Millisecond), held.Load(), full.Load(), unrelated.Load(), grown>>20, onDisk>>20)
	// Those who knock at the same moment may find the same place free.
	if n := held.Load(); n > int64(waiting)+8 || n < int64(waiting)*9/10 {
		t.Errorf("%d events wait, of %d that may", n, waiting)
	}
	if full.Load() == 0 {
		t.Error("there was room for everybody")
	}
	if grown > allowance {
		t.Errorf("the server grew by %d MiB, at most %d are allowed", grown>>20, allowance>>20)
	}
	// An event is about 1 KiB, and is found by several indexes; the log that goes before may be as large.
	if most := int64(waiting)*4096 + 32<<20; onDisk > most {
		t.Errorf("the data grew by %d MiB, at most %d are allowed", onDisk>>20, most>>20)
	}
	folders, err := os.ReadDir(filepath.Join(r.srv.data, "git"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(folders) > 0 {
		t.Errorf("%d folders for repositories to which nobody pushed (%v)", len(folders), err)
	}
}

// estate is what one key says of a repository that will never be there.
func (f *flooder) estate(rnd *rand.Rand) []*nostr.Event {
	secret := fmt.Sprintf("%016x%016x%016x%016x", rnd.Uint64()|1, rnd.Uint64(), rnd.Uint64(), rnd.Uint64())
	pub, err := nostr.GetPublicKey(secret)
	if err != nil {
		panic(err)
	}
	id := fmt.Sprintf("nothing-%x", rnd.Uint32())
	address := grasp.Addr{Owner: grasp.PubKey(pub), ID: id}.Coordinate()
	evs := []*nostr.Event{
		{Kind: grasp.KindAnnouncement, Tags: nostr.Tags{{"d", id}, {"clone", "http://" + f.addr + "/" + grasp.PubKey(pub).Npub() + "/" + id + ".git"}, {"relays", "ws://" + f.addr}}},
		{Kind: grasp.KindState, Tags: nostr.Tags{{"d", id}, {"refs/heads/main", fmt.Sprintf("%040x", rnd.Uint64())}, {"HEAD", "ref: refs/heads/main"}}},
	}
	for i := range related {
		evs = append(evs, &nostr.Event{Kind: kindIssue, Content: fmt.Sprint("Issue ", i), Tags: nostr.Tags{{"a", address}, {"p", pub}}})
	}
	for _, ev := range evs {
		ev.CreatedAt = nostr.Now()
		if err := ev.Sign(secret); err != nil {
			panic(err)
		}
	}
	return evs
}

// okOf reads the OK for an event, whole.
func okOf(ws *websocket.Conn, id string) (string, error) {
	ws.SetReadDeadline(time.Now().Add(patience))
	for {
		_, b, err := ws.ReadMessage()
		if err != nil || bytes.HasPrefix(b, []byte(`["OK","`+id)) {
			return string(b), err
		}
	}
}

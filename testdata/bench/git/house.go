package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/client"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
)

// A house is our server on a data folder of its own, and the person who owns what is in it.
type house struct {
	program string
	data    string
	addr    string
	box     *box
	key     client.Key
	relay   *client.Relay
	at      map[string]int64 // of the newest state of a repository, seconds
	args    []string
}

// past is the time of the first events: far enough back for a second per push.
var past = time.Now().Add(-20 * 24 * time.Hour).Unix()

func newHouse(program, data string) (*house, error) {
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	key, err := client.NewKey()
	if err != nil {
		return nil, err
	}
	h := &house{program: program, data: data, addr: addr, key: key, at: map[string]int64{}}
	h.args, err = generous(program)
	return h, err
}

// generous returns flags that lift the limits on what one visitor may do: here one address is
// everybody. Durability and all else stay as they are.
func generous(program string) ([]string, error) {
	help, err := exec.Command(program, "help", "serve").Output()
	if err != nil {
		return nil, fmt.Errorf("%s help serve: %w", program, err)
	}
	out := []string{"--purgatory.ttl=24h", "--purgatory.orphan-ttl=24h"}
	for line := range strings.Lines(string(help)) {
		f := strings.Fields(line)
		if len(f) != 2 || !strings.HasPrefix(f[0], "--limits.") || !perVisitor.MatchString(f[0]) {
			continue
		}
		if _, err := strconv.Atoi(f[1]); err != nil {
			continue
		}
		for _, most := range []string{"1000000", "100000", "10000"} {
			flag := f[0] + "=" + most
			if exec.Command(program, "config", "show", flag).Run() == nil {
				out = append(out, flag)
				break
			}
		}
	}
	return out, nil
}

// perVisitor finds limits on what one address, key or connection may do.
var perVisitor = regexp.MustCompile(`per-|burst|waiting|new-repos|address|connections|subscriptions`)

func (h *house) url() string { return "http://" + h.addr }

func (h *house) command() *exec.Cmd {
	cmd := exec.Command(h.program, append([]string{"serve", "--listen", h.addr, "--data", h.data}, h.args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.data}
	return cmd
}

// start starts the server and waits until it serves.
func (h *house) start() error {
	h.box = newBox(ours + filepath.Base(filepath.Dir(h.data)))
	log, err := os.OpenFile(h.data+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := h.command()
	cmd.Stderr = log
	if err := h.box.start(cmd); err != nil {
		return err
	}
	if err := h.healthy(); err != nil {
		text, _ := os.ReadFile(h.data + ".log")
		return fmt.Errorf("%w; its log ends with: %s", err, text[max(0, len(text)-2000):])
	}
	h.relay, err = client.Dial(context.Background(), "ws://"+h.addr)
	return err
}

// healthy waits until the server answers.
func (h *house) healthy() error {
	for end := time.Now().Add(time.Minute); ; {
		resp, err := http.Get(h.url() + "/health")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("/health answers %d", resp.StatusCode)
		}
		if time.Now().After(end) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

func (h *house) stop() error {
	if h.relay != nil {
		h.relay.Close()
		h.relay = nil
	}
	if h.box == nil {
		return nil
	}
	err := h.box.stop()
	h.box.close()
	h.box = nil
	return err
}

func (h *house) home(id string) grasp.Addr { return grasp.Addr{Owner: h.key.Public(), ID: id} }

func (h *house) clone(id string) string {
	return h.url() + "/" + h.key.Public().Npub() + "/" + id + ".git"
}

func (h *house) dir(id string) string {
	path, err := gitdir.Path(h.data, h.home(id))
	if err != nil {
		return "" // no name of the bench is unfit for a path
	}
	return path
}

// announcement returns a signed announcement of id by key.
func (h *house) announcement(key client.Key, id string) (*nostr.Event, error) {
	ev := client.Announcement{
		ID: id, Name: id, Clone: []string{h.url() + "/" + key.Public().Npub() + "/" + id + ".git"}, Relays: []string{"ws://" + h.addr},
	}.Event(time.Unix(past, 0))
	return ev, key.Sign(ev)
}

// state returns a signed state of id, newer than all before.
func (h *house) state(key client.Key, id string, refs map[string]string) (*nostr.Event, error) {
	s := client.State{ID: id, Refs: grasp.Refs{}, Head: "refs/heads/main"}
	for n, o := range refs {
		s.Refs[grasp.RefName(n)] = grasp.OID(o)
	}
	h.at[id]++
	ev := s.Event(time.Unix(past+h.at[id], 0))
	return ev, key.Sign(ev)
}

// publish hands ev to the relay. A connection on which nothing was said for long may have been
// closed: nobody answered its pings.
func (h *house) publish(ev *nostr.Event) error {
	ans, err := h.relay.Publish(context.Background(), ev)
	if err != nil {
		h.relay.Close()
		if h.relay, err = client.Dial(context.Background(), "ws://"+h.addr); err != nil {
			return err
		}
		ans, err = h.relay.Publish(context.Background(), ev)
	}
	if err == nil && !ans.OK {
		err = fmt.Errorf("kind %d is refused: %s", ev.Kind, ans.Message)
	}
	return err
}

// announce makes a repository.
func (h *house) announce(id string) error {
	ev, err := h.announcement(h.key, id)
	if err == nil {
		err = h.publish(ev)
	}
	return err
}

// say publishes a state.
func (h *house) say(id string, refs map[string]string) error {
	ev, err := h.state(h.key, id, refs)
	if err == nil {
		err = h.publish(ev)
	}
	return err
}

// seed brings the branches and tags of r to the server as everybody does: announced, stated, and
// pushed with git.
func (h *house) seed(r *repository, id string) error {
	if err := h.announce(id); err != nil {
		return err
	}
	if err := h.say(id, r.heads()); err != nil {
		return err
	}
	return h.bring(r, id)
}

// bring pushes the branches and tags of r with git.
func (h *house) bring(r *repository, id string) error {
	_, err := git(r.dir, "push", "-q", h.clone(id), "refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*")
	return err
}

// pulls gives the repositories ids the PR refs of r, and the events that go with them. It writes
// to the data folder of a server that is not running: fifty thousand people would take too long.
func (h *house) pulls(r *repository, ids ...string) error {
	s, err := store.Open(context.Background(), filepath.Join(h.data, "gitroost.db"), store.Config{Now: time.Now, Batch: 2000, Queue: 4000})
	if err != nil {
		return err
	}
	defer s.Close()
	var names []string
	for n := range r.refs {
		if strings.HasPrefix(n, "refs/nostr/") {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	err = each(256, len(names), func(i int) error {
		ev := &nostr.Event{
			ID: strings.TrimPrefix(names[i], "refs/nostr/"), PubKey: string(h.key.Public()), Kind: grasp.KindPull, CreatedAt: nostr.Timestamp(past),
			Tags: nostr.Tags{{"c", r.refs[names[i]]}}, Sig: strings.Repeat("0", 128),
		}
		for _, id := range ids {
			ev.Tags = append(ev.Tags, nostr.Tag{"a", fmt.Sprintf("%d:%s:%s", grasp.KindAnnouncement, h.key.Public(), id)})
		}
		return putServed(s, ev)
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		var m steward.Moved
		m.Repo = h.home(id)
		for _, n := range names {
			m.Changes = append(m.Changes, grasp.RefChange{Ref: grasp.RefName(n), Old: zero, New: grasp.OID(r.refs[n])})
		}
		if _, err := s.Commit(context.Background(), steward.Change{Moves: []steward.Moved{m}}); err != nil {
			return err
		}
		if err := addRefs(h.dir(id), names, r.refs); err != nil {
			return err
		}
	}
	return nil
}

func putServed(s *store.Store, ev *nostr.Event) error {
	_, err := s.Commit(context.Background(), steward.Change{Put: &steward.Entry{
		Event: ev, Raw: []byte(ev.String()), Shelf: grasp.Served, Received: time.Unix(past, 0),
	}})
	return err
}

// addRefs adds refs to the packed refs of a bare repository.
func addRefs(dir string, names []string, refs map[string]string) error {
	file := filepath.Join(dir, "packed-refs")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	// A ref and the line of what it peels to stay together.
	type row struct{ name, text string }
	var rows []row
	head := ""
	for line := range strings.Lines(string(text)) {
		switch line[0] {
		case '#':
			head = line
		case '^':
			rows[len(rows)-1].text += line
		default:
			rows = append(rows, row{line[41:], line})
		}
	}
	for _, n := range names {
		rows = append(rows, row{n + "\n", refs[n] + " " + n + "\n"})
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.name, b.name) })
	var b strings.Builder
	b.WriteString(head)
	for _, r := range rows {
		b.WriteString(r.text)
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// each calls do for 0…n-1, workers at a time, and returns the first errors.
func each(workers, n int, do func(i int) error) error {
	var next, failed atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed.Load() == 0; i = int(next.Add(1)) - 1 {
				if errs[w] = do(i); errs[w] != nil {
					failed.Add(1)
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// strangers lets n other people announce a repository of the same name, and state something that
// nobody ever pushes.
func (h *house) strangers(n int, id string) error {
	relays := make([]*client.Relay, 8)
	for i := range relays {
		var err error
		if relays[i], err = client.Dial(context.Background(), "ws://"+h.addr); err != nil {
			return err
		}
		defer relays[i].Close()
	}
	var next atomic.Int64
	return each(len(relays), len(relays), func(w int) error {
		for next.Add(1) <= int64(n) {
			key, err := client.NewKey()
			if err != nil {
				return err
			}
			ann, err := h.announcement(key, id)
			if err != nil {
				return err
			}
			st := client.State{ID: id, Refs: grasp.Refs{"refs/heads/main": grasp.OID(pullID(1)[:40])}, Head: "refs/heads/main"}.Event(time.Unix(past+1, 0))
			if err := key.Sign(st); err != nil {
				return err
			}
			for _, ev := range []*nostr.Event{ann, st} {
				ans, err := relays[w].Publish(context.Background(), ev)
				if err != nil || !ans.OK {
					return fmt.Errorf("a stranger's kind %d: %v %v", ev.Kind, ans, err)
				}
			}
		}
		return nil
	})
}

// filledAt is the address of the house that fill makes: what is announced names it, and it outlives
// the ports of single runs.
const filledAt = "repos.bench.test"

// fill makes a data folder with many repositories and events, or finds it below cache. It writes
// through the store, as pulls does: each event is on its shelf and in every index that it would be in.
// A million events take some minutes.
func (h *house) fill(cache string, repos, events int, say func(string, ...any)) error {
	h.data = filepath.Join(cache, fmt.Sprintf("house-%s-%d-%d", recipe, repos, events))
	h.args = append(slices.Clone(h.args), "--domain", "http://"+filledAt)
	mark := filepath.Join(h.data, "filled")
	if _, err := os.Stat(mark); err == nil {
		return nil
	}
	say("making a data folder of %d repositories and %d events; it is kept in %s", repos, events, h.data)
	os.RemoveAll(h.data)
	if err := os.MkdirAll(h.data, 0o700); err != nil {
		return err
	}
	s, err := store.Open(context.Background(), filepath.Join(h.data, "gitroost.db"), store.Config{
		Now: time.Now, Batch: 4000, Queue: 8000, CacheKiB: 48 << 10, Recall: -1,
	})
	if err != nil {
		return err
	}
	owner := func(i int) string { return fmt.Sprintf("%064x", 0xa11ce+i%5000) }
	fake := func(i, kind int, tags ...nostr.Tag) *nostr.Event {
		return &nostr.Event{ID: pullID(1_000_000 + i), PubKey: owner(i), Kind: kind, CreatedAt: nostr.Timestamp(past + int64(i)), Tags: tags, Sig: strings.Repeat("0", 128), Content: "something that somebody wrote"}
	}
	var done atomic.Int64
	err = each(512, events, func(i int) error {
		if n := done.Add(1); n%100_000 == 0 {
			say("%d of %d events", n, events)
		}
		repo := grasp.Addr{Owner: grasp.PubKey(owner(i % repos)), ID: fmt.Sprintf("repo-%d", i%repos)}
		switch {
		case i < repos:
			clone := "http://" + filledAt + "/" + repo.Owner.Npub() + "/" + repo.ID + ".git"
			ev := fake(i, grasp.KindAnnouncement, nostr.Tag{"d", repo.ID}, nostr.Tag{"clone", clone}, nostr.Tag{"relays", "ws://" + filledAt})
			_, err := s.Commit(context.Background(), steward.Change{
				Put:   &steward.Entry{Event: ev, Raw: []byte(ev.String()), Shelf: grasp.Served, Received: time.Unix(past, 0)},
				Repos: []steward.Repo{{Addr: repo, Hosting: grasp.Live, Since: time.Unix(past, 0)}},
			})
			if err != nil {
				return err
			}
			return emptyRepository(h.data, repo)
		case i < 2*repos:
			ev := fake(i, grasp.KindState, nostr.Tag{"d", repo.ID}, nostr.Tag{"HEAD", "ref: refs/heads/main"})
			_, err := s.Commit(context.Background(), steward.Change{
				Put: &steward.Entry{Event: ev, Raw: []byte(ev.String()), Shelf: grasp.Served, Received: time.Unix(past, 0)},
			})
			return err
		}
		return putServed(s, fake(i, 1621, nostr.Tag{"a", fmt.Sprintf("%d:%s:%s", grasp.KindAnnouncement, repo.Owner, repo.ID)}, nostr.Tag{"p", string(repo.Owner)}))
	})
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	return os.WriteFile(mark, nil, 0o644)
}

// emptyRepository makes the folder that git needs to see one.
func emptyRepository(data string, repo grasp.Addr) error {
	dir, err := gitdir.Path(data, repo)
	if err != nil {
		return err
	}
	for _, d := range []string{"objects/pack", "refs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "HEAD"), []byte("ref: refs/heads/main\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "config"), []byte("[core]\n\trepositoryformatversion = 0\n\tbare = true\n"), 0o644),
	)
}

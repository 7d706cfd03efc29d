package torture_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/client"
)

// A person signs.
type person struct {
	name string
	key  client.Key
}

func (r *run) person(name string) *person {
	r.t.Helper()
	sum := sha256.Sum256(fmt.Appendf(nil, "%d key %s", r.seed, name))
	key, err := client.ParseKey(hex.EncodeToString(sum[:]))
	if err != nil {
		r.t.Fatal(err)
	}
	return &person{name, key}
}

func (p *person) pub() grasp.PubKey { return p.key.Public() }

// sign makes an event. It panics on a fault of the signing library.
func (p *person) sign(kind int, at int64, content string, tags ...nostr.Tag) *nostr.Event {
	ev := &nostr.Event{Kind: kind, CreatedAt: nostr.Timestamp(at), Content: content, Tags: tags}
	if err := p.key.Sign(ev); err != nil {
		panic(err)
	}
	return ev
}

// A pool is a bare repository full of commits that are pushed one after the other. No commit has
// an ancestor that comes after it.
type pool struct {
	dir     string
	commits []grasp.OID
	tags    []grasp.OID // annotated, of commits[10*i]
	pulls   []grasp.OID // commits on top of commits[0], which nothing else contains
}

// newPool makes a pool. Every eighth commit is large, so that its push takes a while.
func newPool(t testing.TB, dir string, rnd *rand.Rand, commits, pulls int) *pool {
	t.Helper()
	p := &pool{dir: dir}
	if out, err := git(context.Background(), ".", nil, "init", "-q", "--bare", dir); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	var in bytes.Buffer
	mark := 0
	var made []int // marks, in the order commits, tags, pulls
	commit := func(parents ...int) int {
		size := 20 + rnd.IntN(3000)
		if rnd.IntN(8) == 0 {
			size = 50_000 + rnd.IntN(500_000)
		}
		content := make([]byte, size)
		for i := range content {
			content[i] = byte(rnd.Uint32())
		}
		mark += 2
		fmt.Fprintf(&in, "blob\nmark :%d\ndata %d\n%s\n", mark-1, size, content)
		fmt.Fprintf(&in, "commit refs/heads/pool\nmark :%d\ncommitter alice <alice@example.com> %d +0000\ndata 6\nchange\n",
			mark, 1_700_000_000+mark)
		for i, parent := range parents {
			fmt.Fprintf(&in, "%s :%d\n", [...]string{"from", "merge"}[min(i, 1)], parent)
		}
		fmt.Fprintf(&in, "M 100644 :%d file%d\n\n", mark-1, rnd.IntN(20))
		return mark
	}
	var line []int
	for i := range commits {
		switch {
		case i == 0:
			line = append(line, commit())
		case i > 3 && rnd.IntN(6) == 0:
			line = append(line, commit(line[i-1], line[i-1-1-rnd.IntN(3)]))
		default:
			line = append(line, commit(line[i-1-rnd.IntN(min(i, 4))]))
		}
	}
	made = append(made, line...)
	for i := 0; i < commits; i += 10 {
		mark++
		made = append(made, mark)
		fmt.Fprintf(&in, "tag v%d\nmark :%d\nfrom :%d\ntagger alice <alice@example.com> 1700000000 +0000\ndata 4\ntag\n\n", i, mark, line[i])
	}
	for range pulls {
		made = append(made, commit(line[0]))
	}
	in.WriteString("done\n")
	marks := filepath.Join(dir, "marks")
	if out, err := git(context.Background(), dir, &in, "fast-import", "--quiet", "--force", "--done", "--export-marks="+marks); err != nil {
		t.Fatalf("git fast-import: %v\n%s", err, out)
	}
	b, err := os.ReadFile(marks)
	if err != nil {
		t.Fatal(err)
	}
	byMark := map[string]grasp.OID{}
	for line := range strings.Lines(string(b)) {
		m, oid, _ := strings.Cut(strings.TrimSpace(line), " ")
		byMark[m] = grasp.OID(oid)
	}
	all := make([]grasp.OID, len(made))
	for i, m := range made {
		all[i] = byMark[fmt.Sprintf(":%d", m)]
	}
	ntags := (commits + 9) / 10
	p.commits, p.tags, p.pulls = all[:commits], all[commits:commits+ntags], all[commits+ntags:]
	return p
}

// A record is an event that somebody published, and what the server said to it.
type record struct {
	ev    *nostr.Event
	acked bool   // OK true came
	said  string // with this text
	asked time.Time
	heard time.Time // when it came
	gone  answer    // whether a deletion of it was confirmed
	by    *nostr.Event
}

// An answer is what is known of a request: nothing was asked, nobody knows, or the server said yes.
type answer int

const (
	never answer = iota
	maybe
	yes
)

// An outcome is what the repositories of a team may look like.
type outcome struct {
	refs  map[grasp.PubKey]grasp.Refs // branches and tags, by owner
	head  grasp.RefName               // "" is not looked at
	state grasp.EventID               // the newest that is served, or ""
}

func (o outcome) with(owner grasp.PubKey, refs grasp.Refs) outcome {
	out := outcome{refs: map[grasp.PubKey]grasp.Refs{}, state: o.state}
	for k, v := range o.refs {
		out.refs[k] = v
	}
	out.refs[owner] = refs
	return out
}

// A pull is a pull request on its way: event and commit travel apart.
type pull struct {
	by         *person
	ev         *nostr.Event
	tip        grasp.OID
	to         *person // whose repository the commit is pushed to
	gitFirst   bool
	told, sent answer
}

// A team works on one identifier: one or two owners with a repository each, and a maintainer who
// has none. Its maintainers take turns; one goroutine at a time acts for all of them.
type team struct {
	id      string
	owners  []*person
	members []*person // who may sign states: owners first
	pool    *pool
	rnd     *rand.Rand
	rounds  int  // it still lives
	leaving bool // its last act is to delete its repository

	at   int64 // created_at of the last event
	next int   // the next fresh commit of the pool
	used []grasp.OID

	announced map[grasp.PubKey]*record
	alts      []outcome     // what may be; one if nothing is open
	lingering bool          // a state newer than the one served waits
	tried     grasp.EventID // the state of the last operation
	pushCut   bool          // the last operation was cut off in its push
	deleted   answer

	// mu guards what others than the maintainers look at.
	mu      sync.Mutex
	open    bool // announcement and a state are served, and it is not about to be deleted
	records []*record
	pulls   []*pull
	seen    map[grasp.OID]bool // objects that the server has shown
	checked int                // records that were looked up already
}

// newTeam makes a team that lives for some rounds.
func (r *run) newTeam(n int) *team {
	rnd := r.rand(fmt.Sprint("team ", n))
	t := &team{
		id: fmt.Sprintf("%s-%d", [...]string{"tool", "My Tool", "löffel", "-x.git"}[n%4], n), rnd: rnd,
		rounds: 6 + rnd.IntN(8), at: time.Now().Unix() - 1_000_000,
		announced: map[grasp.PubKey]*record{}, seen: map[grasp.OID]bool{},
	}
	t.pool = newPool(r.t, filepath.Join(mustMkdir(r.t, r.dir, "pools"), fmt.Sprint(n)), rnd, 120, 30)
	t.owners = append(t.owners, r.person(fmt.Sprint("alice", n)))
	if n%2 == 1 {
		t.owners = append(t.owners, r.person(fmt.Sprint("bob", n)))
	}
	t.members = append(append(t.members, t.owners...), r.person(fmt.Sprint("carol", n)))
	first := outcome{refs: map[grasp.PubKey]grasp.Refs{}}
	for _, o := range t.owners {
		first.refs[o.pub()] = grasp.Refs{}
	}
	t.alts = []outcome{first}
	r.count(func(s *stats) { s.repositories += len(t.owners) })
	return t
}

// tick returns a created_at that is later than all before it.
func (t *team) tick() int64 {
	t.at++
	return t.at
}

func (t *team) addr(owner *person) grasp.Addr { return grasp.Addr{Owner: owner.pub(), ID: t.id} }

func (s *server) repo(a grasp.Addr) string {
	return s.url() + "/" + a.Owner.Npub() + "/" + url.PathEscape(a.ID) + ".git"
}

// announcement lists the server, and everybody of the team.
func (t *team) announcement(s *server, owner *person) *nostr.Event {
	all := nostr.Tag{"maintainers"}
	for _, m := range t.members {
		all = append(all, string(m.pub()))
	}
	return owner.sign(grasp.KindAnnouncement, t.tick(), "", nostr.Tag{"d", t.id},
		nostr.Tag{"clone", s.repo(t.addr(owner))}, nostr.Tag{"relays", s.relay()}, all)
}

// state signs refs. head is one of them.
func (t *team) state(by *person, refs grasp.Refs, head grasp.RefName) *nostr.Event {
	ev := client.State{ID: t.id, Refs: refs, Head: head}.Event(time.Unix(t.tick(), 0))
	if err := by.key.Sign(ev); err != nil {
		panic(err)
	}
	return ev
}

// fresh returns a commit that the server cannot have, or false if there are no more.
func (t *team) fresh() (grasp.OID, bool) {
	if t.next >= len(t.pool.commits) {
		return "", false
	}
	t.next++
	return t.pool.commits[t.next-1], true
}

// note remembers an event that is about to be published.
func (t *team) note(ev *nostr.Event) *record {
	rec := &record{ev: ev, asked: time.Now()}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.records = append(t.records, rec)
	return rec
}

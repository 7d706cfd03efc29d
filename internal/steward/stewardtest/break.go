package stewardtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
)

// A Breaker stands between a Steward and what it keeps its things in, counts the calls, and makes
// one of them fail. Its zero value only counts, once it is armed.
type Breaker struct {
	mu    sync.Mutex
	armed bool
	count map[string]int
	steps []string

	at     string // the step that fails, or ""
	after  bool   // it happens all the same
	deadly bool   // and nothing that comes later happens or is answered
	dead   bool
	fired  bool
	before map[string]func()
	behind map[string]func()
}

// Before has f called before every call of that name, such as "Due". nil ends that.
func (b *Breaker) Before(name string, f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.before == nil {
		b.before = make(map[string]func())
	}
	b.before[name] = f
}

// Behind has f called when a call of that name is over. nil ends that.
func (b *Breaker) Behind(name string, f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.behind == nil {
		b.behind = make(map[string]func())
	}
	b.behind[name] = f
}

// watch returns what has to be called around a call.
func (b *Breaker) watch(name string) (before, behind func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, behind = b.before[name], b.behind[name]
	if before == nil {
		before = func() {}
	}
	if behind == nil {
		behind = func() {}
	}
	return before, behind
}

// ErrBroken is what a call returns that was made to fail.
var ErrBroken = errors.New("broken on purpose")

// Count starts over, counting every call from now on.
func (b *Breaker) Count() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed, b.count, b.steps = true, make(map[string]int), nil
	b.at, b.after, b.deadly, b.dead, b.fired = "", false, false, false, false
}

// Break is Count, and makes the call at fail: one of those that Steps returned. With after it
// happens and is reported as failed; with deadly all later calls fail too, without effect.
func (b *Breaker) Break(at string, after, deadly bool) {
	b.Count()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at, b.after, b.deadly = at, after, deadly
}

// Mend lets everything through again, uncounted. It reports whether the call that was to fail came.
func (b *Breaker) Mend() (fired bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed, b.dead = false, false
	return b.fired
}

// Steps returns the calls that were counted, such as "Commit#2", in their order.
func (b *Breaker) Steps() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.steps...)
}

// step says what the call named name has to do.
func (b *Breaker) step(name string) (happens, fails bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.armed {
		return true, false
	}
	if b.dead {
		return false, true
	}
	b.count[name]++
	step := fmt.Sprintf("%s#%d", name, b.count[name])
	b.steps = append(b.steps, step)
	if step != b.at {
		return true, false
	}
	b.fired, b.dead = true, b.deadly
	return b.after, true
}

func call[T any](b *Breaker, name string, f func() (T, error)) (T, error) {
	var zero T
	before, behind := b.watch(name)
	before()
	defer behind()
	happens, fails := b.step(name)
	if !happens {
		return zero, ErrBroken
	}
	v, err := f()
	if fails {
		return zero, ErrBroken
	}
	return v, err
}

func do(b *Breaker, name string, f func() error) error {
	_, err := call(b, name, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// Ledger returns l with b in between.
func (b *Breaker) Ledger(l steward.Ledger) steward.Ledger { return &brokenLedger{b, l} }

// Vault returns v with b in between.
func (b *Breaker) Vault(v steward.Vault) steward.Vault { return &brokenVault{b, v} }

type brokenLedger struct {
	b *Breaker
	l steward.Ledger
}

func (x *brokenLedger) View(ctx context.Context, id string) (steward.Facts, error) {
	return call(x.b, "View", func() (steward.Facts, error) { return x.l.View(ctx, id) })
}

func (x *brokenLedger) Event(ctx context.Context, id grasp.EventID) (steward.Entry, error) {
	return call(x.b, "Event", func() (steward.Entry, error) { return x.l.Event(ctx, id) })
}

func (x *brokenLedger) Lookup(ctx context.Context, q steward.Question) (steward.Answer, error) {
	return call(x.b, "Lookup", func() (steward.Answer, error) { return x.l.Lookup(ctx, q) })
}

func (x *brokenLedger) Commit(ctx context.Context, c steward.Change) (steward.Receipt, error) {
	return call(x.b, "Commit", func() (steward.Receipt, error) { return x.l.Commit(ctx, c) })
}

func (x *brokenLedger) Due(ctx context.Context, now time.Time, limit int) (steward.Due, error) {
	return call(x.b, "Due", func() (steward.Due, error) { return x.l.Due(ctx, now, limit) })
}

func (x *brokenLedger) Unsettled(ctx context.Context) ([]string, error) {
	return call(x.b, "Unsettled", func() ([]string, error) { return x.l.Unsettled(ctx) })
}

func (x *brokenLedger) Placeholders(ctx context.Context, of steward.Orphan) ([]steward.Orphan, error) {
	return call(x.b, "Placeholders", func() ([]steward.Orphan, error) { return x.l.Placeholders(ctx, of) })
}

func (x *brokenLedger) Lost(ctx context.Context, id string) ([]steward.Orphan, error) {
	return call(x.b, "Lost", func() ([]steward.Orphan, error) { return x.l.Lost(ctx, id) })
}

func (x *brokenLedger) Unrecorded(ctx context.Context, repo grasp.Addr, now grasp.RefList) ([]grasp.RefChange, error) {
	return call(x.b, "Unrecorded", func() ([]grasp.RefChange, error) { return x.l.Unrecorded(ctx, repo, now) })
}

// Books returns k with b in between.
func (b *Breaker) Books(k steward.Books) steward.Books { return &brokenBooks{b, k} }

type brokenBooks struct {
	b *Breaker
	k steward.Books
}

func (x *brokenBooks) Rules(ctx context.Context) ([]grasp.Rule, error) {
	return call(x.b, "Rules", func() ([]grasp.Rule, error) { return x.k.Rules(ctx) })
}

func (x *brokenBooks) Decide(ctx context.Context, r grasp.Rule) (grasp.Rule, error) {
	return call(x.b, "Decide", func() (grasp.Rule, error) { return x.k.Decide(ctx, r) })
}

func (x *brokenBooks) Withdraw(ctx context.Context, s grasp.Subject, a grasp.Action) (bool, error) {
	return call(x.b, "Withdraw", func() (bool, error) { return x.k.Withdraw(ctx, s, a) })
}

func (x *brokenBooks) Concerned(ctx context.Context, s grasp.Subject, from steward.Mark, limit int) (list []steward.Entry, next steward.Mark, more bool, err error) {
	err = do(x.b, "Concerned", func() error {
		var err error
		list, next, more, err = x.k.Concerned(ctx, s, from, limit)
		return err
	})
	return list, next, more, err
}

func (x *brokenBooks) Homes(ctx context.Context, p grasp.Pattern, after grasp.Addr, limit int) ([]steward.Repo, error) {
	return call(x.b, "Homes", func() ([]steward.Repo, error) { return x.k.Homes(ctx, p, after, limit) })
}

func (x *brokenLedger) Weight(ctx context.Context, repo grasp.Addr) (steward.Weight, error) {
	return call(x.b, "Weight", func() (steward.Weight, error) { return x.l.Weight(ctx, repo) })
}

func (x *brokenLedger) Kept(ctx context.Context, owner grasp.PubKey, boxes bool) (steward.Kept, error) {
	return call(x.b, "Kept", func() (steward.Kept, error) { return x.l.Kept(ctx, owner, boxes) })
}

func (x *brokenLedger) Thread(ctx context.Context, id grasp.EventID) (steward.Thread, error) {
	return call(x.b, "Thread", func() (steward.Thread, error) { return x.l.Thread(ctx, id) })
}

func (x *brokenLedger) Tally(ctx context.Context, list []steward.Charge) ([]int, error) {
	return call(x.b, "Tally", func() ([]int, error) { return x.l.Tally(ctx, list) })
}

func (x *brokenLedger) Walk(ctx context.Context, after grasp.Addr, limit int) ([]steward.Weighed, error) {
	return call(x.b, "Walk", func() ([]steward.Weighed, error) { return x.l.Walk(ctx, after, limit) })
}

type brokenVault struct {
	b *Breaker
	v steward.Vault
}

func (x *brokenVault) Refs(ctx context.Context, repo grasp.Addr) (*grasp.Snapshot, error) {
	return call(x.b, "Refs", func() (*grasp.Snapshot, error) { return x.v.Refs(ctx, repo) })
}

func (x *brokenVault) Have(ctx context.Context, repo grasp.Addr, want []grasp.OID) (grasp.OIDSet, error) {
	return call(x.b, "Have", func() (grasp.OIDSet, error) { return x.v.Have(ctx, repo, want) })
}

func (x *brokenVault) Copy(ctx context.Context, from, to grasp.Addr, oids []grasp.OID) error {
	return do(x.b, "Copy", func() error { return x.v.Copy(ctx, from, to, oids) })
}

func (x *brokenVault) Apply(ctx context.Context, repo grasp.Addr, edits []grasp.RefChange, head grasp.RefName) error {
	return do(x.b, "Apply", func() error { return x.v.Apply(ctx, repo, edits, head) })
}

func (x *brokenVault) Size(ctx context.Context, repo grasp.Addr) (int64, error) {
	return call(x.b, "Size", func() (int64, error) { return x.v.Size(ctx, repo) })
}

func (x *brokenVault) Remove(ctx context.Context, repo grasp.Addr) error {
	return do(x.b, "Remove", func() error { return x.v.Remove(ctx, repo) })
}

func (x *brokenVault) Ingest(ctx context.Context, repo grasp.Addr, pack io.Reader, opt steward.IngestOptions) (steward.Quarantine, error) {
	q, err := call(x.b, "Ingest", func() (steward.Quarantine, error) { return x.v.Ingest(ctx, repo, pack, opt) })
	if err != nil {
		return nil, err
	}
	return &brokenQuarantine{x.b, q}, nil
}

type brokenQuarantine struct {
	b *Breaker
	q steward.Quarantine
}

func (x *brokenQuarantine) Check(ctx context.Context, updates []grasp.RefChange) error {
	return do(x.b, "Check", func() error { return x.q.Check(ctx, updates) })
}

func (x *brokenQuarantine) Admit(ctx context.Context) error {
	return do(x.b, "Admit", func() error { return x.q.Admit(ctx) })
}

func (x *brokenQuarantine) Size() int64 { return x.q.Size() }

func (x *brokenQuarantine) Discard() { x.q.Discard() }

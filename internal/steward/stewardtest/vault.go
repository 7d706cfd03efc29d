package stewardtest

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// An Object is a commit, a tag or a blob of the toy graph. Its id follows from its contents.
type Object struct {
	ID    grasp.OID
	Kind  string      // "commit", "tag" or "blob"
	Needs []grasp.OID // parents of a commit, what a tag points to
}

func object(kind, name string, needs []grasp.OID) Object {
	h := sha1.New()
	fmt.Fprintf(h, "%s %s %v", kind, name, needs)
	return Object{ID: grasp.OID(hex.EncodeToString(h.Sum(nil))), Kind: kind, Needs: needs}
}

// Commit returns the commit of this name with these parents.
func Commit(name string, parents ...Object) Object {
	var needs []grasp.OID
	for _, p := range parents {
		needs = append(needs, p.ID)
	}
	return object("commit", name, needs)
}

// Tag returns an annotated tag that points to target.
func Tag(name string, target Object) Object { return object("tag", name, []grasp.OID{target.ID}) }

// Blob returns an object that no branch may point to.
func Blob(name string) Object { return object("blob", name, nil) }

// Pack returns objects in the form that Vault.Ingest reads: a line each, kind, id, needs.
func Pack(objects ...Object) io.Reader {
	var b strings.Builder
	b.WriteString("PACK\n")
	for _, o := range objects {
		b.WriteString(o.Kind + " " + string(o.ID))
		for _, n := range o.Needs {
			b.WriteString(" " + string(n))
		}
		b.WriteByte('\n')
	}
	return strings.NewReader(b.String())
}

// A Disk holds what of a Vault survives a crash. Only Vaults change it.
type Disk struct {
	mu      sync.Mutex
	folders map[grasp.Addr]*folder
}

type folder struct {
	objects map[grasp.OID]Object
	refs    grasp.Refs
	head    grasp.RefName
}

// NewDisk returns an empty disk.
func NewDisk() *Disk { return &Disk{folders: make(map[grasp.Addr]*folder)} }

// folder returns the folder of repo, making it if need be. Call it with mu held.
func (d *Disk) folder(repo grasp.Addr) *folder {
	f, ok := d.folders[repo]
	if !ok {
		f = &folder{objects: make(map[grasp.OID]Object), refs: grasp.Refs{}, head: grasp.DefaultHead}
		d.folders[repo] = f
	}
	return f
}

// complete reports whether oid and everything reachable from it is in one of the sets.
func complete(oid grasp.OID, sets ...map[grasp.OID]Object) bool {
	seen := grasp.OIDSet{}
	for queue := []grasp.OID{oid}; len(queue) > 0; queue = queue[1:] {
		if seen.Has(queue[0]) {
			continue
		}
		seen.Add(queue[0])
		o, ok := find(queue[0], sets...)
		if !ok {
			return false
		}
		queue = append(queue, o.Needs...)
	}
	return true
}

func find(oid grasp.OID, sets ...map[grasp.OID]Object) (Object, bool) {
	for _, s := range sets {
		if o, ok := s[oid]; ok {
			return o, true
		}
	}
	return Object{}, false
}

// Refs returns the refs and the HEAD of repo, and whether it has a folder at all.
func (d *Disk) Refs(repo grasp.Addr) (refs grasp.Refs, head grasp.RefName, exists bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok := d.folders[repo]
	if !ok {
		return grasp.Refs{}, grasp.DefaultHead, false
	}
	return maps.Clone(f.refs), f.head, true
}

// Complete reports whether oid and everything reachable from it is in repo.
func (d *Disk) Complete(repo grasp.Addr, oid grasp.OID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok := d.folders[repo]
	return ok && complete(oid, f.objects)
}

// Plant puts objects into repo as no push would: without refs, and complete or not.
func (d *Disk) Plant(repo grasp.Addr, objects ...Object) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range objects {
		d.folder(repo).objects[o.ID] = o
	}
}

// Lose removes the folder of repo behind everybody's back.
func (d *Disk) Lose(repo grasp.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.folders, repo)
}

// Folders returns which repositories have a folder.
func (d *Disk) Folders() []grasp.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.SortedFunc(maps.Keys(d.folders), func(a, b grasp.Addr) int {
		return strings.Compare(a.String(), b.String())
	})
}

// A Vault is a steward.Vault on a Disk. Make one per process with Open.
type Vault struct {
	disk  *Disk
	wrong func(format string, args ...any)

	// mu guards the rest. It is never held together with the disk's.
	mu    sync.Mutex
	snaps map[grasp.Addr]*grasp.Snapshot
	busy  map[grasp.Addr]bool // an Apply is under way
	gen   uint64
}

var _ steward.Vault = (*Vault)(nil)

// Open returns a vault on d. wrong is told when its contract is broken; testing.T.Errorf will do.
func Open(d *Disk, wrong func(format string, args ...any)) *Vault {
	return &Vault{disk: d, wrong: wrong, snaps: make(map[grasp.Addr]*grasp.Snapshot), busy: make(map[grasp.Addr]bool)}
}

// Refs is part of steward.Vault. It returns the same Snapshot until something has changed.
func (v *Vault) Refs(ctx context.Context, repo grasp.Addr) (*grasp.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("vault: refs", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if s, ok := v.snaps[repo]; ok {
		return s, nil
	}
	refs, head, ok := v.disk.Refs(repo)
	if !ok {
		return grasp.EmptySnapshot, nil
	}
	v.gen++
	s := &grasp.Snapshot{Refs: refs.List(), Head: head, Gen: v.gen}
	v.snaps[repo] = s
	return s, nil
}

func (v *Vault) changed(repo grasp.Addr) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.snaps, repo)
}

// Have is part of steward.Vault.
func (v *Vault) Have(ctx context.Context, repo grasp.Addr, want []grasp.OID) (grasp.OIDSet, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("vault: have", err)
	}
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	out := grasp.OIDSet{}
	f, ok := v.disk.folders[repo]
	if !ok {
		return out, nil
	}
	for _, o := range want {
		if complete(o, f.objects) {
			out.Add(o)
		}
	}
	return out, nil
}

// Copy is part of steward.Vault.
func (v *Vault) Copy(ctx context.Context, from, to grasp.Addr, oids []grasp.OID) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap("vault: copy", err)
	}
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	src := v.disk.folder(from)
	dst := v.disk.folder(to)
	for queue := slices.Clone(oids); len(queue) > 0; queue = queue[1:] {
		o, ok := src.objects[queue[0]]
		if !ok {
			v.wrong("Copy: %s is not complete in %s", queue[0].Short(), from)
			return fault.E(fault.Internal, "vault: copy", "incomplete")
		}
		if _, here := dst.objects[o.ID]; !here || !complete(o.ID, dst.objects) {
			dst.objects[o.ID] = o
			queue = append(queue, o.Needs...)
		}
	}
	return nil
}

// Apply is part of steward.Vault.
func (v *Vault) Apply(ctx context.Context, repo grasp.Addr, edits []grasp.RefChange, head grasp.RefName) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap("vault: apply", err)
	}
	v.mu.Lock()
	if v.busy[repo] {
		v.wrong("Apply: two at a time on %s", repo)
	}
	v.busy[repo] = true
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.busy, repo)
	}()
	err := v.disk.apply(repo, edits, head)
	v.changed(repo)
	return err
}

func (d *Disk) apply(repo grasp.Addr, edits []grasp.RefChange, head grasp.RefName) error {
	const op = "vault: apply"
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.folder(repo)
	for _, e := range edits {
		is, ok := f.refs[e.Ref]
		if !ok {
			is = grasp.ZeroOID
		}
		if old := e.Old; is != old && !(old.IsZero() && is.IsZero()) {
			return fault.Errorf(fault.Stale, op, "%s is at %s, not at %s", e.Ref, is.Short(), old.Short())
		}
		if e.New.IsZero() {
			continue
		}
		if !complete(e.New, f.objects) {
			return fault.Errorf(fault.Internal, op, "%s would point at %s, which is not here", e.Ref, e.New.Short())
		}
		if o := f.objects[e.New]; o.Kind != "commit" && !e.Ref.IsTag() {
			return fault.Errorf(fault.Refused, op, "%s would point at a %s", e.Ref, o.Kind)
		}
	}
	after := f.refs.Apply(edits)
	if a, b, clash := grasp.Conflict(after); clash {
		return fault.Errorf(fault.Refused, op, "%s and %s cannot both exist", a, b)
	}
	f.refs = after
	if head != "" {
		f.head = head
	}
	return nil
}

// bytes is what an object takes on disk: its line in a Pack.
func (o Object) bytes() int64 { return int64(len(o.Kind) + 1 + 40 + 41*len(o.Needs) + 1) }

// Bytes returns what objects take on disk together.
func Bytes(objects ...Object) (n int64) {
	for _, o := range objects {
		n += o.bytes()
	}
	return n
}

// Size is part of steward.Vault.
func (v *Vault) Size(ctx context.Context, repo grasp.Addr) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, fault.Wrap("vault: size", err)
	}
	return v.disk.Size(repo), nil
}

// Size returns how many bytes the objects of repo take.
func (d *Disk) Size(repo grasp.Addr) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok := d.folders[repo]
	if !ok {
		return 0
	}
	return Bytes(slices.Collect(maps.Values(f.objects))...)
}

// Remove is part of steward.Vault.
func (v *Vault) Remove(ctx context.Context, repo grasp.Addr) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap("vault: remove", err)
	}
	v.disk.Lose(repo)
	v.changed(repo)
	return nil
}

// Ingest is part of steward.Vault. It reads what Pack wrote.
func (v *Vault) Ingest(ctx context.Context, repo grasp.Addr, pack io.Reader, opt steward.IngestOptions) (steward.Quarantine, error) {
	const op = "vault: ingest"
	q := &quarantine{v: v, repo: repo, objects: make(map[grasp.OID]Object)}
	sc := bufio.NewScanner(pack)
	if !sc.Scan() || sc.Text() != "PACK" {
		return nil, fault.E(fault.Invalid, op, "this is no pack")
	}
	size := int64(len("PACK\n"))
	for sc.Scan() {
		if size += int64(len(sc.Bytes())) + 1; opt.MaxBytes > 0 && size > opt.MaxBytes {
			return nil, fault.Errorf(fault.TooLarge, op, "the pack has more than %d bytes", opt.MaxBytes)
		}
		part := strings.Fields(sc.Text())
		if len(part) < 2 || !grasp.IsHex(part[1], 40) {
			return nil, fault.E(fault.Invalid, op, "the pack is damaged")
		}
		o := Object{ID: grasp.OID(part[1]), Kind: part[0]}
		for _, n := range part[2:] {
			o.Needs = append(o.Needs, grasp.OID(n))
		}
		q.objects[o.ID] = o
		if opt.MaxObjects > 0 && len(q.objects) > int(opt.MaxObjects) {
			return nil, fault.Errorf(fault.TooLarge, op, "the pack has more than %d objects", opt.MaxObjects)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fault.Wrap(op, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap(op, err)
	}
	if opt.Progress != nil {
		opt.Progress(fmt.Sprintf("%d objects", len(q.objects)))
	}
	return q, nil
}

// quarantine is what one Ingest brought. It dies with the process.
type quarantine struct {
	v       *Vault
	repo    grasp.Addr
	mu      sync.Mutex
	objects map[grasp.OID]Object
}

func (q *quarantine) Check(ctx context.Context, updates []grasp.RefChange) error {
	const op = "vault: check"
	if err := ctx.Err(); err != nil {
		return fault.Wrap(op, err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.v.disk.mu.Lock()
	defer q.v.disk.mu.Unlock()
	var here map[grasp.OID]Object
	if f, ok := q.v.disk.folders[q.repo]; ok {
		here = f.objects
	}
	for _, u := range updates {
		if u.New.IsZero() {
			continue
		}
		if !complete(u.New, q.objects, here) {
			return fault.Errorf(fault.Refused, op, "%s: missing objects behind %s", u.Ref, u.New.Short())
		}
		if o, _ := find(u.New, q.objects, here); o.Kind != "commit" && !u.Ref.IsTag() {
			return fault.Errorf(fault.Refused, op, "%s must point at a commit", u.Ref)
		}
	}
	return nil
}

func (q *quarantine) Size() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.v.disk.mu.Lock()
	defer q.v.disk.mu.Unlock()
	var n int64
	for id, o := range q.objects {
		if f, ok := q.v.disk.folders[q.repo]; ok {
			if _, here := f.objects[id]; here {
				continue
			}
		}
		n += o.bytes()
	}
	return n
}

func (q *quarantine) Admit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap("vault: admit", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, o := range q.objects {
		q.v.disk.Plant(q.repo, o)
	}
	return nil
}

func (q *quarantine) Discard() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.objects = nil
}

package gitdir

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/steward"
)

// maxRemoteRefs is how many refs of a remote are fetched when it refuses to be asked for objects.
const maxRemoteRefs = 10_000

// fetchConfig is added for `git fetch` (hardening §13).
func (v *Vault) fetchConfig(f steward.Fetching) []pair {
	out := []pair{
		{"core.fsync", "none"}, // Admit syncs what stays
		{"http.proxy", f.Proxy},
		{"http.proxyAuthMethod", "basic"},
		{"http.followRedirects", "false"},
		{"http.sslVerify", "true"},
		{"http.version", "HTTP/1.1"},
		{"http.maxRequests", "1"},
		{"http.lowSpeedLimit", "1000"},
		{"http.lowSpeedTime", "30"},
		{"http.saveCookies", "false"},
		{"http.delegation", "none"},
		{"http.userAgent", "git/gitroost"},
		{"protocol.version", "2"},
		{"fetch.recurseSubmodules", "no"},
		{"submodule.recurse", "false"},
		{"fetch.unpackLimit", "1"},
		{"fetch.writeCommitGraph", "false"},
		{"fetch.showForcedUpdates", "false"},
		{"fetch.uriProtocols", ""},
		{"fetch.bundleURI", ""},
		{"transfer.fsckObjects", "true"},
		{"transfer.credentialsInUrl", "die"},
	}
	for _, ignored := range fsckIgnored {
		out = append(out, pair{"fetch.fsck." + ignored, "ignore"})
	}
	if v.cfg.CAFile != "" {
		out = append(out, pair{"http.sslCAInfo", v.cfg.CAFile})
	}
	return out
}

// Fetch brings what a remote has of f.Wants into a quarantine of addr (G02-13). The remote is asked for
// exactly these objects; one that refuses is asked which refs it has, and then for those. No name of
// its refs comes in here. What arrived passed git's fsck, and Got is complete; what else came with it is
// not kept, if it is much.
//
// The child can go nowhere but through f.Proxy, in an environment without passwords and prompts, in a
// folder of its own that is gone when Fetch returns. Errors: fault.NotFound if the remote has none of
// what is wanted, fault.Invalid if it is no git server that lets us in, fault.TooLarge over a limit,
// fault.Busy if it may work later. Tips is set with fault.NotFound too.
func (v *Vault) Fetch(ctx context.Context, addr grasp.Addr, f steward.Fetching) (out steward.Fetched, err error) {
	const op = "gitdir: fetch"
	for _, o := range slices.Concat(f.Wants, f.Haves) {
		if !grasp.IsHex(string(o), 40) || o.IsZero() {
			return out, fault.Errorf(fault.Invalid, op, "%q is not an object id", o)
		}
	}
	if len(f.Wants) == 0 || f.Remote.IsZero() || f.Proxy == "" {
		return out, fault.E(fault.Invalid, op, "nothing is wanted, or there is no way")
	}
	r, err := v.acquire(addr)
	if err != nil {
		return out, err
	}
	q := &quarantine{r: r, life: r.life()}
	defer func() {
		if err != nil {
			q.Discard()
		}
	}()
	st, err := r.refs(ctx)
	if err != nil {
		return out, err
	}
	w := &fetching{v: v, r: r, f: f, dir: v.temp("fetch")}
	defer os.RemoveAll(w.dir)
	if err := w.makeDir(st); err != nil {
		return out, explainIO(op, err)
	}
	ferr := w.run(ctx)
	out.Tips = w.tips
	if err := context.Cause(ctx); err != nil {
		return out, fault.Wrap(op, err)
	}
	if err := v.cfg.step("fetch: fetched"); err != nil {
		return out, fault.Wrap(op, err)
	}
	// Whatever git says in the end: packs that have an index passed its checks.
	if err := w.hand(q); err != nil {
		return out, err
	}
	if q.packs == nil && ferr != nil {
		return out, ferr
	}
	if limit := f.MaxObjects; limit > 0 && q.packs != nil && q.packs.totalObjects > int64(limit) {
		return out, fault.Errorf(fault.TooLarge, op, "the remote sent %d objects, at most %d are accepted", q.packs.totalObjects, limit)
	}
	if out.Got, err = q.sort(ctx, st, f.Wants); err != nil {
		return out, err
	}
	if len(out.Got) == 0 {
		if ferr == nil {
			ferr = fault.E(fault.NotFound, op, "the remote has none of the objects")
		}
		return out, ferr
	}
	out.Quarantine = q
	return out, nil
}

// fetching is one Fetch under way.
type fetching struct {
	v    *Vault
	r    *repo
	f    steward.Fetching
	dir  string // a repository of its own
	tips string
}

// makeDir makes the repository that git fetches into. Its refs are what ours has already, under names
// that mean nothing: git tells the remote of them, and walks no further when it checks what came.
func (w *fetching) makeDir(st *state) error {
	for _, d := range []string{"objects/info", "objects/pack", "refs"} {
		if err := os.MkdirAll(filepath.Join(w.dir, d), 0o750); err != nil {
			return err
		}
	}
	there, err := w.r.present(w.f.Haves)
	if err != nil {
		return err
	}
	if len(there) > maxBounds {
		there = there[:maxBounds]
	}
	var refs strings.Builder
	seen := grasp.OIDSet{}
	for i, o := range append(w.r.bounds(st, nil, maxBounds), there...) {
		if !seen.Has(o) {
			seen.Add(o)
			fmt.Fprintf(&refs, "%s refs/have/%05d\n", o, i)
		}
	}
	for name, text := range map[string]string{"config": repoConfig, "HEAD": headText(grasp.DefaultHead), "packed-refs": refs.String()} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o640); err != nil {
			return err
		}
	}
	return nil
}

// maxWithout is how often a remote is asked again without an object of which it said that it is not there.
const maxWithout = 4

// run fetches. An error does not mean that nothing came.
func (w *fetching) run(ctx context.Context) error {
	wants := slices.Clone(w.f.Wants)
	var err error
	knows := false // the remote takes ids, and said which it does not have
	for range maxWithout {
		if err = w.fetch(ctx, wants); err == nil || !fault.Is(err, fault.NotFound) {
			return err
		}
		gone, ok := lacking(err, wants)
		if !ok {
			break
		}
		knows = true
		if wants = slices.DeleteFunc(wants, func(o grasp.OID) bool { return o == gone }); len(wants) == 0 {
			return err // and nothing else of it is of use
		}
	}
	refs, lerr := w.list(ctx)
	if lerr != nil {
		return lerr
	}
	wanted := grasp.OIDSet{}
	for _, o := range wants {
		wanted.Add(o)
	}
	tips := slices.DeleteFunc(slices.Clone(refs), func(o grasp.OID) bool { return !wanted.Has(o) })
	if knows {
		if len(tips) > 0 {
			if err := w.fetch(ctx, tips); err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
			wants = slices.DeleteFunc(wants, func(o grasp.OID) bool { return slices.Contains(tips, o) })
		}
		return w.sift(ctx, wants, err)
	}
	// What is at a tip is had for little. The rest may lie below others, which is worth one try.
	if len(tips) > 0 && (len(tips) == len(wanted) || w.tips == w.f.Tried) {
		return w.fetch(ctx, tips)
	}
	if len(refs) == 0 || w.tips == w.f.Tried {
		return err
	}
	return w.fetch(ctx, refs)
}

// maxSift is how many more requests a remote may get that lacks much of what is wanted.
const maxSift = 16

// sift asks a remote that lacks much, and names one such object at a time, for the halves of what it refused,
// and for their halves. The order is another one each time: whoever has us want what does not exist, a signed
// state that was never pushed or a made-up pull request, does not keep the rest from being found. It returns
// nil if something came, else the last refusal, err if nothing was asked.
func (w *fetching) sift(ctx context.Context, wants []grasp.OID, err error) error {
	rand.Shuffle(len(wants), func(i, j int) { wants[i], wants[j] = wants[j], wants[i] })
	halves := func(of []grasp.OID) (out [][]grasp.OID) {
		for h := range slices.Chunk(of, max(1, (len(of)+1)/2)) {
			out = append(out, h)
		}
		return out
	}
	some := false
	groups := halves(wants)
	for asked := 0; asked < maxSift && len(groups) > 0; asked++ {
		last := len(groups) - 1
		group := groups[last]
		groups = groups[:last]
		e := w.fetch(ctx, group)
		if e == nil {
			some = true
			continue
		}
		gone, ok := lacking(e, group)
		if !ok {
			return e
		}
		err = e
		rest := slices.DeleteFunc(slices.Clone(group), func(o grasp.OID) bool { return o == gone })
		groups = append(groups, halves(rest)...)
	}
	if some {
		return nil
	}
	return err
}

var notOurRef = regexp.MustCompile(`not our ref ([0-9a-f]{40})`)

// lacking returns which of wants a remote says that it does not have. Such a remote was asked by
// protocol 2, and gives any object that it has.
func lacking(err error, wants []grasp.OID) (grasp.OID, bool) {
	var e *run.ExitError
	if !errors.As(err, &e) {
		return "", false
	}
	m := notOurRef.FindStringSubmatch(e.Stderr)
	if m == nil || !slices.Contains(wants, grasp.OID(m[1])) {
		return "", false
	}
	return grasp.OID(m[1]), true
}

// fetch asks the remote for these objects. fault.NotFound says that it did not give one of them.
func (w *fetching) fetch(ctx context.Context, oids []grasp.OID) error {
	const op = "gitdir: fetch"
	url, err := run.Operand(w.f.Remote.String())
	if err != nil {
		return fault.Wrap(op, err)
	}
	args := run.Words("fetch", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules",
		"--no-auto-maintenance", "--no-show-forced-updates", "--no-prune", "--refmap=", "--stdin")
	if w.f.Progress != nil {
		args = append(args, run.Words("--progress")...)
	} else {
		args = append(args, run.Words("--quiet")...)
	}
	var specs strings.Builder
	for _, o := range oids {
		specs.WriteString(string(o) + "\n")
	}
	_, err = w.v.run(ctx, command{
		args: append(append(args, run.Words("--")...), url), env: w.env(),
		stdin: strings.NewReader(specs.String()), progress: w.f.Progress, limits: w.limits(),
	})
	return explainFetch(op, err)
}

// list asks which refs the remote has: the ids of branches and tags, and of the pull requests that are
// looked for. It sets tips.
func (w *fetching) list(ctx context.Context) ([]grasp.OID, error) {
	const op = "gitdir: list remote"
	url, err := run.Operand(w.f.Remote.String())
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	var buf limitedBuffer
	_, err = w.v.run(ctx, command{
		args: append(run.Words("ls-remote", "--quiet", "--"), url), env: w.env(), stdout: &buf, limits: w.limits(),
	})
	if err != nil {
		return nil, explainFetch(op, err)
	}
	refs := remoteRefs(buf.Bytes(), w.f.Pulls)
	sum := sha256.New()
	for _, o := range refs {
		sum.Write([]byte(o))
	}
	w.tips = hex.EncodeToString(sum.Sum(nil)[:8])
	return refs, nil
}

// remoteRefs reads what ls-remote prints: ids without repetition, at most maxRemoteRefs.
func remoteRefs(b []byte, pulls []grasp.EventID) []grasp.OID {
	var out []grasp.OID
	seen := grasp.OIDSet{}
	for line := range bytes.Lines(b) {
		oid, name, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), "\t")
		if !ok || !grasp.IsHex(oid, 40) || seen.Has(grasp.OID(oid)) || grasp.OID(oid).IsZero() || strings.HasSuffix(name, "^{}") {
			continue
		}
		ref := grasp.RefName(name)
		id, pull := ref.Pull()
		if !ref.IsHead() && !ref.IsTag() && !(pull && slices.Contains(pulls, id)) {
			continue
		}
		seen.Add(grasp.OID(oid))
		if out = append(out, grasp.OID(oid)); len(out) == maxRemoteRefs {
			break
		}
	}
	return out
}

// env is the environment of a child that may go out: through the proxy, and nowhere else.
func (w *fetching) env() []string {
	extra := []string{"GIT_ALLOW_PROTOCOL=" + w.f.Remote.Scheme(), "TMPDIR=" + w.dir}
	if objects := w.r.objects(); w.v.isDir(objects) {
		extra = append(extra, "GIT_ALTERNATE_OBJECT_DIRECTORIES="+objects)
	}
	return w.v.env(w.dir, int64(w.f.MaxObjects)+w.r.objectCount(), [][]pair{baseConfig, w.v.fetchConfig(w.f)}, extra...)
}

func (w *fetching) limits() run.Limits {
	// Much less than for a push: a remote that lists refs without end fills the memory of the child.
	l := run.Limits{Memory: 1<<30 + uint64(w.f.MaxObjects)*allocPerObject}
	if w.f.MaxBytes > 0 {
		// What is written is larger than what was sent by the bases of thin packs.
		l.FileSize = uint64(w.f.MaxBytes) + 1<<20
		l.CPU = w.v.cfg.IndexCPU + time.Duration(w.f.MaxBytes>>20)*w.v.cfg.IndexCPUPerMiB
	}
	return l
}

// hand gives the packs that came to q, as one.
func (w *fetching) hand(q *quarantine) error {
	const op = "gitdir: fetch"
	objects := w.v.temp("push")
	if err := os.Rename(filepath.Join(w.dir, "objects"), objects); err != nil {
		return explainIO(op, err)
	}
	q.dir = objects
	packs, err := listPacks(objects, nil)
	if err != nil {
		return explainIO(op, err)
	}
	for _, p := range packs.list {
		q.bytes += p.bytes
	}
	if len(packs.list) > 0 {
		q.packs, q.name = packs, filepath.Base(packs.list[0].path)
	}
	return nil
}

// sort finds out which of wants are complete now, and throws away what they do not need.
func (q *quarantine) sort(ctx context.Context, st *state, wants []grasp.OID) ([]grasp.OID, error) {
	dirs := []*packs{}
	if q.packs != nil {
		dirs = append(dirs, q.packs)
	}
	own, err := q.r.listed()
	if err != nil {
		return nil, err
	}
	s := &search{dirs: append(dirs, own)}
	defer s.close()
	var there []grasp.OID
	seen := grasp.OIDSet{}
	for _, o := range wants {
		if seen.Has(o) {
			continue
		}
		seen.Add(o)
		ok, err := s.has(o)
		if err != nil {
			return nil, explainIO("gitdir: fetch", err)
		}
		if ok {
			there = append(there, o)
		}
	}
	done := grasp.OIDSet{}
	open := q.r.unproven(st, there, done)
	proofs := maxProofs
	if err := q.r.proveWith(ctx, q.packs, st, open, done, &proofs); err != nil {
		return nil, err
	}
	var got, fresh []grasp.OID
	for _, o := range there {
		if done.Has(o) {
			got = append(got, o)
		}
	}
	for _, o := range open {
		if done.Has(o) {
			fresh = append(fresh, o)
		}
	}
	q.checked, q.tips = true, got
	if len(fresh) == 0 || q.packs == nil {
		q.drop()
		return got, nil
	}
	if len(q.packs.list) == 1 && q.bytes <= junkAllowed {
		return got, nil
	}
	needed, err := q.diskUsage(ctx, fresh, q.r.bounds(st, nil, st.list.Len()))
	switch {
	case err != nil:
		return nil, err
	case needed == 0:
		q.drop()
	case len(q.packs.list) > 1 || q.bytes-needed > max(junkAllowed, needed):
		return got, q.slim(ctx, st, nil, fresh)
	}
	return got, nil
}

// explainFetch gives the failure of a child that went out its code.
func explainFetch(op string, err error) error {
	if err == nil {
		return nil
	}
	e, ok := run.IsExit(err)
	if !ok {
		return explain(op, err, fault.Busy, "")
	}
	says := func(any ...string) bool {
		return slices.ContainsFunc(any, func(s string) bool { return strings.Contains(e.Stderr, s) })
	}
	as := func(code fault.Code, text string) error {
		return &fault.Error{Code: code, Op: op, Text: text, Err: err}
	}
	switch {
	case e.Signal == syscall.SIGXFSZ, says("File too large", "SIGXFSZ", "signal "+strconv.Itoa(int(syscall.SIGXFSZ))):
		return as(fault.TooLarge, "the remote sent more than is accepted")
	case says("not our ref", "unadvertised object", "no such remote ref", "couldn't find remote ref", "did not send all necessary objects", "missing necessary objects", "remote error: "):
		return as(fault.NotFound, "the remote does not give these objects")
	case says("The requested URL returned error: 404", "' not found", "not valid: is this a git repository", "returned error: 403", "returned error: 401", "Authentication failed", "could not read Username", "unable to update url base from redirection", "returned error: 3"):
		return as(fault.Invalid, "there is no repository at the remote that lets us in")
	case says("SSL certificate problem", "server certificate verification failed", "certificate verify failed", "does not match target host name"):
		return as(fault.Invalid, "the certificate of the remote is not good")
	case says("fsck error", "error in object", "fsck"):
		return as(fault.Refused, "the remote sent objects that are not well formed: "+reason(e.Stderr))
	}
	return explain(op, err, fault.Busy, "the remote could not be fetched from: "+reason(e.Stderr))
}

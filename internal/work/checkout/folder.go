package checkout

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
)

const (
	markName   = ".gitroost"
	lockName   = ".lock"
	freshBegin = "new-"
	genBegin   = "gen-"
	retired    = "retired"

	// generations ends the name of the folder beside a link that has its name.
	generations = ".d"

	// maxGenerations is how many stay in the grace period, whatever is asked for: many publishings in a
	// short time must not fill the disk.
	maxGenerations = 50
)

// A claim is what the mark of a folder says.
type claim struct {
	By   string `json:"by"` // always "gitroost"
	Repo string `json:"repo"`
	Job  string `json:"job"`
}

// own makes the folder of generations this job's, or finds that it is, and keeps others out until unlock
// is called. A folder that has something in it and no mark is left alone (S3-14), and so is one of
// another repository, and a link that was not made here.
func (b *job) own() (unlock func(), err error) {
	const op = "checkout"
	if err := durable.MkdirAll(filepath.Dir(b.dir), 0o755); err != nil {
		return nil, fault.Wrap(op, err)
	}
	switch err := os.Mkdir(b.dir, b.perm); {
	case err == nil:
		if err := os.Chmod(b.dir, b.perm); err != nil {
			return nil, fault.Wrap(op, err)
		}
		if b.gid >= 0 {
			if err := os.Lchown(b.dir, -1, b.gid); err != nil {
				return nil, fault.Wrap(op, err)
			}
		}
		if err := durable.SyncDir(filepath.Dir(b.dir)); err != nil {
			return nil, fault.Wrap(op, err)
		}
	case !errors.Is(err, fs.ErrExist):
		return nil, fault.Wrap(op, err)
	}
	if fi, err := os.Lstat(b.dir); err != nil || !fi.IsDir() {
		return nil, fault.Errorf(fault.Refused, op, "%s is not a folder; remove it, or publish elsewhere", b.dir)
	}
	mine := claim{By: "gitroost", Repo: b.t.Job.Repo.Owner.Npub() + "/" + b.t.Job.Repo.ID, Job: b.t.Job.Name}
	var is claim
	data, err := os.ReadFile(filepath.Join(b.dir, markName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		entries, err := os.ReadDir(b.dir)
		if err != nil {
			return nil, fault.Wrap(op, err)
		}
		for _, e := range entries {
			// A mark that was being written when the process died is no stranger's.
			if name := e.Name(); name != lockName && (!strings.HasPrefix(name, markName+".") || !strings.HasSuffix(name, durable.TempSuffix)) {
				return nil, fault.Errorf(fault.Refused, op, "%s has files that were not put there by this server; nothing was touched: publish elsewhere, or empty it", b.dir)
			}
		}
	case err != nil:
		return nil, fault.Wrap(op, err)
	case json.Unmarshal(data, &is) != nil || is.By != "gitroost":
		return nil, fault.Errorf(fault.Refused, op, "%s belongs to somebody else; publish elsewhere", b.dir)
	case is.Repo != mine.Repo:
		return nil, fault.Errorf(fault.Refused, op, "%s is where %s is published; let each repository have a place of its own: a path without a slash in front is one", b.dir, is.Repo)
	}
	if to, err := os.Readlink(b.link); err == nil && !strings.HasPrefix(to, filepath.Base(b.dir)+"/"+genBegin) {
		return nil, fault.Errorf(fault.Refused, op, "%s is a link to %s, which was not made here; remove it, or publish elsewhere", b.link, to)
	} else if fi, serr := os.Lstat(b.link); err != nil && serr == nil {
		return nil, fault.Errorf(fault.Refused, op, "%s is there and is no link (%s); remove it, or publish elsewhere", b.link, fi.Mode().Type())
	}
	lock, err := os.OpenFile(filepath.Join(b.dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fault.Errorf(fault.Busy, op, "something is being published to %s already", b.link)
	}
	// It may have been removed, with all that was here, between the two: then it keeps nobody out.
	held, err := lock.Stat()
	if on, lerr := os.Lstat(filepath.Join(b.dir, lockName)); err != nil || lerr != nil || !os.SameFile(held, on) {
		lock.Close()
		return nil, fault.Errorf(fault.Busy, op, "what was published to %s is being removed", b.link)
	}
	if _, err := os.Lstat(filepath.Join(b.dir, markName)); is.By == "" || errors.Is(err, fs.ErrNotExist) {
		data, err := json.Marshal(mine)
		if err == nil {
			err = durable.WriteFile(filepath.Join(b.dir, markName), append(data, '\n'), 0o644)
		}
		if err != nil {
			lock.Close()
			return nil, fault.Wrap(op, err)
		}
	}
	if err := b.step("owned"); err != nil {
		lock.Close()
		return nil, err
	}
	return func() { lock.Close() }, nil
}

func generation(n int) string { return genBegin + strconv.Itoa(n) }

// number returns the number of a generation's name; 0 if it is none.
func number(name string) int {
	s, ok := strings.CutPrefix(name, genBegin)
	n, err := strconv.Atoi(s)
	if !ok || err != nil || n <= 0 || generation(n) != name {
		return 0
	}
	return n
}

// current returns the number of the generation that is shown, 0 if there is none.
func (b *job) current() int {
	to, err := os.Readlink(b.link)
	if err != nil {
		return 0
	}
	parts := strings.Split(to, "/")
	if len(parts) != 3 || parts[0] != filepath.Base(b.dir) {
		return 0
	}
	return number(parts[1])
}

// sweep removes what a dead process left, and generations that need not be kept any more; it returns the
// highest number that was given. What cannot be removed is tried again next time.
func (b *job) sweep() (last int) {
	cur := b.current()
	last = cur
	remove := func(path string) {
		if err := os.RemoveAll(path); err != nil {
			b.d.cfg.Log.Warn("checkout: what is old cannot be removed; the next publishing tries again", "path", path, "err", err)
		}
	}
	entries, _ := os.ReadDir(b.dir)
	var old []int
	for _, e := range entries {
		name := e.Name()
		switch n := number(name); {
		case n > cur && cur > 0: // placed, and never shown
			remove(filepath.Join(b.dir, name))
			last = max(last, n)
		case n > 0 && n != cur:
			old = append(old, n)
			last = max(last, n)
		case strings.HasPrefix(name, freshBegin), strings.HasSuffix(name, durable.TempSuffix) && strings.HasPrefix(name, markName+"."):
			remove(filepath.Join(b.dir, name))
		}
	}
	// Links that were to take the place of ours: its name, a random one, and the suffix.
	beside, _ := os.ReadDir(filepath.Dir(b.link))
	for _, e := range beside {
		rest, ok := strings.CutPrefix(e.Name(), filepath.Base(b.link)+".")
		random, temp := strings.CutSuffix(rest, durable.TempSuffix)
		if _, err := hex.DecodeString(random); !ok || !temp || err != nil || len(random) != 16 || e.Type() != fs.ModeSymlink {
			continue
		}
		path := filepath.Join(filepath.Dir(b.link), e.Name())
		if to, err := os.Readlink(path); err == nil && strings.HasPrefix(to, filepath.Base(b.dir)+"/"+genBegin) {
			os.Remove(path)
		}
	}
	count, grace := b.spec.Kept()
	slices.SortFunc(old, func(x, y int) int { return y - x })
	now := b.d.cfg.Now()
	for i, n := range old {
		path := filepath.Join(b.dir, generation(n))
		over := b.expired(path, now, grace)
		if i+1 < count { // the one that is shown counts
			continue
		}
		if over || i+1 >= maxGenerations {
			remove(path)
		}
	}
	return last
}

// expired reports whether the generation at path has not been shown for the grace period. Its clock
// begins to run at the first look.
func (b *job) expired(path string, now time.Time, grace time.Duration) bool {
	mark := filepath.Join(path, retired)
	text, err := os.ReadFile(mark)
	since, perr := time.Parse(time.RFC3339Nano, string(text))
	if err != nil || perr != nil || since.After(now) {
		if err := os.WriteFile(mark, []byte(now.UTC().Format(time.RFC3339Nano)), 0o640); err != nil {
			b.d.cfg.Log.Warn("checkout: an old generation cannot be marked; the next publishing tries again", "path", path, "err", err)
		}
		return grace <= 0
	}
	return now.Sub(since) >= grace
}

// begin makes the folder of a new generation, under a name that nobody had.
func (b *job) begin() (string, error) {
	var r [8]byte
	rand.Read(r[:])
	path := filepath.Join(b.dir, freshBegin+hex.EncodeToString(r[:]))
	if err := os.Mkdir(path, b.perm); err != nil {
		return "", fault.Wrap("checkout", err)
	}
	return path, fault.Wrap("checkout", os.Chmod(path, b.perm))
}

// hand gives what is below path to the group (S3-26).
func (b *job) hand(path string) error {
	if b.gid < 0 {
		return nil
	}
	return fault.Wrap("checkout: group", filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, -1, b.gid)
	}))
}

// findGroup returns the number of a group; -1 for "".
func findGroup(name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		if g, err = user.LookupGroupId(name); err != nil {
			if n, nerr := strconv.ParseUint(name, 10, 31); nerr == nil {
				return int(n), nil
			}
			return 0, fault.Errorf(fault.Invalid, "checkout", "publish: there is no group %q", name)
		}
	}
	n, err := strconv.Atoi(g.Gid)
	return n, fault.Wrap("checkout: group", err)
}

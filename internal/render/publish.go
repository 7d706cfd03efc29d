package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
)

// Publish renders the site of src into dir and makes dir/current show it, whole or not at all
// (S0-15, S0-17). After an error what was served is served on; what was begun is removed, by this
// call or by the next. dir is made if need be and belongs to Publish alone; while another Publish
// works in it the error is a fault.Busy. Taking longer than Caps.Time is a fault.TooLarge.
func Publish(ctx context.Context, dir string, src Source, site Site, opt Options) (Report, error) {
	const op = "render: publish"
	opt.defaults()
	if err := durable.MkdirAll(dir, 0o755); err != nil {
		return Report{}, fault.Wrap(op, err)
	}
	unlock, err := lockFolder(filepath.Join(dir, lockName))
	if err != nil {
		return Report{}, fault.Wrap(op, err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, opt.Caps.Time, fault.Errorf(fault.TooLarge, op,
		"rendering took longer than %v; allow more time, or fewer commits and files", opt.Caps.Time))
	defer cancel()
	f := &folder{dir: dir, opt: &opt}
	report, err := f.publish(ctx, src, site)
	if err != nil {
		f.sweep()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return Report{}, fault.Wrap(op, err)
	}
	opt.Log.Info("site published", "generation", report.Generation, "files", report.Files, "rendered", report.Rendered,
		"bytes", report.Bytes, "left_out", report.LeftOut, "missing", report.Missing, "unchanged", report.Unchanged)
	return report, nil
}

// lockFolder keeps others out until unlock is called or the process ends.
func lockFolder(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fault.E(fault.Busy, "render: lock", "this site is being published already; try again when that is done")
		}
		return nil, err
	}
	// It may have been removed, with all that was here, between the two: then it keeps nobody out.
	mine, err := f.Stat()
	if is, lerr := os.Lstat(path); err != nil || lerr != nil || !os.SameFile(mine, is) {
		f.Close()
		return nil, fault.E(fault.Busy, "render: lock", "this site is being removed; try again when that is done")
	}
	return func() { f.Close() }, nil
}

// maxGenerations is how many stay in the grace period, whatever is asked for: what is published often must
// not fill the disk.
const maxGenerations = 50

// What is in such a folder beside generations.
const (
	lockName    = "lock"
	currentName = "current"
)

// A folder is what Publish works in.
type folder struct {
	dir string
	opt *Options
}

func generation(n int) string { return "gen-" + strconv.Itoa(n) }

// number returns the number of a generation's name; 0 if it is none.
func number(name string) int {
	s, ok := strings.CutPrefix(name, "gen-")
	n, err := strconv.Atoi(s)
	if !ok || err != nil || n <= 0 || generation(n) != name {
		return 0
	}
	return n
}

// current returns the number of the generation that is served, 0 if there is none.
func (f *folder) current() int {
	to, err := os.Readlink(filepath.Join(f.dir, currentName))
	if err != nil {
		return 0
	}
	gen, site := filepath.Split(to)
	if site != "site" {
		return 0
	}
	return number(filepath.Clean(gen))
}

// sweep removes what a dead Publish left, and generations whose grace period is over. Nothing that
// fails here matters now: the next sweep tries again.
func (f *folder) sweep() (last int) {
	now, cur := f.opt.Now(), f.current()
	last = cur
	entries, _ := os.ReadDir(f.dir)
	older := 0 // how many were shown before the one that is
	slices.SortFunc(entries, func(x, y fs.DirEntry) int { return number(y.Name()) - number(x.Name()) })
	for _, e := range entries {
		path := filepath.Join(f.dir, e.Name())
		if strings.HasSuffix(e.Name(), durable.TempSuffix) {
			os.Remove(path)
			continue
		}
		n := number(e.Name())
		if n == 0 || n == cur {
			continue
		}
		if n < cur {
			older++
			if over := f.expired(path, now); !over || older < f.opt.Keep {
				if older < maxGenerations {
					continue
				}
			}
		}
		if err := os.RemoveAll(path); err != nil {
			f.opt.Log.Warn("an old generation of a site could not be removed; the next publishing tries again", "err", err)
		}
		last = max(last, n)
	}
	return last
}

// expired reports whether the generation at path has been out of service for the grace period. Its
// clock begins to run at the first look.
func (f *folder) expired(path string, now time.Time) bool {
	mark := filepath.Join(path, "retired")
	b, err := os.ReadFile(mark)
	since, perr := time.Parse(time.RFC3339Nano, string(b))
	if err != nil || perr != nil || since.After(now) {
		if err := os.WriteFile(mark, []byte(now.UTC().Format(time.RFC3339Nano)), 0o640); err != nil {
			f.opt.Log.Warn("an old generation of a site could not be marked; the next publishing tries again", "err", err)
		}
		since = now
	}
	return now.Sub(since) >= f.opt.Grace
}

func (f *folder) publish(ctx context.Context, src Source, site Site) (Report, error) {
	step := f.opt.step
	cur := f.current()
	next := f.sweep() + 1
	if err := step("swept"); err != nil {
		return Report{}, err
	}
	last := readManifest(filepath.Join(f.dir, generation(cur), "manifest"), filepath.Join(f.dir, generation(cur), "site"))
	gen := filepath.Join(f.dir, generation(next))
	root := filepath.Join(gen, "site")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return Report{}, err
	}
	if err := step("made"); err != nil {
		return Report{}, err
	}
	p := newPress(ctx, root, last, f.opt)
	if err := build(p, src, site); err != nil {
		return Report{}, err
	}
	p.report.Generation = generation(next)
	if err := step("rendered"); err != nil {
		return Report{}, err
	}
	if cur != 0 && same(last.list, p.list) {
		p.report.Generation, p.report.Unchanged = generation(cur), true
		f.sweep()
		return p.report, nil
	}
	if err := writeManifest(filepath.Join(gen, "manifest"), p.list); err != nil {
		return Report{}, err
	}
	if err := durable.SyncTree(gen); err != nil {
		return Report{}, err
	}
	if err := step("synced"); err != nil {
		return Report{}, err
	}
	if err := ctx.Err(); err != nil {
		return Report{}, context.Cause(ctx)
	}
	link := filepath.Join(f.dir, currentName)
	if fi, err := os.Lstat(link); err == nil && fi.Mode()&fs.ModeSymlink == 0 {
		return Report{}, fault.Errorf(fault.Invalid, "render: publish", "%s is not a symbolic link; remove it", link)
	}
	if err := durable.Symlink(filepath.Join(generation(next), "site"), link); err != nil {
		return Report{}, err
	}
	// From here on the new one is served.
	if err := step("turned"); err != nil {
		return Report{}, err
	}
	f.sweep()
	return p.report, nil
}

func same(a, b []record) bool {
	return slices.EqualFunc(a, b, func(x, y record) bool {
		return x.Key != "" && x.Path == y.Path && x.Key == y.Key
	})
}

// build gives every page to p, in one goroutine, and places them in another: this one.
func build(p *press, src Source, site Site) (err error) {
	b, err := newBuilder(p, src, site)
	if err != nil {
		return err
	}
	p.stub = b.stub
	given := make(chan error, 1)
	go func() {
		defer close(p.queue)
		defer func() {
			if r := recover(); r != nil {
				given <- fmt.Errorf("the site could not be made: %v", r)
			}
		}()
		given <- b.giveAll(p.ctx)
	}()
	perr := p.place()
	if perr != nil {
		p.cancel(perr)
		for range p.queue { // whoever gives sees that it ended
		}
	}
	gerr := <-given
	p.group.Wait()
	p.cancel(nil)
	if perr != nil {
		return perr
	}
	return gerr
}

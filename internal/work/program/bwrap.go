package program

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
)

// tried is what trying bwrap gave: "" or why it does not work. It is tried once for each path.
var tried sync.Map

// tryBwrap returns "" if bwrap can make what jobs need, else why not: where unprivileged user namespaces
// are forbidden, as in most containers, it cannot.
func (p *Programs) tryBwrap(ctx context.Context) string {
	if why, ok := tried.Load(p.bwrap); ok {
		return why.(string)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	args := append(run.Words("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--"), run.Operator([]string{"/bin/true"})...)
	res, err := p.cfg.Run.Run(ctx, run.Command{Kind: "bwrap", Path: p.bwrap, Args: args, Env: []string{"PATH=" + p.cfg.Path}})
	if err != nil && ctx.Err() != nil {
		return "bwrap did not answer"
	}
	why := ""
	if err != nil {
		why = "bwrap does not work here: " + strings.TrimSpace(res.Stderr) + " (user namespaces may be forbidden, as in containers)"
	}
	tried.Store(p.bwrap, why)
	return why
}

// etc is what programs look up that are not about accounts.
var etc = []string{"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/ssl", "/etc/ca-certificates", "/etc/pki", "/etc/localtime", "/etc/nsswitch.conf", "/etc/mime.types"}

// wrap returns the command line that runs a program in bwrap, and what its process is to be given. In
// there every folder has the path that it has outside.
func (p *Programs) wrap(pr *prog) ([]run.Arg, []*os.File, error) {
	var a []string
	add := func(words ...string) { a = append(a, words...) }
	add("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--hostname", "job", "--cap-drop", "ALL")
	if pr.network {
		add("--share-net")
	}
	if pr.user == nil && os.Getuid() == 0 {
		add("--uid", "65534", "--gid", "65534")
	}
	add("--ro-bind", "/usr", "/usr")
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		fi, err := os.Lstat(dir)
		switch {
		case err != nil:
		case fi.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(dir)
			if err != nil {
				return nil, nil, fault.Wrap("exec: bwrap", err)
			}
			add("--symlink", to, dir)
		case fi.IsDir():
			add("--ro-bind", dir, dir)
		}
	}
	// In /proc/sys and elsewhere there the kernel asks for root's number, not for what root may do: where
	// the server runs as root, a program without any privilege could rule the machine.
	add("--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev")
	size := int64(64 << 20)
	if d := int64(pr.limits.Disk); d > 0 {
		size = min(size, d)
	}
	add("--size", strconv.FormatInt(size, 10), "--tmpfs", "/tmp", "--tmpfs", "/run", "--dir", "/var", "--symlink", "../tmp", "/var/tmp")
	files := etc
	if pr.network {
		files = append([]string{"/etc/resolv.conf", "/etc/hosts", "/etc/services", "/etc/protocols"}, etc...)
	}
	// Where programs live elsewhere than in /usr.
	files = append([]string{"/nix/store", "/run/current-system", "/gnu/store"}, files...)
	for _, f := range files {
		if _, err := os.Stat(f); err == nil {
			add("--ro-bind", f, f)
		}
	}
	accounts, err := memFiles(map[string]string{
		"/etc/passwd": "root:x:0:0:root:/:/bin/sh\njob:x:" + uid(pr) + ":" + uid(pr) + ":job:" + pr.at.home + ":/bin/sh\n",
		"/etc/group":  "root:x:0:\njob:x:" + uid(pr) + ":\n",
	})
	if err != nil {
		return nil, nil, err
	}
	fd := 3
	var pass []*os.File
	for path, f := range accounts {
		add("--ro-bind-data", strconv.Itoa(fd), path)
		pass = append(pass, f)
		fd++
	}
	for _, dir := range pr.at.read {
		add("--ro-bind", dir, dir)
	}
	for _, dir := range pr.at.write {
		add("--bind", dir, dir)
	}
	// A program that was named by its path may live elsewhere.
	if prog := pr.argv[0]; !p.visible(pr, prog) {
		add("--ro-bind", prog, prog)
	}
	add("--remount-ro", "/", "--chdir", pr.at.dir)
	if filter, ok, err := seccompFile(); err != nil {
		closeAll(pass)
		return nil, nil, err
	} else if ok {
		add("--seccomp", strconv.Itoa(fd))
		pass = append(pass, filter)
	}
	add("--")
	for _, s := range append(a, pr.argv...) {
		if s == "" {
			closeAll(pass)
			return nil, nil, fault.E(fault.Invalid, "exec", "run: an argument is empty; programs in a sandbox cannot be given one")
		}
	}
	return run.Operator(append(a, pr.argv...)), pass, nil
}

func uid(pr *prog) string {
	switch {
	case pr.user != nil:
		return strconv.Itoa(int(pr.user.UID))
	case os.Getuid() == 0:
		return "65534"
	}
	return strconv.Itoa(os.Getuid())
}

// visible reports whether path can be seen in the sandbox.
func (p *Programs) visible(pr *prog, path string) bool {
	for _, dir := range append(append([]string{"/usr", "/bin", "/sbin"}, pr.at.read...), pr.at.write...) {
		if rel, err := filepath.Rel(dir, path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return true
		}
	}
	return false
}

// memFiles returns a file in memory for each text.
func memFiles(texts map[string]string) (map[string]*os.File, error) {
	out := map[string]*os.File{}
	for path, text := range texts {
		f, err := memFile(filepath.Base(path), []byte(text))
		if err != nil {
			for _, f := range out {
				f.Close()
			}
			return nil, err
		}
		out[path] = f
	}
	return out, nil
}

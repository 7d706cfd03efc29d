package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gitroost/gitroost/internal/config"
)

// maxFolders is how many repositories are looked at.
const maxFolders = 20_000

// dataFolder looks at the folder itself: whose it is, and on what kind of disk.
func dataFolder(_ context.Context, p *Patient) []Finding {
	const check = "data"
	data := p.Config.Data
	st, err := os.Stat(data)
	if errors.Is(err, fs.ErrNotExist) {
		if parent, perr := os.Stat(filepath.Dir(filepath.Clean(data))); perr != nil || !parent.IsDir() {
			return []Finding{found(check, Warn, data+" is not there, nor the folder around it", "", "make it, or name another with --data")}
		}
		return []Finding{ok(check, "%s is not there yet; the first start makes it", data)}
	}
	switch {
	case err != nil:
		return []Finding{found(check, Fail, errText(err), "the server keeps everything there", "run this as the user of the server")}
	case !st.IsDir():
		return []Finding{found(check, Fail, data+" is not a folder", "the server keeps everything there", "name a folder with --data")}
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && os.Geteuid() != 0 && int(sys.Uid) != os.Geteuid() {
		return []Finding{found(check, Fail, fmt.Sprintf("%s belongs to another user (%d)", data, sys.Uid), "a server that you start cannot write there", "run this as the user of the server, or give the folder to that user")}
	}
	if kind := remoteFiles(data); kind != "" {
		return []Finding{found(check, Warn, data+" is on "+kind, "the database needs locks and memory that computers do not share over it: it can be damaged", "use a local disk")}
	}
	return []Finding{ok(check, "%s", data)}
}

// A rule says who may do what with a path below the data folder (S0-36).
type rule struct {
	path string
	most fs.FileMode // what others may at most
	why  string
}

var rules = []rule{
	{".", 0o700, "events that wait, addresses of visitors and the server's key are in it"},
	{"gitroost.db", 0o600, "events wait in it beside the addresses they came from"},
	{"gitroost.db-wal", 0o600, "events wait in it beside the addresses they came from"},
	{"git", 0o750, "whoever writes there moves refs that nobody has signed"},
	{"prs", 0o750, "whoever writes there moves refs that nobody has signed"},
	{"logs", 0o750, "jobs say there what not everybody shall read"},
	{"sites", 0o755, "whoever writes there changes what visitors are shown"},
	{"tasks", 0o750, "what jobs work on is in it"},
	{"programs", 0o750, "who writes there has the server end programs"},
}

// modes looks whether others can write where the server keeps what it answers for, or read what is not
// theirs: the data folder 0700, logs 0750, sites 0755 (S0-36). What anybody can write fails.
func modes(ctx context.Context, p *Patient) (out []Finding) {
	const check = "data.modes"
	data := p.Config.Data
	if _, err := os.Stat(data); err != nil {
		return nil // dataFolder has said it
	}
	for _, r := range rules {
		st, err := os.Lstat(filepath.Join(data, r.path))
		if err != nil {
			continue // it is made when it is needed
		}
		if f, bad := judge(check, filepath.Join(data, r.path), st, r.most, r.why); bad {
			out = append(out, f)
		}
	}
	repos := 0
	for _, dir := range []string{"git", "prs"} {
		n, bad := repositories(ctx, filepath.Join(data, dir), maxFolders-repos)
		repos += n
		out = append(out, bad...)
	}
	if out == nil {
		what := "nobody else can write there"
		if repos > 0 {
			what += fmt.Sprintf(", nor in %d folders of repositories", repos)
		}
		out = append(out, ok(check, "%s", what))
	}
	return out
}

// maxTold is how many folders are told one by one.
const maxTold = 10

// repositories looks at <owner>/<identifier>.git below root.
func repositories(ctx context.Context, root string, most int) (n int, out []Finding) {
	const why = "whoever writes there moves refs that nobody has signed"
	more := 0
	tell := func(path string) {
		st, err := os.Lstat(path)
		if err != nil {
			return
		}
		f, bad := judge("data.modes", path, st, 0o755, why)
		switch {
		case !bad:
		case len(out) == maxTold:
			more++
		default:
			out = append(out, f)
		}
	}
	owners, err := os.ReadDir(root)
	if err != nil {
		return 0, nil
	}
	for _, owner := range owners {
		dir := filepath.Join(root, owner.Name())
		tell(dir)
		list, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, repo := range list {
			if n >= most || ctx.Err() != nil {
				return n, out
			}
			if !strings.HasSuffix(repo.Name(), ".git") {
				continue
			}
			n++
			tell(filepath.Join(dir, repo.Name()))
			tell(filepath.Join(dir, repo.Name(), "objects"))
			tell(filepath.Join(dir, repo.Name(), "packed-refs"))
		}
	}
	if more > 0 {
		out = append(out, found("data.modes", Fail, fmt.Sprintf("and %d more", more), "", "chmod -R go-w "+root))
	}
	return n, out
}

// judge compares what others may with what they may at most. To write is worse than to read.
func judge(check, path string, st fs.FileInfo, most fs.FileMode, why string) (Finding, bool) {
	perm := st.Mode().Perm()
	over := perm &^ most & 0o077
	if over == 0 || st.Mode()&fs.ModeSymlink != 0 {
		return Finding{}, false
	}
	level, who := Warn, "be read by others"
	if over&0o022 != 0 {
		level, who = Fail, "be written by others"
	}
	return found(check, level, fmt.Sprintf("%s can %s: its mode is %04o, %04o is enough", path, who, perm, most), why, fmt.Sprintf("chmod %04o %s", perm&(most|0o700), path)), true
}

// What is little and what is too little, in bytes.
const (
	littleSpace = 2 << 30
	noSpace     = 200 << 20
)

// disk looks how much is free.
func disk(_ context.Context, p *Patient) []Finding {
	const check = "disk"
	path := filepath.Clean(p.Config.Data)
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			break
		}
		path = filepath.Dir(path)
	}
	free, inodes, known := space(path)
	if !known {
		return []Finding{unknown(check, "this system does not tell how much is free")}
	}
	const why = "without room pushes are refused, and in the end events too"
	switch what := fmt.Sprintf("%s free below %s", roundSize(free), p.Config.Data); {
	case free < noSpace:
		return []Finding{found(check, Fail, what, why, "make room, or move the data folder")}
	case inodes >= 0 && inodes < 10_000:
		return []Finding{found(check, Fail, fmt.Sprintf("room for %d more files below %s", inodes, p.Config.Data), why, "make room, or move the data folder")}
	case free < littleSpace+p.Config.Cache.Size:
		return []Finding{found(check, Warn, what, fmt.Sprintf("cache.size alone may take %s, and one push %s", config.Size(p.Config.Cache.Size), config.Size(p.Config.Limits.MaxPush)), "make room, or lower cache.size and limits.max_push")}
	default:
		return []Finding{ok(check, "%s", what)}
	}
}

// clockSet looks whether the clock can be right: events that wait, and signed requests, depend on it.
func clockSet(_ context.Context, p *Patient) []Finding {
	const check = "clock"
	now := p.Now()
	const why = "events of the future are refused, and those of the past lose; signed requests hold for a minute"
	if now.Year() < 2025 || now.Year() > 2100 {
		return []Finding{found(check, Fail, "it is "+now.UTC().Format("2006-01-02 15:04:05")+" by the clock of this computer", why, "set the clock; best by a service such as chrony or systemd-timesyncd")}
	}
	for _, name := range []string{"gitroost.db-wal", "gitroost.db", "lock"} {
		if st, err := os.Stat(filepath.Join(p.Config.Data, name)); err == nil && st.ModTime().Sub(now).Minutes() > 10 {
			return []Finding{found(check, Fail, fmt.Sprintf("%s was written at %s, and it is %s now", name, st.ModTime().UTC().Format("2006-01-02 15:04:05"), now.UTC().Format("2006-01-02 15:04:05")), why, "set the clock; it went back")}
		}
	}
	if synced, known := clockSynced(); known && !synced {
		return []Finding{found(check, Warn, "nothing keeps the clock right", why, "have a service such as chrony or systemd-timesyncd set it")}
	}
	return []Finding{ok(check, "%s", now.UTC().Format("2006-01-02 15:04:05 MST"))}
}

// descriptors looks how many files may be open: each WebSocket and each git process needs some.
func descriptors(_ context.Context, p *Patient) []Finding {
	const check = "limits.files"
	most, known := openFiles()
	if !known {
		return []Finding{unknown(check, "this system does not tell how many files may be open")}
	}
	l := p.Config.Limits
	need := uint64(l.Connections) + 4*uint64(p.Config.Git.Receiving+64) + 512
	if most < need {
		return []Finding{found(check, Warn, fmt.Sprintf("%d files may be open, and %d can be needed", most, need), fmt.Sprintf("limits.connections lets in %d visitors, and the last would be turned away by an error", l.Connections), "raise LimitNOFILE= of the service or ulimit -n, or lower limits.connections")}
	}
	return []Finding{ok(check, "%d may be open, and %d can be needed", most, need)}
}

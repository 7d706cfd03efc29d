package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/work/program"
)

// configuration tells what was wrong with it, or odd.
func configuration(_ context.Context, p *Patient) (out []Finding) {
	for _, f := range p.Faults {
		out = append(out, found("config", Fail, f.Where+": "+f.Text, "the server does not start with this", "mend it, and try: gitroost config check"))
	}
	for _, w := range p.Warnings {
		out = append(out, found("config", Warn, w, "", ""))
	}
	if len(out) > 0 {
		return out
	}
	if p.File == "" {
		return append(out, ok("config", "no file; what is set comes from flags and the environment"))
	}
	return append(out, ok("config", "%s", p.File))
}

// minGit and wellGit are the oldest git that is used, and the oldest without known holes.
var minGit, wellGit = [3]int{2, 39, 5}, [3]int{2, 50, 1}

// gitProgram looks for git (README 12).
func gitProgram(ctx context.Context, p *Patient) []Finding {
	out, _, err := p.Git(ctx, "/", "version")
	if err != nil {
		text, _ := fault.Message(err)
		return []Finding{found("git", Fail, "git cannot be run: "+text, "all that is pushed and fetched passes through it", "install git 2.50.1 or newer, or name it with git.path")}
	}
	v := strings.TrimPrefix(strings.TrimSpace(out), "git version ")
	var n [3]int
	fmt.Sscanf(v, "%d.%d.%d", &n[0], &n[1], &n[2])
	switch {
	case slices.Compare(n[:], minGit[:]) < 0:
		return []Finding{found("git", Fail, "git "+v+" is too old", "the server needs what git can do since 2.39.5, and does not start without", "install git 2.50.1 or newer, or name it with git.path")}
	case slices.Compare(n[:], wellGit[:]) < 0:
		return []Finding{found("git", Warn, "git "+v+" is old", "versions before 2.50.1 have known holes, unless your vendor has mended them", "install git 2.50.1 or newer")}
	}
	return []Finding{ok("git", "git %s", v)}
}

// listener looks whether the public address is free, or held by a server of ours.
func listener(ctx context.Context, p *Patient) []Finding {
	addr := p.Config.Listen
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err == nil {
		l.Close()
		return []Finding{ok("listen", "%s is free; no server runs there", addr)}
	}
	host, port, serr := net.SplitHostPort(addr)
	if serr == nil {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if code, body, herr := simpleGet(ctx, "http://"+net.JoinHostPort(host, port)+"/health"); herr == nil {
			switch {
			case code == http.StatusOK && strings.TrimSpace(body) == "ok":
				return []Finding{ok("listen", "a server answers on %s", addr)}
			case code == http.StatusServiceUnavailable:
				return []Finding{found("listen", Fail, "the server on "+addr+" says: "+body, "it cannot serve anybody", "look into its log")}
			}
		}
	}
	return []Finding{found("listen", Fail, fmt.Sprintf("cannot listen on %s: %v", addr, errText(err)), "visitors could not reach the server", "stop what is there, or choose another address with --listen")}
}

// simpleGet asks a server on this computer.
func simpleGet(ctx context.Context, url string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	return resp.StatusCode, string(b), err
}

// examineTime is how long the database is looked at.
const examineTime = 2 * time.Minute

// database looks whether it opens, and whether it is whole.
func database(ctx context.Context, p *Patient) []Finding {
	const check = "database"
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	e, err := store.Examine(ctx, filepath.Join(p.Config.Data, "gitroost.db"))
	switch {
	case fault.Is(err, fault.NotFound):
		return []Finding{ok(check, "there is none yet; the first start makes it")}
	case err != nil:
		return []Finding{found(check, Fail, errText(err), "events, repositories and jobs are kept in it", "if the disk is well, restore it from a backup; without one, move it away: peers and clients give back what they have")}
	case e.Damage != "":
		return []Finding{found(check, Fail, "it is damaged: "+e.Damage, "what is in it can be wrong or missing", "stop the server, look at the disk, and restore it from a backup")}
	case e.Schema > e.Newest:
		return []Finding{found(check, Fail, fmt.Sprintf("it has schema %d, and this program knows %d at most", e.Schema, e.Newest), "a newer gitroost wrote it, and this one does not start on it", "use the newer version")}
	case e.Schema < e.Newest:
		return []Finding{found(check, Warn, fmt.Sprintf("it has schema %d; the next start brings it to %d", e.Schema, e.Newest), "an older gitroost does not open it after that", "make a backup before you start this version")}
	case e.Unfinished:
		return []Finding{found(check, Warn, fmt.Sprintf("it opens, schema %d, and %s of it were not looked at whole in %s", e.Schema, config.Size(e.Size), examineTime), "", "")}
	}
	return []Finding{ok(check, "schema %d, %d repositories, about %d events, %s", e.Schema, e.Repos, e.Events, roundSize(e.Size))}
}

// serverKey looks at the server's own key.
func serverKey(_ context.Context, p *Patient) []Finding {
	const check = "server.key"
	path := filepath.Join(p.Config.Data, "server.key")
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return []Finding{ok(check, "there is none yet; the first start makes it")}
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	switch {
	case err != nil:
		return []Finding{found(check, Fail, errText(err), "the server does not start without its key", "run this as the user of the server, or give the file back to that user")}
	case st.Mode().Perm()&0o077 != 0:
		return []Finding{found(check, Fail, fmt.Sprintf("%s can be read by others (mode %04o)", path, st.Mode().Perm()), "whoever has this key can manage the server and speak in its name", "chmod 600 "+path+"; if others were here, remove it: the next start makes a new one")}
	case !grasp.IsHex(strings.TrimSpace(string(b)), 64):
		return []Finding{found(check, Fail, path+" does not hold a key", "the server does not start with it", "restore it, or remove it to get a new one")}
	}
	return []Finding{ok(check, "readable by its owner alone")}
}

// secrets looks whether jobs can have what they are promised.
func secrets(_ context.Context, p *Patient) (out []Finding) {
	if len(p.Config.Secrets) == 0 || p.Secrets == nil {
		return nil
	}
	wrong := p.Secrets(p.Config)
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		out = append(out, found("secrets", Fail, "secret "+name+": "+errText(wrong[name]), "jobs that need it do not begin", "see "+p.Config.Secrets[name].Where))
	}
	if out == nil {
		out = append(out, ok("secrets", "%d, all can be read by the server alone", len(p.Config.Secrets)))
	}
	return out
}

// runners looks what this machine has for programs of jobs (jobs.md 3.7).
func runners(ctx context.Context, p *Patient) (out []Finding) {
	eng := p.Config.Engine
	dir, err := os.MkdirTemp("", "gitroost-doctor-")
	if err != nil {
		return []Finding{unknown("jobs", "cannot make a temporary folder: %s", errText(err))}
	}
	defer os.RemoveAll(dir)
	// Groups: none, because to look for them would make one.
	programs, err := program.New(program.Config{Run: run.New(run.Config{}), State: dir, Sandbox: eng.Sandbox, Untrusted: eng.Untrusted, Groups: "none"})
	if err != nil {
		return []Finding{unknown("jobs", "%s", errText(err))}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, r := range programs.Runners(ctx) {
		check, text := "jobs."+r.Name, r.Text
		if r.Name == "groups" {
			text = controlGroups()
		}
		if text == "" {
			out = append(out, ok(check, "is here"))
			continue
		}
		f := found(check, OK, "not here: "+text, "", "")
		programsRun := slices.ContainsFunc(p.Config.Jobs, func(j config.Job) bool { return j.Kind == "exec" || j.Kind == "checkout" || j.Kind == "ssh" })
		switch {
		case r.Name == eng.Sandbox && programsRun:
			f.Level, f.Why, f.Do = Fail, "jobs.sandbox asks for it, so programs of jobs do not run", "make it work here, or choose another jobs.sandbox"
		case r.Name == eng.Untrusted && slices.ContainsFunc(p.Config.Jobs, func(j config.Job) bool { return j.On.Pull != nil }):
			f.Level, f.Why, f.Do = Warn, "jobs of pull requests run in it alone: they end as startup_failure", "install bubblewrap; inside Docker see deploy/compose.yaml for what it has to be allowed"
		case programsRun:
			f.Level, f.Why = Warn, "programs of jobs are held back by less than they could be"
		}
		out = append(out, f)
	}
	return out
}

// proxies looks whether visitors can be told apart (H-112).
func proxies(_ context.Context, p *Patient) []Finding {
	c := p.Config
	switch {
	case c.Domain == "" && c.OnlyHere():
		return []Finding{ok("proxy", "none is needed: %s is reached from this computer alone", c.Listen)}
	case c.Domain != "" && c.OnlyHere() && len(c.TrustedProxies) == 0:
		return []Finding{found("proxy", Fail, "trusted_proxies is empty, and "+c.Listen+" is reached through a proxy alone",
			"all visitors would have the proxy's address: limits for one would stop all of them", "set trusted_proxies to the proxy's address, for example [127.0.0.1/32, \"::1/128\"]")}
	}
	for _, n := range c.TrustedProxies {
		if n.Bits() == 0 {
			return []Finding{found("proxy", Fail, "trusted_proxies holds "+n.String()+": everybody", "any visitor could choose the address that limits and blocks see", "name the proxy's own address alone")}
		}
	}
	return []Finding{ok("proxy", "%d ranges of trusted proxies", len(c.TrustedProxies))}
}

// errText is what a person is told of err: no names of rooms.
func errText(err error) string {
	if !fault.Is(err, fault.Internal) {
		text, _ := fault.Message(err)
		return oneLine(text)
	}
	return oneLine(err.Error())
}

// roundSize writes a size in one unit, rounded.
func roundSize(n int64) string {
	for _, u := range []struct {
		name string
		n    int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.n {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.n), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

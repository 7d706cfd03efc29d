package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
)

const serveHelp = `Nothing has to be configured on one's own computer. For the world, give it a name
with --domain and put a proxy with TLS in front; deploy/ has one for Caddy and nginx.
`

// serve runs the server until the context ends.
func (a *app) serve(ctx context.Context, args []string) error {
	loaded, err := a.load(args)
	if err != nil {
		return err
	}
	if len(loaded.Rest) > 0 {
		return usageError(fmt.Sprintf("serve: unexpected argument %q; gitroost help lists the commands", loaded.Rest[0]))
	}
	cfg := loaded.Config
	log, levels := newLogs(a.err, cfg.Log)
	for _, w := range loaded.Warnings {
		log.Warn(w)
	}
	cleanup, err := prepareData(&cfg, loaded.Origins["data"] != "default")
	if err != nil {
		return err
	}
	defer cleanup()
	note := dataNote(cfg)
	h, err := a.house(ctx, cfg, log)
	if err != nil {
		return err
	}
	end := make(chan error, 1)
	go func() { end <- h.Run(ctx) }()
	named := loaded.Config.Data
	defer a.reloads(ctx, h, log, func() (config.Loaded, error) {
		again, err := a.load(args)
		if again.Config.Data == named {
			again.Config.Data = cfg.Data // what it stands for
		}
		if err == nil {
			levels.set(again.Config.Log)
		}
		return again, err
	})()
	select {
	case err := <-end:
		select {
		case <-h.Ready(): // it was open, if only for a moment
			a.banner(ctx, cfg, h.Addr(), note)
		default:
		}
		return err
	case <-h.Ready():
	}
	a.banner(ctx, cfg, h.Addr(), note)
	return <-end
}

func (a *app) load(args []string) (config.Loaded, error) {
	return config.Load(config.Sources{Flags: args, Env: a.env, Read: os.ReadFile})
}

// prepareData makes the path of the data folder absolute. An ephemeral one is a new folder, inside
// the one that was named or else among the system's temporary files; cleanup removes it.
func prepareData(cfg *config.Config, named bool) (cleanup func(), err error) {
	const op = "serve: data folder"
	cleanup = func() {}
	if cfg.Data, err = filepath.Abs(cfg.Data); err != nil {
		return cleanup, fault.Wrap(op, err)
	}
	if !cfg.Ephemeral {
		return cleanup, nil
	}
	parent := ""
	if named {
		parent = cfg.Data
		if err := os.MkdirAll(parent, 0o700); err != nil {
			return cleanup, fault.Errorf(fault.Invalid, op, "cannot make %s: %v", parent, errors.Unwrap(err))
		}
	}
	dir, err := os.MkdirTemp(parent, "gitroost-")
	if err != nil {
		return cleanup, fault.Errorf(fault.Invalid, op, "cannot make a temporary folder: %v", err)
	}
	cfg.Data = dir
	return func() { os.RemoveAll(dir) }, nil
}

// dataNote says where the data is and whether it was there before.
func dataNote(cfg config.Config) string {
	switch _, err := os.Stat(cfg.Data); {
	case cfg.Ephemeral:
		return cfg.Data + " (deleted at the end)"
	case errors.Is(err, fs.ErrNotExist):
		return cfg.Data + " (new)"
	}
	return cfg.Data
}

// banner says what is where.
func (a *app) banner(ctx context.Context, cfg config.Config, addr, data string) {
	public := cfg.Public(addr)
	fmt.Fprintf(a.out, "gitroost %s · data %s · %s\n", programVersion(), data, a.gitVersion(ctx))
	fmt.Fprintf(a.out, "  web + git + relay   %s\n", public)
	if cfg.Admin.Listen != "" {
		fmt.Fprintf(a.out, "  metrics             http://%s/metrics\n", cfg.Admin.Listen)
	}
	if !cfg.OnlyHere() {
		return
	}
	if cfg.Domain != "" {
		fmt.Fprintf(a.out, "  listening on        %s (for the proxy in front)\n", addr)
		return
	}
	fmt.Fprintf(a.out, "  try it              gitroost demo --server %s\n", public)
	fmt.Fprintf(a.out, "  go public           gitroost serve --domain git.example.com   (behind a proxy with TLS: deploy/Caddyfile)\n")
	fmt.Fprint(a.out, "Reachable from this computer only. Anyone on it may create repositories.\n")
}

func (a *app) gitVersion(ctx context.Context) string {
	out, _, err := a.git(ctx, "/", "--version")
	if err != nil {
		return "git unknown"
	}
	v := strings.TrimPrefix(strings.TrimSpace(out), "git version ")
	v, _, _ = strings.Cut(v, " ")
	return "git " + v
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&fs.ModeCharDevice != 0
}

// health asks the server that the same configuration would start.
func (a *app) health(ctx context.Context, args []string) error {
	loaded, err := a.load(args)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(loaded.Config.Listen)
	if err != nil {
		return fault.Wrap("health", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	url := "http://" + net.JoinHostPort(host, port) + "/health"
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fault.Wrap("health", err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return fault.Errorf(fault.Busy, "health", "%s does not answer: %v", url, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if resp.StatusCode != http.StatusOK {
		return fault.Errorf(fault.Busy, "health", "%s answers %d: %s", url, resp.StatusCode, strings.TrimSpace(string(body)))
	}
	fmt.Fprintln(a.out, "ok")
	return nil
}

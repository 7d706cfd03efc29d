package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/client"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobweb"
	"github.com/gitroost/gitroost/internal/manage"
	"github.com/gitroost/gitroost/internal/steward"
)

// maxSocket is how long the path of a socket may be: systems have 104 bytes for it, or 108, with an
// end mark; while it is made its path is four bytes longer.
const maxSocket = 99

// socketPath returns where the command line finds the server that uses a data folder: admin.sock in
// it, or a name made from its path in $XDG_RUNTIME_DIR if that would be too long for a socket.
func socketPath(data string) (string, error) {
	path := filepath.Join(data, "admin.sock")
	if len(path) <= maxSocket {
		return path, nil
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		sum := sha256.Sum256([]byte(data))
		if path := filepath.Join(dir, "gitroost-"+hex.EncodeToString(sum[:8])+".sock"); len(path) <= maxSocket {
			return path, nil
		}
	}
	return "", fault.Errorf(fault.Invalid, "server: socket",
		"the path of %s is too long for a socket; set XDG_RUNTIME_DIR for the server and here, or choose a shorter data folder", data)
}

// listenLocal makes the socket for the command line. Nobody but the owner can ever connect: it gets
// its rights inside a folder that others cannot enter, and only then its name. What a process that
// was killed left there is replaced.
func listenLocal(path string) (net.Listener, error) {
	const op = "server: socket"
	dir := path + ".d"
	if err := os.RemoveAll(dir); err != nil {
		return nil, fault.Wrap(op, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fault.Wrap(op, err)
	}
	defer os.RemoveAll(dir)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	l.SetUnlinkOnClose(false) // it will have another name by then
	if err = os.Chmod(filepath.Join(dir, "s"), 0o600); err == nil {
		err = os.Rename(filepath.Join(dir, "s"), path)
	}
	if err != nil {
		l.Close()
		return nil, fault.Wrap(op, err)
	}
	return l, nil
}

// openLocal opens the door for the command line. A server can do without it.
func (s *Server) openLocal() {
	path, err := socketPath(s.cfg.Data)
	if err == nil {
		s.local, err = listenLocal(path)
	}
	if err != nil {
		s.log.Warn("the command line cannot reach this server; allow, deny and rules work when it is stopped, and over NIP-86", "err", err)
		return
	}
	s.localPath = path
	s.localSrv = &http.Server{
		Handler: recovered(s.log, s.localDoors()), ReadHeaderTimeout: s.cfg.Limits.HeaderTimeout, IdleTimeout: s.cfg.Limits.Keepalive,
		MaxHeaderBytes: int(s.cfg.Limits.Header), ErrorLog: slog.NewLogLogger(s.log.With("room", "http").Handler(), slog.LevelDebug),
	}
}

// localDoors are what the command line reaches.
func (s *Server) localDoors() http.Handler {
	calls, jobs := s.manage.Local(), s.jobsDoor.Local()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if jobweb.Match(r.URL.EscapedPath()) {
			jobs.ServeHTTP(w, r)
			return
		}
		calls.ServeHTTP(w, r)
	})
}

// JobsOf sends a request about jobs to the server that runs on cfg's data folder, as jobweb answers it, and returns the
// answer. Jobs are run by a server alone: if there is none that is a fault.NotFound.
func JobsOf(ctx context.Context, cfg config.Config, method, path string, body []byte) (*http.Response, error) {
	socket, err := socketPath(cfg.Data)
	if err != nil {
		return nil, err
	}
	resp, err := client.Send(ctx, socket, method, path, body)
	if fault.Is(err, fault.NotFound) {
		return nil, fault.Errorf(fault.NotFound, "server: jobs", "no server runs on %s, and jobs are run by a server: start it, or name its folder with --data", cfg.Data)
	}
	return resp, err
}

// Manage carries out one call of the command line: by the server that runs on cfg's data folder, or
// if there is none here and now, on the folder itself. The result is JSON.
func Manage(ctx context.Context, cfg config.Config, log *slog.Logger, method string, params ...any) (json.RawMessage, error) {
	const op = "server: manage"
	path, perr := socketPath(cfg.Data)
	if perr == nil {
		result, err := client.Ask(ctx, path, method, params...)
		if !fault.Is(err, fault.NotFound) {
			return result, err
		}
	}
	if _, err := os.Stat(filepath.Join(cfg.Data, "gitroost.db")); errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Errorf(fault.NotFound, op, "there is no server's data in %s; name its folder with --data", cfg.Data)
	}
	s := &Server{cfg: cfg, log: log, now: timeOf(cfg), wire: time.Now}
	defer s.release()
	if err := s.openData(ctx); err != nil {
		if perr != nil && fault.Is(err, fault.Invalid) {
			return nil, perr
		}
		return nil, err
	}
	site, err := s.site(cfg.Listen)
	if err != nil {
		return nil, err
	}
	s.steward = steward.New(steward.Config{
		Site: site, Now: s.now, Rules: cfg.Rules(), Contact: cfg.Contact, Books: s.store, Ruled: s.ruled,
		OrphanTTL: cfg.Purgatory.OrphanTTL, DeletedGrace: cfg.Repos.DeletedGrace, Boxes: cfg.PRs.Enabled,
	}, s.store, s.vault, log.With("room", "steward"))
	if err := s.steward.LoadRules(ctx); err != nil {
		return nil, fault.Wrap(op, err)
	}
	return s.manager(cfg.Authorities(cfg.Listen)).Call(ctx, manage.CommandLine, method, params...)
}

// site is how announcements name this server when it is bound to an address.
func (s *Server) site(bound string) (grasp.Site, error) {
	urls := []string{s.cfg.Public(bound)}
	for _, a := range s.cfg.Authorities(bound) {
		urls = append(urls, "https://"+a)
	}
	site, err := grasp.NewSite(urls...)
	if err != nil {
		return site, fault.Errorf(fault.Invalid, "server: domain", "%v", err)
	}
	return site, nil
}

package server_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/housetest"
	"github.com/gitroost/gitroost/internal/manage"
	"github.com/gitroost/gitroost/internal/server"
)

func ask(t *testing.T, data, method string, params ...any) (string, error) {
	t.Helper()
	cfg := config.Default()
	cfg.Data = data
	raw, err := server.Manage(context.Background(), cfg, slog.New(slog.DiscardHandler), method, params...)
	var rep manage.Report
	if err == nil {
		if err := json.Unmarshal(raw, &rep); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
	}
	return strings.Join(rep.Lines, "\n"), err
}

// The command line reaches a running server over a socket that nobody else can open, whatever a
// killed one left there, and works on the folder itself when there is none.
func TestSocket(t *testing.T) {
	short, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	long := filepath.Join(short, strings.Repeat("x", 120))
	run := filepath.Join(short, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", run)
	for _, c := range []struct{ name, data, in string }{
		{"in the data folder", filepath.Join(short, "data"), filepath.Join(short, "data")},
		{"in the runtime folder", long, run},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ask(t, c.data, manage.MethodRules); !fault.Is(err, fault.NotFound) {
				t.Errorf("of a folder that does not exist: %v", err)
			}
			if _, err := os.Stat(c.data); !os.IsNotExist(err) {
				t.Errorf("the folder was made: %v", err)
			}
			h := housetest.Start(t, func(cfg *config.Config) { cfg.Data = c.data })
			sockets := func() []string {
				t.Helper()
				list, err := filepath.Glob(filepath.Join(c.in, "*.sock*"))
				if err != nil {
					t.Fatal(err)
				}
				return list
			}
			list := sockets()
			if len(list) != 1 {
				t.Fatalf("sockets %v", list)
			}
			if st, err := os.Stat(list[0]); err != nil || st.Mode() != fs.ModeSocket|0o600 {
				t.Errorf("the socket is %v, %v", st.Mode(), err)
			}
			if got, err := ask(t, c.data, manage.MethodDecide, manage.Order{Action: "deny", About: "linux"}); err != nil || !strings.HasPrefix(got, "rule 1 ") {
				t.Errorf("running: %q, %v", got, err)
			}
			h.Restart(func(string) {
				if left := sockets(); len(left) > 0 {
					t.Errorf("it left %v", left)
				}
				if got, err := ask(t, c.data, manage.MethodDecide, manage.Order{Action: "deny", About: "windows"}); err != nil || !strings.HasPrefix(got, "rule 2 ") {
					t.Errorf("stopped: %q, %v", got, err)
				}
				// What a killed process leaves: a name that nobody listens to.
				l, err := net.ListenUnix("unix", &net.UnixAddr{Name: list[0], Net: "unix"})
				if err != nil {
					t.Fatal(err)
				}
				l.SetUnlinkOnClose(false)
				l.Close()
				if _, err := ask(t, c.data, manage.MethodRules); err != nil {
					t.Errorf("beside a dead socket: %v", err)
				}
			})
			got, err := ask(t, c.data, manage.MethodRules)
			if err != nil || !strings.Contains(got, "deny  linux") || !strings.Contains(got, "deny  windows") {
				t.Errorf("running again: %q, %v", got, err)
			}
			// A server that has the folder and no socket is not worked around.
			if err := os.Remove(list[0]); err != nil {
				t.Fatal(err)
			}
			if _, err := ask(t, c.data, manage.MethodRules); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "another gitroost uses") {
				t.Errorf("beside a server without a socket: %v", err)
			}
		})
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	if err := os.MkdirAll(long, 0o700); err != nil {
		t.Fatal(err)
	}
	housetest.Start(t, func(cfg *config.Config) { cfg.Data = long }) // it serves all the same
	if _, err := ask(t, long, manage.MethodRules); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "XDG_RUNTIME_DIR") {
		t.Errorf("without a place for the socket: %v", err)
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Names of the peers, as in the tables.
const (
	ours    = "gitroost"
	tidy    = "gitroost-packed" // the same server; the repository was packed for it as git gc would
	nginx   = "nginx-cgi"
	goCGI   = "go-cgi"
	daemon  = "git-daemon"
	local   = "local"
	staticS = "static"
)

// A peer is somebody who serves the repositories.
type peer struct {
	name string
	box  *box // nil if it has no process of its own
	url  func(repo string) string
	dir  func(repo string) string // the folder of a repository
	idle float64                  // private memory before the first request, MiB
}

// A request is one message to a repository. what is "advert", "upload" or "receive".
type request struct {
	repo    string
	what    string
	service string // of an advertisement: upload-pack or receive-pack
	version int
	body    []byte
}

// An answer is what came back.
type answer struct {
	first, took time.Duration
	n           int64
	tail        [4]byte // of the last packet, read over HTTP
	body        []byte  // if it was asked for
	status      int
	cpu         time.Duration // of the server, where nothing else can tell
}

// web is the one client of all: connections are kept, as git keeps its own.
var web = &http.Client{Transport: &http.Transport{
	DisableCompression: true, MaxIdleConnsPerHost: 128, ReadBufferSize: 128 << 10, WriteBufferSize: 64 << 10,
}}

// do asks p. The answer is thrown away as it comes unless keep is set.
func (p *peer) do(ctx context.Context, r request, keep bool) (answer, error) {
	switch p.name {
	case local:
		return p.pipe(ctx, r, keep)
	case daemon:
		return p.dial(ctx, r, keep)
	case staticS:
		return p.http(ctx, http.MethodGet, p.url(staticName(r)), "", nil, 0, keep)
	}
	if r.what == "advert" {
		return p.http(ctx, http.MethodGet, p.url(r.repo)+"/info/refs?service=git-"+r.service, "", nil, r.version, keep)
	}
	return p.http(ctx, http.MethodPost, p.url(r.repo)+"/git-"+r.what+"-pack", "application/x-git-"+r.what+"-pack-request", r.body, r.version, keep)
}

func (p *peer) http(ctx context.Context, method, url, kind string, body []byte, version int, keep bool) (a answer, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if version > 0 {
		req.Header.Set("Git-Protocol", fmt.Sprintf("version=%d", version))
	}
	began := time.Now()
	resp, err := web.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.status = resp.StatusCode
	err = a.read(resp.Body, began, keep)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("%s: status %d", url, a.status)
	}
	return a, err
}

// buffers are what answers are read into: where thousands come in a second, to make one for each would cost the
// client more than the answer costs the server.
var buffers = sync.Pool{New: func() any { return new([128 << 10]byte) }}

// read takes the whole of an answer.
func (a *answer) read(r io.Reader, began time.Time, keep bool) error {
	own := buffers.Get().(*[128 << 10]byte)
	defer buffers.Put(own)
	buf := own[:]
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if a.n == 0 {
				a.first = time.Since(began)
			}
			a.n += int64(n)
			if keep {
				a.body = append(a.body, buf[:n]...)
			}
			if n >= 4 {
				copy(a.tail[:], buf[n-4:n])
			} else {
				copy(a.tail[:], append(a.tail[n:], buf[:n]...))
			}
		}
		if err != nil {
			a.took = time.Since(began)
			if err == io.EOF {
				err = nil
			}
			return err
		}
	}
}

// dial speaks git:// with a daemon.
func (p *peer) dial(ctx context.Context, r request, keep bool) (a answer, err error) {
	began := time.Now()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(p.url(""), "git://"))
	if err != nil {
		return a, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	service := r.service
	if r.what != "advert" {
		service = r.what + "-pack"
	}
	hello := fmt.Sprintf("git-%s /%s\x00host=127.0.0.1\x00", service, r.repo)
	if r.version > 0 {
		hello += fmt.Sprintf("\x00version=%d\x00", r.version)
	}
	io.WriteString(conn, pkt(hello))
	in, buf := bufio.NewReaderSize(conn, 128<<10), make([]byte, 65536)
	until := func(keep bool) error {
		for {
			kind, b, err := nextPkt(in, buf)
			if err != nil {
				return err
			}
			if a.n == 0 {
				a.first = time.Since(began)
			}
			a.n += int64(len(b)) + 4
			if keep {
				if kind == "" {
					a.body = append(a.body, pkt(string(b))...)
				}
				a.body = append(a.body, kind...)
			}
			if kind == flush {
				copy(a.tail[:], flush)
				a.took = time.Since(began)
				return nil
			}
			if bytes.HasPrefix(b, []byte("ERR ")) {
				return errors.New(string(b))
			}
		}
	}
	a.status = http.StatusOK
	if err := until(keep && r.what == "advert"); err != nil {
		return a, err
	}
	if r.what == "advert" {
		io.WriteString(conn, flush)
		return a, nil
	}
	a.n = 0
	if _, err := conn.Write(r.body); err != nil {
		return a, err
	}
	if err := until(keep); err != nil {
		return a, err
	}
	if r.what == "upload" {
		io.WriteString(conn, flush)
	}
	return a, nil
}

// pipe runs git itself: what an answer costs without any server.
func (p *peer) pipe(ctx context.Context, r request, keep bool) (a answer, err error) {
	service, args := "upload-pack", []string{"--stateless-rpc"}
	if r.what == "receive" || r.service == "receive-pack" {
		service = "receive-pack"
	}
	if r.what == "advert" {
		args = append(args, "--http-backend-info-refs")
	}
	cmd := exec.CommandContext(ctx, "git", append(append([]string{service}, args...), p.dir(r.repo))...)
	cmd.Env = gitEnv()
	if r.version > 0 {
		cmd.Env = gitEnv(fmt.Sprintf("GIT_PROTOCOL=version=%d", r.version))
	}
	cmd.Stdin = bytes.NewReader(r.body)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return a, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return a, err
	}
	a.status = http.StatusOK
	err = a.read(out, began, keep)
	err = errors.Join(err, cmd.Wait())
	a.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return a, err
}

// freePort returns a port of loopback that nobody uses.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// waitFor waits until somebody listens at addr.
func waitFor(addr string) error {
	for end := time.Now().Add(20 * time.Second); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// startPeers starts whoever can be started here. Their repositories are below dir, one folder each.
func startPeers(dir string, say func(string, ...any)) []*peer {
	var out []*peer
	for _, p := range [...]struct {
		name  string
		start func(dir, addr string, b *box) error
	}{{nginx, startNginx}, {goCGI, startSelf("cgi")}, {daemon, startDaemon}, {staticS, startSelf("static")}} {
		addr, err := freePort()
		home := filepath.Join(dir, p.name)
		if err == nil {
			err = os.MkdirAll(filepath.Join(home, "repos"), 0o755)
		}
		b := newBox(p.name)
		if err == nil {
			err = p.start(home, addr, b)
		}
		if err == nil {
			err = waitFor(addr)
		}
		if err != nil {
			say("%s cannot be measured here: %v", p.name, err)
			b.close()
			continue
		}
		scheme := "http://"
		if p.name == daemon {
			scheme = "git://"
		}
		out = append(out, &peer{
			name: p.name, box: b,
			url: func(repo string) string {
				if repo == "" {
					return scheme + addr
				}
				return scheme + addr + "/" + repo
			},
			dir: func(repo string) string { return filepath.Join(home, "repos", repo) },
		})
	}
	return out
}

func backend() (string, error) {
	out, err := git("/", "--exec-path")
	return strings.TrimSpace(out), err
}

func startDaemon(dir, addr string, b *box) error {
	path, err := backend()
	if err != nil {
		return err
	}
	_, port, _ := strings.Cut(addr, ":")
	cmd := exec.Command(filepath.Join(path, "git-daemon"), "--reuseaddr", "--listen=127.0.0.1", "--port="+port, "--base-path="+filepath.Join(dir, "repos"),
		"--export-all", "--enable=receive-pack", "--max-connections=0", "--informative-errors")
	cmd.Env = gitEnv()
	return b.start(cmd)
}

// startNginx runs nginx in front of fcgiwrap with git-http-backend, as its manual has it.
func startNginx(dir, addr string, b *box) error {
	for _, name := range []string{"nginx", "fcgiwrap"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%s is not installed (packages nginx-light and fcgiwrap)", name)
		}
	}
	path, err := backend()
	if err != nil {
		return err
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	conf := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log %[1]s/error.log; worker_processes 2; %[5]s
events { worker_connections 1024; }
http {
  access_log off; client_max_body_size 0; keepalive_requests 100000;
  client_body_temp_path %[1]s/body; fastcgi_temp_path %[1]s/fastcgi; proxy_temp_path %[1]s/proxy; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  server {
    listen %[2]s;
    location / {
      fastcgi_pass unix:%[1]s/wrap.sock;
      fastcgi_param SCRIPT_FILENAME %[3]s/git-http-backend;
      fastcgi_param GIT_PROJECT_ROOT %[4]s;
      fastcgi_param GIT_HTTP_EXPORT_ALL "";
      fastcgi_param GIT_PROTOCOL $http_git_protocol;
      fastcgi_param PATH_INFO $uri;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param REMOTE_ADDR $remote_addr;
      fastcgi_read_timeout 600s;
    }
  }
}
`, dir, addr, path, filepath.Join(dir, "repos"), user)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return err
	}
	wrap, err := exec.LookPath("fcgiwrap")
	if err != nil {
		return err
	}
	front, err := exec.LookPath("nginx")
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{wrap, "-c", "8", "-s", "unix:" + filepath.Join(dir, "wrap.sock")},
		{front, "-c", file, "-e", filepath.Join(dir, "error.log")},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = gitEnv()
		if err := b.start(cmd); err != nil {
			return err
		}
	}
	return nil
}

// startSelf runs this program as a server.
func startSelf(as string) func(dir, addr string, b *box) error {
	return func(dir, addr string, b *box) error {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cmd := exec.Command(self, as, addr, filepath.Join(dir, "repos"))
		cmd.Env = gitEnv()
		cmd.Stderr = os.Stderr
		return b.start(cmd)
	}
}

// serveCGI is the smallest server that Go's library gives.
func serveCGI(addr, dir string) error {
	path, err := backend()
	if err != nil {
		return err
	}
	return http.ListenAndServe(addr, &cgi.Handler{
		Path: filepath.Join(path, "git-http-backend"), Dir: dir,
		Env:        []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "HOME=/nonexistent"},
		InheritEnv: []string{"PATH"}, Stderr: io.Discard, Logger: log.New(io.Discard, "", 0),
	})
}

// serveStatic serves files.
func serveStatic(addr, dir string) error {
	return http.ListenAndServe(addr, http.FileServer(http.Dir(dir)))
}

// staticName is the name under which the answer to r is kept as a file.
func staticName(r request) string {
	o := newObject(kindBlob, r.body)
	return fmt.Sprintf("%s-%s-%s-%d-%s", r.repo, r.what, r.service, r.version, o.name[:12])
}

package main

import (
	"bufio"
	"bytes"
	"flag"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gitroost/gitroost/internal/housetest"
)

var updateScripts = flag.Bool("update", false, "rewrite what people read in testdata/script")

// The stories in testdata/script are played with the real program, the git that is installed and
// real WebSockets. Besides the commands of testscript they know
//
//	house start [flags]   start the server; sets SERVER and HOST. Also: stop, kill, reload, restart, files
//	alice, bob, mallory   somebody does something, in their own folder and with their own key
//	until <regexp> <program>  run it until what it prints matches
//	job <name>            set $JOB to the id of the job that was last spoken of under that name
//	plain <file>          write what was last said on stderr to file, with names in place of
//	                      keys, addresses and ids, so that it can be compared
//
// What people can do is in people_test.go.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("..", "..", "testdata", "script"),
		UpdateScripts: *updateScripts,
		Setup: func(env *testscript.Env) error {
			s := &story{dir: env.WorkDir, people: map[string]*person{}, names: map[string]string{}}
			env.Values[storyKey{}] = s
			env.Defer(s.end)
			for _, name := range []string{"alice", "bob", "mallory"} {
				if err := s.enter(env, name); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"house":   func(ts *testscript.TestScript, neg bool, args []string) { storyOf(ts).house(ts, neg, args) },
			"plain":   func(ts *testscript.TestScript, neg bool, args []string) { storyOf(ts).plain(ts, neg, args) },
			"job":     func(ts *testscript.TestScript, neg bool, args []string) { storyOf(ts).job(ts, neg, args) },
			"alice":   acts("alice"),
			"bob":     acts("bob"),
			"mallory": acts("mallory"),
			"until":   until,
		},
	})
}

// A story is one script under way.
type story struct {
	dir    string
	people map[string]*person
	names  map[string]string // of ids and keys, as plain writes them
	events int               // signed by hand so far

	listen string // where the house is, once it was there
	cmd    *exec.Cmd
	log    *bytes.Buffer
	silent chan struct{} // closed when the house has closed its standard output
}

type storyKey struct{}

func storyOf(ts *testscript.TestScript) *story { return ts.Value(storyKey{}).(*story) }

func acts(name string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		s := storyOf(ts)
		s.people[name].act(ts, s, neg, args)
	}
}

// house starts and ends the server.
func (s *story) house(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 || neg {
		ts.Fatalf("usage: house start|stop|kill|reload|restart|files")
	}
	switch args[0] {
	case "start":
		s.start(ts, args[1:])
	case "stop":
		s.stop(ts)
	case "kill":
		ts.Check(s.cmd.Process.Kill())
		s.cmd.Wait()
		s.cmd = nil
	case "reload":
		ts.Check(s.cmd.Process.Signal(syscall.SIGHUP))
	case "restart":
		s.stop(ts)
		s.start(ts, args[1:])
	case "files": // what is in the folder of repositories, one path a line
		root := filepath.Join(s.dir, "data", "git")
		ts.Check(filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			io.WriteString(ts.Stdout(), strings.TrimPrefix(path, root)+"\n")
			return err
		}))
	default:
		ts.Fatalf("house: %q?", args[0])
	}
}

// ports are those that were given to houses: whoever is down for a moment finds its own free again.
var ports struct {
	sync.Mutex
	given map[int]bool
}

// ownAddr returns an address that nobody listens on, below the ports that the system gives to connections and
// those of other tests.
func ownAddr(ts *testscript.TestScript) string {
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = map[int]bool{}
	}
	for range 2000 {
		port := 7000 + rand.IntN(3000)
		if ports.given[port] {
			continue
		}
		addr := "127.0.0.1:" + strconv.Itoa(port)
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			ports.given[port] = true
			return addr
		}
	}
	ts.Fatalf("house: no free port")
	return ""
}

var served = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

func (s *story) start(ts *testscript.TestScript, flags []string) {
	if s.cmd != nil {
		ts.Fatalf("house: it is running")
	}
	listen := s.listen
	if listen == "" {
		listen = ownAddr(ts)
	}
	path := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, "gitroost")); err == nil {
			path = filepath.Join(dir, "gitroost")
			break
		}
	}
	s.cmd, s.log = exec.Command(path, append([]string{"serve", "--listen=" + listen, "--data=" + filepath.Join(s.dir, "data"), "--log.level=warn"}, flags...)...), &bytes.Buffer{}
	s.cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + s.dir, "TMPDIR=" + os.TempDir()}
	s.cmd.Dir, s.cmd.Stderr = s.dir, s.log
	out, err := s.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(s.cmd.Start())
	lines, url := bufio.NewScanner(out), ""
	for url == "" && lines.Scan() {
		url = served.FindString(lines.Text())
	}
	s.silent = make(chan struct{})
	go func() {
		defer close(s.silent)
		_, _ = io.Copy(io.Discard, out)
	}()
	if url == "" {
		<-s.silent
		s.cmd.Wait()
		s.cmd = nil
		ts.Fatalf("house: it did not start: %s", s.log)
	}
	s.listen = strings.TrimPrefix(url, "http://")
	ts.Setenv("SERVER", url)
	ts.Setenv("HOST", s.listen)
}

// stop asks the server to end, which it has to do without a complaint.
func (s *story) stop(ts *testscript.TestScript) {
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	<-s.silent
	err := s.cmd.Wait()
	s.cmd = nil
	if err != nil || strings.Contains(s.log.String(), `"level":"ERROR"`) {
		ts.Fatalf("house: ended with %v\n%s", err, s.log)
	}
}

// end ends the server, whatever became of the story.
func (s *story) end() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

var pushID = regexp.MustCompile(`\bpush [0-9a-f]{8}\b`)

// plain writes the last stderr to a file, with what differs from run to run replaced.
func (s *story) plain(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: plain <file>")
	}
	var pairs []string
	for id, name := range s.names {
		pairs = append(pairs, id, name)
	}
	text := strings.NewReplacer(append(pairs, ts.Getenv("SERVER"), "SERVER", ts.Getenv("HOST"), "HOST", s.dir, "WORK")...).Replace(housetest.Undotted(ts.ReadFile("stderr")))
	text = pushID.ReplaceAllString(text, "push ID")
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight(line, " \r\n") + "\n") // git pads what a server says
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o644))
}

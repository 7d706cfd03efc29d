package config

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// DefaultFile is read if it exists and no other file is named.
const DefaultFile = "gitroost.yaml"

// MaxFile is the size of the largest file that is read, in bytes.
const MaxFile = 256 << 10

const envPrefix = "GITROOST_"

// otherEnv are names with our prefix that are not settings of the server.
var otherEnv = []string{"GITROOST_CONFIG", "GITROOST_KEY", "GITROOST_KEY_FILE"}

// Sources are the places that Load looks at, handed in so that nothing is read behind one's back.
type Sources struct {
	Flags []string // the command line after the command: --name=value, --name value
	Env   []string // NAME=value, as os.Environ gives it
	File  string   // the file to read; "" means --config, GITROOST_CONFIG, or DefaultFile if it is there
	Read  func(name string) ([]byte, error)
}

// A Loaded configuration, and how it came to be.
type Loaded struct {
	Config   Config
	Origins  map[string]string // where each value came from, by setting: "gitroost.yaml:5", "env GITROOST_DOMAIN", "flag --domain", "default"
	Warnings []string          // what is odd but no fault, one line each
	Rest     []string          // the arguments that are no flags, and all after --
	File     string            // the file that was read, or ""
}

// Load reads all sources and checks them. If anything is wrong the error is a Faults that lists
// everything that is; Loaded then holds what could be understood.
func Load(src Sources) (Loaded, error) {
	l := loader{names: map[string]*Setting{}}
	l.out.Origins = map[string]string{}
	table := l.out.Config.settings()
	for i := range table {
		s := &table[i]
		l.names[s.Name] = s
		l.all = append(l.all, s.Name)
		l.put(s.Name, s.Default, "default", Fault{Where: s.Name})
	}
	flags := l.flags(src.Flags)
	env := environ(src.Env)
	l.file(src, flags, env)
	l.ngit(env)
	l.environment(src.Env)
	for _, f := range flags {
		l.put(f.name, f.value, "flag --"+dashed(f.name), Fault{Where: "--" + dashed(f.name)})
	}
	l.check()
	if len(l.faults) > 0 {
		return l.out, l.faults
	}
	return l.out, nil
}

type loader struct {
	out    Loaded
	names  map[string]*Setting
	all    []string
	faults Faults
	config string // value of --config
}

// put gives a setting a value. at says where the fault is if the value is none.
func (l *loader) put(name, value, origin string, at Fault) {
	if err := l.names[name].set(value); err != nil {
		at.Text = name + " " + err.Error()
		l.faults = append(l.faults, at)
		return
	}
	l.out.Origins[name] = origin
}

func (l *loader) fault(where, format string, args ...any) {
	l.faults = append(l.faults, Fault{Where: where, Text: fmt.Sprintf(format, args...)})
}

type flagValue struct{ name, value string }

func (l *loader) flags(args []string) []flagValue {
	var out []flagValue
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			l.out.Rest = append(l.out.Rest, args[i+1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			l.out.Rest = append(l.out.Rest, arg)
			continue
		}
		flag, value, given := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		name := strings.ReplaceAll(flag, "-", "_")
		if name == "log" {
			name = "log.rooms" // --log git=debug
		}
		s, ok := l.names[name]
		if !ok && name != "config" {
			l.fault("--"+flag, "unknown option%s", suggest(flag, append(mapped(l.all, dashed), "config")))
			// What follows an unknown flag is probably its value, not a word of its own.
			if !given && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
				i++
			}
			continue
		}
		switch {
		case given:
		case ok && s.flag:
			value = "true"
		case i+1 < len(args):
			i++
			value = args[i]
		default:
			l.fault("--"+flag, "needs a value")
			continue
		}
		if name == "config" {
			l.config = value
			continue
		}
		if slices.ContainsFunc(out, func(f flagValue) bool { return f.name == name }) {
			l.fault("--"+flag, "is given twice")
			continue
		}
		out = append(out, flagValue{name, value})
	}
	return out
}

func (l *loader) file(src Sources, flags []flagValue, env map[string]string) {
	name, named := src.File, true
	if name == "" {
		name = l.config
	}
	if name == "" {
		name = env["GITROOST_CONFIG"]
	}
	if name == "" {
		name, named = DefaultFile, false
	}
	if src.Read == nil {
		if named {
			l.fault(name, "cannot be read here")
		}
		return
	}
	data, err := src.Read(name)
	if err != nil {
		if !named && errors.Is(err, fs.ErrNotExist) {
			return
		}
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		l.fault(name, "cannot be read: %v; name another file with --config, or leave it out", err)
		return
	}
	l.out.File = name
	l.yaml(name, data)
}

func (l *loader) environment(env []string) {
	known := map[string]string{}
	var names []string
	for _, n := range l.all {
		e := envPrefix + upper(n)
		known[e] = n
		names = append(names, e)
	}
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(k, envPrefix) || slices.Contains(otherEnv, k) {
			continue
		}
		name, ok := known[k]
		if !ok {
			// Not a fault: orchestrators put names of their own making beside ours
			// (GITROOST_SERVICE_HOST and the like).
			l.out.Warnings = append(l.out.Warnings, k+": unknown option, ignored"+suggest(k, names))
			continue
		}
		l.put(name, v, "env "+k, Fault{Where: k})
	}
}

// check looks at what no single setting can see.
func (l *loader) check() {
	if len(l.faults) > 0 {
		return // a value that is missing its own would be blamed twice
	}
	c := &l.out.Config
	pair := func(small, big string, a, b int64) {
		if a > b {
			l.fault(l.where(small, big), "%s (%s) is larger than %s (%s), so it can never be used up; raise %[3]s or lower %[1]s",
				small, l.names[small].get(), big, l.names[big].get())
		}
	}
	pair("limits.state_event", "limits.message", c.Limits.StateEvent, c.Limits.Message)
	pair("limits.event", "limits.message", c.Limits.Event, c.Limits.Message)
	pair("limits.message", "limits.send_queue", c.Limits.Message, c.Limits.SendQueue)
	pair("limits.max_pr_push", "limits.max_push", c.Limits.MaxPRPush, c.Limits.MaxPush)
	pair("limits.waiting_per_key", "limits.waiting", int64(c.Limits.WaitingPerKey), int64(c.Limits.Waiting))
	pair("limits.waiting_per_address", "limits.waiting", int64(c.Limits.WaitingPerAddress), int64(c.Limits.Waiting))
	pair("limits.address_connections", "limits.connections", int64(c.Limits.AddressConns), int64(c.Limits.Connections))
	pair("limits.filter_memory", "limits.filter_memory_total", c.Limits.FilterMemory, c.Limits.FilterMemoryTotal)
	pair("limits.send_queue", "limits.send_queue_total", c.Limits.SendQueue, c.Limits.SendTotal)
	pair("limits.neg_sessions", "limits.neg_sessions_total", int64(c.Limits.NegSessions), int64(c.Limits.NegSessionsTotal))
	pair("limits.neg_records", "limits.neg_records_total", int64(c.Limits.NegRecords), int64(c.Limits.NegRecordsTotal))
	if c.Limits.Ping >= c.Limits.SocketIdle {
		l.fault(l.where("limits.ping", "limits.socket_idle"),
			"limits.ping (%s) is not shorter than limits.socket_idle (%s), so quiet clients would be cut off before they are pinged; lower limits.ping or raise limits.socket_idle",
			l.names["limits.ping"].get(), l.names["limits.socket_idle"].get())
	}
	if c.Admin.Listen != "" && c.Admin.Listen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
		l.fault(l.where("admin.listen", "listen"), "admin.listen is the public listener; give it a port of its own")
	}
	if c.Archive.Mode != "off" && !c.Sync.Enabled {
		l.fault(l.where("archive.mode", "sync.enabled"), "archive.mode (%s) follows other servers, and sync.enabled is false; set it to true, or archive.mode to off", c.Archive.Mode)
	}
	if c.Testing.ClockSkew != 0 && !c.private() {
		l.fault(l.where("testing.clock_skew"), "testing.clock_skew (%s) is for tests, and %s may be reached by the world; remove it, or listen on an address of loopback or of a private network",
			l.names["testing.clock_skew"].get(), c.Listen)
	}
	if c.Domain == "" && !c.OnlyHere() {
		l.out.Warnings = append(l.out.Warnings, fmt.Sprintf(
			"domain is not set although %s can be reached from outside: repositories must be announced for %s; set domain to the name that visitors use",
			c.Listen, strings.TrimPrefix(c.Public(c.Listen), "http://")))
	}
}

// where returns the origin of the first of names that was set by somebody.
func (l *loader) where(names ...string) string {
	for _, n := range names {
		if o := l.out.Origins[n]; o != "default" {
			return strings.TrimPrefix(strings.TrimPrefix(o, "env "), "flag ")
		}
	}
	return names[0]
}

func environ(env []string) map[string]string {
	out := make(map[string]string, len(env))
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok {
			out[k] = v
		}
	}
	return out
}

func dashed(name string) string { return strings.ReplaceAll(name, "_", "-") }

func upper(name string) string { return strings.ToUpper(strings.ReplaceAll(name, ".", "_")) }

func mapped(in []string, f func(string) string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = f(s)
	}
	return out
}

package program

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/run"
)

const (
	systemdName = "org.freedesktop.systemd1"
	managerName = systemdName + ".Manager"
	unitName    = systemdName + ".Unit"
	serviceName = systemdName + ".Service"
	unitBegin   = "gitroost-job-" // what a policy of the machine may allow us: no other unit is ever touched (S0-31)

	unitEvery = 50 * time.Millisecond
)

// bus is the connection to the service manager, made when it is first needed.
type bus struct {
	mu    sync.Mutex
	conn  *dbus.Conn
	tried bool
	why   error // of a probe
}

// connect returns the connection.
func (p *Programs) connect() (*dbus.Conn, error) {
	p.bus.mu.Lock()
	defer p.bus.mu.Unlock()
	if p.bus.conn != nil && p.bus.conn.Connected() {
		return p.bus.conn, nil
	}
	address := p.cfg.Bus
	switch address {
	case "none":
		return nil, errors.New("systemd is switched off")
	case "":
		if _, err := os.Stat("/run/systemd/system"); err != nil {
			return nil, errors.New("this machine was not started by systemd")
		}
		address = "unix:path=/run/dbus/system_bus_socket"
		if a := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); a != "" {
			address = a
		}
	}
	conn, err := dbus.Dial(address)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(conn.Auth(nil), conn.Hello()); err != nil {
		conn.Close()
		return nil, err
	}
	if !conn.SupportsUnixFDs() {
		conn.Close()
		return nil, errors.New("the bus passes no descriptors on")
	}
	p.bus.conn = conn
	return conn, nil
}

func manager(conn *dbus.Conn) dbus.BusObject {
	return conn.Object(systemdName, "/org/freedesktop/systemd1")
}

// trySystemd returns nil if this process may have units run. It is tried once, with a unit that does
// nothing.
func (p *Programs) trySystemd(ctx context.Context) error {
	conn, err := p.connect()
	if err != nil {
		return err
	}
	p.bus.mu.Lock()
	defer p.bus.mu.Unlock()
	if p.bus.tried {
		return p.bus.why
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	name := unitBegin + "probe-" + random() + ".service"
	props := []property{{"Description", dbus.MakeVariant("gitroost: may units be run here?")}, {"Type", dbus.MakeVariant("oneshot")},
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")}, execStart([]string{"/bin/true"})}
	err = manager(conn).CallWithContext(ctx, managerName+".StartTransientUnit", 0, name, "fail", props, []aux{}).Err
	if ctx.Err() != nil {
		return fmt.Errorf("systemd does not answer: %w", ctx.Err())
	}
	p.bus.tried, p.bus.why = true, err
	return err
}

func random() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// A property is one of a unit, as D-Bus has it.
type property struct {
	Name  string
	Value dbus.Variant
}

// aux are further units; none are ever needed.
type aux struct {
	Name  string
	Props []property
}

type command struct {
	Path   string
	Args   []string
	Ignore bool
}

func execStart(argv []string) property {
	return property{"ExecStart", dbus.MakeVariant([]command{{argv[0], argv, false}})}
}

// mount is a folder that is shown in a unit.
type mount struct {
	From, To string
	Ignore   bool
	Flags    uint64
}

// tmpfs is an empty folder over what is there.
type tmpfs struct{ Path, Options string }

// filter is a list of system calls.
type filter struct {
	Allow bool
	Calls []string
}

// unitOf returns the name of a job's unit. Nothing is ever read out of it (S0-07).
func unitOf(pr *prog) string {
	return unitBegin + strings.ToLower(strings.ReplaceAll(filepath.Base(pr.t.Dir), ".", "-")) + ".service"
}

// properties returns what the unit of a program is (S0-27, jobs 3.7).
func (p *Programs) properties(pr *prog, in, out, err *os.File) []property {
	l := pr.limits
	v := func(name string, value any) property { return property{name, dbus.MakeVariant(value)} }
	list := []property{
		v("Description", fmt.Sprintf("gitroost job %s for %s", pr.t.Job.Name, pr.t.Job.Repo.ID)),
		v("Type", "exec"),
		v("AddRef", true), // it stays until we have read how it ended
		v("CollectMode", "inactive-or-failed"),
		execStart(pr.argv),
		v("Environment", pr.env),
		v("WorkingDirectory", pr.at.dir),
		v("StandardOutputFileDescriptor", dbus.UnixFD(out.Fd())),
		v("StandardErrorFileDescriptor", dbus.UnixFD(err.Fd())),
		v("KillMode", "control-group"), v("SendSIGKILL", true), v("TimeoutStopUSec", uint64(10*time.Second/time.Microsecond)),
		v("LimitCORE", uint64(0)), v("UMask", uint32(0o077)), v("OOMPolicy", "kill"),

		v("NoNewPrivileges", true), v("ProtectSystem", "strict"), v("ProtectHome", "tmpfs"), v("PrivateTmp", true), v("PrivateDevices", true),
		v("PrivateNetwork", !pr.network), v("ProtectKernelTunables", true), v("ProtectKernelModules", true), v("ProtectKernelLogs", true), v("ProtectControlGroups", true),
		v("ProtectClock", true), v("ProtectHostname", true), v("ProtectProc", "invisible"), v("RestrictNamespaces", uint64(0)), v("RestrictSUIDSGID", true),
		v("RestrictRealtime", true), v("LockPersonality", true), v("CapabilityBoundingSet", uint64(0)), v("KeyringMode", "private"), v("RemoveIPC", true),
		v("SystemCallFilter", filter{true, []string{"@system-service"}}), v("SystemCallArchitectures", []string{"native"}), v("SystemCallErrorNumber", int32(syscall.EPERM)),
	}
	uid, gid := os.Getuid(), os.Getgid()
	if pr.user != nil {
		uid, gid = int(pr.user.UID), int(pr.user.GID)
	}
	list = append(list, v("User", strconv.Itoa(uid)), v("Group", strconv.Itoa(gid)))
	if in != nil {
		list = append(list, v("StandardInputFileDescriptor", dbus.UnixFD(in.Fd())))
	}
	// What the server has is hidden, and what this job is about is shown in it again.
	var hide []tmpfs
	for _, dir := range p.cfg.Hide {
		hide = append(hide, tmpfs{dir, "ro"})
	}
	if len(hide) > 0 {
		list = append(list, v("TemporaryFileSystem", hide))
	}
	shown := func(dirs []string) (out []mount) {
		for _, d := range dirs {
			out = append(out, mount{From: d, To: d})
		}
		return out
	}
	if m := shown(pr.at.write); len(m) > 0 {
		list = append(list, v("BindPaths", m), v("ReadWritePaths", pr.at.write))
	}
	if m := shown(pr.at.read); len(m) > 0 {
		list = append(list, v("BindReadOnlyPaths", m))
	}
	if l.CPU > 0 {
		list = append(list, v("CPUQuotaPerSecUSec", uint64(l.CPU)*10_000))
	}
	if l.Memory > 0 {
		list = append(list, v("MemoryMax", uint64(l.Memory)), v("MemorySwapMax", uint64(0)))
	}
	if l.Tasks > 0 {
		list = append(list, v("TasksMax", uint64(l.Tasks)))
	}
	if l.Disk > 0 {
		list = append(list, v("LimitFSIZE", uint64(l.Disk)))
	}
	if l.Time > 0 {
		list = append(list, v("RuntimeMaxUSec", uint64(time.Duration(l.Time)/time.Microsecond)))
	}
	return list
}

// runUnit has a program run as a transient unit, which goes away as a whole (S0-01, S0-07).
func (p *Programs) runUnit(ctx context.Context, pr *prog) (run.Outcome, error) {
	const op = "exec: systemd"
	conn, err := p.connect()
	if err != nil {
		return run.Outcome{}, fault.Wrap(op, err)
	}
	name := unitOf(pr)
	note := pr.record()
	note.Unit = name
	if err := p.note(pr.t.Job.ID, note); err != nil {
		return run.Outcome{}, err
	}
	var pipes [3][2]*os.File
	defer func() {
		for _, pair := range pipes {
			for _, f := range pair {
				if f != nil {
					f.Close()
				}
			}
		}
	}()
	for i := range pipes {
		if i == 0 && pr.stdin == nil {
			continue
		}
		if pipes[i][0], pipes[i][1], err = os.Pipe(); err != nil {
			return run.Outcome{}, fault.Wrap(op, err)
		}
	}
	// Fd puts a pipe into blocking mode; only the ends that are passed on are asked for it.
	props := p.properties(pr, pipes[0][0], pipes[1][1], pipes[2][1])
	var job dbus.ObjectPath
	err = manager(conn).CallWithContext(ctx, managerName+".StartTransientUnit", 0, name, "fail", props, []aux{}).Store(&job)
	for _, f := range []*os.File{pipes[0][0], pipes[1][1], pipes[2][1]} {
		if f != nil {
			f.Close()
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			p.endUnit(conn, name)
			return run.Outcome{}, context.Cause(ctx)
		}
		return run.Outcome{}, fault.Wrap(op, err)
	}
	// It is ours to hold until we let go of it.
	defer func() {
		manager(conn).CallWithContext(context.WithoutCancel(ctx), managerName+".UnrefUnit", dbus.FlagNoReplyExpected, name)
	}()
	if pr.stdin != nil {
		go func() {
			io.Copy(pipes[0][1], pr.stdin)
			pipes[0][1].Close()
		}()
	}
	said := make(chan struct{}, 2)
	for i, stream := range []string{"stdout", "stderr"} {
		go func() {
			io.Copy(pr.t.Log.Stream(stream), pipes[i+1][0])
			io.Copy(io.Discard, pipes[i+1][0])
			said <- struct{}{}
		}()
	}
	why := p.attend(ctx, conn, pr, name)
	var late <-chan time.Time
	for range 2 {
		if late == nil {
			timer := time.NewTimer(5 * time.Second)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-said:
		case <-late:
			past := time.Unix(1, 0)
			pipes[1][0].SetReadDeadline(past)
			pipes[2][0].SetReadDeadline(past)
			<-said
		}
	}
	if why != nil {
		out, _ := p.outcome(context.WithoutCancel(ctx), conn, name)
		return out, why
	}
	return p.outcome(ctx, conn, name)
}

// attend waits until the unit has ended, and ends it if ctx or a limit that we look after say so.
func (p *Programs) attend(ctx context.Context, conn *dbus.Conn, pr *prog, name string) error {
	watch := p.watch(pr)
	tick := time.NewTicker(unitEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.endUnit(conn, name)
			return context.Cause(ctx)
		case <-tick.C:
		}
		state, err := p.state(ctx, conn, name)
		if ctx.Err() != nil {
			continue
		}
		if err != nil {
			p.endUnit(conn, name)
			return fault.Wrap("exec: systemd", err)
		}
		if state == "inactive" || state == "failed" || state == "" {
			return nil
		}
		if watch != nil {
			if err := watch(run.Use{Full: true}); err != nil {
				p.endUnit(conn, name)
				return err
			}
		}
	}
}

// state returns the ActiveState of a unit, "" if there is no such unit.
func (p *Programs) state(ctx context.Context, conn *dbus.Conn, name string) (string, error) {
	v, err := p.get(ctx, conn, name, unitName, "ActiveState")
	if err != nil {
		return "", err
	}
	s, _ := v.Value().(string)
	return s, nil
}

// get returns a property of a unit; one without a value if there is no such unit.
func (p *Programs) get(ctx context.Context, conn *dbus.Conn, name, iface, prop string) (dbus.Variant, error) {
	var path dbus.ObjectPath
	if err := manager(conn).CallWithContext(ctx, managerName+".GetUnit", 0, name).Store(&path); err != nil {
		if isNoUnit(err) {
			return dbus.Variant{}, nil
		}
		return dbus.Variant{}, err
	}
	var v dbus.Variant
	err := conn.Object(systemdName, path).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, iface, prop).Store(&v)
	if isNoUnit(err) {
		return dbus.Variant{}, nil
	}
	return v, err
}

// isNoUnit reports whether err says that there is no such unit, or not any more.
func isNoUnit(err error) bool {
	var e dbus.Error
	if !errors.As(err, &e) {
		return false
	}
	return slices.Contains([]string{systemdName + ".NoSuchUnit", "org.freedesktop.DBus.Error.UnknownObject", "org.freedesktop.DBus.Error.UnknownMethod"}, e.Name)
}

// endUnit stops a unit and waits until it has: TERM, and KILL after ten seconds, are the manager's.
func (p *Programs) endUnit(conn *dbus.Conn, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var job dbus.ObjectPath
	if err := manager(conn).CallWithContext(ctx, managerName+".StopUnit", 0, name, "replace").Store(&job); err != nil {
		if isNoUnit(err) {
			return
		}
		manager(conn).CallWithContext(ctx, managerName+".KillUnit", 0, name, "all", int32(syscall.SIGKILL))
	}
	tick := time.NewTicker(unitEvery)
	defer tick.Stop()
	for {
		state, err := p.state(ctx, conn, name)
		if err != nil || state == "" || state == "inactive" || state == "failed" {
			return
		}
		select {
		case <-ctx.Done():
			manager(conn).CallWithContext(context.Background(), managerName+".KillUnit", dbus.FlagNoReplyExpected, name, "all", int32(syscall.SIGKILL))
			return
		case <-tick.C:
		}
	}
}

// stopUnit ends the unit of a job that a dead process left.
func (p *Programs) stopUnit(ctx context.Context, name string) error {
	if !strings.HasPrefix(name, unitBegin) {
		return nil
	}
	conn, err := p.connect()
	if err != nil {
		return err
	}
	p.endUnit(conn, name)
	state, err := p.state(ctx, conn, name)
	if err != nil || state == "" || state == "inactive" || state == "failed" {
		return err
	}
	return fault.Errorf(fault.Busy, "program: systemd", "%s is still %s", name, state)
}

// outcome reads how a unit ended.
func (p *Programs) outcome(ctx context.Context, conn *dbus.Conn, name string) (run.Outcome, error) {
	num := func(prop string) (n int64) {
		v, err := p.get(ctx, conn, name, serviceName, prop)
		if err != nil {
			return 0
		}
		switch x := v.Value().(type) {
		case int32:
			n = int64(x)
		case uint64:
			if x < 1<<62 { // the largest number means that it is not known
				n = int64(x)
			}
		}
		return n
	}
	var out run.Outcome
	result := ""
	if v, err := p.get(ctx, conn, name, serviceName, "Result"); err == nil {
		result, _ = v.Value().(string)
	}
	status := int(num("ExecMainStatus"))
	switch num("ExecMainCode") {
	case 2, 3: // killed, dumped
		out.Code, out.Signal = -1, syscall.Signal(status)
	default:
		out.Code = status
	}
	out.CPU = time.Duration(num("CPUUsageNSec"))
	out.MaxRSS = num("MemoryPeak")
	switch result {
	case "success", "exit-code", "signal", "core-dump":
		// From 200 on, systemd itself says that it could not begin; programs have such codes too.
		return out, nil
	case "oom-kill":
		return out, &overError{"it was killed for want of memory (limits.memory)"}
	case "timeout":
		return out, jobs.ErrTimeout // RuntimeMaxUSec was faster than our own clock
	case "":
		return out, fault.E(fault.Internal, "exec: systemd", "the unit was gone before it was read how it ended")
	}
	return out, fault.Errorf(fault.Internal, "exec: systemd", "the unit ended with %q", result)
}

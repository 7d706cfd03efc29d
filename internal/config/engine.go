package config

import (
	"net/netip"
	"time"

	"github.com/gitroost/gitroost/internal/jobs"
)

// Engine bounds how jobs run, and how long what they leave is kept.
type Engine struct {
	Workers  int           // jobs at a time
	PerRepo  int           // of one repository
	PerOwner int           // of one owner
	Timeout  time.Duration // of a job that names none

	Queue      int           // jobs that wait, of all owners
	OwnerQueue int           // of one owner
	Approval   time.Duration // how long a job waits for approval before it is given up

	OwnerCPU  time.Duration // processor time of one owner's jobs in a day; 0: no bound
	OwnerWall time.Duration // likewise time on the clock

	Reach []netip.Prefix // what jobs that tell others may reach beside the world

	Nostr string // which events tell of jobs: none, ngit-ci

	Sandbox   string // of programs of the operator's jobs: auto, systemd, bwrap, plain
	Untrusted string // likewise of those that pull requests start

	Logs Logs
	Age  time.Duration // of what is remembered of jobs that ended
	Kept int           // jobs of one repository that are remembered
}

// Logs bounds what jobs say.
type Logs struct {
	MaxBytes int64 // of one attempt
	Age      time.Duration
	PerRepo  int   // of one repository
	Total    int64 // bytes in all
}

// Retention returns how long what has ended is kept, in the words of the queue (S0-29).
func (e Engine) Retention() jobs.Retention {
	return jobs.Retention{
		LogAge: e.Logs.Age, LogsOfRepo: e.Logs.PerRepo, LogBytes: e.Logs.Total, Age: e.Age, PerRepo: e.Kept,
	}
}

// Bounds returns how much may wait, in the words of the queue (S4-33).
func (e Engine) Bounds() jobs.Bounds {
	return jobs.Bounds{PerOwner: e.OwnerQueue, Total: e.Queue, Budget: jobs.Usage{CPU: e.OwnerCPU, Wall: e.OwnerWall}}
}

// engine are the rows of the table for jobs.
func engine(e *Engine) []Setting {
	return []Setting{
		count(&e.Workers, "jobs_engine.workers", "4", 1, 1000,
			"Jobs that run at a time."),
		count(&e.PerRepo, "jobs_engine.per_repo", "1", 1, 1000,
			"Jobs of one repository that run at a time."),
		count(&e.PerOwner, "jobs_engine.per_owner", "2", 1, 1000,
			"Jobs of one owner's repositories that run at a time."),
		duration(&e.Timeout, "jobs_engine.default_timeout", "10m", time.Second, 7*day,
			"How long a job may take that names no time itself. Then its programs get a TERM and, ten seconds later, a KILL."),
		count(&e.Queue, "jobs_engine.queue", "10000", 1, 1000000,
			"Jobs that may wait. What comes when there are so many is skipped, and says so."),
		count(&e.OwnerQueue, "jobs_engine.owner_queue", "20", 1, 100000,
			"Jobs of one owner's repositories that may wait. A push that matches many jobs needs room for them all."),
		duration(&e.Approval, "jobs_engine.approval", "7d", time.Second, 366*day,
			"How long a job waits for somebody to approve of it (require_approval: true). Then it is cancelled."),
		duration(&e.OwnerCPU, "jobs_engine.owner_cpu", "0s", 0, 366*day,
			"Processor time that the jobs of one owner may use in 24 hours; what comes after that is skipped. 0s is no bound."),
		duration(&e.OwnerWall, "jobs_engine.owner_wall", "0s", 0, 366*day,
			"Time on the clock that the jobs of one owner may use in 24 hours. 0s is no bound."),
		prefixes(&e.Reach, "jobs_engine.reach",
			"Address ranges that webhooks, notifications and mirrors of jobs may reach although they are not the world, beside those of outward.allow: 127.0.0.0/8 for an ntfy server on this machine. With any, http:// will do for them."),
		choice(&e.Nostr, "jobs_engine.nostr", "none", []string{"none", "ngit-ci"},
			"Whether events of Nostr, signed by the server's own key, tell how jobs of public repositories stand and how they ended, and maintainers may start jobs that say on: {manual: true} with events of theirs: ngit-ci, the kinds 9840 to 9844 and 39842, which are experimental."),
		choice(&e.Sandbox, "jobs_engine.sandbox", "auto", []string{"auto", "systemd", "bwrap", "plain"},
			"What stands around the programs of jobs that name nothing: auto takes systemd where it can be reached, else bubblewrap, else limits alone."),
		choice(&e.Untrusted, "jobs_engine.untrusted_sandbox", "bwrap", []string{"systemd", "bwrap"},
			"What stands around programs that run because of a pull request, or that a repository defines. Where it is not to be had they do not run."),
		size(&e.Logs.MaxBytes, "jobs_engine.logs.max_bytes", "10 MiB", 64<<10, 1<<30,
			"How much of what one attempt says is kept."),
		duration(&e.Logs.Age, "jobs_engine.logs.age", "30d", time.Hour, 3650*day,
			"How long logs are kept."),
		count(&e.Logs.PerRepo, "jobs_engine.logs.per_repo", "200", 1, 1000000,
			"Logs of one repository that are kept."),
		size(&e.Logs.Total, "jobs_engine.logs.total", "5 GiB", 1<<20, 1<<50,
			"How much all logs may take."),
		duration(&e.Age, "jobs_engine.age", "90d", day, 3650*day,
			"How long it is remembered that a job ran, and how it ended. The last one of each ref is kept ten times as long: it says what need not run again."),
		count(&e.Kept, "jobs_engine.per_repo_kept", "2000", 10, 1000000,
			"Jobs of one repository that are remembered."),
	}
}

package main

import "fmt"

// A goal is one row of what serving git shall reach: a figure of ours, as it is or divided by the
// same figure of a peer.
type goal struct {
	scenario string
	metric   string
	want     float64
	least    bool // the figure shall be at least want; otherwise at most

	// peer is whose figure ours is divided by, or "". If scale is set, the peer of the goal is not
	// measured here: its figure is scale times that of peer, as once measured side by side.
	peer  string
	scale float64
	as    string // how that peer is called: K, N
	row   string // the scenario of the peer's figure, if it is another

	unit string // of an absolute goal
}

// goals is the table. K is a GRASP server that spawns git for every request, N one with hooks in
// front of nginx; both are reckoned from go-cgi.
var goals = []goal{
	{scenario: "advert-v2-1k-c8", metric: mRate, want: 20, least: true, peer: nginx},
	{scenario: "advert-v2-1k-c8", metric: mRate, want: 10, least: true, peer: goCGI, scale: 1.30, as: "K"},
	{scenario: "advert-v2-1k", metric: mMS, want: 2, peer: staticS},
	{scenario: "lsrefs-1k", metric: mMS, want: 1. / 8, peer: goCGI, scale: 0.66, as: "K"},
	{scenario: "lsrefs-1k", metric: mMS, want: 1. / 15, peer: nginx},
	{scenario: "lsrefs-50k", metric: mMS, want: 1. / 6, peer: goCGI, scale: 0.88, as: "K"},
	{scenario: "advert-v0-50k", metric: mMS, want: 1. / 8, peer: goCGI, scale: 0.91, as: "K"},
	{scenario: "lsrefs-50k-heads", metric: mMS, want: 1. / 4, peer: goCGI, scale: 0.65, as: "K"},
	{scenario: "ls-remote-1k", metric: mMS, want: 0.75, peer: goCGI, scale: 0.96, as: "K"},
	{scenario: "ls-remote-1k", metric: mCPU, want: 0.2, peer: goCGI, scale: 0.73, as: "K"},
	{scenario: "raw-clone-small", metric: mMS, want: 1.15, peer: local},
	{scenario: "raw-clone-medium", metric: mMS, want: 1.15, peer: local},
	{scenario: "raw-clone-medium", metric: mMS, want: 1, peer: goCGI, scale: 1.04, as: "K"},
	{scenario: "raw-clone-large", metric: mMS, want: 1.15, peer: local},
	{scenario: "raw-clone-large", metric: mMS, want: 1, peer: goCGI, scale: 1.02, as: "K"},
	{scenario: "raw-clone-large", metric: mFirst, want: 1.2, peer: goCGI, scale: 0.44, as: "K"},
	{scenario: "clone-medium", metric: mMS, want: 1.05, peer: daemon},
	{scenario: "clone-medium", metric: mMS, want: 1.05, peer: local},
	{scenario: "clone-large", metric: mMS, want: 1.05, peer: daemon},
	{scenario: "clone-large", metric: mMS, want: 1.05, peer: local},
	{scenario: "raw-clone-medium-c32", metric: mRate, want: 5, least: true, peer: nginx},
	{scenario: "raw-clone-medium-c32", metric: mRate, want: 5, least: true, peer: goCGI},
	{scenario: "raw-clone-medium-c32", metric: mRate, want: 5, least: true, peer: daemon},
	{scenario: "raw-clone-medium-c32", metric: mMem, want: 0.15, peer: goCGI, scale: 0.94, as: "K"},
	{scenario: "raw-clone-medium-c32", metric: mCPU, want: 0.1, peer: goCGI, scale: 1.07, as: "K"},
	{scenario: "raw-clone-medium-c32-different", metric: mMem, want: 0.25, peer: goCGI, scale: 0.94, as: "K"},
	{scenario: "raw-clone-medium-c32-different", metric: mRate, want: 0.9, least: true, peer: goCGI, scale: 1.11, as: "K"},
	{scenario: "raw-shallow-medium", metric: mMS, want: 0.5, peer: goCGI, scale: 1.11, as: "K"},
	{scenario: "raw-shallow-medium-again", metric: mMS, want: 0.05, peer: goCGI, scale: 1.11, as: "K"},
	{scenario: "raw-fetch-medium", metric: mMS, want: 1, peer: goCGI, scale: 0.89, as: "K"},
	{scenario: "raw-fetch-medium-again", metric: mMS, want: 0.15, peer: goCGI, scale: 0.89, as: "K"},
	{scenario: "blobless-medium", metric: mMS, want: 1, peer: goCGI, scale: 0.97, as: "K"},
	{scenario: "slow-readers", metric: mSlow, want: 1.5, unit: "x unloaded"},
	{scenario: "slow-readers", metric: mMem, want: 0.25, peer: goCGI, scale: 0.95, as: "K"},
	{scenario: "slow-readers", metric: mGits, want: 0, unit: "git processes"},
	{scenario: "push-raw", metric: mMS, want: 1, peer: goCGI, scale: 1.04, as: "K"},
	{scenario: "push-raw", metric: mMS, want: 0.35, peer: goCGI, scale: 3.07, as: "N"},
	{scenario: "push-raw-50krefs", metric: mMS, want: 0.25, peer: goCGI, scale: 0.93, as: "K"},
	{scenario: "push-raw-50krefs", metric: mMem, want: 0.3, peer: goCGI, scale: 1, as: "K"},
	{scenario: "push-advert-50k", metric: mMS, want: 0.3, peer: goCGI, scale: 1, as: "K"},
	{scenario: "push-seq", metric: mRatio, want: 1.3, unit: "last tenth / first tenth"},
	{scenario: "push-seq", metric: mRate, want: 1.5, least: true, peer: goCGI, scale: 0.94, as: "K"},
	{scenario: "push-c16-distinct", metric: mRate, want: 1.15, least: true, peer: goCGI, scale: 0.95, as: "K"},
	{scenario: "push-c16-distinct", metric: mRate, want: 3.5, least: true, peer: goCGI, scale: 0.24, as: "N"},
	{scenario: "push-c16-distinct", metric: mP99, want: 0.9, peer: goCGI, scale: 0.96, as: "K"},
	{scenario: "push-c16-same", metric: mRate, want: 1.15, least: true, peer: goCGI, scale: 1.05, as: "K"},
	{scenario: "push-c16-same", metric: mRate, want: 3.5, least: true, peer: goCGI, scale: 0.28, as: "N"},
	{scenario: "push-c16-same", metric: mP99, want: 0.9, peer: goCGI, scale: 1, as: "K"},
	{scenario: "push-big", metric: mMS, want: 1.15, peer: daemon},
	{scenario: "push-big", metric: mGrow, want: 12, unit: "MiB more"},
	{scenario: "reject-raw", metric: mMS, want: 1, unit: "ms"},
	{scenario: "reject-raw", metric: mMS, want: 1. / 50, peer: goCGI, row: "push-raw", scale: 1.57, as: "N"},
	{scenario: "reject-crowded", metric: mMS, want: 1.2, peer: ours, row: "reject-raw"},
	{scenario: "reject-crowded", metric: mMS, want: 1. / 80, peer: goCGI, row: "push-raw", scale: 4.39, as: "N"},
	{scenario: "reject-big", metric: mMS, want: 1. / 15, peer: goCGI, row: "push-big", scale: 0.93, as: "N"},
	{scenario: "reject-big", metric: mGrow, want: 2, unit: "MiB more"},
	{scenario: "grasp-update", metric: mMS, want: 1, peer: goCGI, scale: 0.79, as: "K"},
	{scenario: "grasp-update", metric: mMS, want: 0.3, peer: goCGI, scale: 2.99, as: "N"},
	{scenario: "idle", metric: mMem, want: 20, unit: "MiB"},
	{scenario: "program", metric: mSize, want: 30, unit: "MB"},
	{scenario: "start", metric: mMS, want: 100, unit: "ms"},
	{scenario: "start-full", metric: mMS, want: 100, unit: "ms"},
	{scenario: "create-repo", metric: mMS, want: 5, unit: "ms, event and all"},
}

// short names of the peers in goals.
var letters = map[string]string{nginx: "X", goCGI: "C", daemon: "D", local: "L", staticS: "S", ours: "ours"}

// String says the goal in words: "≤ 0.13 K".
func (g goal) String() string {
	sign := "≤"
	if g.least {
		sign = "≥"
	}
	if g.peer == "" {
		return fmt.Sprintf("%s %s %s", sign, figure(g.want), g.unit)
	}
	who := letters[g.peer]
	if g.as != "" {
		who = g.as
	}
	if g.row != "" {
		who += " " + g.row
	}
	return fmt.Sprintf("%s %s %s", sign, figure(g.want), who)
}

// reached returns the figure that the goal is about, or false if it was not measured.
func (g goal) reached(value func(scenario, metric, peer string) (float64, bool)) (float64, bool) {
	v, ok := value(g.scenario, g.metric, ours)
	if !ok || g.peer == "" {
		return v, ok
	}
	row, scale := g.scenario, g.scale
	if g.row != "" {
		row = g.row
	}
	if scale == 0 {
		scale = 1
	}
	theirs, ok := value(row, g.metric, g.peer)
	if !ok || theirs == 0 {
		return 0, false
	}
	return v / (theirs * scale), true
}

func (g goal) met(v float64) bool {
	if g.least {
		return v >= g.want
	}
	return v <= g.want
}

// figure prints a number with as many digits as matter.
func figure(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 0.0995:
		return fmt.Sprintf("%.3f", v)
	case v < 9.95:
		return fmt.Sprintf("%.2f", v)
	case v < 99.5:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

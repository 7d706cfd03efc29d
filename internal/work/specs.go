package work

import (
	"maps"
	"slices"
)

// specs is which kinds there are, and what each is told.
var specs = map[string]func() Spec{
	"checkout":    func() Spec { return new(Checkout) },
	"exec":        func() Spec { return new(Exec) },
	"mirror_push": func() Spec { return new(MirrorPush) },
	"notify":      func() Spec { return new(Notify) },
	"site":        func() Spec { return new(Site) },
	"ssh":         func() Spec { return new(SSH) },
	"trigger":     func() Spec { return new(Trigger) },
	"webhook":     func() Spec { return new(Webhook) },
}

// Kinds returns the names of all kinds, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(specs)) }

// NewSpec returns what a job of this kind is told, with its defaults, to be decoded into.
func NewSpec(kind string) (Spec, bool) {
	f, ok := specs[kind]
	if !ok {
		return nil, false
	}
	return f(), true
}

// Beside names what a job may be told beside its kind, and what its Spec has under the same name:
// "limits: {memory: 512MiB}" next to "exec:" is what it is inside. Whoever decodes a job puts them in
// where the kind has them and they are not there yet; limits.time is the job's time limit too.
var Beside = []string{"limits", "sandbox", "publish", "after"}

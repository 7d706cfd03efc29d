package work

import (
	"maps"
	"slices"
)

// specs is which kinds there are, and what each is told.
var specs = map[string]func() Spec{
	"exec": func() Spec { return new(Exec) },
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

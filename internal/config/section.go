package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// A section is a part of the file that is no setting: it has no flag and no name in the environment.
type section struct {
	name string
	read func(r *yamlReader, key *token.Token, n ast.Node)
}

// sections are read in the order in which they stand in the file.
var sections = []section{
	{"secrets", (*yamlReader).secretList},
	{"targets", (*yamlReader).targetList},
	{"trust", (*yamlReader).trust},
	{"jobs", (*yamlReader).jobList},
}

// section reads v if its key is the name of a section, and reports whether it is.
func (r *yamlReader) section(v *ast.MappingValueNode) bool {
	key := v.Key.GetToken()
	i := slices.IndexFunc(sections, func(s section) bool { return s.name == key.Value })
	if i < 0 {
		return false
	}
	if first, twice := r.seen[key.Value]; twice {
		r.fault(key, "%q is set twice, first in line %d", key.Value, first)
		return true
	}
	r.seen[key.Value] = key.Position.Line
	sections[i].read(r, key, v.Value)
	return true
}

// fields reads a mapping: for each key it calls what keys has for it, then other, and if neither knows
// it, or it is there twice, that is a fault. what names the mapping to a person; more are further names
// that could have been meant. It returns where the mapping begins, or nil.
func (r *yamlReader) fields(what string, key *token.Token, n ast.Node, keys map[string]func(*token.Token, ast.Node), other func(*ast.MappingValueNode) bool, more []string) *token.Token {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return n.GetToken()
	default:
		r.fault(at(n, key), "%s is a group of options", what)
		return at(n, key)
	}
	names := append(slices.Sorted(maps.Keys(keys)), more...)
	seen := map[string]int{}
	for _, v := range values {
		k := v.Key.GetToken()
		if _, ok := v.Key.(*ast.StringNode); !ok {
			r.fault(k, "expected the name of an option")
			continue
		}
		if first, twice := seen[k.Value]; twice {
			r.fault(k, "%q is set twice, first in line %d", k.Value, first)
			continue
		}
		seen[k.Value] = k.Position.Line
		if f, ok := keys[k.Value]; ok {
			f(k, v.Value)
		} else if other == nil || !other(v) {
			r.fault(k, "unknown option %q in %s%s", k.Value, what, suggest(k.Value, names))
		}
	}
	if len(values) == 0 {
		return at(n, key)
	}
	return values[0].Key.GetToken()
}

// at returns where n stands, or else its key.
func at(n ast.Node, key *token.Token) *token.Token {
	if n != nil {
		if t := n.GetToken(); t != nil {
			return t
		}
	}
	return key
}

// place is where t stands, for a person.
func (r *yamlReader) place(t *token.Token) string {
	if t == nil || t.Position == nil {
		return r.name
	}
	return fmt.Sprintf("%s:%d", r.name, t.Position.Line)
}

func absent(n ast.Node) bool {
	_, null := n.(*ast.NullNode)
	return null
}

// tokens returns where the items of a list stand.
func tokens(n ast.Node) []*token.Token {
	var out []*token.Token
	if list, ok := n.(*ast.SequenceNode); ok {
		for _, item := range list.Values {
			out = append(out, item.GetToken())
		}
	}
	return out
}

// word reads one plain value.
func (r *yamlReader) word(k *token.Token, v ast.Node) string {
	s, ok := scalar(v)
	if !ok || absent(v) {
		r.fault(at(v, k), "expected a plain value for %s", k.Value)
		return ""
	}
	if err := plain(s); err != nil {
		r.fault(at(v, k), "%s %s", k.Value, err)
		return ""
	}
	return s
}

// words reads a list of plain values.
func (r *yamlReader) words(k *token.Token, v ast.Node) []string {
	list, ok := v.(*ast.SequenceNode)
	if !ok {
		r.fault(at(v, k), "%s is a list: [a, b]", k.Value)
		return nil
	}
	if len(list.Values) > maxList {
		r.fault(k, "%s has %d items; it may have %d", k.Value, len(list.Values), maxList)
		return nil
	}
	out := make([]string, 0, len(list.Values))
	for _, item := range list.Values {
		out = append(out, r.word(k, item))
	}
	return out
}

// yes reads true or false.
func (r *yamlReader) yes(k *token.Token, v ast.Node) bool {
	var b bool
	if s := r.word(k, v); s != "" {
		if err := boolean(&b, k.Value, "", "").set(s); err != nil {
			r.fault(at(v, k), "%s %s", k.Value, err)
		}
	}
	return b
}

// number reads a whole number.
func (r *yamlReader) number(k *token.Token, v ast.Node, low, high int) int {
	s := r.word(k, v)
	n, err := strconv.Atoi(s)
	if err == nil && (n < low || n > high) {
		err = fmt.Errorf("is %d; it may be %d to %d", n, low, high)
	} else if err != nil {
		err = fmt.Errorf("is %s, not a whole number", quoted(s))
	}
	if err != nil && s != "" {
		r.fault(at(v, k), "%s %s", k.Value, err)
	}
	return n
}

// oneOf reads a word among some.
func (r *yamlReader) oneOf(k *token.Token, v ast.Node, among ...string) string {
	s := r.word(k, v)
	if s != "" && !slices.Contains(among, s) {
		r.fault(at(v, k), "%s is %s, not one of %s", k.Value, quoted(s), strings.Join(among, ", "))
		return ""
	}
	return s
}

// plainYAML refuses what a settings file does not need: anchors, aliases, tags, merges, and keys that
// are there twice. A value should stand where one looks for it.
func (r *yamlReader) plainYAML(n ast.Node) {
	switch n := n.(type) {
	case *ast.MappingNode:
		seen := map[string]int{}
		for _, v := range n.Values {
			k := v.Key.GetToken()
			if first, twice := seen[k.Value]; twice {
				r.fault(k, "%q is set twice, first in line %d", k.Value, first)
				continue
			}
			seen[k.Value] = k.Position.Line
			r.plainYAML(v)
		}
	case *ast.MappingValueNode:
		if _, ok := n.Key.(*ast.StringNode); !ok {
			r.fault(n.Key.GetToken(), "expected the name of an option")
			return
		}
		r.plainYAML(n.Value)
	case *ast.SequenceNode:
		for _, item := range n.Values {
			r.plainYAML(item)
		}
	default:
		if _, ok := scalar(n); !ok {
			r.fault(n.GetToken(), "expected a plain value, a list or a group")
		}
	}
}

package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// parse returns the documents of a file of at most limit bytes, or nil after a fault; much says why more than that
// is too much.
func (r *yamlReader) parse(data []byte, limit int, much string) *ast.File {
	switch {
	case len(data) > limit:
		r.l.fault(r.name, "is larger than %s; %s", Size(int64(limit)), much)
		return nil
	case !utf8.Valid(data):
		r.l.fault(r.name, "is not UTF-8")
		return nil
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	r.lines = strings.Split(text, "\n")
	file, err := parseYAML(text)
	if err != nil {
		r.syntax(err)
		return nil
	}
	return file
}

// yaml reads the file. Only what a settings file needs is accepted: mappings of names to plain
// values or lists of them. Anchors, aliases, tags and further documents are refused, because a
// value should stand where one looks for it.
func (l *loader) yaml(name string, data []byte) {
	r := yamlReader{l: l, name: name, seen: map[string]int{}}
	file := r.parse(data, MaxFile, "this is no configuration")
	if file == nil {
		return
	}
	if len(file.Docs) > 1 {
		at := file.Docs[1].Start
		if at == nil {
			at = file.Docs[1].GetToken()
		}
		r.fault(at, "the file holds several documents; only one is read")
		return
	}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			r.mapping("", doc.Body)
		}
	}
	for _, look := range r.after {
		look()
	}
}

// parseYAML keeps a parser that stumbles over odd input from taking the program along.
func parseYAML(text string) (f *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("is not YAML that can be read: %v", p)
		}
	}()
	return parser.ParseBytes([]byte(text), 0, parser.AllowDuplicateMapKey())
}

type yamlReader struct {
	l     *loader
	name  string
	lines []string
	seen  map[string]int // line of each name that was met
	needs []*token.Token // names of jobs that have to be there
	after []func()       // what can be looked at when all was read
	repo  *repoRules     // what a repository's own file is held to; nil for the configuration
}

func (r *yamlReader) syntax(err error) {
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil {
		r.fault(y.GetToken(), "%s", y.GetMessage())
		return
	}
	r.l.fault(r.name, "%v", err)
}

func (r *yamlReader) fault(t *token.Token, format string, args ...any) {
	r.l.faults = append(r.l.faults, r.at(t, fmt.Sprintf(format, args...)))
}

func (r *yamlReader) at(t *token.Token, text string) Fault {
	if t == nil || t.Position == nil {
		return Fault{Where: r.name, Text: text}
	}
	p := t.Position
	width := utf8.RuneCountInString(strings.TrimSpace(t.Origin))
	if i := strings.IndexByte(strings.TrimSpace(t.Origin), '\n'); i >= 0 {
		width = i
	}
	return Fault{
		Where:   fmt.Sprintf("%s:%d:%d", r.name, p.Line, p.Column),
		Text:    text,
		Excerpt: excerpt(r.lines, p.Line, p.Column, width),
	}
}

func (r *yamlReader) mapping(prefix string, n ast.Node) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.NullNode, *ast.CommentGroupNode:
		return // a group whose every line is commented out
	default:
		if prefix == "" {
			r.fault(n.GetToken(), "expected lines such as \"listen: 127.0.0.1:7334\"")
		} else {
			r.fault(n.GetToken(), "%q is a group of options; expected indented lines below it", strings.TrimSuffix(prefix, "."))
		}
		return
	}
	for _, v := range values {
		r.entry(prefix, v)
	}
}

func (r *yamlReader) entry(prefix string, v *ast.MappingValueNode) {
	key := v.Key.GetToken()
	if _, ok := v.Key.(*ast.StringNode); !ok {
		r.fault(key, "expected the name of an option")
		return
	}
	name := prefix + key.Value
	if prefix == "" && r.section(v) {
		return
	}
	if s, ok := r.l.names[name]; ok {
		if first, twice := r.seen[name]; twice {
			r.fault(key, "%q is set twice, first in line %d", name, first)
			return
		}
		r.seen[name] = key.Position.Line
		r.value(s, key, v.Value)
		return
	}
	if r.group(name) {
		if first, twice := r.seen[name]; twice {
			r.fault(key, "%q is set twice, first in line %d", name, first)
		}
		r.seen[name] = key.Position.Line
		r.mapping(name+".", v.Value)
		return
	}
	in := ""
	if prefix != "" {
		in = fmt.Sprintf(" in %q", strings.TrimSuffix(prefix, "."))
	}
	r.fault(key, "unknown option %q%s%s", key.Value, in, suggest(name, r.candidates(prefix)))
}

func (r *yamlReader) group(name string) bool {
	for _, n := range r.l.all {
		if strings.HasPrefix(n, name+".") {
			return true
		}
	}
	return false
}

// candidates are the names to compare a misspelt one with: everything, and the groups.
func (r *yamlReader) candidates(prefix string) []string {
	out := append([]string(nil), r.l.all...)
	if prefix == "" {
		for _, s := range sections {
			out = append(out, s.name)
		}
		for _, n := range r.l.all {
			if g, _, ok := strings.Cut(n, "."); ok {
				out = append(out, g)
			}
		}
	}
	return out
}

func (r *yamlReader) value(s *Setting, key *token.Token, n ast.Node) {
	var text string
	if values, is := mappingOf(n); s.pairs && is {
		r.pairs(s, key, values)
		return
	}
	switch n := n.(type) {
	case *ast.SequenceNode:
		if !s.list {
			r.fault(n.GetToken(), "%s takes one value, not a list", s.Name)
			return
		}
		items := make([]string, 0, len(n.Values))
		for _, item := range n.Values {
			one, ok := scalar(item)
			if !ok || strings.Contains(one, ",") {
				r.fault(item.GetToken(), "expected a plain value in the list %s", s.Name)
				return
			}
			items = append(items, one)
		}
		text = strings.Join(items, ",")
	default:
		one, ok := scalar(n)
		if !ok {
			r.fault(n.GetToken(), "expected a plain value for %s", s.Name)
			return
		}
		if _, null := n.(*ast.NullNode); null {
			r.fault(key, "%s has no value; write \"\" for none, or comment the line out", s.Name)
			return
		}
		text = one
	}
	at := n.GetToken()
	if at == nil {
		at = key
	}
	r.l.put(s.Name, text, fmt.Sprintf("%s:%d", r.name, key.Position.Line), r.at(at, ""))
}

// mappingOf returns what a group holds.
func mappingOf(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// pairs reads a group as the list of key=value that it stands for; each fault is told where it stands.
func (r *yamlReader) pairs(s *Setting, key *token.Token, values []*ast.MappingValueNode) {
	items, well := make([]string, 0, len(values)), true
	for _, v := range values {
		k := v.Key.GetToken()
		value, ok := scalar(v.Value)
		if _, named := v.Key.(*ast.StringNode); !ok || !named || absent(v.Value) || strings.Contains(k.Value+value, ",") {
			r.fault(k, "expected a name and a plain value in %s", s.Name)
			well = false
			continue
		}
		item := k.Value + "=" + value
		if err := s.set(item); err != nil {
			r.fault(k, "%s %s", s.Name, err)
			well = false
			continue
		}
		items = append(items, item)
	}
	if well {
		r.l.put(s.Name, strings.Join(items, ","), fmt.Sprintf("%s:%d", r.name, key.Position.Line), r.at(key, ""))
	}
}

// scalar returns a value as it was written: 010 stays 010, and yes stays yes.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

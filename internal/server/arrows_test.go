package server

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/gitroost/gitroost/"

// floors gives every room its storey. A room imports only rooms of lower storeys.
var floors = map[string]int{
	"grasp": 1, "internal/lock": 1, "internal/run": 1, "internal/bip340": 1,
	"internal/durable": 1, "internal/pace": 1, "internal/metrics": 1, "migrations": 1,
	"internal/fault":   2, // it knows grasp's refusals
	"internal/gitwire": 3, "internal/negentropy": 3, "internal/answers": 3, "internal/search": 3, "internal/render": 3, "internal/jobs": 3, "internal/export": 3, "internal/hooks": 3,
	"internal/joblog": 3, "internal/nip98": 3, "internal/dial": 3,
	"internal/steward": 4, "internal/work": 4, "internal/work/answer": 4, "internal/jobview": 4,
	"internal/sites": 5, "internal/relay": 5, "internal/githttp": 5, "internal/web": 5, "internal/jobweb": 5, "internal/manage": 5, "internal/probe": 5,
	"internal/work/ci": 5, "internal/work/hook": 5, "internal/work/mirror": 5, "internal/work/notify": 5,
	"internal/store": 5, "internal/gitdir": 5, "internal/syncer": 5, "internal/hunt": 5, "internal/client": 5,
	"internal/work/program": 5, "internal/work/checkout": 5, "internal/work/site": 5,
	"internal/config": 6,
	"internal/server": 7, "internal/doctor": 7,
	"cmd/gitroost": 8,
}

// rules are arrows that the storeys would allow but that must not be drawn.
var rules = []struct{ from, to, because string }{
	{"internal/relay", "internal/steward", "a door says what it needs in an interface of its own, so that it can be tested alone"},
	{"internal/githttp", "internal/steward", "a door says what it needs in an interface of its own, so that it can be tested alone"},
	{"internal/web", "internal/steward", "a door says what it needs in an interface of its own, so that it can be tested alone"},
	{"internal/manage", "internal/steward", "a door says what it needs in an interface of its own, so that it can be tested alone"},
	{"internal/syncer", "internal/steward", "it says what it needs in interfaces of its own, so that it can be tested alone"},
	{"grasp", "context", "the rules are pure"},
	{"grasp", "os", "the rules are pure"},
	{"grasp", "net", "the rules are pure"},
	{"grasp", "time", "the rules know no clock"},
	{"grasp", "log/slog", "the rules answer, they do not report"},
	{"", "os/exec", "one place cleans the environment of children and ends what it began"},
	{"", "database/sql", "one place speaks SQL"},
}

var allowed = map[[2]string]bool{
	{"internal/run", "os/exec"}:        true,
	{"internal/store", "database/sql"}: true,
}

// Imports run downwards only. A wrong arrow fails here and is told why.
func TestArrows(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && rel != "." || d.Name() == "testdata" || strings.HasPrefix(d.Name(), "gitroost-data") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		room := filepath.ToSlash(filepath.Dir(rel))
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		if strings.HasSuffix(f.Name.Name, "test") {
			return nil // kits for tests
		}
		seen[room] = true
		for _, spec := range f.Imports {
			to, _ := strconv.Unquote(spec.Path.Value)
			checkArrow(t, rel, room, to)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for room := range seen {
		if _, ok := floors[room]; !ok {
			t.Errorf("%s stands on no floor: add it to the table in this file and to docs/architecture.md", room)
		}
	}
}

func checkArrow(t *testing.T, file, room, to string) {
	if ours, ok := strings.CutPrefix(to, module); ok && floors[ours] >= floors[room] {
		t.Errorf("%s imports %s: rooms import downwards only, and rooms of one floor do not know each other", file, ours)
	}
	to = strings.TrimPrefix(to, module)
	for _, r := range rules {
		if (r.from == "" || r.from == room) && r.to == to && !allowed[[2]string{room, to}] {
			t.Errorf("%s imports %s: %s", file, to, r.because)
		}
	}
}

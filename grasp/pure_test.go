package grasp_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// The rules know no clock, no disk, no network and no log: then they can be proven, and others can
// use them.
func TestGraspIsPure(t *testing.T) {
	forbidden := map[string]string{
		"context": "nothing here waits", "time": "clocks are handed to others", "os": "no disk", "io": "no streams",
		"io/fs": "no disk", "os/exec": "no git", "net": "no network", "net/http": "no network", "log": "no log",
		"log/slog": "no log", "database/sql": "no database", "sync": "a value needs no lock", "unsafe": "no",
		"math/rand": "the same question has the same answer", "math/rand/v2": "the same question has the same answer",
		"crypto/rand": "the same question has the same answer",
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		seen++
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			path, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if why, bad := forbidden[path]; bad {
				t.Errorf("%s imports %s: %s", e.Name(), path, why)
			}
			if strings.HasPrefix(path, "github.com/gitroost/") {
				t.Errorf("%s imports %s: nothing of ours is below grasp", e.Name(), path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", e.Name())
			case *ast.CallExpr:
				if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "panic" || id.Name == "print" || id.Name == "println") {
					t.Errorf("%s calls %s", e.Name(), id.Name)
				}
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Now" {
					t.Errorf("%s asks a clock", e.Name())
				}
			}
			return true
		})
	}
	if seen == 0 {
		t.Error("no file was looked at")
	}
}

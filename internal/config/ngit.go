package config

import (
	"fmt"
	"strings"
)

// ngit reads the names under which third-party test suites configure whatever server they start.
// Our own names beat them, and the file loses against both.
func (l *loader) ngit(env map[string]string) {
	for _, row := range [...]struct{ theirs, ours string }{
		{"NGIT_BIND_ADDRESS", "listen"},
		{"NGIT_DOMAIN", "domain"},
		{"NGIT_GIT_DATA_PATH", "data"},
	} {
		if v := env[row.theirs]; v != "" {
			l.put(row.ours, v, "env "+row.theirs, Fault{Where: row.theirs})
		}
	}
	switch v := strings.ToLower(env["NGIT_DATABASE_BACKEND"]); v {
	case "":
	case "memory":
		l.put("ephemeral", "true", "env NGIT_DATABASE_BACKEND", Fault{Where: "NGIT_DATABASE_BACKEND"})
	default:
		l.warn("NGIT_DATABASE_BACKEND: %s is not known here; the database is a file in the data folder", quoted(v))
	}
	switch v := strings.ToLower(env["NGIT_GRASP06_ENABLE"]); v {
	case "":
	case "0", "false", "no", "off":
		l.put("prs.enabled", "false", "env NGIT_GRASP06_ENABLE", Fault{Where: "NGIT_GRASP06_ENABLE"})
	default:
		l.put("prs.enabled", "true", "env NGIT_GRASP06_ENABLE", Fault{Where: "NGIT_GRASP06_ENABLE"})
	}
}

func (l *loader) warn(format string, args ...any) {
	l.out.Warnings = append(l.out.Warnings, fmt.Sprintf(format, args...))
}

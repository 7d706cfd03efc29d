package config

import (
	"fmt"
	"strings"
)

// Reference returns docs/configuration.md.
func Reference() string {
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Printed from the table in internal/config/settings.go: go test ./internal/config -update -->

Nothing has to be set on one's own computer. For the world, set ` + "`domain`" + `.

A value may come from a flag, the environment, the file ` + "`" + DefaultFile + "`" + ` or the default; the first of these that
has one wins. A setting has one name in all of them:

| flag | environment | file |
|---|---|---|
| ` + "`--limits.max-push='5 GB'`" + ` | ` + "`GITROOST_LIMITS_MAX_PUSH='5 GB'`" + ` | ` + "`limits.max_push: 5 GB`" + `, or ` + "`max_push: 5 GB`" + ` below ` + "`limits:`" + ` |

- ` + "`gitroost config init`" + ` prints an example file, ` + "`gitroost config check`" + ` finds every fault with line and column, and
  ` + "`gitroost config show`" + ` says what is in force and where it came from.
- The file is named with ` + "`--config`" + ` or ` + "`GITROOST_CONFIG`" + `. An option it does not know, or one set twice, is an error.
- Sizes are written ` + "`512 MiB`" + ` or ` + "`5 GB`" + `, durations ` + "`90s`" + `, ` + "`30m`" + `, ` + "`30d`" + `, lists ` + "`a, b`" + ` or as YAML lists.
- The names ` + "`NGIT_BIND_ADDRESS`, `NGIT_DOMAIN`, `NGIT_GIT_DATA_PATH` and `NGIT_DATABASE_BACKEND=memory`" + ` are understood
  as ` + "`listen`, `domain`, `data` and `ephemeral`" + `.
`)
	group := "-"
	c := Default()
	for _, s := range c.Settings() {
		if g, _, dotted := strings.Cut(s.Name, "."); !dotted {
			g = ""
			if group != g {
				b.WriteString("\n## The server\n")
			}
			group = g
		} else if g != group {
			b.WriteString("\n## " + g + "\n")
			group = g
		}
		fmt.Fprintf(&b, "\n### `%s`\n\n%s\n\n", s.Name, s.Doc)
		def := "`" + s.Default + "`"
		if s.Default == "" {
			def = "empty"
		}
		fmt.Fprintf(&b, "Default: %s (%s", def, s.Unit)
		if s.Limit != "" {
			b.WriteString("; " + s.Limit)
		}
		fmt.Fprintf(&b, "). Flag `--%s`, environment `%s`.\n", s.Flag(), s.Env())
	}
	return b.String()
}

// Example returns an annotated file in which every option is commented out with its default: as
// it stands, it changes nothing. Each option is one line, so that any of them can be enabled by
// taking one character away.
func Example() string {
	var b strings.Builder
	b.WriteString("# gitroost.yaml: every option with its default and its reason.\n" +
		"# Take the # away in front of an option to set it. Check with: gitroost config check gitroost.yaml\n")
	group := ""
	c := Default()
	for _, s := range c.Settings() {
		if g, _, dotted := strings.Cut(s.Name, "."); dotted && g != group {
			group = g
			b.WriteString("\n# ---- " + g + " " + strings.Repeat("-", 90-len(g)) + "\n")
		}
		b.WriteByte('\n')
		for _, line := range wrap(s.Doc, 96) {
			b.WriteString("# " + line + "\n")
		}
		if s.Limit != "" {
			b.WriteString("# (" + s.Limit + ")\n")
		}
		b.WriteString("#" + s.Name + ": " + yamlValue(s) + "\n")
	}
	return b.String()
}

// Show returns what is in force and where each value came from, one setting a line. Secrets are
// bullets.
func (l Loaded) Show() string {
	var b strings.Builder
	for _, s := range l.Config.Settings() {
		value := s.Value()
		if value == "" {
			value = `""`
		}
		fmt.Fprintf(&b, "%-28s %-32s %s\n", s.Name, value, l.Origins[s.Name])
	}
	return b.String()
}

// Usage returns the settings as flags, for help on the terminal.
func Usage() string {
	var b strings.Builder
	c := Default()
	for _, s := range c.Settings() {
		def := s.Default
		if def == "" {
			def = `""`
		}
		fmt.Fprintf(&b, "  --%-28s %s\n", s.Flag(), def)
	}
	return b.String()
}

func yamlValue(s Setting) string {
	switch {
	case s.list:
		return "[]"
	case s.Default == "":
		return `""`
	}
	return s.Default
}

func wrap(s string, width int) []string {
	var out []string
	line := ""
	for _, w := range strings.Fields(s) {
		if line != "" && len(line)+1+len(w) > width {
			out = append(out, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(out, line)
}

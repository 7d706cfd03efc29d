package config

import (
	"slices"
	"strings"
)

// live are the settings that hold for a running server as soon as its configuration is read anew. A name that
// ends in a dot stands for all that begin with it.
var live = []string{
	"name", "description", "icon", "log.level", "log.rooms", "quota.", "repos.allow", "repos.deny", "authors.deny", "kinds.deny",
	"limits.future", "limits.waiting", "limits.waiting_per_key", "limits.waiting_per_address", "limits.new_repos",
}

// Live reports whether the setting takes effect when a running server reads its configuration anew (S3-41);
// the others want a restart.
func (s Setting) Live() bool {
	return slices.ContainsFunc(live, func(n string) bool { return n == s.Name || strings.HasSuffix(n, ".") && strings.HasPrefix(s.Name, n) })
}

// Adopt returns c with what of next takes effect without a restart: settings that are live, and jobs, secrets,
// targets and trust. It names the settings that changed by it, and those that differ and are held back until the
// next start.
func (c Config) Adopt(next Config) (out Config, changed, held []string) {
	out = c
	mine, theirs := out.settings(), next.settings()
	for i, s := range mine {
		value := theirs[i].get()
		if s.get() == value {
			continue
		}
		if !s.Live() || s.set(value) != nil {
			held = append(held, s.Name)
			continue
		}
		changed = append(changed, s.Name)
	}
	out.Jobs, out.Secrets, out.Targets, out.Trust = next.Jobs, next.Secrets, next.Targets, next.Trust
	return out, changed, held
}

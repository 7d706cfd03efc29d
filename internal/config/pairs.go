package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// rooms are the parts of the server whose lines can be told apart in the log. The first word of each is what
// log lines say; the others are names that people know it by.
var rooms = [][]string{
	{"gitdir", "git"}, {"githttp", "http-git"}, {"relay", "nostr"}, {"steward", "desk"}, {"store", "database"}, {"syncer", "sync"}, {"hunt"},
	{"jobs"}, {"program"}, {"checkout"}, {"site"}, {"sites"}, {"web"}, {"manage"}, {"http"},
}

var logLevels = []string{"debug", "info", "warn", "error", "none"}

// logRooms reads "git=debug" items.
func logRooms(p *map[string]string, name, doc string) Setting {
	return pairs(p, name, "list of room=level", doc, func(key, value string) (string, string, error) {
		i := slices.IndexFunc(rooms, func(r []string) bool { return slices.Contains(r, strings.ToLower(key)) })
		if i < 0 {
			var known []string
			for _, r := range rooms {
				known = append(known, r...)
			}
			return "", "", fmt.Errorf("names %s, which is no room%s", quoted(key), suggest(key, known))
		}
		if value = strings.ToLower(value); !slices.Contains(logLevels, value) {
			return "", "", fmt.Errorf("has %s for %s, not one of %s", quoted(value), key, strings.Join(logLevels, ", "))
		}
		return rooms[i][0], value, nil
	})
}

// gitKeys are the settings of git that an operator may give it, lower-case, with what their values look like.
// They change what git costs. None runs a program, opens a way out, or touches what is checked or how durably
// it is written: the others are refused (S3-24).
var gitKeys = map[string]*regexp.Regexp{
	"core.bigfilethreshold": gitSize, "core.compression": gitLevel, "core.deltabasecachelimit": gitSize,
	"core.packedgitlimit": gitSize, "core.packedgitwindowsize": gitSize,
	"index.threads": gitSmall, "pack.allowpackreuse": gitReuse, "pack.compression": gitLevel, "pack.deltacachelimit": gitSmall,
	"pack.deltacachesize": gitSize, "pack.depth": gitSmall, "pack.threads": gitSmall, "pack.usebitmapboundarytraversal": gitYes,
	"pack.usesparse": gitYes, "pack.window": gitSmall, "pack.windowmemory": gitSize, "pack.writebitmaplookuptable": gitYes,
	"pack.writereverseindex": gitYes, "uploadpack.keepalive": gitSmall,
}

var (
	gitSize  = regexp.MustCompile(`^[0-9]{1,6}[kmg]?$`)
	gitSmall = regexp.MustCompile(`^[0-9]{1,4}$`)
	gitLevel = regexp.MustCompile(`^(-1|[0-9])$`)
	gitYes   = regexp.MustCompile(`^(true|false)$`)
	gitReuse = regexp.MustCompile(`^(true|false|single|multi)$`)
)

// gitConfig reads "pack.depth=20" items.
func gitConfig(p *map[string]string, name, doc string) Setting {
	return pairs(p, name, "list of key=value", doc, func(key, value string) (string, string, error) {
		form, ok := gitKeys[strings.ToLower(key)]
		if !ok {
			known := make([]string, 0, len(gitKeys))
			for k := range gitKeys {
				known = append(known, k)
			}
			slices.Sort(known)
			return "", "", fmt.Errorf("names %s, which is not for an operator to set: what git checks, where it goes and which programs it runs is the server's business; these may be set: %s", quoted(key), strings.Join(known, ", "))
		}
		if !form.MatchString(value) {
			return "", "", fmt.Errorf("has %s for %s; it must match %s", quoted(value), key, form)
		}
		return strings.ToLower(key), value, nil
	})
}

// pairs is a list of key=value, in the file also a group. one checks an item, and returns how it is kept.
func pairs(p *map[string]string, name, unit, doc string, one func(key, value string) (string, string, error)) Setting {
	return Setting{
		Name: name, Doc: doc, Unit: unit, list: true, pairs: true,
		set: func(s string) error {
			out := map[string]string{}
			err := each(s, func(item string) error {
				key, value, ok := strings.Cut(item, "=")
				if !ok {
					return fmt.Errorf("names %s, not key=value", quoted(item))
				}
				key, value, err := one(strings.TrimSpace(key), strings.TrimSpace(value))
				if err != nil {
					return err
				}
				if _, twice := out[key]; twice {
					return fmt.Errorf("names %s twice", key)
				}
				out[key] = value
				return nil
			})
			if err == nil {
				*p = out
			}
			return err
		},
		get: func() string {
			out := make([]string, 0, len(*p))
			for k, v := range *p {
				out = append(out, k+"="+v)
			}
			slices.Sort(out)
			return strings.Join(out, ", ")
		},
	}
}

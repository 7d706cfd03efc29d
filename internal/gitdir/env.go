package gitdir

import (
	"maps"
	"path/filepath"
	"slices"
	"strconv"
)

// repoConfig is the configuration file of every repository. All else is said in the environment
// of each command, so that there is nothing in a repository that could drift.
const repoConfig = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"

// A pair is one entry of git's configuration.
type pair struct{ key, value string }

// baseConfig holds for every command (hardening §13).
var baseConfig = []pair{
	{"core.hooksPath", "/dev/null"},
	{"safe.bareRepository", "explicit"},
	{"core.fsync", "objects,derived-metadata,reference"},
	{"core.fsyncMethod", "fsync"},
	{"gc.auto", "0"},
	{"maintenance.auto", "false"},
	{"core.useReplaceRefs", "false"},
	{"core.alternateRefsCommand", "exit 0 #"},
	{"core.fsmonitor", "false"},
	{"core.symlinks", "false"},
	{"core.protectHFS", "true"},
	{"core.protectNTFS", "true"},
	{"core.bigFileThreshold", "32m"},
	{"core.packedGitWindowSize", "32m"},
	{"core.packedGitLimit", "512m"},
	{"core.deltaBaseCacheLimit", "64m"},
	{"pack.threads", "1"},
	{"pack.windowMemory", "64m"},
	{"core.packedRefsTimeout", "10000"},
	{"core.filesRefLockTimeout", "2000"},
	{"protocol.allow", "never"},
	{"credential.helper", ""},
	{"transfer.credentialsInUrl", "die"},
	{"transfer.bundleURI", "false"},
}

// receiveConfig is added for index-pack. What it writes is synced by Admit, all files at a time,
// and only if it is admitted.
var receiveConfig = []pair{{"core.fsync", "none"}}

// packConfig is added where objects are packed for our own use: deltas that exist are used again,
// and no new ones are looked for.
var packConfig = []pair{{"pack.window", "0"}}

// quickConfig is added for shallow fetches, and for whoever has something and takes no thin pack: the delta of an
// object whose base lies behind the boundary, or is not sent, has to be made anew, and looking for a good one costs
// more than the bytes it saves.
var quickConfig = []pair{{"pack.window", "0"}, {"pack.compression", "1"}}

// uploadConfig is added for upload-pack (H-204, H-207, H-223, H-225). Whatever is in a repository
// may be fetched by its id: what is not public is not in it (hardening §7).
var uploadConfig = []pair{
	{"uploadpack.allowAnySHA1InWant", "true"},
	{"uploadpack.allowTipSHA1InWant", "true"},
	{"uploadpack.allowReachableSHA1InWant", "true"},
	{"uploadpack.allowRefInWant", "false"},
	{"uploadpack.allowFilter", "true"},
	{"uploadpack.keepAlive", "5"}, // seconds; H-257
	{"uploadpackfilter.allow", "false"},
	{"uploadpackfilter.blob:none.allow", "true"},
	{"uploadpackfilter.blob:limit.allow", "true"},
	{"uploadpackfilter.object:type.allow", "true"},
	{"uploadpackfilter.tree.allow", "true"},
	{"uploadpackfilter.tree.maxDepth", "1"},
	{"uploadpack.hideRefs", "refs"},
	{"uploadpack.hideRefs", "!refs/heads"},
	{"uploadpack.hideRefs", "!refs/tags"},
	{"uploadpack.hideRefs", "!refs/nostr"},
	{"lsrefs.unborn", "advertise"}, // H-208
}

// fsckIgnored are faults that old, honest histories have (hardening §6).
var fsckIgnored = []string{"badTimezone", "missingSpaceBeforeDate", "zeroPaddedFilemode"}

// allocLimit is the largest single allocation that git may make for a hostile object, in bytes.
// It also bounds tables with one entry per object, so it grows with the number of those.
const (
	allocLimit     = 128 << 20
	allocPerObject = 160
)

// env returns the complete environment of a git command (H-255, hardening §13). Nothing is
// inherited.
func (v *Vault) env(gitDir string, objects int64, configs [][]pair, extra ...string) []string {
	home := filepath.Join(v.root, "home")
	out := []string{
		"PATH=" + filepath.Dir(v.git) + ":/usr/bin:/bin",
		"HOME=" + home,
		"XDG_CONFIG_HOME=" + home,
		"LC_ALL=C",
		"TZ=UTC",
		"TMPDIR=" + filepath.Join(v.root, "incoming"),
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_ASKPASS=/bin/false",
		"SSH_ASKPASS=/bin/false",
		"GIT_SSH_COMMAND=/bin/false",
		"GIT_ALLOW_PROTOCOL=none",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_NO_LAZY_FETCH=1",
		"GIT_OPTIONAL_LOCKS=0",
		"GIT_ALLOC_LIMIT=" + strconv.FormatInt(max(allocLimit, objects*allocPerObject), 10),
		"GIT_DIR=" + gitDir,
	}
	out = append(out, extra...)
	n := 0
	for at, c := range configs {
		for _, p := range c {
			i := strconv.Itoa(n)
			out = append(out, "GIT_CONFIG_KEY_"+i+"="+p.key, "GIT_CONFIG_VALUE_"+i+"="+p.value)
			n++
		}
		if at > 0 {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(v.cfg.Extra)) { // after what holds for all, before the command's own
			i := strconv.Itoa(n)
			out = append(out, "GIT_CONFIG_KEY_"+i+"="+key, "GIT_CONFIG_VALUE_"+i+"="+v.cfg.Extra[key])
			n++
		}
	}
	return append(out, "GIT_CONFIG_COUNT="+strconv.Itoa(n))
}

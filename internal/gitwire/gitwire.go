// Package gitwire knows the bytes of git's protocol: pkt-lines, advertisements, requests to fetch
// and to push, reports and side-bands.
//
// It parses what clients send strictly into typed values and writes those values anew, so that no
// byte of a stranger's request ever reaches another program as it came. It writes advertisements
// and the answers to ls-refs from a grasp.Snapshot, without git.
//
// What is not well formed comes back as a fault (Invalid, TooLarge). What is well formed and not
// acceptable comes back as a *grasp.Refusal, beside everything that is needed to answer politely.
// Errors of the underlying reader are passed on as they are.
//
// The package refuses to know processes, files, HTTP and permissions. It accepts ref names that
// the rules will refuse: saying no, ref by ref, is the business of others.
package gitwire

import "strings"

// The services of smart HTTP.
const (
	UploadPack  = "git-upload-pack"
	ReceivePack = "git-receive-pack"
)

// Agent returns the value by which this server names itself in advertisements: "gitroost/" and
// version, with everything that is not a printable ASCII character replaced by a dot, at most 64
// bytes (H-204).
func Agent(version string) string {
	if version == "" {
		version = "dev"
	}
	v := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '.'
		}
		return r
	}, version)
	return "gitroost/" + v[:min(len(v), 55)]
}

// ProtocolVersion returns the protocol version that the values of a Git-Protocol header ask for:
// 0, 1 or 2. Like git it takes the highest known version among the colon-separated items and
// ignores everything else (H-206, checks 32 and 33).
func ProtocolVersion(values []string) int {
	version := 0
	for _, v := range values {
		if len(v) > 1024 {
			continue
		}
		for item := range strings.SplitSeq(v, ":") {
			switch item {
			case "version=1":
				version = max(version, 1)
			case "version=2":
				version = 2
			}
		}
	}
	return version
}

package githttp

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitwire"
)

// Every sentence that a person with a git client may read from this door. What the rules say comes
// with the refusal, and how a malformed request is called is said in gitwire.
const (
	textNoPath      = "No git repository has this address.\nAn address is /<npub>/<identifier>.git"
	textNoBoxes     = "This server takes no pull requests at /prs/.\nPush refs/nostr/<event-id> to a repository that is hosted here: /<npub>/<identifier>.git"
	textService     = "This server speaks git's smart HTTP protocol only: ask for service=git-upload-pack or git-receive-pack"
	textBusy        = "this server is busy; try again in a few seconds"
	textMediaType   = "Content-Type must be application/x-%s-request"
	textCoding      = "Content-Encoding must be gzip or nothing"
	textGzip        = "the request body is not valid gzip"
	textBomb        = "limit: the request body inflates too much"
	textStalled     = "nothing arrived for too long; try again"
	textMethod      = "method not allowed here"
	textNoCommands  = "the push request names no refs"
	textTrailing    = "something follows the deletions"
	textUnpackNo    = "refused by policy" // the unpack line of every refusal by the rules
	textNoRefsMoved = "push refused: "
	textHint        = "hint: "
	textPushID      = "push "
	retryAfter      = "5" // seconds
)

// What is said to somebody who follows a job by git push -o follow.
const (
	textCrowded  = "gitroost: too many follow jobs now; gitroost jobs log -f and the page of the job show what it says"
	textLongJob  = "gitroost: it goes on; its page shows the rest"
	textStopping = "gitroost: the server is stopping; its page shows the rest once the server is back"
)

// textUnknown is the answer to a request for a repository that does not live here. Git shows each
// line behind "remote:".
func textUnknown(repo grasp.Addr) string {
	return fmt.Sprintf("No repository %s is hosted here for %s\nAnnounce it first: ngit init, or nak git init && nak git push",
		gitwire.Clean(repo.ID, 260), repo.Owner.Npub())
}

// textDenied is the answer to somebody who wants to read what the operator does not serve.
func textDenied(no *grasp.Refusal) string {
	lines := gitwire.Clean(no.Text, gitwire.MaxLine)
	for line := range strings.SplitSeq(no.Hint, "\n") {
		if line != "" {
			lines += "\n" + gitwire.Clean(line, gitwire.MaxLine)
		}
	}
	return lines
}

func textTooLarge(limit int64) string { return "limit: at most " + size(limit) + " in one push" }

func textUndrained(reason string) string {
	return reason + "\nThe push was too large to be read to its end before saying so."
}

// size says n bytes for people: whole units where they fit.
func size(n int64) string {
	for _, u := range []struct {
		name string
		n    int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.n && n%u.n == 0 {
			return fmt.Sprintf("%d %s", n/u.n, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// A verdict is how a refused or failed push is told: the unpack line, the reason of every ng line
// (H-246), and what is shown to the person. id is not empty if details must be logged under it.
type verdict struct {
	unpack, reason string
	say            []string
	id             string
}

// judge finds the words for err.
func judge(err error) verdict {
	text, id := fault.Message(err)
	v := verdict{id: id}
	var no *grasp.Refusal
	if errors.As(err, &no) {
		v.reason = firstWord(no) + no.Text
		v.say = []string{textNoRefsMoved + no.Text}
		if no.Hint != "" {
			for line := range strings.SplitSeq(no.Hint, "\n") {
				v.say = append(v.say, textHint+line)
			}
		}
		// A limit is no matter of policy; it says what it is in the first line too (H-254).
		if !strings.HasPrefix(no.Text, "limit:") && !strings.HasPrefix(no.Text, "quota:") {
			v.unpack = textUnpackNo
		}
	} else {
		v.reason = fault.CodeOf(err).Git() + ": " + text
		if gitwire.HasStableWord(text) {
			v.reason = text
		}
		v.say = []string{textNoRefsMoved + text}
	}
	v.reason = gitwire.Reason(v.reason)
	if v.unpack == "" {
		v.unpack = v.reason
	}
	return v
}

// firstWord is the stable word that scripts look for. Refusals for want of a signed event are
// "unauthorised" (decision 2); a text that brings its own word keeps it.
func firstWord(no *grasp.Refusal) string {
	switch {
	case gitwire.HasStableWord(no.Text):
		return ""
	case strings.HasPrefix(no.Rule, "G01-5"), strings.HasPrefix(no.Rule, "G01-6"), no.Prefix == grasp.Restricted:
		return "unauthorised: "
	}
	return "refused: "
}

// containsWord reports whether word is in line.
func containsWord(line, word string) bool {
	return word != "" && strings.Contains(line, word)
}

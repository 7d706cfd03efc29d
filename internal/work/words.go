package work

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// A Telling is what templates are given: an About, and the same in words.
type Telling struct {
	About
	Title    string   `json:"title"`
	Message  string   `json:"message"`
	Tags     []string `json:"tags"`     // as ntfy has them
	Priority int      `json:"priority"` // 1 to 5
	Log      string   `json:"-"`        // the end of the job's log, "" unless log_excerpt is on
	Server   string   `json:"server"`   // where people reach this server, without a slash at the end
	URL      string   `json:"url"`      // of the job's page
	LogURL   string   `json:"log_url"`
}

// Tell returns a in the words of the house (S0-04, S0-05): what happened where, how it ended and where
// the log is to be read, which the server protects (S0-12). server is where people reach it.
func Tell(a About, server string) Telling {
	t := Telling{About: a, Server: server, Priority: 3}
	if a.ID != "" && server != "" {
		t.URL = server + "/jobs/" + string(a.ID)
		t.LogURL = t.URL + "/log"
	}
	job := fmt.Sprintf("Job %s for %s", a.Job, shortRepo(a.Repo))
	exit := fmt.Sprintf("exit %d", a.Exit)
	if a.Signal != "" {
		exit += " (" + a.Signal + ")"
	}
	switch {
	case a.OK():
		t.Title = fmt.Sprintf("✅ Git %s Success: %s (%s)", a.Job, a.Name, jobs.Span(a.Took))
		t.Tags = []string{"white_check_mark", "git", a.Job}
		t.Message = job + " finished: " + exit
	case a.Bad():
		t.Title = fmt.Sprintf("❌ Git %s Failed: %s (after %s)", a.Job, a.Name, jobs.Span(a.Took))
		t.Tags = []string{"x", "git", a.Job, "warning"}
		t.Priority = 4
		how := exit
		switch a.State {
		case jobs.TimedOut:
			how = "it took too long"
		case jobs.StartupFailure:
			how = "it could not begin"
		}
		t.Message = job + " failed: " + how
		if t.LogURL != "" {
			t.Message += "\nLog: " + t.LogURL
		}
	case a.State == "": // something happened, and no job tells how it ended
		t.Title = fmt.Sprintf("Git %s: %s", a.Trigger, a.Name)
		t.Tags = []string{"git", a.Job}
		t.Message = strings.TrimSpace(shortRepo(a.Repo) + " " + a.Branch)
		if grasp.IsHex(a.New, 40) || grasp.IsHex(a.New, 64) {
			t.Message += " is now " + a.New[:10]
		}
	case a.State.Ended():
		t.Title = fmt.Sprintf("Git %s %s: %s", a.Job, a.State, a.Name)
		t.Tags = []string{"git", a.Job}
		t.Message = fmt.Sprintf("%s: %s", job, a.State)
	default:
		t.Title = fmt.Sprintf("⏳ Git %s Started: %s", a.Job, a.Name)
		t.Tags = []string{"hourglass_flowing_sand", "git", a.Job}
		t.Message = job + " has begun"
	}
	if a.Branch != "" && a.Bad() {
		t.Message = strings.Replace(t.Message, " failed", " on "+a.Branch+" failed", 1)
	}
	t.Title, t.Message = oneLine(t.Title), clean(t.Message)
	return t
}

// In returns t with the title and message that m has templates for. A template that fails is a
// fault.Invalid.
func (m Message) In(t Telling) (Telling, error) {
	title, message := t.Title, t.Message
	if m.Title != "" {
		s, err := Fill("title", m.Title, t, maxTemplateTitle)
		if err != nil {
			return t, err
		}
		title = oneLine(s)
	}
	if m.Body != "" {
		s, err := Fill("message", m.Body, t, MaxFilled)
		if err != nil {
			return t, err
		}
		message = clean(s)
	} else if m.LogExcerpt && t.Log != "" {
		message += "\n\n" + clean(tail(t.Log, 10))
	}
	if m.Priority != 0 {
		t.Priority = m.Priority
	}
	t.Title, t.Message = title, message
	return t, nil
}

// MaxFilled is how long what a template makes is at most, in bytes.
const MaxFilled = 256 << 10

// Fill fills in a template of the configuration. One that fails, or makes more than limit bytes, is a
// fault.Invalid.
func Fill(name, text string, data any, limit int) (string, error) {
	tmpl, err := ParseTemplate(name, text)
	if err != nil {
		return "", err
	}
	w := &bounded{left: limit}
	if err := tmpl.Execute(w, data); err != nil {
		return "", fault.Errorf(fault.Invalid, "work: template", "%s: %v", name, err)
	}
	return w.String(), nil
}

// bounded is a builder that takes so much.
type bounded struct {
	strings.Builder
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(p) > b.left {
		return 0, fault.E(fault.TooLarge, "work: template", "it makes too much text")
	}
	b.left -= len(p)
	return b.Builder.Write(p)
}

// Cut returns the beginning of s that has at most n bytes, whole characters, and says that there was
// more.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const more = "…"
	i := max(n-len(more), 0)
	for i > 0 && !utf8.RuneStart(s[i]) {
		i--
	}
	return s[:i] + more
}

// clean takes control characters out of what is shown to people; lines stay.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

func oneLine(s string) string { return strings.Join(strings.Fields(clean(s)), " ") }

// shortRepo is "npub1alic…/shop" of the whole name.
func shortRepo(repo string) string {
	npub, id, ok := strings.Cut(repo, "/")
	if ok && len(npub) > 10 && (strings.HasPrefix(npub, "npub1") || grasp.IsHex(npub, 64)) {
		npub = npub[:9] + "…"
	}
	return npub + "/" + id
}

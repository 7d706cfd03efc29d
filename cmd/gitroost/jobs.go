package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobview"
	"github.com/gitroost/gitroost/internal/server"
)

const jobsReach = `
It reaches the server that runs on the data folder: name that with --data or --config as for serve.
`

const jobsListHelp = `The newest come first.

  --repo <npub/identifier>   those of one repository
  --state <state,…>          waiting_for_approval, waiting, queued, running, ok, failed, timed_out, cancelled, superseded, skipped,
                             startup_failure
  --name <name>              those of one definition
  --since <when>             made since then: 90m, 24h, 7d, or 2026-01-31T12:00:00Z
  --limit <n>                how many; 50 if nothing is said, and at most 200
  --before <id>              older than this one
  --json                     for programs; GET /jobs.json says the same
` + jobsReach

const jobsShowHelp = `  --json   for programs; GET /jobs/<id>.json says the same
` + jobsReach

const jobsLogHelp = `  -f              wait for what comes, over all attempts, until the job has ended
  --attempt <n>   that of one attempt; the last one if nothing is said

To a terminal lines are written so that they do nothing to it; to anything else as the job wrote them.
` + jobsReach

const jobsRunHelp = `The jobs are those of the configuration, by name. They run on a ref as it is now.

  --ref <ref>   a branch, a tag, or the whole name; the branch that HEAD names if nothing is said
  --force       also what succeeded with the same commit
  --json        for programs
` + jobsReach

const jobsAgainHelp = `  --json   for programs
` + jobsReach

const jobsApproveHelp = `A job waits for approval where the configuration says require_approval: true. Look at what it would run first:
gitroost jobs show <id> names the commit, and the file that defines it. One that is not wanted is ended with
gitroost jobs cancel <id>.

  --json   for programs
` + jobsReach

const jobsExplainHelp = `It names for each definition the first condition that is not met, as if somebody had just pushed the ref.

  --repo <npub/identifier>   the repository, if it is not the first word
  --ref <ref>                a branch, a tag, or the whole name; the branch that HEAD names if nothing is said
  --job <name>               one definition alone
  --trigger <trigger>        as if something else had happened: state, sync, mirror, pr, schedule, manual
  --json                     for programs
` + jobsReach

// A jobsCaller sends a request about jobs to the server of a configuration.
type jobsCaller func(ctx context.Context, cfg config.Config, method, path string, body []byte) (*http.Response, error)

func jobsOf(ctx context.Context, cfg config.Config, method, path string, body []byte) (*http.Response, error) {
	return server.JobsOf(ctx, cfg, method, path, body)
}

// A jobsCall is one command line about jobs.
type jobsCall struct {
	a      *app
	cfg    config.Config
	values map[string]string
	words  []string
}

// jobsCall reads a command line: options, then min to max words.
func (a *app) jobsCall(name string, args, options []string, least, most int, usage string) (*jobsCall, error) {
	v, rest, err := split(args, append(options, "json"), "json", "f", "force")
	if err != nil {
		return nil, err
	}
	loaded, err := a.load(rest)
	if err != nil {
		return nil, err
	}
	if n := len(loaded.Rest); n < least || most >= 0 && n > most {
		return nil, usageError("jobs " + name + " " + usage + "; gitroost help jobs " + name + " says more")
	}
	cfg := loaded.Config
	if cfg.Data, err = filepath.Abs(cfg.Data); err != nil {
		return nil, err
	}
	return &jobsCall{a, cfg, v, loaded.Rest}, nil
}

// send sends a request. What the server says no to is an error with its words.
func (c *jobsCall) send(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	const op = "jobs: ask"
	var b []byte
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	resp, err := c.a.jobs(ctx, c.cfg, method, path, b)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what was cut off is not worth another error
	var f struct{ Error string }
	if json.Unmarshal(said, &f) != nil || f.Error == "" {
		f.Error = strings.TrimSpace(string(said))
	}
	return nil, fault.E(fault.Invalid, op, f.Error)
}

// maxJobsAnswer is the largest answer about jobs, in bytes.
const maxJobsAnswer = 64 << 20

// ask sends a request and reads the answer into v; with --json it is printed as it is, and done is true.
func (c *jobsCall) ask(ctx context.Context, method, path string, body, v any) (done bool, err error) {
	r, err := c.send(ctx, method, path, body)
	if err != nil {
		return false, err
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, maxJobsAnswer))
	if err != nil {
		return false, fault.Errorf(fault.Busy, "jobs: ask", "the answer of the server is cut short: %v", err)
	}
	if c.values["json"] == "true" {
		_, err := c.a.out.Write(raw)
		return true, err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return false, fmt.Errorf("jobs: the answer is not understood: %w", err)
	}
	return false, nil
}

// parseJobID reads an id from the command line.
func parseJobID(s string) (string, error) {
	// A whole URL is what people have at hand: it is in what git push printed.
	if i := strings.LastIndex(s, "/jobs/"); i >= 0 {
		s, _, _ = strings.Cut(s[i+len("/jobs/"):], "/")
	}
	id, err := jobs.ParseID(strings.ToUpper(s))
	if err != nil {
		return "", err
	}
	return "/jobs/" + string(id), nil
}

func (a *app) jobsList(ctx context.Context, args []string) error {
	options := []string{"repo", "state", "name", "since", "limit", "before"}
	c, err := a.jobsCall("ls", args, options, 0, 0, "takes options alone")
	if err != nil {
		return err
	}
	q := url.Values{}
	for _, o := range options {
		if c.values[o] != "" {
			q.Set(o, c.values[o])
		}
	}
	var page jobview.Page
	if done, err := c.ask(ctx, http.MethodGet, "/jobs.json?"+q.Encode(), nil, &page); done || err != nil {
		return err
	}
	if len(page.Jobs) == 0 {
		fmt.Fprintln(a.out, "no job is like that")
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STATE\tID\tNAME\tREPOSITORY\tREF\tCOMMIT\tMADE\tTOOK")
	for i := range page.Jobs {
		v := &page.Jobs[i]
		took := ""
		if v.Started != nil {
			took = jobs.Span(v.Running(a.now()))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.7s\t%s\t%s\n", v.State, v.ID, v.Name, shortRepo(v), shortRef(v), v.New, v.Created.Format("2006-01-02 15:04:05"), took)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if page.Next != "" {
		fmt.Fprintf(a.out, "there are more: gitroost jobs ls --before %s\n", page.Next)
	}
	return nil
}

// shortRepo is a repository with as much of its owner as tells them apart.
func shortRepo(v *jobview.View) string {
	npub, id, ok := strings.Cut(v.Repo, "/")
	if !ok || len(npub) < 20 {
		return jobview.Readable([]byte(v.Repo))
	}
	return npub[:12] + "…/" + jobview.Readable([]byte(id))
}

func shortRef(v *jobview.View) string {
	s := strings.TrimPrefix(strings.TrimPrefix(string(v.Ref), "refs/heads/"), "refs/tags/")
	return jobview.Readable([]byte(s))
}

func (a *app) jobsShow(ctx context.Context, args []string) error {
	c, err := a.jobsCall("show", args, nil, 1, 1, "needs the id of a job")
	if err != nil {
		return err
	}
	path, err := parseJobID(c.words[0])
	if err != nil {
		return err
	}
	var v jobview.View
	if done, err := c.ask(ctx, http.MethodGet, path+".json", nil, &v); done || err != nil {
		return err
	}
	c.print(&v)
	return nil
}

// print tells all that is known of a job, a line each.
func (c *jobsCall) print(v *jobview.View) {
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(c.a.out, "%-11s %s\n", name, jobview.Readable([]byte(value)))
		}
	}
	row("job", v.Name+" "+string(v.ID))
	state := string(v.State)
	if v.Ending != "" {
		state += ", asked to end"
	}
	if v.Started != nil {
		state += ", " + jobs.Span(v.Running(c.a.now()))
	}
	if v.Exit != nil && *v.Exit != 0 {
		state += fmt.Sprintf(", exit code %d", *v.Exit)
	}
	if v.Signal != "" {
		state += ", ended by " + v.Signal
	}
	row("state", state)
	row("reason", v.Reason)
	row("repository", v.Repo)
	trigger := string(v.Trigger)
	if v.Ref != "" {
		trigger += " of " + string(v.Ref)
	}
	row("trigger", trigger)
	row("commit", string(v.New))
	row("push", v.Push)
	row("event", string(v.Event))
	row("asked by", v.Actor)
	if f := v.File; f != nil {
		row("defined in", f.Path+" of "+string(f.Commit))
		row("", "sha256 "+f.SHA256)
		row("by request", strings.TrimSpace(string(f.Request)+" "+f.By))
	}
	if v.Unapproved() {
		row("approve", "gitroost jobs approve "+string(v.ID))
	} else if v.Approval != nil {
		row("approved by", v.Approval.By)
	}
	for _, n := range v.Needs {
		row("needs", string(n.ID)+" if "+string(n.If))
	}
	if v.Attempt > 1 {
		row("attempt", fmt.Sprint(v.Attempt))
	}
	row("made", v.Created.Format("2006-01-02 15:04:05 MST"))
	if v.RunAfter != nil {
		row("not before", v.RunAfter.Format("2006-01-02 15:04:05 MST"))
	}
	log := string(v.Log.State)
	if log != "expired" {
		log = "gitroost jobs log " + string(v.ID)
	}
	row("log", log)
	row("page", v.URL)
}

func (a *app) jobsLog(ctx context.Context, args []string) error {
	c, err := a.jobsCall("log", args, []string{"f", "attempt"}, 1, 1, "needs the id of a job")
	if err != nil {
		return err
	}
	path, err := parseJobID(c.words[0])
	if err != nil {
		return err
	}
	q := url.Values{}
	if c.values["attempt"] != "" {
		q.Set("attempt", c.values["attempt"])
	}
	if c.values["f"] == "true" {
		q.Set("follow", "1")
	}
	r, err := c.send(ctx, http.MethodGet, path+"/log?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := copyLog(a.out, r, isTerminal(a.out)); err != nil {
		return fault.Errorf(fault.Busy, "jobs: log", "the log is cut short: %v", err)
	}
	if c.values["f"] != "true" {
		return nil
	}
	var v jobview.View
	if _, err := c.ask(ctx, http.MethodGet, path+".json", nil, &v); err != nil {
		return err
	}
	fmt.Fprintf(a.err, "gitroost: job %s %s: %s after %s\n", v.Name, v.ID, v.State, jobs.Span(v.Running(a.now())))
	return nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// copyLog copies a log line by line, or as it is.
func copyLog(w io.Writer, r io.Reader, lines bool) error {
	if !lines {
		_, err := io.Copy(w, r)
		return err
	}
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			text, end := strings.CutSuffix(string(line), "\n")
			text = jobview.Readable([]byte(text))
			if end {
				text += "\n"
			}
			if _, werr := io.WriteString(w, text); werr != nil {
				return werr
			}
		}
		switch err {
		case nil, bufio.ErrBufferFull:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

func (a *app) jobsRun(ctx context.Context, args []string) error {
	c, err := a.jobsCall("run", args, []string{"ref", "force"}, 2, -1, "needs a repository, npub1…/identifier, and the names of jobs")
	if err != nil {
		return err
	}
	o := map[string]any{"repo": c.words[0], "names": c.words[1:], "ref": c.values["ref"], "force": c.values["force"] == "true"}
	var page jobview.Page
	if done, err := c.ask(ctx, http.MethodPost, "/jobs", o, &page); done || err != nil {
		return err
	}
	for i := range page.Jobs {
		c.printMade(&page.Jobs[i])
	}
	return nil
}

// printMade tells of a new job.
func (c *jobsCall) printMade(v *jobview.View) {
	line := fmt.Sprintf("job %s %s %s", v.Name, v.ID, v.State)
	if v.Reason != "" {
		line += ": " + v.Reason
	}
	fmt.Fprintln(c.a.out, jobview.Readable([]byte(line)))
	if strings.HasPrefix(v.Reason, jobs.ReasonAlready) {
		fmt.Fprintln(c.a.out, "  it succeeded with this commit before; --force runs it again")
	}
	if !v.State.Ended() {
		fmt.Fprintf(c.a.out, "  gitroost jobs log -f %s\n", v.ID)
	}
}

func (a *app) jobsRetry(ctx context.Context, args []string) error {
	return a.jobsAct(ctx, "retry", args)
}

func (a *app) jobsCancel(ctx context.Context, args []string) error {
	return a.jobsAct(ctx, "cancel", args)
}

func (a *app) jobsApprove(ctx context.Context, args []string) error {
	c, err := a.jobsCall("approve", args, nil, 1, -1, "needs the ids of jobs")
	if err != nil {
		return err
	}
	for _, word := range c.words {
		path, err := parseJobID(word)
		if err != nil {
			return err
		}
		var v jobview.View
		if done, err := c.ask(ctx, http.MethodPost, path+"/approve", nil, &v); err != nil {
			return err
		} else if !done {
			c.printMade(&v)
		}
	}
	return nil
}

func (a *app) jobsAct(ctx context.Context, verb string, args []string) error {
	c, err := a.jobsCall(verb, args, nil, 1, 1, "needs the id of a job")
	if err != nil {
		return err
	}
	path, err := parseJobID(c.words[0])
	if err != nil {
		return err
	}
	var v jobview.View
	if done, err := c.ask(ctx, http.MethodPost, path+"/"+verb, nil, &v); done || err != nil {
		return err
	}
	if verb == "retry" {
		c.printMade(&v)
		return nil
	}
	text := string(v.State)
	if v.Ending != "" {
		text += ", and asked to end"
	}
	fmt.Fprintf(a.out, "job %s %s is %s\n", v.Name, v.ID, text)
	return nil
}

func (a *app) jobsExplain(ctx context.Context, args []string) error {
	c, err := a.jobsCall("explain", args, []string{"repo", "ref", "job", "trigger"}, 0, 1, "needs a repository, npub1…/identifier")
	if err != nil {
		return err
	}
	q := url.Values{}
	for option, name := range map[string]string{"repo": "repo", "ref": "ref", "job": "name", "trigger": "trigger"} {
		if c.values[option] != "" {
			q.Set(name, c.values[option])
		}
	}
	if len(c.words) == 1 {
		q.Set("repo", c.words[0])
	}
	if q.Get("repo") == "" {
		return usageError("jobs explain needs a repository, npub1…/identifier; gitroost help jobs explain says more")
	}
	var list []jobview.Finding
	if done, err := c.ask(ctx, http.MethodGet, "/jobs/explain?"+q.Encode(), nil, &list); done || err != nil {
		return err
	}
	if len(list) == 0 {
		fmt.Fprintln(a.out, "no job is defined here: jobs: in the configuration says which there are")
		return nil
	}
	slices.SortStableFunc(list, func(x, y jobview.Finding) int { return strings.Compare(x.Job, y.Job) })
	for _, f := range list {
		text := "runs"
		if !f.Runs {
			text = "does not run (" + f.Condition + "): " + f.Text
		}
		ref := ""
		if f.Ref != "" {
			ref = " for " + string(f.Ref)
		}
		fmt.Fprintln(a.out, jobview.Readable([]byte("job "+f.Job+ref+" "+text)))
	}
	return nil
}

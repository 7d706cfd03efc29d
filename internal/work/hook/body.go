package hook

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// A Commit is one that a push brought.
type Commit struct {
	ID, Tree           string
	Message            string
	Author, AuthorMail string
	Committer, Mail    string
	Time               time.Time // of the committer
}

// MaxCommits is how many commits a body lists at most; GitHub's own limit is larger, and receivers
// that want all have to fetch anyway.
const MaxCommits = 20

// A subject is what a body is written about. Nothing in it changes from one attempt to the next.
type subject struct {
	job    jobs.Job
	about  *work.About
	event  event
	server string
	head   string // the branch that HEAD points to, without refs/heads/
	History
}

// A History is which commits a push brought.
type History struct {
	Commits []Commit // newest first, at most MaxCommits
	Total   int      // how many there are
	Forced  bool     // the old commit does not lead to the new one
}

func (s *subject) repoURL() string { return s.server + "/" + work.RepoName(s.job.Repo) }

// number is an id for those who want a number: the same for the same text, below 2^53.
func number(text string) int64 {
	sum := sha256.Sum256([]byte(text))
	return int64(binary.BigEndian.Uint64(sum[:]) >> 11)
}

type object = map[string]any

func (s *subject) repository() object {
	npub, name := split(work.RepoName(s.job.Repo))
	id := number(npub + "/" + name)
	owner := object{"id": number(npub), "login": npub, "name": npub, "username": npub, "html_url": s.server + "/" + npub}
	return object{
		"id": id, "name": name, "full_name": npub + "/" + name, "owner": owner, "private": false, "fork": false, "empty": false,
		"html_url": s.repoURL(), "url": s.repoURL(), "clone_url": s.repoURL() + ".git", "default_branch": s.head, "master_branch": s.head,
	}
}

func split(repo string) (npub, name string) {
	for i := range repo {
		if repo[i] == '/' {
			return repo[:i], repo[i+1:]
		}
	}
	return "", repo
}

// actor is who did it: whoever asked for the job, else the owner.
func (s *subject) actor() object {
	who := string(s.job.Actor)
	if who == "" {
		who = string(s.job.Repo.Owner)
	}
	npub, _ := split(work.RepoName(grasp.Addr{Owner: grasp.PubKey(who)}))
	return object{"id": number(npub), "login": npub, "name": npub, "username": npub, "email": "", "html_url": s.server + "/" + npub, "type": "User"}
}

// own is what every body says in our own words.
func (s *subject) own() object {
	o := object{"type": s.event.name, "id": s.job.ID, "run": s.job.Run, "job": s.job.Name, "trigger": s.job.Trigger, "time": stamp(s.job.Created)}
	for name, v := range map[string]string{"push": s.job.Push, "event": string(s.job.Cause), "actor": string(s.job.Actor)} {
		if v != "" {
			o[name] = v
		}
	}
	return o
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (s *subject) refFields() object {
	return object{
		"ref": string(s.job.Ref), "before": oid(s.job.Old), "after": oid(s.job.New), "created": s.job.Old.IsZero(), "deleted": s.job.New.IsZero(),
	}
}

func (s *subject) commit(c Commit) object {
	return object{
		"id": c.ID, "tree_id": c.Tree, "message": c.Message, "timestamp": c.Time.Format(time.RFC3339), "url": s.repoURL() + "/commit/" + c.ID, "distinct": true,
		"author":    object{"name": c.Author, "email": c.AuthorMail, "username": ""},
		"committer": object{"name": c.Committer, "email": c.Mail, "username": ""},
		"added":     []string{}, "removed": []string{}, "modified": []string{},
	}
}

// github writes what GitHub would.
func (s *subject) github() object {
	o := object{"repository": s.repository(), "sender": s.actor(), "gitroost": s.own()}
	switch s.event {
	case ping:
		o["zen"], o["hook_id"] = "Anything added dilutes everything else.", number(s.job.Name)
		o["hook"] = object{"type": "Repository", "id": number(s.job.Name), "name": "web", "active": true, "events": []string{"*"}}
	case pullReceived:
		o["action"], o["number"] = "opened", 0
		if !s.job.Old.IsZero() {
			o["action"] = "synchronize"
		}
		o["pull_request"] = object{
			"id": number(string(s.job.Ref)), "number": 0, "state": "open", "title": "", "user": s.actor(), "html_url": s.repoURL(),
			"head": object{"ref": string(s.job.Ref), "sha": oid(s.job.New), "repo": s.repository()},
			"base": object{"ref": s.head, "repo": s.repository()},
		}
	case jobFinished:
		a := s.about
		o["action"] = "completed"
		o["workflow"] = object{"id": number(a.Job), "name": a.Job, "path": ""}
		o["workflow_run"] = object{
			"id": number(string(a.ID)), "name": a.Job, "node_id": a.ID, "head_branch": a.Branch, "head_sha": oid(grasp.OID(a.New)), "event": a.Trigger, "status": "completed",
			"conclusion": a.State.Conclusion(), "run_attempt": a.Attempt, "html_url": s.server + "/jobs/" + string(a.ID), "logs_url": s.server + "/jobs/" + string(a.ID) + "/log",
			"created_at": stamp(a.Started), "run_started_at": stamp(a.Started), "updated_at": stamp(a.Ended), "actor": s.actor(), "repository": s.repository(),
		}
	default:
		for k, v := range s.refFields() {
			o[k] = v
		}
		o["forced"], o["base_ref"] = s.Forced, nil
		o["compare"] = s.repoURL()
		o["pusher"] = s.actor()
		o["commits"], o["head_commit"] = s.commitList()
	}
	return o
}

// commitList returns the commits, oldest first, and the newest.
func (s *subject) commitList() (list []object, head any) {
	list = []object{}
	for i := len(s.Commits) - 1; i >= 0; i-- {
		list = append(list, s.commit(s.Commits[i]))
	}
	if len(s.Commits) > 0 {
		head = s.commit(s.Commits[0])
	}
	return list, head
}

// gitea writes what Gitea would: GitHub's words with a few of its own.
func (s *subject) gitea() object {
	o := s.github()
	if s.event.gitea == "push" {
		o["compare_url"], o["total_commits"] = s.repoURL(), s.Total
		delete(o, "compare")
		delete(o, "base_ref")
	}
	return o
}

// cloudEvent writes an event of CloudEvents 1.0 in structured mode.
func (s *subject) cloudEvent() object {
	data := object{"repo": work.RepoName(s.job.Repo), "owner": string(s.job.Repo.Owner), "identifier": s.job.Repo.ID, "clone_url": s.repoURL() + ".git"}
	for k, v := range s.own() {
		if k != "time" {
			data[k] = v
		}
	}
	if s.about != nil {
		data["finished"] = s.about
		data["conclusion"] = s.about.State.Conclusion()
	}
	if s.job.Ref != "" {
		for k, v := range s.refFields() {
			data[k] = v
		}
	}
	o := object{
		"specversion": "1.0", "id": s.job.ID, "source": s.repoURL(), "type": s.event.name, "time": stamp(s.job.Created),
		"datacontenttype": "application/json", "data": data,
	}
	if s.job.Ref != "" {
		o["subject"] = string(s.job.Ref)
	}
	return o
}

// body returns what is delivered, and its content type.
func (s *subject) body(d work.Delivery, what *work.Telling) (data []byte, kind string, err error) {
	kind = "application/json"
	switch d.Format {
	case work.CloudEvents:
		kind = "application/cloudevents+json"
		data, err = json.Marshal(s.cloudEvent())
	case work.Gitea:
		data, err = json.Marshal(s.gitea())
	case work.Template:
		if what == nil {
			about := work.Of(s.job, "")
			if s.about != nil {
				about = *s.about
			} else {
				about.State, about.Started, about.Took = "", time.Time{}, 0 // it tells of the push, not of its own delivery
			}
			said := work.Tell(about, s.server)
			what = &said
		}
		var text string
		text, err = work.Fill("template", d.Template, what, work.MaxFilled)
		data = []byte(text)
	default:
		data, err = json.Marshal(s.github())
	}
	if d.Type != "" {
		kind = d.Type
	}
	return data, kind, fault.Wrap("hook: body", err)
}

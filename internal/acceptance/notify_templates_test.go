package acceptance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/hook"
)

// What these chats take, as their own pages describe it: no other field, and no longer text.
type (
	slackText    struct{ Type, Text string }
	slackElement struct {
		Type string
		Text slackText
		URL  string
	}
	slackMessage struct {
		Text   string
		Blocks []struct {
			Type     string
			Text     *slackText
			Elements []slackElement
		}
	}
	discordMessage struct {
		Username        string
		AllowedMentions struct{ Parse []string } `json:"allowed_mentions"`
		Embeds          []struct {
			Title, Description, URL string
			Color                   int
		}
	}
	matrixMessage struct{ MsgType, Body string }
	gotifyMessage struct {
		Title, Message string
		Priority       int
		Extras         map[string]map[string]struct{ URL string }
	}
)

type quiet struct{ bytes.Buffer }

func (q *quiet) Stream(string) io.Writer { return &q.Buffer }
func (q *quiet) Close() (int64, error)   { return 0, nil }

// The templates of deploy/notify make what these chats take, whatever a message holds. S0-11
func TestNotifyTemplates(t *testing.T) {
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	said := func(state jobs.State, message string) work.Telling {
		what := work.Tell(work.About{ID: "01J9ZZZZZZZZZZZZZZZZZZZZZZ", Job: "test", Name: `sh"op`, Repo: "npub1/shop", State: state, Exit: 1, Took: time.Minute}, "https://git.example.org")
		if message != "" {
			what.Message = message
		}
		return what
	}
	files, err := filepath.Glob("../../deploy/notify/*.yaml")
	if err != nil || len(files) != 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		l, err := config.Load(config.Sources{File: file, Read: os.ReadFile})
		if err != nil {
			t.Fatal(err)
		}
		target, ok := l.Config.Targets[name]
		if !ok {
			t.Fatalf("%s has no target of that name", file)
		}
		doer, err := hook.New(hook.Config{
			Client: http.DefaultClient, Now: func() time.Time { return start },
			Target: func(string) (work.Target, bool) {
				there := target
				if there.Webhook != "" {
					at := strings.Index(there.Webhook[len("https://"):], "/") + len("https://")
					there.Webhook = server.URL + there.Webhook[at:]
				}
				return there, true
			},
			Secret: func(_ context.Context, ref work.SecretRef) ([]byte, error) {
				if ref == target.URLFrom {
					return []byte(server.URL + "/secret"), nil
				}
				return []byte("token"), nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for what, tell := range map[string]work.Telling{
			"success": said(jobs.OK, ""), "failure": said(jobs.Failed, ""),
			"an evil message": said(jobs.Failed, "\"},{{.}}<script>\\ \u2028\n*_`"), "a long one": said(jobs.Failed, strings.Repeat("é", 50_000)),
		} {
			task := &work.Task{Job: jobs.Job{ID: "01J9ZZZZZZZZZZZZZZZZZZZZZY"}, Log: &quiet{}, URL: "https://git.example.org"}
			if res := doer.Deliver(t.Context(), task, name, tell); res.State != jobs.OK {
				t.Errorf("%s, %s: %+v", name, what, res)
				continue
			}
			into := map[string]any{"slack": &slackMessage{}, "discord": &discordMessage{}, "matrix": &matrixMessage{}, "gotify": &gotifyMessage{}}[name]
			dec := json.NewDecoder(bytes.NewReader(body))
			dec.DisallowUnknownFields()
			if err := dec.Decode(into); err != nil || dec.More() {
				t.Errorf("%s, %s: %v in %s", name, what, err, body)
				continue
			}
			text := func(s string, most int) {
				t.Helper()
				if s == "" || len(s) > most || !utf8.ValidString(s) {
					t.Errorf("%s, %s: %d bytes, at most %d", name, what, len(s), most)
				}
			}
			switch m := into.(type) {
			case *slackMessage:
				text(m.Text, 4000)
				if len(m.Blocks) != 2 || m.Blocks[0].Type != "section" || m.Blocks[0].Text.Type != "mrkdwn" || m.Blocks[1].Type != "actions" || m.Blocks[1].Elements[1].URL != tell.LogURL {
					t.Errorf("slack, %s: %s", what, body)
				}
				text(m.Blocks[0].Text.Text, 3000)
			case *discordMessage:
				text(m.Embeds[0].Title, 256)
				text(m.Embeds[0].Description, 4096)
			case *matrixMessage:
				text(m.Body, 60_000)
				if m.MsgType != "m.notice" || got.Method != "PUT" || !strings.HasSuffix(got.URL.Path, "/m.room.message/01J9ZZZZZZZZZZZZZZZZZZZZZY") || got.Header.Get("Authorization") != "Bearer token" {
					t.Errorf("matrix, %s: %s %s %s", what, got.Method, got.URL, body)
				}
			case *gotifyMessage:
				text(m.Message, 200_000)
				if (m.Priority == 8) != tell.Bad() || m.Extras["client::notification"]["click"].URL != tell.URL {
					t.Errorf("gotify, %s: %s", what, body)
				}
			}
		}
	}
}

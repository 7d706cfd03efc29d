package manage_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/manage"
)

type others func(repo grasp.Addr) manage.Sync

func (o others) Sync(_ context.Context, repo grasp.Addr) (manage.Sync, error) { return o(repo), nil }

// TestSyncInWords: why something is not here yet is answered in words.
func TestSyncInWords(t *testing.T) {
	at := now.Unix()
	for _, c := range []struct {
		name, about string
		is          manage.Sync
		want        string
	}{
		{"off", "", manage.Sync{}, "this server fetches nothing from others: sync.enabled is false\nno announcement names another relay"},
		{"alone", "", manage.Sync{Enabled: true, Running: true}, "no announcement names another relay\nno git data is missing"},
		{"peers", "", manage.Sync{Enabled: true, Running: true, All: 3, Hunted: 2, Peers: []manage.SyncPeer{
			{URL: "wss://a.example", Mood: "connected", Repositories: 2, Subscriptions: 1, Connected: at - 3600, Compared: at - 120, Events: 10, New: 7, Refused: 1},
			{URL: "wss://b.example", Mood: "waiting", Repositories: 1, Next: at + 40, Fails: 3, Trouble: "connection refused"},
		}, Hunts: []manage.SyncHunt{{Identifier: "tool", Lacking: 2, Tries: 3, Next: at + 80, Trouble: "it answers 404"}}},
			"3 peers\nwss://a.example  connected for 1h; 2 repositories, 1 subscription; compared 2m ago; 7 of 10 events new, 1 refused\n" +
				"wss://b.example  waiting, tried next in 40s; 1 repository; not compared yet; failed 3 times in a row: connection refused\nand 1 more\n" +
				"git data of tool  2 objects missing; tried next in 1m; 3 tries in vain: it answers 404\ngit data of 1 more identifiers is missing"},
		{"a repository", alice.Npub() + "/tool", manage.Sync{Enabled: true, Running: true, Repo: &manage.SyncRepo{
			Npub: alice.Npub(), Identifier: "tool", Announced: "waiting", Lacking: []string{"o1"}, Places: []string{"https://a.example/x.git"},
			Waiting: []manage.SyncWait{{Event: strings.Repeat("5", 64), Kind: grasp.KindState, Since: at - 60, Until: at + 1740, From: "wss://a.example"}},
		}}, alice.Npub() + "/tool\nits announcement waits: it is served once git data for a state is here\n" +
			"state 5555555 waits for git data since 1m, and for 29m more; it came from wss://a.example\nmissing: o1\n" +
			"it is looked for at https://a.example/x.git\nno other relay is named by its announcement"},
	} {
		var asked grasp.Addr
		h := manage.New(manage.Config{Now: func() time.Time { return now }, Others: others(func(a grasp.Addr) manage.Sync {
			asked = a
			c.is.Now = at
			return c.is
		})}, &desk{}, &desk{}, slog.New(slog.DiscardHandler))
		got, err := types(t, h, manage.MethodSync, manage.Question{About: c.about})
		if err != nil || got != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.name, err, got, c.want)
		}
		if c.about != "" && asked != (grasp.Addr{Owner: alice, ID: "tool"}) {
			t.Errorf("%s: asked about %v", c.name, asked)
		}
		for _, bad := range []string{"tool", alice.Npub(), "npub1/x"} {
			if _, err := types(t, h, manage.MethodSync, manage.Question{About: bad}); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", bad, err)
			}
		}
	}
}

package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/client"
	"github.com/gitroost/gitroost/internal/fault"
)

func TestQueryTrustsNobody(t *testing.T) {
	r := newRelay(t)
	k, _ := client.NewKey()
	good := client.State{ID: "x"}.Event(time.Unix(5, 0))
	k.Sign(good)
	forged, other := *good, *good
	forged.Content = "changed"
	other.ID, other.Sig = forged.GetID(), strings.Repeat("0", 128)
	unasked := client.State{ID: "y"}.Event(time.Unix(5, 0))
	k.Sign(unasked)
	r.events = []*nostr.Event{good, &forged, &other, unasked}
	r.noise = []string{"", "null", "[]", `["NOTICE"]`, `{"a":1}`, `["EOSE"]`, `["EOSE","other"]`, `["EVENT","q1"]`, `["OK",1,2,3]`, `[1,2]`, `["CLOSED","other","x"]`}
	c, err := client.Dial(t.Context(), r.server(t).Relay())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := c.Query(t.Context(), nostr.Filter{Tags: nostr.TagMap{"d": {"x"}}})
	if err != nil || len(got) != 1 || got[0].ID != good.ID {
		t.Errorf("%v, %v", got, err)
	}
	if ans, err := c.Publish(t.Context(), unasked); err != nil || !ans.OK {
		t.Errorf("%v, %v", ans, err)
	}
}

func TestASilentRelayDoesNotHoldUs(t *testing.T) {
	r := newRelay(t)
	r.dead = make(chan struct{})
	defer close(r.dead)
	c, err := client.Dial(t.Context(), r.server(t).Relay())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the person went away")
	go cancel(why)
	if _, err := c.Query(ctx, nostr.Filter{}); !errors.Is(err, why) && err == nil {
		t.Errorf("%v", err)
	}
}

func TestDialSaysWhatIsWrong(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	s, _ := client.ParseServer(plain.URL)
	if _, err := client.Dial(t.Context(), s.Relay()); !fault.Is(err, fault.Busy) || !strings.Contains(err.Error(), "answers 404") {
		t.Errorf("%v", err)
	}
	plain.Close()
	if _, err := client.Dial(t.Context(), s.Relay()); !fault.Is(err, fault.Busy) || !strings.Contains(err.Error(), "cannot reach") {
		t.Errorf("%v", err)
	}
}

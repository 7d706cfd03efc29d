package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/fault"
)

const (
	maxMessage  = 16 << 20 // bytes of one message from the relay
	maxResults  = 5000     // events of one answer that are kept
	maxMessages = 20000    // messages that are read while one answer is awaited
)

// An Answer is what a relay said to an event.
type Answer struct {
	OK      bool
	Message string
}

// String returns "OK", "OK <message>" or "refused: <message>".
func (a Answer) String() string {
	switch {
	case !a.OK:
		return "refused: " + a.Message
	case a.Message == "":
		return "OK"
	}
	return "OK  " + a.Message
}

// A Relay is one open connection. It is used by one goroutine at a time.
type Relay struct {
	conn *websocket.Conn
	url  string
	subs int
}

// Dial connects to a relay: ws:// or wss://. The connection must be closed. Errors are
// fault.Busy: trying again later may help.
func Dial(ctx context.Context, url string) (*Relay, error) {
	d := websocket.Dialer{
		NetDialContext:   (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		HandshakeTimeout: 15 * time.Second,
	}
	conn, resp, err := d.DialContext(ctx, url, nil)
	if err != nil {
		text := fmt.Sprintf("cannot reach the relay %s: %v", url, err)
		if resp != nil {
			text = fmt.Sprintf("%s answers %d instead of opening a WebSocket; is this a GRASP server, and does its proxy pass upgrades on?", url, resp.StatusCode)
		}
		return nil, fault.E(fault.Busy, "client: dial", text)
	}
	conn.SetReadLimit(maxMessage)
	return &Relay{conn: conn, url: url}, nil
}

// Close ends the connection.
func (r *Relay) Close() error {
	r.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Time{})
	return r.conn.Close()
}

// Publish hands ev to the relay and returns its answer. An answer of no is no error.
func (r *Relay) Publish(ctx context.Context, ev *nostr.Event) (Answer, error) {
	const op = "client: publish"
	var out Answer
	err := r.talk(ctx, []any{"EVENT", ev}, func(kind string, rest []json.RawMessage) (bool, error) {
		var id string
		if kind != "OK" || len(rest) < 2 || json.Unmarshal(rest[0], &id) != nil || id != ev.ID {
			return false, nil
		}
		if json.Unmarshal(rest[1], &out.OK) != nil {
			return true, errors.New("an OK without true or false")
		}
		if len(rest) > 2 {
			json.Unmarshal(rest[2], &out.Message) // a message that is no text is no message
		}
		return true, nil
	})
	return out, r.wrap(op, err)
}

// Query returns the stored events that match f, in the order of the relay, at most 5,000 of them.
// Events whose id or signature is wrong, or that do not match, are left out: a relay is not
// trusted.
func (r *Relay) Query(ctx context.Context, f nostr.Filter) ([]*nostr.Event, error) {
	const op = "client: query"
	r.subs++
	sub := "q" + strconv.Itoa(r.subs) + rand.Text()[:8]
	var out []*nostr.Event
	err := r.talk(ctx, []any{"REQ", sub, f}, func(kind string, rest []json.RawMessage) (bool, error) {
		var id string
		if len(rest) == 0 || json.Unmarshal(rest[0], &id) != nil || id != sub {
			return false, nil
		}
		switch kind {
		case "EOSE":
			return true, nil
		case "CLOSED":
			var why string
			if len(rest) > 1 {
				json.Unmarshal(rest[1], &why)
			}
			return true, fault.Errorf(fault.Refused, op, "the relay refuses to answer: %s", why)
		case "EVENT":
			var ev nostr.Event
			if len(rest) < 2 || ev.UnmarshalJSON(rest[1]) != nil || len(out) >= maxResults || !f.Matches(&ev) || !genuine(&ev) {
				return false, nil
			}
			out = append(out, &ev)
		}
		return false, nil
	})
	if err != nil {
		return nil, r.wrap(op, err)
	}
	// The answer is complete; what the relay thinks of the goodbye does not matter.
	r.conn.WriteJSON([]any{"CLOSE", sub})
	return out, nil
}

func genuine(ev *nostr.Event) bool {
	if !ev.CheckID() {
		return false
	}
	ok, err := ev.CheckSignature()
	return err == nil && ok
}

// talk sends msg and hands each answer to hear until that says that it is done. The end of ctx
// closes the connection: there is no other way to stop a read.
func (r *Relay) talk(ctx context.Context, msg any, hear func(kind string, rest []json.RawMessage) (bool, error)) error {
	stop := context.AfterFunc(ctx, func() { r.conn.NetConn().Close() })
	defer stop()
	fail := func(err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	if err := r.conn.WriteJSON(msg); err != nil {
		return fail(err)
	}
	for range maxMessages {
		_, data, err := r.conn.ReadMessage()
		if err != nil {
			return fail(err)
		}
		var parts []json.RawMessage
		var kind string
		if json.Unmarshal(data, &parts) != nil || len(parts) == 0 || json.Unmarshal(parts[0], &kind) != nil {
			continue // what is no message of the protocol is not for us
		}
		if done, err := hear(kind, parts[1:]); done || err != nil {
			return err
		}
	}
	return errors.New("it talks without answering")
}

func (r *Relay) wrap(op string, err error) error {
	var e *fault.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(op, err)
	}
	return fault.Errorf(fault.Busy, op, "the relay %s did not answer: %v", r.url, err)
}

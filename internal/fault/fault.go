// Package fault gives every error of the house one of ten codes, and says in one table how each
// code is told to an HTTP client, to git and to a Nostr client.
//
// Rooms wrap what went wrong with what they were doing; doors ask this package how to say it.
// Details of an Internal error are logged under an id and never sent. The package does not know
// who raises its errors.
package fault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gitroost/gitroost/grasp"
)

// A Code is a kind of failure.
type Code uint8

// The ten codes.
const (
	Internal  Code = iota // our fault
	Invalid               // not well formed
	Refused               // the rules say no
	Duplicate             // known already
	NotFound              // does not live here
	Stale                 // someone was faster
	TooLarge              // over a stated limit
	Busy                  // try again later
	Gone                  // withdrawn by its owner
	Closing               // we are shutting down
)

type row struct {
	name  string
	http  int
	nostr string // prefix of an OK false
	git   string // first word of an ng reason
}

var table = [...]row{
	Internal:  {"internal", http.StatusInternalServerError, "error", "error"},
	Invalid:   {"invalid", http.StatusBadRequest, "invalid", "refused"},
	Refused:   {"refused", http.StatusOK, "blocked", "refused"},
	Duplicate: {"duplicate", http.StatusOK, "duplicate", "refused"},
	NotFound:  {"not found", http.StatusNotFound, "blocked", "refused"},
	Stale:     {"stale", http.StatusConflict, "duplicate", "fetch first"},
	TooLarge:  {"too large", http.StatusRequestEntityTooLarge, "invalid", "limit"},
	Busy:      {"busy", http.StatusServiceUnavailable, "rate-limited", "busy"},
	Gone:      {"gone", http.StatusGone, "blocked", "refused"},
	Closing:   {"closing", http.StatusServiceUnavailable, "error", "busy"},
}

func (c Code) String() string { return table[c].name }

// HTTP returns the status that says c.
func (c Code) HTTP() int { return table[c].http }

// Nostr returns the prefix of an OK false that says c, without the colon.
func (c Code) Nostr() string { return table[c].nostr }

// Git returns the first word of the reason in a report-status that says c.
func (c Code) Git() string { return table[c].git }

// An Error is what went wrong, and while doing what.
type Error struct {
	Code Code
	Op   string // "gitdir: open"
	Text string // one line for a person, safe to send unless Code is Internal
	Err  error  // the cause, or nil; never sent
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Text != "" {
		b.WriteString(": " + e.Text)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// E returns an error of code, raised while doing op.
func E(code Code, op, text string) error { return &Error{Code: code, Op: op, Text: text} }

// Errorf is E with a formatted text.
func Errorf(code Code, op, format string, args ...any) error {
	return &Error{Code: code, Op: op, Text: fmt.Sprintf(format, args...)}
}

// Wrap says while doing what err happened. The code is err's own; an error without one is
// Internal. Wrapping nil gives nil.
func Wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: CodeOf(err), Op: op, Err: err}
}

// CodeOf returns the code of err: its own, Refused for a *grasp.Refusal, Closing for a cancelled
// context, else Internal.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	var r *grasp.Refusal
	if errors.As(err, &r) {
		return Refused
	}
	if errors.Is(err, context.Canceled) {
		return Closing
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Busy
	}
	return Internal
}

// Is reports whether err has code.
func Is(err error, code Code) bool { return err != nil && CodeOf(err) == code }

// Message returns what a visitor may read of err: the text of the innermost *Error that has
// one, or of the refusal. For Internal errors it is "internal error <id>", and id is also
// returned so that the caller logs err under it.
func Message(err error) (text, id string) {
	var r *grasp.Refusal
	if errors.As(err, &r) {
		return r.Text, ""
	}
	if CodeOf(err) == Internal {
		var b [6]byte
		rand.Read(b[:])
		id = hex.EncodeToString(b[:])
		return "internal error " + id, id
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if f, ok := e.(*Error); ok && f.Text != "" {
			text = f.Text
		}
	}
	if text == "" {
		text = CodeOf(err).String()
	}
	return text, ""
}

package syncer

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// A message is what a peer said. Of others than these nothing is understood but the label.
type message struct {
	label string // EVENT, EOSE, CLOSED, NOTICE, NEG-MSG, NEG-ERR, AUTH, …
	sub   string // EVENT, EOSE, CLOSED, NEG-MSG, NEG-ERR
	event string // EVENT: its JSON, not looked at yet
	text  string // CLOSED, NOTICE, NEG-ERR: the words; NEG-MSG: the payload
	size  int64  // bytes, as they came
}

// maxLabel is the longest label that means anything.
const maxLabel = 16

// parseMessage takes a message apart. What it holds is not verified.
func parseMessage(data []byte) (m message, err error) {
	m.size = int64(len(data))
	if !utf8.Valid(data) {
		return m, errors.New("it is not UTF-8")
	}
	var parts []json.RawMessage
	if json.Unmarshal(data, &parts) != nil || len(parts) == 0 {
		return m, errors.New("it is no JSON array")
	}
	word := func(i int) (s string) {
		if i < len(parts) {
			_ = json.Unmarshal(parts[i], &s)
		}
		return s
	}
	if m.label = word(0); m.label == "" || len(m.label) > maxLabel {
		return m, errors.New("it does not begin with its type")
	}
	switch m.label {
	case "EVENT":
		if len(parts) != 3 {
			return m, errors.New("an EVENT has a subscription and an event")
		}
		m.sub, m.event = word(1), string(parts[2])
	case "EOSE":
		m.sub = word(1)
	case "CLOSED", "NEG-ERR", "NEG-MSG":
		m.sub, m.text = word(1), word(2)
	case "NOTICE":
		m.text = word(1)
		return m, nil
	default:
		return m, nil
	}
	if m.sub == "" {
		return m, errors.New(m.label + " names no subscription")
	}
	return m, nil
}

// throttled reports whether somebody's words ask for less.
func throttled(text string) bool {
	text = strings.ToLower(text)
	for _, w := range []string{"rate-limit", "rate limit", "throttl", "slow down"} {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// closedDoor reports whether words say that nothing is told to strangers.
func closedDoor(text string) bool {
	return strings.HasPrefix(text, "auth-required:") || strings.HasPrefix(text, "restricted:")
}

// clip returns at most n bytes of s, without control characters.
func clip(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}

// A document is what a relay tells of itself, as far as it matters here (NIP-11).
type document struct {
	NIPs       []int `json:"supported_nips"`
	Limitation struct {
		MaxSubscriptions int `json:"max_subscriptions"`
		MaxFilters       int `json:"max_filters"`
		MaxLimit         int `json:"max_limit"`
	} `json:"limitation"`

	known bool // it could be read
}

// maxDocument is the most bytes of a document that are read.
const maxDocument = 256 << 10

// The bounds of what a peer is believed about itself.
const (
	presetSubs  = 20 // where it does not say
	mostSubs    = 200
	presetLimit = 500
)

func parseDocument(data []byte) (d document) {
	var loose struct {
		NIPs       []json.RawMessage          `json:"supported_nips"`
		Limitation map[string]json.RawMessage `json:"limitation"`
	}
	if json.Unmarshal(data, &loose) != nil {
		return d
	}
	d.known = loose.NIPs != nil
	number := func(raw json.RawMessage, most int) int {
		var n float64
		if json.Unmarshal(raw, &n) != nil || n < 1 {
			return 0
		}
		return int(min(n, float64(most)))
	}
	for _, raw := range loose.NIPs[:min(len(loose.NIPs), 1000)] {
		d.NIPs = append(d.NIPs, number(raw, 1<<20))
	}
	d.Limitation.MaxSubscriptions = number(loose.Limitation["max_subscriptions"], mostSubs)
	d.Limitation.MaxFilters = number(loose.Limitation["max_filters"], 100)
	d.Limitation.MaxLimit = number(loose.Limitation["max_limit"], presetLimit)
	return d
}

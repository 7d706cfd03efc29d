package relay

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/search"
)

// maxEcho bounds, in bytes, an event id or subscription id that an answer repeats although it
// is wrong. A longer one is answered by a NOTICE.
const maxEcho = 1024

// A message is what a client said. At most one of fail and odd says what is wrong with it: fail
// that it is not JSON, odd (with its prefix) that it is not what its verb asks for.
type message struct {
	verb string

	id    string       // of the event, as sent; EVENT and AUTH
	hasID bool         // id could be read
	event *nostr.Event // nil if the message is wrong
	size  int          // bytes of the event as sent

	sub     string // REQ, COUNT, CLOSE, NEG-OPEN, NEG-MSG, NEG-CLOSE
	hasSub  bool
	filters []nostr.Filter // of a NEG-OPEN, one
	neg     string         // NEG-OPEN, NEG-MSG: the payload, in hex if it is right
	hasNeg  bool

	fail, odd string
	over      limit // the bound that was met, if that is what is wrong
}

// bounds are the limits that a parser needs to know.
type bounds struct {
	filters int // per REQ
	values  int // per list of a filter
	tags    int // of an event
	event   int // bytes of an event; of one that is larger nothing is kept
	search  bool
}

// parseMessage reads one message of a client. It never fails: what is wrong is in the result.
func parseMessage(s string, lim bounds) message {
	var m message
	p := scanner{s: s}
	if !utf8.ValidString(s) {
		p.complain("invalid: text is not valid UTF-8")
	}
	m.parse(&p, lim)
	if p.fail == "" {
		p.end()
	}
	m.fail, m.odd, m.over = p.fail, p.odd, p.over
	if m.odd != "" && !strings.HasPrefix(m.odd, "invalid: ") && !strings.HasPrefix(m.odd, "unsupported: ") {
		m.odd = "invalid: " + m.odd
	}
	if m.fail != "" || m.odd != "" {
		m.event = nil
		if m.verb == "EVENT" && !m.hasID && m.fail != "" {
			m.id, m.hasID = findID(s)
		}
	}
	if len(m.id) > maxEcho {
		m.hasID = false
	}
	return m
}

func (m *message) parse(p *scanner, lim bounds) {
	p.array(func(n int) bool {
		if n == 0 {
			if p.next() != '"' {
				p.complain("a message begins with its type")
				return p.skip(1)
			}
			var ok bool
			m.verb, ok = p.text()
			return ok
		}
		switch {
		case n == 1 && (m.verb == "EVENT" || m.verb == "AUTH"):
			return m.parseEvent(p, lim)
		case n == 1 && (m.verb == "REQ" || m.verb == "COUNT" || m.verb == "CLOSE" || m.isNeg()):
			m.hasSub = p.next() == '"'
			var ok bool
			m.sub, ok = p.wantText("subscription id")
			return ok
		case m.verb == "REQ" || m.verb == "COUNT":
			if n-2 == lim.filters {
				p.exceed(hitFilters, "more than "+strconv.Itoa(lim.filters)+" filters")
			}
			if n-2 >= lim.filters {
				return p.skip(1)
			}
			f, ok := parseFilter(p, lim)
			m.filters = append(m.filters, f)
			return ok
		case n == 2 && m.verb == "NEG-OPEN":
			lim.search = false // what fits best is no set that two sides could have
			f, ok := parseFilter(p, lim)
			m.filters = append(m.filters, f)
			return ok
		case n == 2 && m.verb == "NEG-MSG" || n == 3 && m.verb == "NEG-OPEN":
			m.hasNeg = true
			var ok bool
			m.neg, ok = p.wantText("the message")
			return ok
		case m.verb == "EVENT" || m.verb == "AUTH" || m.verb == "CLOSE" || m.isNeg():
			p.complain("something follows the " + m.verb)
		}
		return p.skip(1)
	})
	if p.fail != "" {
		return
	}
	switch m.verb {
	case "EVENT", "AUTH":
		if m.event == nil {
			p.complain("an event is missing")
		}
	case "REQ", "COUNT":
		if m.hasSub && len(m.filters) == 0 {
			p.complain("a filter is missing")
		}
	case "NEG-OPEN", "NEG-MSG":
		if m.hasSub && !m.hasNeg {
			p.complain("the message is missing")
		}
	}
}

// isNeg reports whether m belongs to a reconciliation (NIP-77).
func (m *message) isNeg() bool {
	return m.verb == "NEG-OPEN" || m.verb == "NEG-MSG" || m.verb == "NEG-CLOSE"
}

const (
	hasID = 1 << iota
	hasPubKey
	hasCreated
	hasKind
	hasTags
	hasContent
	hasSig
	hasAll = 1<<iota - 1
)

// parseEvent reads an event object (N-002). Unknown fields are dropped.
func (m *message) parseEvent(p *scanner, lim bounds) bool {
	if p.next() != '{' {
		p.complain("an event is an object")
		return p.skip(1)
	}
	ev := &nostr.Event{Tags: nostr.Tags{}}
	m.event = ev
	start := p.pos
	var have int
	var others keyring
	ok := p.object(func(key string) (ok bool) {
		field := 0
		switch key {
		case "id":
			field = hasID
			text := p.next() == '"'
			if ev.ID, ok = p.wantText("id"); ok && text && !m.hasID {
				m.id, m.hasID = ev.ID, true
			}
		case "pubkey":
			field = hasPubKey
			ev.PubKey, ok = p.wantText("pubkey")
		case "created_at":
			field = hasCreated
			var n int64
			n, ok = p.wantInt("created_at", 0, 1<<53-1)
			ev.CreatedAt = nostr.Timestamp(n)
		case "kind":
			field = hasKind
			var n int64
			n, ok = p.wantInt("kind", 0, 65535)
			ev.Kind = int(n)
		case "tags":
			field = hasTags
			ok = parseTags(p, ev, lim, start)
		case "content":
			field = hasContent
			ev.Content, ok = p.wantText("content")
		case "sig":
			field = hasSig
			ev.Sig, ok = p.wantText("sig")
		default:
			others.add(p, key)
			return p.skip(2)
		}
		if have&field != 0 {
			p.complain(key + " comes twice")
		}
		have |= field
		return ok
	})
	m.size = p.pos - start
	if !ok {
		return false
	}
	switch {
	case have != hasAll:
		p.complain("the event lacks a field")
	case !grasp.IsHex(ev.ID, 64):
		p.complain("id must be 64 lower-case hex digits")
	case !grasp.IsHex(ev.PubKey, 64):
		p.complain("pubkey must be 64 lower-case hex digits")
	case !grasp.IsHex(ev.Sig, 128):
		p.complain("sig must be 128 lower-case hex digits")
	}
	return true
}

// parseTags reads the tags of an event that begins at start. A message could hold a million of
// them, each of which costs ten times its bytes in memory.
func parseTags(p *scanner, ev *nostr.Event, lim bounds, start int) bool {
	ev.Tags = nostr.Tags{}
	return p.wantList("tags", func(n int) bool {
		switch {
		case lim.tags > 0 && n >= lim.tags:
			p.exceed(hitTags, "more than "+strconv.Itoa(lim.tags)+" tags")
			return p.skip(3)
		case lim.event > 0 && p.pos-start > lim.event:
			p.exceed(hitEvent, "event is larger than "+strconv.Itoa(lim.event)+" bytes")
			return p.skip(3)
		}
		tag := make(nostr.Tag, 0, 4)
		ok := p.wantList("a tag", func(n int) bool {
			if lim.tags > 0 && n >= lim.tags {
				p.exceed(hitTags, "a tag has more than "+strconv.Itoa(lim.tags)+" items")
				return p.skip(4)
			}
			s, ok := p.wantText("a tag's item")
			tag = append(tag, s)
			return ok
		})
		if len(tag) == 0 {
			p.complain("a tag is empty")
		}
		ev.Tags = append(ev.Tags, tag)
		return ok
	})
}

// parseFilter reads a filter. A field that is not known is a complaint, never ignored (N-006).
func parseFilter(p *scanner, lim bounds) (f nostr.Filter, ok bool) {
	if p.next() != '{' {
		p.complain("a filter is an object")
		return f, p.skip(1)
	}
	var keys keyring
	ok = p.object(func(key string) (ok bool) {
		keys.add(p, key)
		switch {
		case key == "ids":
			f.IDs, ok = parseValues(p, key, lim.values, true)
		case key == "authors":
			f.Authors, ok = parseValues(p, key, lim.values, true)
		case key == "kinds":
			f.Kinds, ok = parseKinds(p, lim.values)
		case key == "since":
			f.Since, ok = parseTime(p, key)
		case key == "until":
			f.Until, ok = parseTime(p, key)
		case key == "limit":
			var n int64
			n, ok = p.wantInt(key, 0, 1<<53-1)
			f.Limit, f.LimitZero = int(n), n == 0
		case key == "search" && lim.search:
			f.Search, ok = parseSearch(p, key)
		case len(key) == 2 && key[0] == '#' && letter(key[1]) >= 0:
			if f.Tags == nil {
				f.Tags = make(nostr.TagMap, 2)
			}
			f.Tags[strings.Clone(key[1:])], ok = parseValues(p, key, lim.values, false)
		default:
			p.complain("unsupported: filter field " + strconv.Quote(key[:min(len(key), 32)]))
			return p.skip(2)
		}
		return ok
	})
	return f, ok
}

// parseSearch reads a search, which is a copy too (NIP-50).
func parseSearch(p *scanner, field string) (string, bool) {
	s, ok := p.wantText(field)
	if ok {
		if _, _, err := search.Parse(s); err != nil {
			text, _ := fault.Message(err)
			p.complain(text)
		}
	}
	return strings.Clone(s), ok
}

func parseTime(p *scanner, field string) (*nostr.Timestamp, bool) {
	n, ok := p.wantInt(field, -(1<<53 - 1), 1<<53-1)
	t := nostr.Timestamp(n)
	return &t, ok
}

func parseKinds(p *scanner, most int) ([]int, bool) {
	list := []int{}
	ok := p.wantList("kinds", func(n int) bool {
		if n >= most {
			p.exceed(hitValues, "kinds has more than "+strconv.Itoa(most)+" values")
			return p.skip(3)
		}
		k, ok := p.wantInt("a kind", 0, 65535)
		list = append(list, int(k))
		return ok
	})
	return list, ok
}

// parseValues reads a list of strings. They are copies: a subscription outlives its message.
func parseValues(p *scanner, field string, most int, hex bool) ([]string, bool) {
	list := []string{}
	ok := p.wantList(field, func(n int) bool {
		if n >= most {
			p.exceed(hitValues, field+" has more than "+strconv.Itoa(most)+" values")
			return p.skip(3)
		}
		s, ok := p.wantText("a value of " + field)
		if hex && !grasp.IsHex(s, 64) {
			p.complain("a value of " + field + " is not 64 lower-case hex digits")
		}
		list = append(list, strings.Clone(s))
		return ok
	})
	return list, ok
}

// findID looks for the id in what is left of an EVENT that is no JSON or too deep, so that the
// client learns which of its events was meant.
func findID(s string) (string, bool) {
	_, rest, ok := strings.Cut(s, `"id"`)
	if !ok {
		return "", false
	}
	p := scanner{s: rest}
	if !p.expect(':') || p.next() != '"' {
		return "", false
	}
	id, ok := p.text()
	return id, ok && len(id) <= maxEcho && utf8.ValidString(id)
}

// ParseEvent reads one event object as strictly as a client's EVENT message is read: seven
// fields, none twice, integers, lower-case hex, valid UTF-8. Other fields are dropped. It does
// not verify the event; see Verify. The error's text is for a person (N-002).
func ParseEvent(s string) (*nostr.Event, error) { return parseEvent(s, bounds{}) }

func parseEvent(s string, lim bounds) (*nostr.Event, error) {
	var m message
	p := scanner{s: s}
	if !utf8.ValidString(s) {
		p.complain("text is not valid UTF-8")
	}
	if m.parseEvent(&p, lim) {
		p.end()
	}
	if p.fail != "" {
		return nil, errors.New(p.fail)
	}
	if p.odd != "" {
		return nil, errors.New(p.odd)
	}
	return m.event, nil
}

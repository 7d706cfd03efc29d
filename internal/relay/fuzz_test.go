package relay

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

var fuzzBounds = bounds{filters: 3, values: 5}

var seeds = []string{
	`["EVENT",{"id":"` + strings.Repeat("a", 64) + `","pubkey":"` + strings.Repeat("b", 64) + `","created_at":1700000000,"kind":30618,"tags":[["d","x"],["e",""]],"content":"\u00e9\ud83d\ude80\n<>&","sig":"` + strings.Repeat("c", 128) + `"}]`,
	`["EVENT",{"id":"x","extra":[1,2.5e-3,{"a":null}],"kind":-0}]`,
	`["REQ","sub",{"ids":["` + strings.Repeat("0", 64) + `"],"kinds":[1,2],"#e":["x"],"since":1,"until":-2,"limit":0},{"search":"x"}]`,
	`["COUNT","",{}]`, `["CLOSE","x"]`, `["AUTH",{"id":1}]`, ` [ "NEG-OPEN" , true,false , null ] `, `[]`, `{}`, `["\ud800"]`, `["REQ","x",{"kinds":[1],"kinds":[2]}]`,
	`["NEG-OPEN","n",{"kinds":[1]},"6100"]`, `["NEG-MSG","n","61"]`, `["NEG-CLOSE","n"]`,
	`["EVENT",{"id":"abc"`, "[\"\xff\"]", `["REQ","\u0000",{"limit":1e400}]`,
}

// depth returns how deeply a JSON text nests, without parsing it.
func depth(s string) int {
	most, now, quoted := 0, 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '[' || c == '{'):
			now++
			most = max(most, now)
		case !quoted && (c == ']' || c == '}'):
			now--
		}
	}
	return most
}

// Whatever a client sends, the parser agrees with encoding/json about what is JSON and what is in
// it, and what it accepts prints back the same (N-002, N-012).
func FuzzMessage(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m := parseMessage(s, fuzzBounds)
		var list []json.RawMessage
		isList := json.Unmarshal([]byte(s), &list) == nil && list != nil
		if m.fail == "" && !isList {
			t.Fatalf("taken for a JSON list: %q", s)
		}
		if m.fail != "" && isList && depth(s) < maxDepth/2 {
			t.Fatalf("%q: %s, yet it is JSON", s, m.fail)
		}
		if m.fail != "" || m.odd != "" {
			if m.event != nil {
				t.Fatalf("%q is wrong and gives an event", s)
			}
			return
		}
		if !utf8.ValidString(s) {
			t.Fatalf("%q is not UTF-8 and passes", s)
		}
		var verb string
		if len(list) > 0 && json.Unmarshal(list[0], &verb) != nil || verb != m.verb {
			t.Fatalf("%q: verb %q", s, m.verb)
		}
		switch verb {
		case "EVENT", "AUTH":
			checkEvent(t, m.event, list[1])
		case "REQ", "COUNT":
			var sub string
			if json.Unmarshal(list[1], &sub) != nil || sub != m.sub {
				t.Fatalf("%q: subscription %q", s, m.sub)
			}
			if len(m.filters) != len(list)-2 || len(m.filters) > fuzzBounds.filters {
				t.Fatalf("%q: %d filters", s, len(m.filters))
			}
			for i := range m.filters {
				checkFilter(t, &m.filters[i], list[2+i])
			}
		case "NEG-OPEN", "NEG-MSG", "NEG-CLOSE":
			checkNeg(t, s, m, list)
		}
	})
}

func checkNeg(t *testing.T, s string, m message, list []json.RawMessage) {
	if !m.hasSub {
		if len(list) > 1 {
			t.Fatalf("%q passes without an id", s)
		}
		return
	}
	parts := []any{new(string), new(string)}
	if m.verb == "NEG-OPEN" {
		parts = append(parts, new(any))
	}
	if m.verb != "NEG-CLOSE" {
		parts = append(parts, new(string))
	}
	if len(list) != len(parts) {
		t.Fatalf("%q passes with %d parts", s, len(list))
	}
	for i, raw := range list {
		if err := json.Unmarshal(raw, parts[i]); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
	}
	if *parts[1].(*string) != m.sub || m.hasNeg && *parts[len(parts)-1].(*string) != m.neg {
		t.Fatalf("%q: %q says %q", s, m.sub, m.neg)
	}
	if m.verb == "NEG-OPEN" {
		if len(m.filters) != 1 {
			t.Fatalf("%q: %d filters", s, len(m.filters))
		}
		checkFilter(t, &m.filters[0], list[2])
	}
}

func checkEvent(t *testing.T, ev *nostr.Event, raw []byte) {
	// A map, since struct fields match in any case.
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	want := nostr.Event{}
	for k, p := range map[string]any{
		"id": &want.ID, "pubkey": &want.PubKey, "created_at": &want.CreatedAt, "kind": &want.Kind,
		"tags": (*[]nostr.Tag)(&want.Tags), "content": &want.Content, "sig": &want.Sig,
	} {
		if err := json.Unmarshal(fields[k], p); err != nil {
			t.Fatalf("%s: %s: %v", raw, k, err)
		}
	}
	if !reflect.DeepEqual(*ev, want) {
		t.Fatalf("%s: got %+v, want %+v", raw, *ev, want)
	}
	printed := Encode(ev)
	again, err := ParseEvent(string(printed))
	if err != nil || !reflect.DeepEqual(again, ev) || !bytes.Equal(Encode(again), printed) {
		t.Fatalf("%s prints as %s: %v", raw, printed, err)
	}
	if at, ok := createdAt(printed); !ok || at != ev.CreatedAt {
		t.Fatalf("%s: created_at %d", printed, at)
	}
}

func checkFilter(t *testing.T, f *nostr.Filter, raw []byte) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	for k, v := range fields {
		var got any
		switch k {
		case "ids":
			got = f.IDs
		case "authors":
			got = f.Authors
		case "kinds":
			got = f.Kinds
		case "since":
			got = f.Since
		case "until":
			got = f.Until
		case "limit":
			got = f.Limit
		default:
			if len(k) != 2 || k[0] != '#' {
				t.Fatalf("%s: unknown field %q passes", raw, k)
			}
			got = f.Tags[k[1:]]
		}
		want := reflect.New(reflect.TypeOf(got))
		if err := json.Unmarshal(v, want.Interface()); err != nil || !reflect.DeepEqual(want.Elem().Interface(), got) {
			t.Fatalf("%s: %s is %v (%v)", raw, k, got, err)
		}
	}
	m := newMatcher(f)
	if m.dim == byTag && m.tag < 0 {
		t.Fatalf("%s: no tag to find it by", raw)
	}
}

// A too long message is searched for its id without harm (N-003).
func FuzzFindID(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := findID(s); ok && (len(id) > maxEcho || !json.Valid(sayOK(id, false, id))) {
			t.Fatalf("%q gives %q", s, id)
		}
	})
}

// Strings are written as JSON whatever is in them, and read back the same.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a\"\\\n\x00\x1f\x7f", "\u2028<>&🚀", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendText(nil, s)
		var back string
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if utf8.ValidString(s) && back != s {
			t.Fatalf("%q comes back as %q", s, back)
		}
		p := scanner{s: string(b)}
		if own, ok := p.text(); !ok || own != s || p.pos != len(b) {
			t.Fatalf("%q is read as %q", b, own)
		}
		v := appendVerbatim(nil, s)
		if strings.Count(string(v), `\`) != len(v)-2-len(s)+strings.Count(s, `\`) {
			t.Fatalf("%q: more escaped than the seven: %q", s, v)
		}
	})
}

func TestTokens(t *testing.T) {
	p := newTokens(2, 3)
	var now timeline
	for i, want := range []bool{true, true, true, false} {
		if got := p.spend(now.at(0)); got != want {
			t.Errorf("spend %d: %v", i, got)
		}
	}
	if p.spend(now.at(-60)) {
		t.Error("a clock that is set back refills")
	}
	if n := spendable(p.spend, now.at(1)); n != 2 {
		t.Errorf("a second is two, got %d", n)
	}
	if n := spendable(p.spend, now.at(1000)); n != 3 {
		t.Errorf("it holds three at most, got %d", n)
	}
}

// spendable counts how often spend says yes at one moment.
func spendable(spend func(time.Time) bool, at time.Time) (n int) {
	for n < 100 && spend(at) {
		n++
	}
	return n
}

package relay

import (
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// Encode returns ev as the compact JSON that readers are sent: the seven fields in the order of
// NIP-01, nothing escaped that JSON does not demand.
func Encode(ev *nostr.Event) []byte {
	b := make([]byte, 0, 384+len(ev.Content)+len(ev.Content)/16+len(ev.Tags)*96)
	b = append(b, `{"id":`...)
	b = appendText(b, ev.ID)
	b = append(b, `,"pubkey":`...)
	b = appendText(b, ev.PubKey)
	b = append(b, `,"created_at":`...)
	b = strconv.AppendInt(b, int64(ev.CreatedAt), 10)
	b = append(b, `,"kind":`...)
	b = strconv.AppendInt(b, int64(ev.Kind), 10)
	b = append(b, `,"tags":`...)
	b = appendTags(b, ev.Tags, appendText)
	b = append(b, `,"content":`...)
	b = appendText(b, ev.Content)
	b = append(b, `,"sig":`...)
	b = appendText(b, ev.Sig)
	return append(b, '}')
}

// serialize appends to b the bytes whose SHA-256 is the id of ev, with text written by text.
func serialize(b []byte, ev *nostr.Event, text func([]byte, string) []byte) []byte {
	b = append(b, `[0,"`...)
	b = append(b, ev.PubKey...)
	b = append(b, `",`...)
	b = strconv.AppendInt(b, int64(ev.CreatedAt), 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, int64(ev.Kind), 10)
	b = append(b, ',')
	b = appendTags(b, ev.Tags, text)
	b = append(b, ',')
	b = text(b, ev.Content)
	return append(b, ']')
}

func appendTags(b []byte, tags nostr.Tags, text func([]byte, string) []byte) []byte {
	b = append(b, '[')
	for i, tag := range tags {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '[')
		for j, s := range tag {
			if j > 0 {
				b = append(b, ',')
			}
			b = text(b, s)
		}
		b = append(b, ']')
	}
	return append(b, ']')
}

// short holds the letter after the backslash for the seven characters of N-002.
var short = [256]byte{'\n': 'n', '"': '"', '\\': '\\', '\r': 'r', '\t': 't', '\b': 'b', '\f': 'f'}

// appendVerbatim writes s in quotes, escaping the seven characters of N-002 and no other, not even
// the remaining control characters: what comes out is not always JSON.
func appendVerbatim(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		if e := short[s[i]]; e != 0 {
			b = append(b, s[from:i]...)
			b = append(b, '\\', e)
			from = i + 1
		}
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// appendText writes s as a JSON string.
func appendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		if e := short[c]; e != 0 {
			b = append(b, '\\', e)
		} else {
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		from = i + 1
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// appendReply writes text that may repeat a client's own as a JSON string. Clients end the
// connection over a text frame that is not UTF-8.
func appendReply(b []byte, s string) []byte { return appendText(b, strings.ToValidUTF8(s, "\ufffd")) }

// say writes a message of strings: ["NOTICE","…"].
func say(words ...string) []byte {
	b := []byte{'['}
	for i, w := range words {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendReply(b, w)
	}
	return append(b, ']')
}

// sayOK writes the one answer to an EVENT (N-003).
func sayOK(id string, ok bool, text string) []byte {
	b := append([]byte(`["OK",`), appendReply(nil, id)...)
	b = append(b, ',')
	b = strconv.AppendBool(b, ok)
	b = append(b, ',')
	b = appendReply(b, text)
	return append(b, ']')
}

// sayCount writes the answer to a COUNT (N-041).
func sayCount(sub string, n int64) []byte {
	b := append([]byte(`["COUNT",`), appendText(nil, sub)...)
	b = append(b, `,{"count":`...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, `}]`...)
}

// eventHead writes what precedes an event sent to subscription sub; a "]" follows it.
func eventHead(sub string) []byte {
	b := append([]byte(`["EVENT",`), appendText(nil, sub)...)
	return append(b, ',')
}

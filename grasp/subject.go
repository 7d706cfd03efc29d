package grasp

import (
	"errors"
	"strconv"
	"strings"
)

// A Topic is a sort of thing that rules of the operator are about.
type Topic uint8

// The topics.
const (
	// OfAuthor: whatever a key signs, and the repositories that it owns.
	OfAuthor Topic = iota + 1
	// OfRepo: repositories, named by a Pattern.
	OfRepo
	// OfEvent: one event.
	OfEvent
	// OfKind: all events of a kind.
	OfKind
	// OfAddress: visitors from a network address or range.
	OfAddress

	topics
)

var topicNames = [topics]string{OfAuthor: "author", OfRepo: "repository", OfEvent: "event", OfKind: "kind", OfAddress: "address"}

func (t Topic) String() string {
	if t < topics && t > 0 {
		return topicNames[t]
	}
	return "nothing"
}

// Topics returns every topic, in their order.
func Topics() []Topic { return []Topic{OfAuthor, OfRepo, OfEvent, OfKind, OfAddress} }

// ParseTopic reads what String writes.
func ParseTopic(s string) (Topic, error) {
	for _, t := range Topics() {
		if s == topicNames[t] {
			return t, nil
		}
	}
	return 0, errors.New("is not what a rule can be about")
}

// A Subject is what a rule is about. Name has one spelling for each subject: the key of an
// author in hex; the pattern of repositories, likewise; an event id in lower-case hex; a kind
// as a decimal number; an address or range as those who know addresses write it.
type Subject struct {
	Topic Topic
	Name  string
}

// AboutAuthor is the subject of whatever k signs.
func AboutAuthor(k PubKey) Subject { return Subject{OfAuthor, string(k)} }

// AboutRepo is the subject of the repositories that p names.
func AboutRepo(p Pattern) Subject { return Subject{OfRepo, p.key()} }

// AboutEvent is the subject of one event.
func AboutEvent(id EventID) Subject { return Subject{OfEvent, string(id)} }

// AboutKind is the subject of all events of a kind.
func AboutKind(kind int) Subject { return Subject{OfKind, strconv.Itoa(kind)} }

// String says to a person what the subject is: "npub1…", "npub1…/demo", "demo", "event 5c1f…",
// "kind 1", "address 192.0.2.0/24".
func (s Subject) String() string {
	switch s.Topic {
	case OfAuthor:
		return PubKey(s.Name).Npub()
	case OfRepo:
		p, err := ParsePattern(s.Name)
		switch {
		case err != nil:
			return s.Name
		case p.Owner != "" && p.ID == "":
			return "repositories of " + p.String()
		}
		return p.String()
	}
	return s.Topic.String() + " " + s.Name
}

// Key returns the key of OfAuthor, or of OfRepo if it names an owner.
func (s Subject) Key() PubKey {
	switch s.Topic {
	case OfAuthor:
		return PubKey(s.Name)
	case OfRepo:
		p, _ := ParsePattern(s.Name)
		return p.Owner
	}
	return ""
}

// Pattern returns which repositories the subject is about; the zero Pattern if about none in
// particular.
func (s Subject) Pattern() Pattern {
	switch s.Topic {
	case OfAuthor:
		return Pattern{Owner: PubKey(s.Name)}
	case OfRepo:
		p, _ := ParsePattern(s.Name)
		return p
	}
	return Pattern{}
}

// maxAddress is the longest an address range can be written: IPv6 with eight groups and a length.
const maxAddress = 49

// ParseSubject reads what a rule of topic t is about. Keys may be spelled as npub or in hex.
// Addresses are taken as they are, if they look like any: who knows them has written them.
func ParseSubject(t Topic, s string) (Subject, error) {
	switch t {
	case OfAuthor:
		key, err := ParseNpub(s)
		if err != nil {
			var ok bool
			if key, ok = ParsePubKey(s); !ok {
				return Subject{}, errors.New("is not a key: npub1… or 64 lower-case hex digits")
			}
		}
		return AboutAuthor(key), nil
	case OfRepo:
		p, err := ParsePattern(s)
		if err != nil {
			return Subject{}, err
		}
		return AboutRepo(p), nil
	case OfEvent:
		id, ok := ParseEventID(s)
		if !ok {
			return Subject{}, errors.New("is not an event id: 64 lower-case hex digits")
		}
		return AboutEvent(id), nil
	case OfKind:
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return Subject{}, errors.New("is not a kind: a number up to 65535")
		}
		return AboutKind(int(n)), nil
	case OfAddress:
		if s == "" || len(s) > maxAddress || strings.Trim(s, "0123456789abcdef.:/") != "" {
			return Subject{}, errors.New("is not an address or range such as 192.0.2.0/24")
		}
		return Subject{OfAddress, s}, nil
	}
	return Subject{}, errors.New("is not what a rule can be about")
}

// A Pattern names repositories that an operator allows or denies: an owner, an identifier, or one
// repository of one owner. The zero Pattern names none.
type Pattern struct {
	Owner PubKey // "" means any
	ID    string // "" means any
}

// ParsePattern reads the three forms npub1…, npub1…/identifier and identifier. Keys may also be
// spelled in hex.
func ParsePattern(s string) (Pattern, error) {
	first, rest, slash := strings.Cut(s, "/")
	key, err := ParseNpub(first)
	if err != nil {
		var ok bool
		if key, ok = ParsePubKey(first); !ok {
			if slash || strings.HasPrefix(first, "npub1") || !ValidIdentifier(s) {
				return Pattern{}, errors.New("is not npub1…, npub1…/identifier or an identifier")
			}
			return Pattern{ID: s}, nil
		}
	}
	if slash && !ValidIdentifier(rest) {
		return Pattern{}, errors.New("names no repository identifier behind the slash")
	}
	return Pattern{Owner: key, ID: rest}, nil
}

// Matches reports whether p names a.
func (p Pattern) Matches(a Addr) bool {
	if p == (Pattern{}) {
		return false
	}
	return (p.Owner == "" || p.Owner == a.Owner) && (p.ID == "" || p.ID == a.ID)
}

// String writes p as ParsePattern reads it, with the key as npub.
func (p Pattern) String() string {
	switch {
	case p.Owner == "":
		return p.ID
	case p.ID == "":
		return p.Owner.Npub()
	}
	return p.Owner.Npub() + "/" + p.ID
}

// key is String with the key in hex: it is looked up for every event, and bech32 is slow.
func (p Pattern) key() string {
	switch {
	case p.Owner == "":
		return p.ID
	case p.ID == "":
		return string(p.Owner)
	}
	return string(p.Owner) + "/" + p.ID
}

package manage

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr/nip19"
	"github.com/nbd-wtf/go-nostr/nip86"

	"github.com/gitroost/gitroost/grasp"
)

type method func(h *Handler, ctx context.Context, c call) (any, error)

// methods is the table. Those of the command line have a dot in their name.
func methods() map[string]method {
	return map[string]method{
		"supportedmethods": func(*Handler, context.Context, call) (any, error) { return Methods(), nil },

		"banpubkey":           decide(grasp.Deny, grasp.OfAuthor),
		"unbanpubkey":         withdraw(grasp.Deny, grasp.OfAuthor),
		"listbannedpubkeys":   listKeys(grasp.Deny),
		"allowpubkey":         decide(grasp.Allow, grasp.OfAuthor),
		"unallowpubkey":       withdraw(grasp.Allow, grasp.OfAuthor),
		"listallowedpubkeys":  listKeys(grasp.Allow),
		"banevent":            decide(grasp.Deny, grasp.OfEvent),
		"allowevent":          withdraw(grasp.Deny, grasp.OfEvent),
		"listbannedevents":    (*Handler).listEvents,
		"allowkind":           (*Handler).allowKind,
		"disallowkind":        decide(grasp.Deny, grasp.OfKind),
		"listallowedkinds":    listKinds(grasp.Allow),
		"listdisallowedkinds": listKinds(grasp.Deny),
		"blockip":             decide(grasp.Deny, grasp.OfAddress),
		"unblockip":           withdraw(grasp.Deny, grasp.OfAddress),
		"listblockedips":      (*Handler).listAddresses,

		"changerelayname":        profile("name", 100, false),
		"changerelaydescription": profile("description", 1000, false),
		"changerelayicon":        profile("icon", 500, true),

		MethodRules:   (*Handler).rules,
		MethodQuota:   (*Handler).quota,
		MethodSync:    (*Handler).sync,
		MethodTell:    (*Handler).told,
		MethodExplain: (*Handler).explain,
		MethodDecide:  (*Handler).command,
	}
}

func extra(name string) bool { return strings.Contains(name, ".") }

// subject reads the first parameter of a call about a topic.
func (h *Handler) subject(t grasp.Topic, c call) (grasp.Subject, error) {
	if t == grasp.OfKind {
		s, err := c.number(0, "a kind")
		if err != nil {
			return grasp.Subject{}, err
		}
		return h.parseSubject(t, s)
	}
	s, err := c.need(0, "the "+t.String())
	if err != nil {
		return grasp.Subject{}, err
	}
	return h.parseSubject(t, s)
}

// parseSubject reads a subject in any of the forms in which people have it.
func (h *Handler) parseSubject(t grasp.Topic, s string) (grasp.Subject, error) {
	s = strings.TrimSpace(s)
	switch t {
	case grasp.OfAddress:
		return h.parseAddress(s)
	case grasp.OfEvent:
		if id, ok := ParseEvent(s); ok {
			s = string(id)
		}
	}
	sub, err := grasp.ParseSubject(t, s)
	if err != nil {
		return sub, mistake("%.80q %v", s, err)
	}
	return sub, nil
}

// maxPointer is the longest nevent that is looked at.
const maxPointer = 2000

// ParseEvent reads an event id: 64 hex digits, note1… or nevent1….
func ParseEvent(s string) (grasp.EventID, bool) {
	if id, ok := grasp.ParseEventID(strings.ToLower(s)); ok {
		return id, true
	}
	if len(s) > maxPointer || !strings.HasPrefix(s, "note1") && !strings.HasPrefix(s, "nevent1") {
		return "", false
	}
	_, v, err := nip19.Decode(s)
	if err != nil {
		return "", false
	}
	switch v := v.(type) {
	case string:
		return grasp.ParseEventID(v)
	case interface{ AsTagReference() string }:
		return grasp.ParseEventID(v.AsTagReference())
	}
	return "", false
}

// decide is a method that puts a rule into force.
func decide(a grasp.Action, t grasp.Topic) method {
	return func(h *Handler, ctx context.Context, c call) (any, error) {
		s, err := h.subject(t, c)
		if err != nil {
			return nil, err
		}
		reason, err := c.text(1)
		if err != nil {
			return nil, err
		}
		r := grasp.Rule{Action: a, Subject: s, Reason: strings.TrimSpace(reason), By: c.by}
		if err := r.Check(); err != nil {
			return nil, mistake("%v", err)
		}
		_, _, err = h.desk.Decide(ctx, r, false)
		return true, err
	}
}

// withdraw is a method that takes a rule back. To take back what is not there is no mistake.
func withdraw(a grasp.Action, t grasp.Topic) method {
	return func(h *Handler, ctx context.Context, c call) (any, error) {
		s, err := h.subject(t, c)
		if err != nil {
			return nil, err
		}
		_, err = h.desk.Withdraw(ctx, s, a)
		return true, err
	}
}

// allowKind takes back that a kind is denied; there is no other method for that. If it is not, the
// kind comes on the list of those that are allowed.
func (h *Handler) allowKind(ctx context.Context, c call) (any, error) {
	s, err := h.subject(grasp.OfKind, c)
	if err != nil {
		return nil, err
	}
	_, list := h.desk.Moderation().Lists()
	lifted, err := h.desk.Withdraw(ctx, s, grasp.Deny)
	if err != nil || lifted && !list {
		return true, err
	}
	_, _, err = h.desk.Decide(ctx, grasp.Rule{Action: grasp.Allow, Subject: s, By: c.by}, false)
	return true, err
}

// each calls f with the rules of an action about a topic.
func (h *Handler) each(a grasp.Action, t grasp.Topic, f func(grasp.Rule)) {
	for _, r := range h.desk.Moderation().Rules() {
		if r.Action == a && r.Subject.Topic == t {
			f(r)
		}
	}
}

func listKeys(a grasp.Action) method {
	return func(h *Handler, _ context.Context, _ call) (any, error) {
		out := []nip86.PubKeyReason{}
		h.each(a, grasp.OfAuthor, func(r grasp.Rule) {
			out = append(out, nip86.PubKeyReason{PubKey: string(r.Subject.Key()), Reason: r.Reason})
		})
		h.each(a, grasp.OfRepo, func(r grasp.Rule) { // those that name an owner and no repository
			if p := r.Subject.Pattern(); p.Owner != "" && p.ID == "" {
				out = append(out, nip86.PubKeyReason{PubKey: string(p.Owner), Reason: r.Reason})
			}
		})
		return out, nil
	}
}

func listKinds(a grasp.Action) method {
	return func(h *Handler, _ context.Context, _ call) (any, error) {
		out := []int{}
		h.each(a, grasp.OfKind, func(r grasp.Rule) {
			if n, err := strconv.Atoi(r.Subject.Name); err == nil {
				out = append(out, n)
			}
		})
		return out, nil
	}
}

func (h *Handler) listEvents(context.Context, call) (any, error) {
	out := []nip86.IDReason{}
	h.each(grasp.Deny, grasp.OfEvent, func(r grasp.Rule) {
		out = append(out, nip86.IDReason{ID: r.Subject.Name, Reason: r.Reason})
	})
	return out, nil
}

func (h *Handler) listAddresses(context.Context, call) (any, error) {
	out := []nip86.IPReason{}
	h.each(grasp.Deny, grasp.OfAddress, func(r grasp.Rule) {
		out = append(out, nip86.IPReason{IP: r.Subject.Name, Reason: r.Reason})
	})
	return out, nil
}

// profile is a method that changes what the server says of itself.
func profile(name string, most int, isURL bool) method {
	return func(h *Handler, ctx context.Context, c call) (any, error) {
		if len(c.params) == 0 {
			return nil, mistake("parameter 1 is missing: the new %s, or \"\" for that of the configuration", name)
		}
		s, err := c.text(0)
		if err != nil {
			return nil, err
		}
		s = strings.TrimSpace(s)
		switch {
		case len(s) > most:
			return nil, mistake("the %s is longer than %d bytes", name, most)
		case !utf8.ValidString(s), strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }):
			return nil, mistake("the %s must be one line of plain text", name)
		}
		if u, err := url.Parse(s); isURL && s != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "") {
			return nil, mistake("the %s must be an http or https URL", name)
		}
		return true, h.house.SetProfile(ctx, name, s, c.by)
	}
}

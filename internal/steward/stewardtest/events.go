package stewardtest

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// Key returns the public key of the person of that name. Nobody has the secret one: the desk is
// handed events whose signatures were looked at by others.
func Key(name string) grasp.PubKey {
	sum := sha256.Sum256([]byte("key of " + name))
	return grasp.PubKey(hex.EncodeToString(sum[:]))
}

// noSignature has the shape of one.
var noSignature = hex.EncodeToString(make([]byte, 64))

// Event returns an event with a good id, and its JSON. at is in seconds after Epoch.
func Event(author grasp.PubKey, kind int, at int, content string, tags ...nostr.Tag) *nostr.Event {
	ev := &nostr.Event{
		PubKey: string(author), Kind: kind, Content: content, Tags: nostr.Tags(tags), Sig: noSignature,
		CreatedAt: nostr.Timestamp(Epoch.Add(time.Duration(at) * time.Second).Unix()),
	}
	ev.ID = ev.GetID()
	return ev
}

// Raw returns the JSON of ev.
func Raw(ev *nostr.Event) []byte {
	b, err := ev.MarshalJSON()
	if err != nil {
		panic(err) // unreachable: events always have a JSON form
	}
	return b
}

// Host is the authority at which the service of a test answers.
const Host = "git.example.com"

// Announce returns an announcement of repo that lists the service at Host and these maintainers.
func Announce(repo grasp.Addr, at int, maintainers ...grasp.PubKey) *nostr.Event {
	return AnnounceAt(repo, at, Host, maintainers...)
}

// AnnounceAt is Announce for the service at another host.
func AnnounceAt(repo grasp.Addr, at int, host string, maintainers ...grasp.PubKey) *nostr.Event {
	tags := []nostr.Tag{
		{"d", repo.ID},
		{"clone", "https://" + host + "/" + repo.Owner.Npub() + "/" + repo.ID + ".git"},
		{"relays", "wss://" + host},
	}
	if len(maintainers) > 0 {
		t := nostr.Tag{"maintainers"}
		for _, m := range maintainers {
			t = append(t, string(m))
		}
		tags = append(tags, t)
	}
	return Event(repo.Owner, grasp.KindAnnouncement, at, "", tags...)
}

// State returns a state by author. pairs are names, as FullName takes them, and values.
func State(author grasp.PubKey, id string, at int, pairs ...string) *nostr.Event {
	tags := []nostr.Tag{{"d", id}}
	for i := 0; i+1 < len(pairs); i += 2 {
		tags = append(tags, nostr.Tag{FullName(pairs[i]), pairs[i+1]})
	}
	return Event(author, grasp.KindState, at, "", tags...)
}

// FullName turns the short name of a branch into a ref name. HEAD and what begins with refs/ is
// whole already.
func FullName(name string) string {
	if name == "HEAD" || strings.HasPrefix(name, "refs/") {
		return name
	}
	return "refs/heads/" + name
}

// Pull returns a pull request for these repositories.
func Pull(author grasp.PubKey, at int, tip grasp.OID, repos ...grasp.Addr) *nostr.Event {
	return Event(author, grasp.KindPull, at, "", append(addrTags(repos), nostr.Tag{"c", string(tip)})...)
}

// Proposal is a Pull whose commits are to be had from its author's box, for the first of the
// repositories.
func Proposal(author grasp.PubKey, at int, tip grasp.OID, repos ...grasp.Addr) *nostr.Event {
	clone := "https://" + Host + "/prs/" + author.Npub() + "/" + repos[0].ID + ".git"
	return Event(author, grasp.KindPull, at, "", append(addrTags(repos), nostr.Tag{"c", string(tip)}, nostr.Tag{"clone", clone})...)
}

func addrTags(repos []grasp.Addr) []nostr.Tag {
	var tags []nostr.Tag
	for _, r := range repos {
		tags = append(tags, nostr.Tag{"a", r.Coordinate()})
	}
	return tags
}

// Issue returns an issue of these repositories.
func Issue(author grasp.PubKey, at int, repos ...grasp.Addr) *nostr.Event {
	return Event(author, grasp.KindIssue, at, "it does not work", addrTags(repos)...)
}

// Delete returns a deletion. What looks like an id is named by e, everything else by a.
func Delete(author grasp.PubKey, at int, what ...string) *nostr.Event {
	var tags []nostr.Tag
	for _, w := range what {
		if grasp.IsHex(w, 64) {
			tags = append(tags, nostr.Tag{"e", w})
		} else {
			tags = append(tags, nostr.Tag{"a", w})
		}
	}
	return Event(author, grasp.KindDeletion, at, "", tags...)
}

// Expiring returns ev, signed anew with an expiration in seconds after Epoch (NIP-40).
func Expiring(ev *nostr.Event, at int) *nostr.Event {
	c := *ev
	c.Tags = append(ev.Tags[:len(ev.Tags):len(ev.Tags)],
		nostr.Tag{"expiration", strconv.FormatInt(Epoch.Add(time.Duration(at)*time.Second).Unix(), 10)})
	c.ID = c.GetID()
	return &c
}

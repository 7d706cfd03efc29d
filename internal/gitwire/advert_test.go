package gitwire_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/gitwire"
)

var sample = &grasp.Snapshot{
	Head: "refs/heads/main",
	Refs: grasp.ListOf([]grasp.Ref{
		{Name: "refs/heads/dev", OID: grasp.OID(two)}, {Name: "refs/heads/main", OID: grasp.OID(one)}, {Name: "refs/keep/1", OID: grasp.OID(one)},
		{Name: grasp.PullRef(grasp.EventID(strings.Repeat("e", 64))), OID: grasp.OID(two)}, {Name: "refs/tags/v1", OID: grasp.OID(hexA), Peeled: grasp.OID(one)},
	}).Visible(),
}

const v0caps = "multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not deepen-relative" +
	" no-progress include-tag multi_ack_detailed allow-tip-sha1-in-want allow-reachable-sha1-in-want no-done filter"

// H-202 to H-207, A1, checks 26 to 30, 34, 35.
func TestAdverts(t *testing.T) {
	agent := gitwire.Agent("1.0")
	pr := "refs/nostr/" + strings.Repeat("e", 64)
	dangling := &grasp.Snapshot{Head: "refs/heads/gone", Refs: grasp.Refs{"refs/heads/dev": grasp.OID(two)}.List()}
	const receive = "\x00report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options object-format=sha1 agent=gitroost/1.0\n"
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"empty, A1", gitwire.UploadAdvert(grasp.EmptySnapshot, 0, agent).Append(nil),
			"001e# service=git-upload-pack\n0000" + pkts(zero+" capabilities^{}\x00"+v0caps+" object-format=sha1 agent=gitroost/1.0\n", "0000")},
		{"v0", gitwire.UploadAdvert(sample, 0, agent).Append(nil), "001e# service=git-upload-pack\n0000" + pkts(
			one+" HEAD\x00"+v0caps+" symref=HEAD:refs/heads/main object-format=sha1 agent=gitroost/1.0\n",
			two+" refs/heads/dev\n", one+" refs/heads/main\n", two+" "+pr+"\n", hexA+" refs/tags/v1\n", one+" refs/tags/v1^{}\n", "0000")},
		{"v1", gitwire.UploadAdvert(dangling, 1, agent).Append(nil), "001e# service=git-upload-pack\n0000" + pkts("version 1\n",
			two+" refs/heads/dev\x00"+v0caps+" object-format=sha1 agent=gitroost/1.0\n", "0000")},
		{"v2, A2", gitwire.AppendV2Advert(nil, agent), "000eversion 2\n0017agent=gitroost/1.0\n0013ls-refs=unborn\n" +
			"0027fetch=shallow wait-for-done filter\n0012server-option\n0017object-format=sha1\n0000"},
		{"push", gitwire.ReceiveAdvert(sample, agent).Append(nil), "001f# service=git-receive-pack\n0000" + pkts(
			two+" refs/heads/dev"+receive, one+" refs/heads/main\n", two+" "+pr+"\n", hexA+" refs/tags/v1\n", "0000")},
		{"push to empty", gitwire.ReceiveAdvert(grasp.EmptySnapshot, agent).Append(nil), "001f# service=git-receive-pack\n0000" +
			pkts(zero+" capabilities^{}"+receive, "0000")},
	} {
		if string(c.got) != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, c.got, c.want)
		}
	}
}

// H-207, H-208, A9, check 36.
func TestLsRefsAnswer(t *testing.T) {
	pr := "refs/nostr/" + strings.Repeat("e", 64)
	for _, c := range []struct {
		name string
		q    gitwire.LsRefs
		snap *grasp.Snapshot
		want string
	}{
		{"plain", gitwire.LsRefs{}, sample, pkts(one+" HEAD\n", two+" refs/heads/dev\n", one+" refs/heads/main\n", two+" "+pr+"\n", hexA+" refs/tags/v1\n", "0000")},
		{"everything", gitwire.LsRefs{Peel: true, Symrefs: true, Unborn: true}, sample, pkts(one+" HEAD symref-target:refs/heads/main\n",
			two+" refs/heads/dev\n", one+" refs/heads/main\n", two+" "+pr+"\n", hexA+" refs/tags/v1 peeled:"+one+"\n", "0000")},
		{"prefixes", gitwire.LsRefs{Prefixes: []string{"refs/tags/", "refs/heads/m", "refs/heads/main", "refs/x"}}, sample,
			pkts(one+" refs/heads/main\n", hexA+" refs/tags/v1\n", "0000")},
		{"unborn", gitwire.LsRefs{Symrefs: true, Unborn: true, Prefixes: []string{"HEAD"}}, grasp.EmptySnapshot, pkts("unborn HEAD symref-target:refs/heads/master\n", "0000")},
		{"unborn, not asked", gitwire.LsRefs{Symrefs: true}, grasp.EmptySnapshot, "0000"},
		{"bookkeeping", gitwire.LsRefs{Prefixes: []string{"refs/keep/"}}, sample, "0000"},
	} {
		if got := c.q.Answer(c.snap).Append(nil); string(got) != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

// Whatever was done to a list, answers say of each ref what they would say if it were asked for alone (H-203, H-205, H-207).
func TestAnswersOfLargeLists(t *testing.T) {
	pull := func(i int) grasp.RefName { return grasp.PullRef(grasp.EventID(fmt.Sprintf("%064x", i))) }
	var refs []grasp.Ref
	for i := range 2500 {
		refs = append(refs, grasp.Ref{Name: grasp.RefName(fmt.Sprintf("refs/heads/%05d", i)), OID: grasp.OID(one)})
	}
	for i := range 2500 {
		refs = append(refs, grasp.Ref{Name: pull(i), OID: grasp.OID(two)})
	}
	for i := range 2500 {
		r := grasp.Ref{Name: grasp.RefName(fmt.Sprintf("refs/tags/%05d", i)), OID: grasp.OID(hexA)}
		if i%10 < 3 || i > 2000 {
			r.Peeled = grasp.OID(one)
		}
		refs = append(refs, r)
	}
	list := grasp.ListOf(refs)
	for i := range 50 { // and they are not as they were read any more
		list = list.With([]grasp.Ref{{Name: pull(7 * i), OID: grasp.OID(hexA)}, {Name: grasp.RefName(fmt.Sprintf("refs/tags/%05d.1", 40*i)), OID: grasp.OID(one), Peeled: grasp.OID(two)}},
			[]grasp.RefName{grasp.RefName(fmt.Sprintf("refs/heads/%05d", 3*i+1)), pull(7*i + 3)})
	}
	snap := &grasp.Snapshot{Refs: list, Head: "refs/heads/00000"}
	for _, prefixes := range [][]string{nil, {"refs/"}, {"refs/heads/", "refs/tags/", "HEAD"}, {"refs/nostr/"}, {"refs/tags/01"}, {"refs/heads/02499", "refs/tags/00000"}} {
		for _, peel := range []bool{true, false} {
			var want strings.Builder
			if prefixes == nil || slices.Contains(prefixes, "HEAD") {
				want.WriteString(pkts(one + " HEAD\n"))
			}
			for r := range list.All() {
				line := string(r.OID) + " " + string(r.Name)
				if peel && r.Peeled != "" {
					line += " peeled:" + string(r.Peeled)
				}
				if prefixes == nil || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(string(r.Name), p) }) {
					want.WriteString(pkts(line + "\n"))
				}
			}
			a := (&gitwire.LsRefs{Peel: peel, Prefixes: prefixes}).Answer(snap)
			if got := string(a.Append(nil)); got != want.String()+"0000" {
				t.Errorf("%q, peeled %t: %d bytes, want %d", prefixes, peel, len(got), want.Len()+4)
			}
			sent(t, fmt.Sprint(prefixes, peel), a)
		}
	}
	var fetchers, pushers []string
	for r := range list.All() {
		line := string(r.OID) + " " + string(r.Name) + "\n"
		fetchers, pushers = append(fetchers, line), append(pushers, line)
		if r.Peeled != "" {
			fetchers = append(fetchers, string(r.Peeled)+" "+string(r.Name)+"^{}\n")
		}
	}
	for what, c := range map[string]struct {
		a     gitwire.Answer
		lines []string
	}{
		"fetching": {gitwire.UploadAdvert(snap, 0, anAgent), fetchers}, "pushing": {gitwire.ReceiveAdvert(snap, anAgent), pushers[1:]},
	} {
		if got := string(c.a.Append(nil)); !strings.HasSuffix(got, "\n"+pkts(append(c.lines, "0000")...)) {
			t.Errorf("%s: %d bytes that do not end in the refs", what, len(got))
		}
		sent(t, what, c.a)
	}
}

func TestAgentIsOneWord(t *testing.T) {
	for in, want := range map[string]string{"": "gitroost/dev", "0.1.0": "gitroost/0.1.0", "1 2\n3\x00é": "gitroost/1.2.3.."} {
		if got := gitwire.Agent(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func BenchmarkUploadAdvert50k(b *testing.B) {
	refs := grasp.Refs{}
	for i := range 50_000 {
		refs[grasp.RefName(fmt.Sprintf("refs/heads/%d", i))] = grasp.OID(one)
	}
	snap := &grasp.Snapshot{Head: "refs/heads/0", Refs: refs.List()}
	for b.Loop() {
		if _, err := gitwire.UploadAdvert(snap, 0, "gitroost/dev").WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

const anAgent = "gitroost/test"

// What is written in pieces is what is appended, and as long as was said; also for names as long as
// they may be.
func TestAnswerInPieces(t *testing.T) {
	var refs []grasp.Ref
	for i := range 3000 {
		refs = append(refs, grasp.Ref{Name: grasp.RefName(fmt.Sprintf("refs/heads/%d", i)), OID: grasp.OID(one)},
			grasp.Ref{Name: grasp.RefName(fmt.Sprintf("refs/tags/%s%d", strings.Repeat("x", i%200), i)), OID: grasp.OID(two), Peeled: grasp.OID(one)})
	}
	slices.SortFunc(refs, func(a, b grasp.Ref) int { return strings.Compare(string(a.Name), string(b.Name)) })
	snap := &grasp.Snapshot{Head: "refs/heads/0", Refs: grasp.ListOf(refs)}
	for name, a := range map[string]gitwire.Answer{
		"v0": gitwire.UploadAdvert(snap, 0, anAgent), "v1": gitwire.UploadAdvert(snap, 1, anAgent),
		"push":    gitwire.ReceiveAdvert(snap, anAgent),
		"ls-refs": (&gitwire.LsRefs{Peel: true, Symrefs: true}).Answer(snap),
		"some":    (&gitwire.LsRefs{Peel: true, Prefixes: []string{"refs/tags/xx", "refs/heads/1", "HEAD"}}).Answer(snap),
	} {
		var out bytes.Buffer
		n, err := a.WriteTo(&out)
		whole := a.Append(nil)
		if err != nil || n != int64(out.Len()) || a.Size() != out.Len() || !bytes.Equal(out.Bytes(), whole) {
			t.Errorf("%s: wrote %d, %d, %v; size %d; appended %d", name, n, out.Len(), err, a.Size(), len(whole))
		}
		sent(t, name, a)
	}
	// Around the length from which on an answer is made twice, and what has no room in any buffer.
	for n := 1800; n < 2100; n++ {
		sent(t, fmt.Sprint(n, " refs"), gitwire.ReceiveAdvert(&grasp.Snapshot{Refs: grasp.ListOf(refs[:n])}, anAgent))
	}
	long := []grasp.Ref{{Name: grasp.RefName("refs/heads/" + strings.Repeat("x", 3*gitwire.MaxPacket)), OID: grasp.OID(one)}, {Name: "refs/heads/y", OID: grasp.OID(one)}}
	sent(t, "long", gitwire.ReceiveAdvert(&grasp.Snapshot{Refs: grasp.ListOf(long)}, anAgent))
	sent(t, "empty", gitwire.ReceiveAdvert(grasp.EmptySnapshot, anAgent))
}

// sent makes sure that Send says how long a is, and then writes it.
func sent(t *testing.T, name string, a gitwire.Answer) {
	t.Helper()
	var out bytes.Buffer
	said := -1
	err := a.Send(&out, func(size int) {
		if said = size; out.Len() > 0 {
			t.Errorf("%s: something was sent before it was said how much", name)
		}
	})
	if whole := a.Append(nil); err != nil || said != len(whole) || !bytes.Equal(out.Bytes(), whole) {
		t.Errorf("%s: said %d, sent %d, %v; appended %d", name, said, out.Len(), err, len(whole))
	}
}

// Prefixes find what trying each name would find.
func TestPrefixes(t *testing.T) {
	refs := grasp.Refs{}
	for _, n := range []string{"refs/heads/a", "refs/heads/ab", "refs/heads/b", "refs/nostr/1", "refs/tags/a", "refs/tags/v1", "refs/tags/v10", "refs/tags/w"} {
		refs[grasp.RefName(n)] = grasp.OID(one)
	}
	snap := &grasp.Snapshot{Refs: refs.List(), Head: "refs/heads/a"}
	for _, prefixes := range [][]string{{"refs/"}, {"refs/heads/a"}, {"refs/tags/v1", "refs/tags/"}, {"refs/tags/v1", "refs/heads/b"}, {"x"}, {""}, {"refs/heads/a", "refs/heads/a"}, {"refs/zzz", "refs/a"}} {
		want := ""
		for _, n := range refs.Sorted() {
			for _, p := range prefixes {
				if strings.HasPrefix(string(n), p) {
					want += string(gitwire.AppendPacket(nil, one, " ", string(n), "\n"))
					break
				}
			}
		}
		got := string((&gitwire.LsRefs{Prefixes: prefixes}).Answer(snap).Append(nil))
		if prefixes[0] == "" {
			got = strings.TrimPrefix(got, string(gitwire.AppendPacket(nil, one, " HEAD\n")))
		}
		if got != want+"0000" {
			t.Errorf("%q: %q, want %q", prefixes, got, want)
		}
	}
}

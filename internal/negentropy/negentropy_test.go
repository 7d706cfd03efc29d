package negentropy_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
	theirs "github.com/nbd-wtf/go-nostr/nip77/negentropy"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy/storage/vector"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/negentropy"
)

type (
	ID   = negentropy.ID
	Item = negentropy.Item
)

// item is the nth record of a world in which each second has width of them.
func item(n, width int) Item {
	return Item{At: uint64(n / width), ID: sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))}
}

// sides deals n records out: each is on both sides, or on one with the chance of one in rare.
func sides(seed uint64, n, width, rare int) (a, b []Item) {
	r := rand.New(rand.NewPCG(seed, 77))
	for i := range n {
		it := item(i, width)
		switch r.IntN(2 * rare) {
		case 0:
			a = append(a, it)
		case 1:
			b = append(b, it)
		default:
			a, b = append(a, it), append(b, it)
		}
	}
	r.Shuffle(len(a), func(i, j int) { a[i], a[j] = a[j], a[i] })
	return a, b
}

func ids(items []Item) map[ID]bool {
	m := make(map[ID]bool)
	for _, it := range items {
		m[it.ID] = true
	}
	return m
}

// less returns the ids of a that b lacks, in order.
func less(a, b []Item) []ID {
	var out []ID
	has := ids(b)
	for id := range ids(a) {
		if !has[id] {
			out = append(out, id)
		}
	}
	return order(out)
}

func order(list []ID) []ID {
	slices.SortFunc(list, func(a, b ID) int { return slices.Compare(a[:], b[:]) })
	return list
}

// A run is what a client learnt, and at what price.
type run struct {
	have, need    []ID
	rounds, bytes int
}

func reconcile(t testing.TB, client, server *negentropy.Set, clientFrame, serverFrame int) (r run) {
	t.Helper()
	c := negentropy.NewClient(client, negentropy.Limits{Frame: clientFrame})
	for msg := c.Start(); msg != nil; r.rounds++ {
		if len(msg) > clientFrame {
			t.Fatalf("the client's message has %d bytes", len(msg))
		}
		answer, err := server.Answer(msg, serverFrame)
		if err != nil {
			t.Fatal(err)
		}
		if len(answer) > serverFrame {
			t.Fatalf("the answer has %d bytes", len(answer))
		}
		step, err := c.Next(answer)
		if err != nil {
			t.Fatal(err)
		}
		r.have, r.need = append(r.have, step.Have...), append(r.need, step.Need...)
		r.bytes += len(msg) + len(answer)
		msg = step.Next
	}
	order(r.have)
	order(r.need)
	return r
}

// N-043, check 124: whatever two sides have, the client learns exactly in what they differ.
func TestReconcile(t *testing.T) {
	for _, c := range []struct {
		name           string
		n, width, rare int
		onlyA, onlyB   bool
		frame          int
		rounds         int // at most
	}{
		{"nothing at all", 0, 1, 2, false, false, 60_000, 1},
		{"empty client", 1000, 3, 1 << 30, false, true, 60_000, 1},
		{"empty client, small frames", 10_000, 3, 1 << 30, false, true, 4096, 100},
		{"empty server", 10_000, 3, 1 << 30, true, false, 60_000, 10},
		{"the same", 10_000, 1, 1 << 30, false, false, 60_000, 1},
		{"few differ", 20_000, 2, 500, false, false, 60_000, 6},
		{"all in one second", 5000, 5000, 20, false, false, 60_000, 6},
		{"half differ", 5000, 7, 2, false, false, 60_000, 20},
		{"half differ, small frames", 5000, 7, 2, false, false, 4096, 200},
		{"nothing in common", 3000, 1, 1, false, false, 4096, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := sides(1, c.n, c.width, c.rare)
			if c.onlyA {
				b = nil
			}
			if c.onlyB {
				a = nil
			}
			wantHave, wantNeed := less(a, b), less(b, a)
			r := reconcile(t, negentropy.NewSet(a), negentropy.NewSet(b), c.frame, c.frame)
			if !slices.Equal(r.have, wantHave) || !slices.Equal(r.need, wantNeed) {
				t.Errorf("has %d and needs %d, want %d and %d", len(r.have), len(r.need), len(wantHave), len(wantNeed))
			}
			if r.rounds > c.rounds {
				t.Errorf("%d rounds, want %d at most", r.rounds, c.rounds)
			}
			t.Logf("%d rounds, %d bytes", r.rounds, r.bytes)
		})
	}
}

// N-043: 100 differences among 10,000 cost a few messages, far fewer bytes than the ids.
func TestTenThousand(t *testing.T) {
	a, b := hundred()
	r := reconcile(t, negentropy.NewSet(a), negentropy.NewSet(b), 60_000, 60_000)
	if len(r.have) != 50 || len(r.need) != 50 || r.rounds > 4 || r.bytes > 10_000*32/2 {
		t.Errorf("has %d, needs %d, %d rounds, %d bytes", len(r.have), len(r.need), r.rounds, r.bytes)
	}
}

// hundred returns two sides of 10,000 records that differ in 100.
func hundred() (a, b []Item) {
	for i := range 10_050 {
		it := item(i, 2)
		switch {
		case i%201 == 7:
			a = append(a, it)
		case i%201 == 107:
			b = append(b, it)
		default:
			a, b = append(a, it), append(b, it)
		}
	}
	return a, b
}

func BenchmarkTenThousand(b *testing.B) {
	one, two := hundred()
	b.Run("make", func(b *testing.B) {
		r := rand.New(rand.NewPCG(1, 1))
		r.Shuffle(len(one), func(i, j int) { one[i], one[j] = one[j], one[i] })
		for b.Loop() {
			negentropy.NewSet(slices.Clone(one))
		}
	})
	b.Run("reconcile", func(b *testing.B) {
		client, server := negentropy.NewSet(one), negentropy.NewSet(two)
		for b.Loop() {
			reconcile(b, client, server, 60_000, 60_000)
		}
	})
}

// Appendix C: a fingerprint is the first half of the hash of the sum and the count, worked out
// here once more. Sums carry from word to word and are cut at 256 bits.
func TestFingerprint(t *testing.T) {
	var items []Item
	for i := range 200 {
		it := item(i, 1)
		if i%3 == 0 {
			it.ID = ID(bytes.Repeat([]byte{0xff}, 32))
			it.ID[0] = byte(i)
		}
		items = append(items, it)
	}
	total := new(big.Int)
	for _, it := range items {
		b := slices.Clone(it.ID[:])
		slices.Reverse(b)
		total.Add(total, new(big.Int).SetBytes(b))
	}
	total.Mod(total, new(big.Int).Lsh(big.NewInt(1), 256))
	b := total.FillBytes(make([]byte, 32))
	slices.Reverse(b)
	hash := sha256.Sum256(append(b, 0x80|200>>7, 200&0x7f))
	msg := append([]byte{0x61, 0, 0, 1}, hash[:16]...)
	answer, err := negentropy.NewSet(items).Answer(msg, 0)
	if err != nil || !bytes.Equal(answer, []byte{0x61}) {
		t.Errorf("got %x (%v), want agreement", answer, err)
	}
}

// Appendix C, byte for byte.
func TestAnswers(t *testing.T) {
	id := func(first byte) string { return hex.EncodeToString(append([]byte{first}, make([]byte, 31)...)) }
	set := negentropy.NewSet([]Item{
		{At: 300, ID: ID{0xcc}}, {At: 100, ID: ID{0xaa}}, {At: 100, ID: ID{0xbb}}, {At: 100, ID: ID{0xaa}},
		{At: math.MaxUint64, ID: ID{0xee}},
	})
	if set.Len() != 3 {
		t.Fatalf("%d records", set.Len())
	}
	all := "03" + id(0xaa) + id(0xbb) + id(0xcc)
	for _, c := range []struct{ name, msg, want string }{
		{"nothing", "61", "61"},
		{"everything skipped", "61000000", "61"},
		{"no ids up to infinity", "6100000200", "61000002" + all},
		{"their ids are read over", "6100000201" + id(0xdd), "61000002" + all},
		{"below 100", "6165000200", "6165000200"},
		{"up to the second of one second", "616501bb0200", "616501bb0201" + id(0xaa)},
		{"two ranges", "618149000200" + "00000200", "6181490002" + "02" + id(0xaa) + id(0xbb) + "000002" + "01" + id(0xcc)},
		{"wrong fingerprint", "61000001" + strings.Repeat("00", 16), "61000002" + all},
		{"skips that touch are one, the last is silent", "61" + "650000" + "020000" + "00000200", "61660000" + "000002" + "01" + id(0xcc)},
		{"ranges after infinity are empty", "6100000200" + "00000200", "61000002" + all + "0000" + "0200"},
		{"version 2", "62000000", "61"},
		{"version 0", "60", "61"},
		{"no negentropy at all", "00", "61"},
	} {
		msg, err := hex.DecodeString(c.msg)
		if err != nil {
			t.Fatal(c.name, err)
		}
		got, err := set.Answer(msg, 0)
		if err != nil || hex.EncodeToString(got) != c.want {
			t.Errorf("%s:\n got %x (%v)\nwant %s", c.name, got, err, c.want)
		}
	}
}

var hostile = []struct{ name, msg string }{
	{"empty", ""},
	{"a time without an end", "61ffffff"},
	{"a time of 65 bits", "61" + "83ffffffffffffffff7f" + "0000"},
	{"a time of eleven digits", "61" + strings.Repeat("ff", 10) + "7f0000"},
	{"times that add up to more than 64 bits", "61" + strings.Repeat("81ffffffffffffffff7e0000", 2)},
	{"a time not in its shortest form", "6180010000"},
	{"a zero not in its shortest form", "618000000000"},
	{"no length", "6101"},
	{"a prefix of 33 bytes", "610121" + strings.Repeat("00", 33) + "00"},
	{"a prefix of 2^63 bytes", "6101" + "81808080808080808000" + "00"},
	{"a prefix of 2^62 bytes", "6101" + "c08080808080808000" + "00"},
	{"a prefix that is cut short", "610102aa"},
	{"no mode", "610000"},
	{"mode 3", "61000003"},
	{"a mode of 2^63", "610000" + "81808080808080808000"},
	{"a fingerprint that is cut short", "61000001" + strings.Repeat("00", 15)},
	{"ids without a count", "61000002"},
	{"more ids than there are", "6100000202" + strings.Repeat("00", 63)},
	{"2^62 ids", "61000002" + "c0808080808080800000"},
	{"2^59 ids, whose bytes are 2^64", "61000002" + "888080808080808000"},
	{"a bound before the last", "61" + "0502bbbb00" + "0102bbba00"},
	{"a shorter bound before the last", "61" + "0501bb00" + "010000"},
	{"a bound after infinity", "61" + "000000" + "020000"},
}

// N-043, hardening §10: malformed messages are told from others, on both sides.
func TestMalformed(t *testing.T) {
	a, _ := sides(2, 1000, 3, 2)
	set := negentropy.NewSet(a)
	for _, c := range hostile {
		msg, err := hex.DecodeString(c.msg)
		if err != nil {
			t.Fatal(c.name, err)
		}
		if got, err := set.Answer(msg, 0); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: server says %x, %v", c.name, got, err)
		}
		if step, err := negentropy.NewClient(set, negentropy.Limits{}).Next(msg); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: client says %v, %v", c.name, step, err)
		}
	}
	if _, err := negentropy.NewClient(set, negentropy.Limits{}).Next([]byte{0x62}); !fault.Is(err, fault.Invalid) {
		t.Errorf("another version: %v", err)
	}
}

// A server that never agrees is given up.
func TestClientLimits(t *testing.T) {
	a, b := sides(3, 1000, 1, 2)
	wrong := append([]byte{0x61, 0, 0, 1}, make([]byte, 16)...)
	c := negentropy.NewClient(negentropy.NewSet(a), negentropy.Limits{Rounds: 5})
	for range 5 {
		if step, err := c.Next(wrong); err != nil || step.Next == nil {
			t.Fatalf("%v %v", step, err)
		}
	}
	if _, err := c.Next(wrong); !fault.Is(err, fault.TooLarge) {
		t.Errorf("sixth answer: %v", err)
	}
	c = negentropy.NewClient(negentropy.NewSet(nil), negentropy.Limits{Need: 100})
	all, err := negentropy.NewSet(b).Answer(c.Start(), 60_000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Next(all); !fault.Is(err, fault.TooLarge) {
		t.Errorf("%d ids: %v", len(b), err)
	}
	// What is told twice is learnt once.
	c = negentropy.NewClient(negentropy.NewSet(a), negentropy.Limits{})
	none := []byte{0x61, 0, 0, 2, 1, 31: 7, 36: 0}
	for i := range 2 {
		step, err := c.Next(none)
		if err != nil || (len(step.Have) == len(a)) != (i == 0) || (len(step.Need) == 1) != (i == 0) {
			t.Errorf("answer %d: has %d, needs %d, %v", i, len(step.Have), len(step.Need), err)
		}
	}
}

// A large message that disagrees everywhere costs an answer of one frame, and little time.
func TestFrame(t *testing.T) {
	a, _ := sides(4, 100_000, 1, 1<<30)
	set := negentropy.NewSet(a)
	msg := []byte{0x61}
	for range 50_000 {
		msg = append(append(msg, 2, 0, 1), make([]byte, 16)...)
	}
	for _, frame := range []int{0, 4096, 5000, 60_000} {
		got, err := set.Answer(msg, frame)
		if limit := max(frame, 4096); err != nil || len(got) > limit || len(got) < limit-1500 {
			t.Errorf("%d bytes (%v) in a frame of %d", len(got), err, frame)
		}
	}
}

// Whatever bytes come, nothing panics, and an answer fits its frame and is understood.
func FuzzAnswer(f *testing.F) {
	for _, c := range hostile {
		b, _ := hex.DecodeString(c.msg)
		f.Add(b, uint16(100))
	}
	a, b := sides(5, 300, 3, 3)
	f.Add(negentropy.NewClient(negentropy.NewSet(a), negentropy.Limits{}).Start(), uint16(300))
	sets := []*negentropy.Set{negentropy.NewSet(nil), negentropy.NewSet(a), negentropy.NewSet(b)}
	f.Fuzz(func(t *testing.T, msg []byte, which uint16) {
		server, own := sets[int(which)%len(sets)], sets[int(which)/len(sets)%len(sets)]
		answer, err := server.Answer(msg, 0)
		if err == nil {
			if len(answer) > negentropy.MinFrame || answer[0] != 0x61 {
				t.Fatalf("%x: %d bytes: %x", msg, len(answer), answer)
			}
			if _, err := client(own).Next(answer); err != nil {
				t.Fatalf("%x is answered %x: %v", msg, answer, err)
			}
		} else if !fault.Is(err, fault.Invalid) {
			t.Fatalf("%x: %v", msg, err)
		}
		step, err := client(own).Next(msg)
		if err == nil && (len(step.Next) == 1 || len(step.Next) > 60_000 || len(step.Have) > own.Len() || len(step.Need)*32 > len(msg)) {
			t.Fatalf("%x: %d bytes next, has %d, needs %d", msg, len(step.Next), len(step.Have), len(step.Need))
		}
	})
}

func client(s *negentropy.Set) *negentropy.Client {
	return negentropy.NewClient(s, negentropy.Limits{})
}

// Ours and go-nostr's speak the same protocol, each as client and as server.
func FuzzDifferential(f *testing.F) {
	f.Add(uint64(1), uint16(200), uint8(3), uint8(4))
	f.Add(uint64(2), uint16(3000), uint8(1), uint8(50))
	f.Add(uint64(3), uint16(31), uint8(40), uint8(1))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, width, rare uint8) {
		a, b := sides(seed, int(n)%4000, int(width)+1, int(rare)+1)
		wantHave, wantNeed := less(a, b), less(b, a)
		check := func(who string, have, need []ID) {
			t.Helper()
			if !slices.Equal(order(have), wantHave) || !slices.Equal(order(need), wantNeed) {
				t.Errorf("%s: has %d, needs %d, want %d, %d", who, len(have), len(need), len(wantHave), len(wantNeed))
			}
		}

		server := other(b)
		asking := client(negentropy.NewSet(slices.Clone(a)))
		var have, need []ID
		for msg := asking.Start(); msg != nil; {
			answer, err := server.Reconcile(hex.EncodeToString(msg))
			if err != nil {
				t.Fatal(err)
			}
			raw, _ := hex.DecodeString(answer)
			step, err := asking.Next(raw)
			if err != nil {
				t.Fatal(err)
			}
			have, need, msg = append(have, step.Have...), append(need, step.Need...), step.Next
		}
		check("our client", have, need)

		ours := negentropy.NewSet(slices.Clone(b))
		for _, frame := range []int{4096, 60_000} {
			have, need := learn(t, other(a), func(msg []byte) []byte {
				answer, err := ours.Answer(msg, frame)
				if err != nil {
					t.Fatal(err)
				}
				return answer
			})
			check("its client", have, need)
		}
	})
}

// other is go-nostr's side with items.
func other(items []Item) *theirs.Negentropy {
	v := vector.New()
	for _, it := range items {
		v.Insert(nostr.Timestamp(it.At), hex.EncodeToString(it.ID[:]))
	}
	v.Seal()
	return theirs.New(v, 0)
}

// learn runs go-nostr's client to its end.
func learn(t testing.TB, client *theirs.Negentropy, ask func([]byte) []byte) (have, need []ID) {
	t.Helper()
	collect := func(from chan string, to *[]ID, done chan struct{}) {
		defer close(done)
		seen := map[ID]bool{}
		for s := range from {
			var id ID
			hex.Decode(id[:], []byte(s))
			if !seen[id] {
				seen[id] = true
				*to = append(*to, id)
			}
		}
	}
	first, second := make(chan struct{}), make(chan struct{})
	go collect(client.Haves, &have, first)
	go collect(client.HaveNots, &need, second)
	msg := client.Start()
	for rounds := 0; msg != ""; rounds++ {
		raw, err := hex.DecodeString(msg)
		if err != nil || rounds > 2000 {
			t.Fatalf("after %d rounds: %v", rounds, err)
		}
		if msg, err = client.Reconcile(hex.EncodeToString(ask(raw))); err != nil {
			t.Fatal(err)
		}
	}
	<-first
	<-second
	return have, need
}

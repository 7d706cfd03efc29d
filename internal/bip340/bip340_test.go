package bip340_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"

	"github.com/gitroost/gitroost/internal/bip340"
)

// other is btcec's answer, with which every one of ours must agree.
func other(key, msg *[32]byte, sig *[64]byte) bool {
	pub, err := schnorr.ParsePubKey(key[:])
	if err != nil {
		return false
	}
	s, err := schnorr.ParseSignature(sig[:])
	return err == nil && s.Verify(msg[:], pub)
}

func agree(t testing.TB, key, msg *[32]byte, sig *[64]byte) bool {
	t.Helper()
	got := bip340.Verify(key, msg, sig)
	if want := other(key, msg, sig); got != want {
		t.Errorf("key %x, message %x, signature %x: %v, want %v", key, msg, sig, got, want)
	}
	return got
}

func signed(t testing.TB, secret, msg [32]byte) (key [32]byte, sig [64]byte) {
	t.Helper()
	k, pub := btcec.PrivKeyFromBytes(secret[:])
	s, err := schnorr.Sign(k, msg[:])
	if err != nil {
		t.Fatal(err)
	}
	copy(key[:], schnorr.SerializePubKey(pub))
	copy(sig[:], s.Serialize())
	return key, sig
}

func unhex(t testing.TB, s string, out []byte) {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(out) {
		t.Fatalf("%q is not %d bytes: %v", s, len(out), err)
	}
	copy(out, b)
}

// TestVectors are the cases of BIP-340 whose message has 32 bytes.
func TestVectors(t *testing.T) {
	for _, c := range []struct {
		name, key, msg, sig string
		want                bool
	}{
		{"0", "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
			"0000000000000000000000000000000000000000000000000000000000000000",
			"e907831f80848d1069a5371b402410364bdf1c5f8307b0084c55f1ce2dca821525f66a4a85ea8b71e482a74f382d2ce5ebeee8fdb2172f477df4900d310536c0", true},
		{"1", "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
			"243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
			"6896bd60eeae296db48a229ff71dfe071bde413e6d43f917dc8dcf8c78de33418906d11ac976abccb20b091292bff4ea897efcb639ea871cfa95f6de339e4b0a", true},
		{"2", "dd308afec5777e13121fa72b9cc1b7cc0139715309b086c960e18fd969774eb8",
			"7e2d58d8b3bcdf1abadec7829054f90dda9805aab56c77333024b9d0a508b75c",
			"5831aaeed7b44bb74e5eab94ba9d4294c49bcf2a60728d8b4c200f50dd313c1bab745879a5ad954a72c45a91c3a51d3c7adea98d82f8481e0e1e03674a6f3fb7", true},
		{"3: test fails if msg is reduced modulo p or n", "25d1dff95105f5253c4022f628a996ad3a0d95fbf21d468a1b33f8c160d8f517",
			"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
			"7eb0509757e246f19449885651611cb965ecc1a187dd51b64fda1edc9637d5ec97582b9cb13db3933705b32ba982af5af25fd78881ebb32771fc5922efc66ea3", true},
		{"4", "d69c3509bb99e412e68b0fe8544e72837dfa30746d8be2aa65975f29d22dc7b9",
			"4df3c3f68fcc83b27e9d42c90431a72499f17875c81a599b566c9889b9696703",
			"00000000000000000000003b78ce563f89a0ed9414f5aa28ad0d96d6795f9c6376afb1548af603b3eb45c9f8207dee1060cb71c04e80f593060b07d28308d7f4", true},
		{"5: public key not on the curve", "eefdea4cdb677750a420fee807eacf21eb9898ae79b9768766e4faa04a2d4a34",
			"243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
			"6cff5c3ba86c69ea4b7376f31a9bcb4f74c1976089b2d9963da2e5543e17776969e89b4c5564d00349106b8497785dd7d1d713a8ae82b32fa79d5f7fc407d39b", false},
		{"6: has_even_y(R) is false", "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
			"243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
			"fff97bd5755eeea420453a14355235d382f6472f8568a18b2f057a14602975563cc27944640ac607cd107ae10923d9ef7a73c643e166be5ebeafa34b1ac553e2", false},
		{"7: negated message", "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
			"243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
			"1fa62e331edbc21c394792d2ab1100a7b432b013df3f6ff4f99fcb33e0e1515f28890b3edb6e7189b630448b515ce4f8622a954cfe545735aaea5134fccdb2bd", false},
		{"8: negated s value", "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
			"243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
			"6cff5c3ba86c69ea4b7376f31a9bcb4f74c1976089b2d9963da2e5543e177769961764b3aa9b2ffcb6ef947b6887a226e8d7c93e00c5ed0c1834ff0d0c2e6da6", false},
		{"9: sG - eP is infinite. Test fails in single verification if has_even_y(inf) is defined as true and x(inf) as 0", "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
			"243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
			"0000000000000000000000000000000000000000000000000000000000000000123dda8328af9c23a94c1feecfd123ba4fb73476f0d594dcb65c6425bd186051", false},
		{"10: sG - eP is infinite. Test fails in single verification if has_even_y(inf) is defined as true and x(inf) as 1", "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
			"243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
			"00000000000000000000000000000000000000000000000000000000000000017615fbaf5ae28864013c099742deadb4dba87f11ac6754f93780d5a1837cf197", false},
		{"11: sig[0:32] is not an X coordinate on the curve", "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
			"243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
			"4a298dacae57395a15d0795ddbfd1dcb564da82b0f269bc70a74f8220429ba1d69e89b4c5564d00349106b8497785dd7d1d713a8ae82b32fa79d5f7fc407d39b", false},
		{"12: sig[0:32] is equal to field size", "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
			"243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
			"fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f69e89b4c5564d00349106b8497785dd7d1d713a8ae82b32fa79d5f7fc407d39b", false},
		{"13: sig[32:64] is equal to curve order", "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
			"243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
			"6cff5c3ba86c69ea4b7376f31a9bcb4f74c1976089b2d9963da2e5543e177769fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", false},
		{"14: public key is not a valid X coordinate because it exceeds the field size", "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc30",
			"243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
			"6cff5c3ba86c69ea4b7376f31a9bcb4f74c1976089b2d9963da2e5543e17776969e89b4c5564d00349106b8497785dd7d1d713a8ae82b32fa79d5f7fc407d39b", false},
	} {
		var key, msg [32]byte
		var sig [64]byte
		unhex(t, c.key, key[:])
		unhex(t, c.msg, msg[:])
		unhex(t, c.sig, sig[:])
		if got := agree(t, &key, &msg, &sig); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestAgrees: what was signed is good, and what was changed in any bit is not.
func TestAgrees(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 50
	}
	for i := range rounds {
		var secret, msg [32]byte
		rand.Read(secret[:])
		rand.Read(msg[:])
		if i < 40 { // small and large ones
			secret = [32]byte{31: byte(i + 1)}
			if i%2 == 1 {
				n := new(big.Int).Sub(btcec.S256().N, big.NewInt(int64(i)))
				n.FillBytes(secret[:])
			}
		}
		key, sig := signed(t, secret, msg)
		if !agree(t, &key, &msg, &sig) {
			t.Fatalf("a good signature is refused: %x %x %x", key, msg, sig)
		}
		bit := i * 7
		for _, b := range [][]byte{key[:], msg[:], sig[:32], sig[32:]} {
			b[bit/8%32] ^= 1 << (bit % 8)
			if agree(t, &key, &msg, &sig) {
				t.Fatal("a changed signature is good")
			}
			b[bit/8%32] ^= 1 << (bit % 8)
		}
		// -s has the right x and the wrong y for no message at all.
		s := new(big.Int).SetBytes(sig[32:])
		s.Sub(btcec.S256().N, s).FillBytes(sig[32:])
		if agree(t, &key, &msg, &sig) {
			t.Fatal("a negated signature is good")
		}
	}
}

// TestEdges: numbers at the ends of their ranges, points at infinity.
func TestEdges(t *testing.T) {
	p, n := btcec.S256().P, btcec.S256().N
	at := func(v *big.Int, d int64) (b [32]byte) {
		new(big.Int).Add(v, big.NewInt(d)).FillBytes(b[:])
		return b
	}
	var values [][32]byte
	for d := range int64(2) {
		values = append(values, at(new(big.Int), d), at(n, -d-1), at(n, d), at(p, -d-1), at(p, d))
	}
	g, _ := signed(t, [32]byte{31: 1}, [32]byte{})
	values = append(values, g, [32]byte{0: 0xff, 31: 0xff})
	for _, key := range values {
		for _, r := range values {
			for _, s := range values {
				var sig [64]byte
				copy(sig[:32], r[:])
				copy(sig[32:], s[:])
				agree(t, &key, &r, &sig)
			}
		}
	}
	// R at infinity: s = e·d. The signature must be refused whatever r is.
	var secret [32]byte
	secret[31] = 3
	key, sig := signed(t, secret, [32]byte{})
	for i := range 50 {
		msg := [32]byte{byte(i)}
		tag := sha256.Sum256([]byte("BIP0340/challenge"))
		h := sha256.New()
		for _, b := range [][]byte{tag[:], tag[:], sig[:32], key[:], msg[:]} {
			h.Write(b)
		}
		e := new(big.Int).SetBytes(h.Sum(nil))
		d := big.NewInt(3)
		if _, pub := btcec.PrivKeyFromBytes(secret[:]); pub.Y().Bit(0) == 1 {
			d.Sub(n, d)
		}
		e.Mul(e, d).Mod(e, n).FillBytes(sig[32:])
		if agree(t, &key, &msg, &sig) {
			t.Fatal("a signature whose R is infinite is good")
		}
	}
}

// TestFamiliar: a key that was met often is judged like one that was not, and so are those that take its
// place, and it when it comes back.
func TestFamiliar(t *testing.T) {
	const many = 8
	bip340.LetFamiliar(5)
	defer bip340.LetFamiliar(0)
	verify := func(i, times int) {
		msg := sha256.Sum256([]byte(fmt.Sprint("familiar", i)))
		key, sig := signed(t, msg, msg)
		for range times {
			if !bip340.Verify(&key, &msg, &sig) {
				t.Fatalf("key %d: a good signature is refused", i)
			}
		}
		for n := range 3 {
			for _, b := range [][]byte{msg[:], sig[:32], sig[32:]} {
				b[(7*i+n)%32] ^= 1 << (n + i%5)
				agree(t, &key, &msg, &sig)
				b[(7*i+n)%32] ^= 1 << (n + i%5)
			}
		}
		agree(t, &key, &msg, &sig)
	}
	for i := range many {
		verify(i, 40)
	}
	for i := range many { // each takes the place of another
		verify(i, 520)
	}
	verify(0, 5)
}

// TestFamiliarEdges: the smallest and the largest scalars, and sums that meet infinity on the way, with a key
// that is familiar.
func TestFamiliarEdges(t *testing.T) {
	n := btcec.S256().N
	for d := range int64(6) {
		for _, secret := range []*big.Int{big.NewInt(d + 1), new(big.Int).Sub(n, big.NewInt(d+1))} {
			var b [32]byte
			secret.FillBytes(b[:])
			key, sig := signed(t, b, [32]byte{byte(d)})
			for range 40 {
				if !bip340.Verify(&key, &[32]byte{byte(d)}, &sig) {
					t.Fatal("a good signature is refused")
				}
			}
			for _, s := range []*big.Int{new(big.Int), big.NewInt(1), big.NewInt(128), big.NewInt(129), new(big.Int).Lsh(big.NewInt(1), 127),
				new(big.Int).Lsh(big.NewInt(1), 128), new(big.Int).Sub(n, big.NewInt(1)), new(big.Int).Rsh(n, 1), n} {
				forged := sig
				s.FillBytes(forged[32:])
				agree(t, &key, &[32]byte{byte(d)}, &forged)
				copy(forged[:32], key[:])
				agree(t, &key, &[32]byte{byte(d)}, &forged)
			}
			for i := range 40 {
				msg := sha256.Sum256([]byte{byte(i)})
				_, sig := signed(t, b, msg)
				if !agree(t, &key, &msg, &sig) {
					t.Fatal("a good signature is refused")
				}
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	key, sig := signed(f, [32]byte{31: 7}, [32]byte{1})
	f.Add(key[:], append(make([]byte, 0, 32), append([]byte{1}, make([]byte, 31)...)...), sig[:])
	f.Fuzz(func(t *testing.T, k, m, s []byte) {
		var key, msg [32]byte
		var sig [64]byte
		copy(key[:], k)
		copy(msg[:], m)
		copy(sig[:], s)
		agree(t, &key, &msg, &sig)
		// The same as a secret: what it signs is good.
		if n := new(big.Int).SetBytes(key[:]); n.Sign() > 0 && n.Cmp(btcec.S256().N) < 0 {
			pub, sig := signed(t, key, msg)
			if !agree(t, &pub, &msg, &sig) {
				t.Errorf("secret %x, message %x: the signature is refused", key, msg)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	msg := sha256.Sum256([]byte("measured"))
	var keys [16][32]byte
	var sigs [16][64]byte
	for i := range keys {
		keys[i], sigs[i] = signed(b, sha256.Sum256([]byte(fmt.Sprint(i))), msg)
	}
	for _, c := range []struct {
		name   string
		verify func(key, msg *[32]byte, sig *[64]byte) bool
	}{{"ours", bip340.Verify}, {"btcec", other}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if !c.verify(&keys[i%16], &msg, &sigs[i%16]) {
					b.Fatal("refused")
				}
				i++
			}
		})
	}
}

// TestPublicKey holds what a secret is known by against what another library says.
func TestPublicKey(t *testing.T) {
	n := btcec.S256().N
	last := new(big.Int).Sub(n, big.NewInt(1))
	for _, k := range []*big.Int{new(big.Int), n, new(big.Int).Lsh(big.NewInt(1), 255), new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))} {
		var secret [32]byte
		k.FillBytes(secret[:])
		if _, ok := bip340.PublicKey(&secret); ok != (k.Sign() > 0 && k.Cmp(n) < 0) {
			t.Errorf("%x: %v", secret, ok)
		}
	}
	secrets := [][32]byte{{31: 1}, {31: 2}, {0: 1}}
	var s [32]byte
	last.FillBytes(s[:])
	secrets = append(secrets, s)
	for range 50 {
		rand.Read(s[:])
		secrets = append(secrets, s)
	}
	for _, secret := range secrets {
		_, pub := btcec.PrivKeyFromBytes(secret[:])
		got, ok := bip340.PublicKey(&secret)
		if want := schnorr.SerializePubKey(pub); !ok || string(got[:]) != string(want) {
			t.Errorf("%x is known as %x, %v; want %x", secret, got, ok, want)
		}
	}
}

// TestChain adds points where the formulas for others do not hold: to nothing, to itself, to its opposite, and after
// that; btcec says what the sum is.
func TestChain(t *testing.T) {
	for _, list := range [][]int64{
		{1}, {-1}, {5, 7}, {7, 5, -3}, {4, 4}, {-4, -4}, {1, 1, 2, 4, 8}, {9, -9}, {9, -9, 9, -9}, {9, -9, 3, 8},
		{1, 2, -3}, {1, 2, -3, 6}, {100, -50, -50, 1}, {1, 2, 3, 6, -12, 5, 5, 10, 20},
	} {
		total := int64(0)
		for _, n := range list {
			total += n
		}
		var wantX, wantY [32]byte
		if total != 0 {
			var k btcec.ModNScalar
			k.SetInt(uint32(max(total, -total)))
			var p btcec.JacobianPoint
			if btcec.ScalarBaseMultNonConst(&k, &p); total < 0 {
				p.Y.Negate(1)
			}
			p.ToAffine()
			p.X.PutBytes(&wantX)
			p.Y.PutBytes(&wantY)
		}
		if x, y := bip340.Chain(list); x != wantX || y != wantY {
			t.Errorf("%v: (%x, %x), want (%x, %x)", list, x, y, wantX, wantY)
		}
	}
}

// Package bip340 verifies Schnorr signatures over secp256k1 as BIP-340 defines them, which is how
// every Nostr event is signed. It does not sign: all that is verified is public, so it takes as long as
// the numbers at hand ask for, and keeps no secret. The one secret it ever sees is the server's own,
// once, at a start, when nobody can measure it (PublicKey).
//
// The arithmetic of the field and of the curve is gnark-crypto's. What is here is the equation, and a
// way to compute it that suits it: R = s·G - e·P is one chain of 128 doublings for both points, since each
// scalar is split in two halves by the curve's endomorphism. For a key that signs often it is a sum of
// multiples that are there already (docs/decisions/0014-signatures.md).
package bip340

import (
	"crypto/sha256"
	"math/big"
	"sync"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/secp256k1"
	"github.com/consensys/gnark-crypto/ecc/secp256k1/fp"
	"github.com/consensys/gnark-crypto/ecc/secp256k1/fr"
)

const (
	windowG = 8 // bits of a digit of the scalar of G, whose multiples are made once
	windowP = 5 // the same of P, whose multiples are made when its key is met
	digits  = 132
)

// constants are made when they are first needed.
type constants struct {
	tag     [2 * sha256.Size]byte // the beginning of what is hashed
	lambda  big.Int               // λ·(x, y) = (β·x, y)
	beta    fp.Element
	lattice ecc.Lattice
	g, gl   [1 << (windowG - 2)]secp256k1.G1Affine // odd multiples of G and of λ·G
	steps   steps                                  // of G
	keys    keys
}

var once = sync.OnceValue(func() *constants {
	c := new(constants)
	tag := sha256.Sum256([]byte("BIP0340/challenge"))
	copy(c.tag[:], tag[:])
	copy(c.tag[sha256.Size:], tag[:])

	// λ and β are cube roots of one; of the two of each those belong together that the curve agrees on.
	three := big.NewInt(3)
	root := func(modulus *big.Int) *big.Int {
		exp := new(big.Int).Sub(modulus, big.NewInt(1))
		exp.Div(exp, three)
		for base := int64(2); ; base++ {
			if r := new(big.Int).Exp(big.NewInt(base), exp, modulus); r.Cmp(big.NewInt(1)) != 0 {
				return r
			}
		}
	}
	c.lambda.Set(root(fr.Modulus()))
	c.beta.SetBigInt(root(fp.Modulus()))
	_, g := secp256k1.Generators()
	var image, want secp256k1.G1Affine
	image.ScalarMultiplication(&g, &c.lambda)
	want = g
	if want.X.Mul(&want.X, &c.beta); !want.X.Equal(&image.X) {
		c.beta.Square(&c.beta)
	}
	ecc.PrecomputeLattice(fr.Modulus(), &c.lambda, &c.lattice)

	var twice, sum secp256k1.G1Jac
	sum.FromAffine(&g)
	twice.Double(&sum)
	for i := range c.g {
		c.g[i].FromJacobian(&sum)
		c.gl[i] = c.g[i]
		c.gl[i].X.Mul(&c.gl[i].X, &c.beta)
		sum.AddAssign(&twice)
	}
	c.steps = makeSteps(&g, stepG, stepsG)
	return c
})

// Verify reports whether sig is the signature of msg by the key whose x coordinate is key. It takes
// about 0.1 ms of one core, and a third of that for a key that signs often.
func Verify(key, msg *[32]byte, sig *[64]byte) bool {
	c := once()
	var rx fp.Element
	var s, e fr.Element
	if rx.SetBytesCanonical(sig[:32]) != nil || s.SetBytesCanonical(sig[32:]) != nil {
		return false
	}
	p := c.keys.get(c, key)
	if p == nil {
		return false
	}
	var text [len(c.tag) + 96]byte
	copy(text[:], c.tag[:])
	copy(text[len(c.tag):], sig[:32])
	copy(text[len(c.tag)+32:], key[:])
	copy(text[len(c.tag)+64:], msg[:])
	hash := sha256.Sum256(text[:])
	e.SetBytes(hash[:]) // modulo the order of the curve
	e.Neg(&e)

	var r secp256k1.G1Jac
	if all := c.keys.steps(p); all != nil {
		r = c.stride(&s, &e, all)
	} else {
		r = c.combine(&s, &e, p)
	}
	if r.Z.IsZero() {
		return false
	}
	// The x coordinate first, which needs no division: x = X/Z², y = Y/Z³.
	var zz, x fp.Element
	zz.Square(&r.Z)
	if x.Mul(&rx, &zz); !x.Equal(&r.X) {
		return false
	}
	var y fp.Element
	zz.Mul(&zz, &r.Z)
	y.Inverse(&zz)
	y.Mul(&y, &r.Y)
	return even(&y)
}

func even(y *fp.Element) bool {
	b := y.Bytes()
	return b[len(b)-1]&1 == 0
}

// combine returns s·G + e·P.
func (c *constants) combine(s, e *fr.Element, p *point) (r secp256k1.G1Jac) {
	var ofG, ofP [2][digits]int8
	c.split(s, windowG, &ofG)
	c.split(e, windowP, &ofP)
	r.X.SetOne()
	r.Y.SetOne()
	begun := false
	for i := digits - 1; i >= 0; i-- {
		if begun {
			r.DoubleAssign()
		}
		if ofG[0][i]|ofG[1][i]|ofP[0][i]|ofP[1][i] == 0 {
			continue
		}
		begun = true
		addMixed(&r, c.g[:], ofG[0][i])
		addMixed(&r, c.gl[:], ofG[1][i])
		addMixed(&r, p.odd[:], ofP[0][i])
		addMixed(&r, p.images[:], ofP[1][i])
	}
	return r
}

func addMixed(r *secp256k1.G1Jac, odd []secp256k1.G1Affine, d int8) {
	switch {
	case d > 0:
		r.AddMixed(&odd[d>>1])
	case d < 0:
		neg := odd[-d>>1]
		neg.Y.Neg(&neg.Y)
		r.AddMixed(&neg)
	}
}

// split writes k as k0 + k1·λ, both of about half the length, in digits of so many bits, each odd or
// zero.
func (c *constants) split(k *fr.Element, window uint, out *[2][digits]int8) {
	var n big.Int
	k.BigInt(&n)
	halves := ecc.SplitScalar(&n, &c.lattice)
	for i := range halves {
		recode(&halves[i], window, &out[i])
	}
}

// recode writes k, of less than 130 bits, in non-adjacent form.
func recode(k *big.Int, window uint, out *[digits]int8) {
	w := words(k)
	sign := int8(k.Sign())
	bit := func(i int) uint64 { return w[i/64] >> (i % 64) & 1 }
	carry := uint64(0)
	for i := 0; i < digits; {
		if bit(i) == carry { // this digit is zero
			i++
			continue
		}
		d := carry
		for j := range window {
			if i+int(j) < 192 {
				d += bit(i+int(j)) << j
			}
		}
		// d is odd; of the upper half it is taken as negative, and one more of the next digit.
		if carry = d >> (window - 1) & 1; carry == 1 {
			out[i] = -sign * int8(1<<window-d)
		} else {
			out[i] = sign * int8(d)
		}
		i += int(window)
	}
}

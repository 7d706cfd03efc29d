package bip340

import (
	"math/big"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/secp256k1"
	"github.com/consensys/gnark-crypto/ecc/secp256k1/fr"
)

// Of a key that signs again and again, and of G, so many multiples are made ready that a product with
// either is a sum of some of them: without one doubling, in less than half of the time.

const (
	stepG = 8 // bits of a digit here; digits go from -2^(step-1) to 2^(step-1)
	stepP = 5

	// Both cover the 129 bits of half a scalar, and what is carried.
	stepsG = 17
	stepsP = 27

	// familiar is after how many signatures a key is: to make it ready takes as long as eight.
	familiar = 32

	// maxFamiliar is how many keys are at a time, at 27 KiB each. When so many are, another takes the place
	// of the one that was here longest, if it is deserving: else many keys in turn would only make work.
	maxFamiliar = 256
	deserving   = 16 * familiar
)

// steps are multiples of a point: at [i<<(step-1) + j-1] that by j·2^(step·i).
type steps []secp256k1.G1Affine

// makeSteps computes n·2^(step-1) multiples of a. One inversion serves them all.
func makeSteps(a *secp256k1.G1Affine, step uint, n int) steps {
	all := make([]secp256k1.G1Jac, 0, n<<(step-1))
	var base secp256k1.G1Jac
	base.FromAffine(a)
	for range n {
		sum := base
		all = append(all, sum)
		for range 1<<(step-1) - 1 {
			sum.AddAssign(&base)
			all = append(all, sum)
		}
		base = sum // 2^(step-1)·base
		base.DoubleAssign()
	}
	return secp256k1.BatchJacobianToAffineG1(all)
}

// stride is combine for a key whose steps are there.
func (c *constants) stride(s, e *fr.Element, p steps) (r secp256k1.G1Jac) {
	r.X.SetOne() // at infinity: Z is 0
	r.Y.SetOne()
	c.walk(&r, s, c.steps, stepG, stepsG)
	c.walk(&r, e, p, stepP, stepsP)
	return r
}

// walk adds k times the point of which all are multiples to r.
func (c *constants) walk(r *secp256k1.G1Jac, k *fr.Element, all steps, step uint, n int) {
	var v big.Int
	k.BigInt(&v)
	halves := ecc.SplitScalar(&v, &c.lattice)
	for half := range halves {
		w := words(&halves[half])
		negative := halves[half].Sign() < 0
		carry := 0
		for i := range n {
			at := uint(i) * step
			bits := w[at/64] >> (at % 64)
			if at%64+step > 64 {
				bits |= w[at/64+1] << (64 - at%64)
			}
			d := int(bits&(1<<step-1)) + carry
			if carry = 0; d > 1<<(step-1) {
				d, carry = d-1<<step, 1
			}
			if d == 0 {
				continue
			}
			neg := negative
			if d < 0 {
				d, neg = -d, !neg
			}
			m := all[i<<(step-1)+d-1]
			if neg {
				m.Y.Neg(&m.Y)
			}
			if half == 1 {
				m.X.Mul(&m.X, &c.beta)
			}
			r.AddMixed(&m)
		}
	}
}

// words returns the absolute value of k, little-endian; it is below 2^192.
func words(k *big.Int) (w [3]uint64) {
	var bytes [24]byte
	k.FillBytes(bytes[:])
	for i := range w {
		for _, b := range bytes[16-8*i : 24-8*i] {
			w[i] = w[i]<<8 | uint64(b)
		}
	}
	return w
}

package bip340

import (
	"encoding/binary"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/secp256k1"
	"github.com/consensys/gnark-crypto/ecc/secp256k1/fp"
	"github.com/consensys/gnark-crypto/ecc/secp256k1/fr"
)

// Of a key that signs again and again, and of G, so many multiples are made ready that a product with
// either is a sum of some of them: without one doubling, in less than half of the time.

const (
	// Bits of a digit here; digits go from -2^(step-1) to 2^(step-1).
	stepG = 9
	stepP = 6

	// Those of G cover a whole scalar, for there is one G; those of a key half a scalar of 129 bits. Both
	// cover what is carried.
	stepsG = 29
	stepsP = 22

	// familiar is after how many signatures a key is: to make it ready takes as long as a dozen.
	familiar = 32

	// maxFamiliar is how many keys are at a time, at 44 KiB each. When so many are, another takes the place
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
func (c *constants) stride(s, e *fr.Element, p steps) secp256k1.G1Jac {
	var r sum
	var v big.Int
	e.BigInt(&v)
	halves := ecc.SplitScalar(&v, &c.lattice)
	r.walk(words(&halves[1]), halves[1].Sign() < 0, p, stepP, stepsP)
	r.x.Mul(&r.x, &c.beta) // the image under λ of all that was added so far
	r.walk(words(&halves[0]), halves[0].Sign() < 0, p, stepP, stepsP)
	r.walk(s.Bits(), false, c.steps, stepG, stepsG)
	return r.jacobian()
}

// A sum of points is (x/zz, y/zzz), where zz is a square and zzz its third power; at infinity zz is zero. To add
// to it takes eight products and two squares, and few sums beside them. Its zero value is at infinity.
type sum struct{ x, y, zz, zzz fp.Element }

// walk adds k times the point of which all are multiples, or subtracts it; k is little-endian.
func (r *sum) walk(k [4]uint64, negative bool, all steps, step uint, n int) {
	carry := 0
	for i := range n {
		at := uint(i) * step
		bits := k[at/64] >> (at % 64)
		if at%64+step > 64 && at/64+1 < uint(len(k)) {
			bits |= k[at/64+1] << (64 - at%64)
		}
		d := int(bits&(1<<step-1)) + carry
		if carry = 0; d > 1<<(step-1) {
			d, carry = d-1<<step, 1
		}
		switch {
		case d > 0:
			r.add(&all[i<<(step-1)+d-1], negative)
		case d < 0:
			r.add(&all[i<<(step-1)-d-1], !negative)
		}
	}
}

// add adds a, which is not at infinity, or subtracts it.
func (r *sum) add(a *secp256k1.G1Affine, subtract bool) {
	ay := a.Y
	if subtract {
		ay.Neg(&ay)
	}
	if r.zz.IsZero() {
		r.x, r.y = a.X, ay
		r.zz.SetOne()
		r.zzz.SetOne()
		return
	}
	var p, q, h, hh, t fp.Element
	p.Mul(&a.X, &r.zz)
	p.Sub(&p, &r.x)
	q.Mul(&ay, &r.zzz)
	q.Sub(&q, &r.y)
	if p.IsZero() {
		if q.IsZero() {
			r.double()
		} else {
			*r = sum{}
		}
		return
	}
	h.Square(&p)
	hh.Mul(&h, &p)
	t.Mul(&r.x, &h)
	r.zz.Mul(&r.zz, &h)
	r.zzz.Mul(&r.zzz, &hh)
	r.x.Square(&q)
	r.x.Sub(&r.x, &hh)
	r.x.Sub(&r.x, &t)
	r.x.Sub(&r.x, &t)
	t.Sub(&t, &r.x)
	t.Mul(&t, &q)
	hh.Mul(&hh, &r.y)
	r.y.Sub(&t, &hh)
}

// double is seldom needed: where what is added is what there is.
func (r *sum) double() {
	j := r.jacobian()
	j.DoubleAssign()
	r.x, r.y = j.X, j.Y
	r.zz.Square(&j.Z)
	r.zzz.Mul(&r.zz, &j.Z)
}

// jacobian returns the same with z for which zz is its square: zzz/zz, and for that x and y are made larger by
// powers of zz, so that nothing is divided.
func (r *sum) jacobian() (j secp256k1.G1Jac) {
	var f fp.Element
	f.Square(&r.zz)
	j.X.Mul(&r.x, &f)
	f.Mul(&f, &r.zz)
	j.Y.Mul(&r.y, &f)
	j.Z = r.zzz
	return j
}

// words returns the absolute value of k, little-endian; it is below 2^256.
func words(k *big.Int) (w [4]uint64) {
	var bytes [32]byte
	k.FillBytes(bytes[:])
	for i := range w {
		w[i] = binary.BigEndian.Uint64(bytes[24-8*i:])
	}
	return w
}

package bip340

import (
	"cmp"
	"math/big"
	"sync"
	"sync/atomic"

	"github.com/consensys/gnark-crypto/ecc/secp256k1"
	"github.com/consensys/gnark-crypto/ecc/secp256k1/fp"
	"github.com/consensys/gnark-crypto/ecc/secp256k1/fr"
)

// A point is a key made ready: its odd multiples, and their images under λ.
type point struct {
	odd, images [1 << (windowP - 2)]secp256k1.G1Affine

	used  atomic.Int32 // signatures since it was met, or since it lost its steps
	steps atomic.Pointer[steps]
}

// maxKeys is how many keys stay ready, at 1 KiB each. Who publishes once often publishes again, and
// making a key ready is a fifth of the work. Which one goes when there are too many is chance.
const maxKeys = 1024

// keys are those that stay ready.
type keys struct {
	mu sync.RWMutex
	m  map[[32]byte]*point

	familiar []*point // those with steps, at most maxFamiliar, or most if that is set
	next     int      // whose place is taken next when there are as many
	most     int
}

// steps returns the steps of p if its key is familiar, or nil.
func (k *keys) steps(p *point) steps {
	if all := p.steps.Load(); all != nil {
		return *all
	}
	used := p.used.Add(1)
	if used != familiar && used != deserving {
		return nil
	}
	k.mu.RLock()
	full := k.full()
	k.mu.RUnlock()
	if full && used != deserving {
		return nil
	}
	all := makeSteps(&p.odd[0], stepP, stepsP)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.full() {
		k.next %= len(k.familiar)
		old := k.familiar[k.next]
		old.used.Store(0)
		old.steps.Store(nil)
		k.familiar[k.next] = p
		k.next++
	} else {
		k.familiar = append(k.familiar, p)
	}
	p.steps.Store(&all)
	return all
}

// full reports whether every place is taken. It is called with mu held.
func (k *keys) full() bool { return len(k.familiar) >= cmp.Or(k.most, maxFamiliar) }

// get returns the point of key, or nil if there is none.
func (k *keys) get(c *constants, key *[32]byte) *point {
	k.mu.RLock()
	p := k.m[*key]
	k.mu.RUnlock()
	if p != nil {
		return p
	}
	a, ok := lift(key)
	if !ok {
		return nil
	}
	p = c.ready(&a)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil {
		k.m = make(map[[32]byte]*point)
	}
	if len(k.m) >= maxKeys {
		for old := range k.m {
			delete(k.m, old)
			break
		}
	}
	k.m[*key] = p
	return p
}

// ready computes the multiples of a. One inversion serves them all.
func (c *constants) ready(a *secp256k1.G1Affine) *point {
	p := new(point)
	var odd [len(p.odd)]secp256k1.G1Jac
	var before [len(p.odd)]fp.Element // the product of all Z before each
	var twice secp256k1.G1Jac
	odd[0].FromAffine(a)
	twice.Double(&odd[0])
	before[0].SetOne()
	for i := 1; i < len(odd); i++ {
		before[i].Mul(&before[i-1], &odd[i-1].Z)
		odd[i] = odd[i-1]
		odd[i].AddAssign(&twice)
	}
	var all fp.Element
	last := len(odd) - 1
	all.Mul(&before[last], &odd[last].Z)
	var rest fp.Element
	rest.Inverse(&all)
	for i := last; i >= 0; i-- {
		var z, zz fp.Element
		z.Mul(&rest, &before[i]) // 1/Z
		rest.Mul(&rest, &odd[i].Z)
		zz.Square(&z)
		p.odd[i].X.Mul(&odd[i].X, &zz)
		p.odd[i].Y.Mul(&odd[i].Y, &zz)
		p.odd[i].Y.Mul(&p.odd[i].Y, &z)
		p.images[i] = p.odd[i]
		p.images[i].X.Mul(&p.images[i].X, &c.beta)
	}
	return p
}

// lift returns the point with this x coordinate and an even y, if there is one.
func lift(key *[32]byte) (p secp256k1.G1Affine, ok bool) {
	if p.X.SetBytesCanonical(key[:]) != nil {
		return p, false
	}
	var y fp.Element
	y.Square(&p.X)
	y.Mul(&y, &p.X)
	var seven fp.Element
	seven.SetUint64(7)
	y.Add(&y, &seven)
	if p.Y.Sqrt(&y) == nil {
		return p, false
	}
	if !even(&p.Y) {
		p.Y.Neg(&p.Y)
	}
	return p, true
}

// PublicKey returns the key by which the holder of secret is known: 32 bytes, as BIP-340 writes it. It
// is false for a number that is no key: zero, or not below the order of the curve. It does not take the
// same time for every secret, so it is for who is asked seldom and not by strangers.
func PublicKey(secret *[32]byte) (key [32]byte, ok bool) {
	var k fr.Element
	if k.SetBytesCanonical(secret[:]) != nil || k.IsZero() {
		return key, false
	}
	var n big.Int
	var p secp256k1.G1Affine
	p.ScalarMultiplicationBase(k.BigInt(&n))
	return p.X.Bytes(), true
}

package bip340

// LetFamiliar bounds how many keys are familiar at a time, for a test.
func LetFamiliar(n int) {
	k := &once().keys
	k.mu.Lock()
	defer k.mu.Unlock()
	k.most = n
}

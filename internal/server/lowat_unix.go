//go:build linux || darwin

package server

import (
	"net"

	"golang.org/x/sys/unix"
)

// notSent is how much may wait in the kernel, unsent, for a visitor who reads slowly.
const notSent = 128 << 10

// keepShort keeps the kernel's queue of unsent bytes short. A write then returns when a little has
// moved, and not only when a third of a buffer of megabytes has: without it a slow reader behind a
// proxy, who never stops reading, looks as if it had (H-111). What is under way is not bounded by
// it, so nobody becomes slower.
func keepShort(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // it works without, only less well
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent)
	})
}

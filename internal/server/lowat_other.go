//go:build !linux && !darwin

package server

import "net"

func keepShort(*net.TCPConn) {}

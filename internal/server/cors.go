package server

import (
	"bytes"
	"net"
	"net/http"

	"github.com/rs/cors"
)

// The three headers that every answer of the protocol carries (C-01…C-03).
const (
	allowMethods = "GET, POST, OPTIONS"
	allowHeaders = "Content-Type, Authorization, Git-Protocol, Accept, Content-Encoding, X-Requested-With, X-Git-Request-Id, Range"
	maxAge       = "86400"
)

// withCORS puts the headers on every answer, those about jobs too, and answers every OPTIONS (C-04). S4-21 would leave
// /jobs out; C-01 says without exception, and nothing is gained by one: no answer depends on who the browser thinks
// its visitor is, for what is private, and what changes something, wants a request that is signed (decision 20). rs/cors stands
// inside: it says which headers a page may read; but it adds nothing where a request names no
// Origin, and it lets a plain OPTIONS through, so it cannot do this alone.
func withCORS(next http.Handler) http.Handler {
	expose := cors.New(cors.Options{
		AllowedOrigins: []string{"*"},
		ExposedHeaders: []string{"ETag", "Retry-After", "WWW-Authenticate"},
	}).Handler(next)
	// Made once for all answers. Nobody changes them: Set and Add of a header put another slice in their place.
	everybody, methods, headers := []string{"*"}, []string{allowMethods}, []string{allowHeaders}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Access-Control-Allow-Origin"] = everybody
		h["Access-Control-Allow-Methods"] = methods
		h["Access-Control-Allow-Headers"] = headers
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Max-Age", maxAge)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		expose.ServeHTTP(w, r)
	})
}

// corsListener adds the headers to the answers that net/http writes by itself to requests that it
// cannot parse, and that no handler sees (C-07).
type corsListener struct{ net.Listener }

func (l corsListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		keepShort(tcp)
		return &corsConn{TCPConn: tcp}, nil
	}
	return c, nil
}

// corsConn is a TCP connection. What it embeds keeps sendfile working.
type corsConn struct{ *net.TCPConn }

var (
	bareError   = []byte("HTTP/1.1 ")
	headEnd     = []byte("\r\n\r\n")
	lineEnd     = []byte("\r\n")
	closing     = []byte("\r\nConnection: close")
	corsMarker  = []byte("Access-Control-Allow-Origin")
	corsHeaders = []byte("\r\nAccess-Control-Allow-Origin: *" +
		"\r\nAccess-Control-Allow-Methods: " + allowMethods +
		"\r\nAccess-Control-Allow-Headers: " + allowHeaders)
	badRequest = []byte("HTTP/1.1 400 Bad Request")
)

// Write passes b on. An answer that net/http made by itself comes in one piece, closes the
// connection and has none of our headers; it gets them here. What it calls a 5xx, a protocol or a
// transfer coding that it does not know, is a fault of the request (H-110).
func (c *corsConn) Write(b []byte) (int, error) {
	if len(b) > 512 || !bytes.HasPrefix(b, bareError) || (b[9] != '4' && b[9] != '5') || bytes.Contains(b, corsMarker) {
		return c.TCPConn.Write(b)
	}
	head, body, ok := bytes.Cut(b, headEnd)
	if !ok || !bytes.Contains(head, closing) {
		return c.TCPConn.Write(b)
	}
	if b[9] == '5' {
		_, rest, _ := bytes.Cut(head, lineEnd)
		head = bytes.Join([][]byte{badRequest, rest}, lineEnd)
	}
	out := make([]byte, 0, len(b)+len(corsHeaders)+len(badRequest))
	out = append(append(append(append(out, head...), corsHeaders...), headEnd...), body...)
	if _, err := c.TCPConn.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

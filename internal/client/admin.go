package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"

	"github.com/gitroost/gitroost/internal/fault"
)

// maxAnswer is the largest answer of a server to a call over its socket, in bytes.
const maxAnswer = 64 << 20

// Ask makes a call to the server that listens on a socket of this computer, and returns its result.
// If nobody listens there that is a fault.NotFound; what the server says no to is a fault.Invalid
// with its words.
func Ask(ctx context.Context, socket, method string, params ...any) (json.RawMessage, error) {
	const op = "client: ask"
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"method": method, "params": params})
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	resp, err := Send(ctx, socket, http.MethodPost, "/", body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fault.Errorf(fault.Busy, op, "the answer of the server is cut short: %v", err)
	}
	var out struct {
		Result json.RawMessage
		Error  string
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fault.Errorf(fault.Invalid, op, "the server answers %s, and nothing that is understood", resp.Status)
	}
	if out.Error != "" {
		return nil, fault.E(fault.Invalid, op, out.Error)
	}
	return out.Result, nil
}

// Send sends a request to the server that listens on a socket of this computer, and returns its answer, whose body is to
// be closed. If nobody listens there that is a fault.NotFound.
func Send(ctx context.Context, socket, method, path string, body []byte) (*http.Response, error) {
	const op = "client: ask"
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	req.Header.Set("Content-Type", "application/nostr+json+rpc")
	t := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	resp, err := t.RoundTrip(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fault.Errorf(fault.NotFound, op, "no server listens on %s", socket)
	case errors.Is(err, fs.ErrPermission):
		return nil, fault.Errorf(fault.Refused, op, "%s belongs to another user; be the one who runs the server", socket)
	case err != nil:
		return nil, fault.Errorf(fault.Busy, op, "the server on %s does not answer: %v", socket, err)
	}
	return resp, nil
}

package manage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"

	"github.com/gitroost/gitroost/internal/fault"
)

// A request is a call: a method, and what it is about.
type request struct {
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
}

// A response is what came of it: one of the two.
type response struct {
	Result any    `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

// answer writes a response. There is nothing in one that cannot be written.
func answer(w http.ResponseWriter, status int, r response) {
	b, err := json.Marshal(r)
	if err != nil {
		status, b = http.StatusOK, []byte(`{"error":"the answer cannot be written"}`)
	}
	h := w.Header()
	h.Set("Content-Type", rpcType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a caller who left does not want to know
}

// serve carries out the call in body on behalf of by.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, by string, body []byte) {
	req, err := parse(body)
	if err != nil {
		answer(w, http.StatusBadRequest, response{Error: err.Error()})
		return
	}
	result, err := h.call(r.Context(), by, req)
	if err != nil {
		answer(w, http.StatusOK, response{Error: h.say(req.Method, err)})
		return
	}
	answer(w, http.StatusOK, response{Result: result})
}

// maxParams is how many parameters a call has at most.
const maxParams = 16

func parse(body []byte) (request, error) {
	var req request
	if err := json.Unmarshal(body, &req); err != nil || req.Method == "" {
		return req, errors.New(`the body must be JSON: {"method":"…","params":[…]}`)
	}
	if len(req.Params) > maxParams {
		return req, fmt.Errorf("a call has at most %d params", maxParams)
	}
	return req, nil
}

// say tells an error to the operator; details of our own faults are in the log.
func (h *Handler) say(method string, err error) string {
	text, id := fault.Message(err)
	if id != "" {
		h.log.Error("a call failed", "method", method, "id", id, "err", err)
	}
	return text
}

// mistake is a call that makes no sense.
func mistake(format string, args ...any) error {
	return fault.Errorf(fault.Invalid, "manage: call", format, args...)
}

// call carries out one call. What panics is that call's own trouble.
func (h *Handler) call(ctx context.Context, by string, req request) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("manage: panic in a call", "method", req.Method, "panic", p, "stack", string(debug.Stack()))
			err = fault.Errorf(fault.Internal, "manage: call", "panic: %v", p)
		}
	}()
	m, ok := methods()[req.Method]
	if !ok {
		return nil, mistake("there is no method %.40q; supportedmethods lists them", req.Method)
	}
	return m(h, ctx, call{by: by, params: req.Params})
}

// A call is what a method is given.
type call struct {
	by     string
	params []json.RawMessage
}

// text returns the n-th parameter, which must be a string, or "" if it is missing or null.
func (c call) text(n int) (string, error) {
	if n >= len(c.params) {
		return "", nil
	}
	var s *string
	if err := json.Unmarshal(c.params[n], &s); err != nil {
		return "", mistake("parameter %d must be a string", n+1)
	}
	if s == nil {
		return "", nil
	}
	return *s, nil
}

// need is text for what must be there.
func (c call) need(n int, what string) (string, error) {
	s, err := c.text(n)
	if err == nil && s == "" {
		err = mistake("parameter %d is missing: %s", n+1, what)
	}
	return s, err
}

// number returns the n-th parameter, a whole number, as it is written.
func (c call) number(n int, what string) (string, error) {
	if n < len(c.params) {
		var v json.Number
		if json.Unmarshal(c.params[n], &v) == nil {
			return v.String(), nil
		}
	}
	return "", mistake("parameter %d must be a number: %s", n+1, what)
}

// Methods returns the names of the methods of NIP-86 that are offered, sorted.
func Methods() []string {
	var out []string
	for name := range methods() {
		if !extra(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Call carries out one call of this process itself, and returns its result as JSON. Its errors are
// *fault.Error or *grasp.Refusal.
func (h *Handler) Call(ctx context.Context, by, name string, params ...any) (json.RawMessage, error) {
	req := request{Method: name}
	for _, p := range params {
		b, err := json.Marshal(p)
		if err != nil {
			return nil, fault.Wrap("manage: call", err)
		}
		req.Params = append(req.Params, b)
	}
	result, err := h.call(ctx, by, req)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(result)
	return b, fault.Wrap("manage: call", err)
}

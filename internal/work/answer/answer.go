// Package answer sends one request and says what its answer means for the job that sent it: whether
// it arrived, when to try again, and what of it may be written into a log. It does not know what the
// request is for.
package answer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gitroost/gitroost/internal/dial"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// MaxExcerpt is how much of an answer is kept, in bytes; more is not read.
const MaxExcerpt = 1024

// MaxRetryAfter is the longest Retry-After that is heeded.
const MaxRetryAfter = 24 * time.Hour

// A Client sends requests. It follows no redirects.
type Client interface {
	Do(*http.Request) (*http.Response, error)
}

// An Answer is what came back.
type Answer struct {
	Status  int           // 0 if nothing did
	Err     error         // why nothing did
	After   time.Duration // what the other side asked to be left alone for, or 0
	Took    time.Duration
	Excerpt string // the beginning of the answer, of what can be printed
}

// To sends req and reads the beginning of its answer.
func To(c Client, req *http.Request, now func() time.Time) Answer {
	began := now()
	resp, err := c.Do(req)
	if err != nil {
		after, _ := dial.RetryAfter(err)
		return Answer{Err: err, After: after, Took: now().Sub(began)}
	}
	defer resp.Body.Close()
	head, _ := io.ReadAll(io.LimitReader(resp.Body, MaxExcerpt)) // what it says is for people; the status counts
	a := Answer{Status: resp.StatusCode, Excerpt: printable(head), After: retryAfter(resp.Header.Get("Retry-After"), now())}
	a.Took = now().Sub(began)
	return a
}

// retryAfter reads the header of this name, which is seconds or a date (RFC 9110 §10.2.3).
func retryAfter(s string, now time.Time) time.Duration {
	s = strings.TrimSpace(s)
	var d time.Duration
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), MaxRetryAfter)
}

// printable returns b as one line of text.
func printable(b []byte) string {
	for i := 0; i < utf8.UTFMax && len(b) == MaxExcerpt && !utf8.Valid(b); i++ {
		b = b[:len(b)-1] // the last character was cut
	}
	s := strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r <= 0x9f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(b), "\uFFFD"))
	return strings.Join(strings.Fields(s), " ")
}

// Arrived reports whether the status is one of success; none means 200 to 299, and [0] any (S3-47).
func (a Answer) Arrived(success []int) bool {
	switch {
	case len(success) == 1 && success[0] == 0:
		return true
	case a.Status == 0:
		return false
	case len(success) == 0:
		return a.Status >= 200 && a.Status <= 299
	}
	return slices.Contains(success, a.Status)
}

// String says a in one line, for a log.
func (a Answer) String() string {
	if a.Err != nil {
		return fmt.Sprintf("no answer after %s: %s", a.Took.Round(time.Millisecond), why(a.Err))
	}
	s := fmt.Sprintf("%d %s after %s", a.Status, http.StatusText(a.Status), a.Took.Round(time.Millisecond))
	if a.After > 0 {
		s += fmt.Sprintf(", to be left alone for %s", a.After)
	}
	if a.Excerpt != "" {
		s += ": " + a.Excerpt
	}
	return s
}

// Result is what a means for its job.
func (a Answer) Result(success []int) jobs.Result {
	res := jobs.Result{State: jobs.OK, Exit: a.Status, After: a.After}
	if a.Arrived(success) {
		res.After = 0
		return res
	}
	res.State, res.Fault = jobs.Failed, jobs.FaultInfra
	switch {
	case a.Err != nil && timedOut(a.Err):
		res.Reason, res.Fault = "no answer in time", jobs.FaultTimeout
	case a.Err != nil:
		res.Reason = why(a.Err)
		res.Final = dial.IsForbidden(a.Err) // it is, until the operator allows it
	case a.Status >= 300 && a.Status <= 399:
		res.Reason = fmt.Sprintf("the answer is %d: redirects are not followed, name the address it leads to", a.Status)
	default:
		res.Reason = strings.TrimSpace(fmt.Sprintf("the answer is %d %s", a.Status, http.StatusText(a.Status)))
	}
	return res
}

func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// why is what may be read of err: never the address, which may be a secret.
func why(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the client puts the address in front
	}
	text := err.Error()
	if fault.CodeOf(err) != fault.Internal {
		text, _ = fault.Message(err)
	}
	return printable([]byte(text[:min(len(text), MaxExcerpt)]))
}

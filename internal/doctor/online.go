package doctor

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/client"
	"github.com/gitroost/gitroost/internal/probe"
)

// How long one request may take, and how many bytes of an answer are read.
const (
	askTime   = time.Minute
	maxAnswer = 1 << 20
)

// An outside is the server as visitors see it.
type outside struct {
	server client.Server
	wait   string // of Patient.Wait, as a part of a query

	base string // without a trailing slash
	host string // host[:port]
	http *http.Transport
}

// Online looks at the server through the address by which visitors reach it: https://git.example.com.
// It publishes nothing, pushes nothing and follows no redirects. An error says that address is none.
func Online(ctx context.Context, p *Patient, address string) (Report, error) {
	server, err := client.ParseServer(address)
	if err != nil {
		return Report{}, err
	}
	base := server.String()
	o := &outside{server: server, wait: "&wait=" + cmp.Or(p.Wait, 3*time.Second).String(), base: base, host: base[strings.Index(base, "://")+3:], http: &http.Transport{
		// Through no proxy of this computer's: the way of visitors is what is looked at.
		DisableCompression: true, ResponseHeaderTimeout: askTime, TLSHandshakeTimeout: askTime,
		DialContext: (&net.Dialer{Timeout: askTime}).DialContext, MaxIdleConnsPerHost: 4,
	}}
	defer o.http.CloseIdleConnections()
	r := all(ctx, p, []look{o.name})
	if r.Failed() {
		return r, nil // nothing can be asked of it
	}
	more := all(ctx, p, []look{
		o.encrypted, o.document, o.headers, o.preflight, o.socket, o.arrival, o.largeBody, o.packed, o.streamUp, o.streamDown, o.protocol,
	})
	r.Findings = append(r.Findings, more.Findings...)
	return r, nil
}

// An answer is what came back.
type answer struct {
	*http.Response
	body []byte
}

// ask sends one request. Header is pairs of names and values.
func (o *outside) ask(ctx context.Context, method, path string, body io.Reader, header ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	resp, err := o.send(ctx, method, path, body, header...)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return answer{resp, b}, err
}

func (o *outside) send(ctx context.Context, method, path string, body io.Reader, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, o.base+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "gitroost-doctor")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return o.http.RoundTrip(req)
}

// name looks whether the address leads anywhere.
func (o *outside) name(ctx context.Context, _ *Patient) []Finding {
	const check = "public.reach"
	u, err := url.Parse(o.base)
	if err != nil {
		return []Finding{found(check, Fail, errText(err), "", "")}
	}
	addrs, err := new(net.Resolver).LookupHost(ctx, u.Hostname())
	if err != nil {
		return []Finding{found(check, Fail, errText(err), "no visitor finds the server", "have an A or AAAA record made for "+u.Hostname())}
	}
	got, err := o.ask(ctx, http.MethodGet, "/health", nil)
	if err != nil {
		return []Finding{o.unreached(check, err)}
	}
	if got.StatusCode != http.StatusOK || strings.TrimSpace(string(got.body)) != "ok" {
		return []Finding{found(check, Fail, fmt.Sprintf("%s/health answers %d: %s", o.base, got.StatusCode, clip(got.body)),
			"either something else is served there, or the server is not well", "point the proxy at this server's listen address, with the whole of / and no path in front")}
	}
	return []Finding{ok(check, "%s answers, at %s", o.base, strings.Join(addrs[:min(len(addrs), 4)], ", "))}
}

// unreached says why there was no answer.
func (o *outside) unreached(check string, err error) Finding {
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return found(check, Fail, "the certificate is not good: "+errText(cert.Err), "git, clients and browsers refuse to connect", "give the proxy a certificate for "+o.host+" with its whole chain")
	}
	return found(check, Fail, "no answer: "+errText(err), "visitors get none either", "look whether the proxy runs, and whether the port is open")
}

// encrypted looks at TLS: browsers let pages speak to nothing else.
func (o *outside) encrypted(ctx context.Context, p *Patient) []Finding {
	const check = "public.tls"
	u, _ := url.Parse(o.base)
	if u.Scheme == "http" {
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			return []Finding{ok(check, "none, and none is needed on this computer")}
		}
		return []Finding{found(check, Warn, o.base+" is not encrypted", "pages in browsers connect to https:// and wss:// alone, and some clients too", "put a proxy with TLS in front: deploy/Caddyfile gets a certificate by itself")}
	}
	got, err := o.ask(ctx, http.MethodGet, "/health", nil)
	if err != nil {
		return []Finding{o.unreached(check, err)}
	}
	if got.TLS == nil || len(got.TLS.PeerCertificates) == 0 {
		return []Finding{unknown(check, "no certificate was shown")}
	}
	left := got.TLS.PeerCertificates[0].NotAfter.Sub(p.Now())
	days := int(left.Hours() / 24)
	what := fmt.Sprintf("%s, a certificate for %d more days", tls.VersionName(got.TLS.Version), days)
	out := []Finding{ok(check, "%s", what)}
	if days < 7 {
		out[0] = found(check, Warn, what, "nobody can connect when it has run out", "see why it was not renewed")
	}
	if at, err := http.ParseTime(got.Header.Get("Date")); err == nil {
		const why = "events of the future are refused, and signed requests hold for a minute"
		switch off := at.Sub(p.Now()).Abs(); {
		case off > 10*time.Minute:
			out = append(out, found("public.clock", Fail, fmt.Sprintf("the clocks here and there are %s apart", off.Round(time.Second)), why, "set the one that is wrong"))
		case off > time.Minute:
			out = append(out, found("public.clock", Warn, fmt.Sprintf("the clocks here and there are %s apart", off.Round(time.Second)), why, "set the one that is wrong"))
		}
	}
	return out
}

// document asks for the relay's description (N-020).
func (o *outside) document(ctx context.Context, _ *Patient) []Finding {
	const check = "public.nip11"
	const why = "clients read there whether this is a GRASP server"
	got, err := o.ask(ctx, http.MethodGet, "/", nil, "Accept", "application/nostr+json")
	if err != nil {
		return []Finding{o.unreached(check, err)}
	}
	var doc struct {
		Name   string   `json:"name"`
		Grasps []string `json:"supported_grasps"`
	}
	if json.Unmarshal(got.body, &doc) != nil || got.StatusCode != http.StatusOK {
		return []Finding{found(check, Fail, fmt.Sprintf("GET / with Accept: application/nostr+json answers %d, %s, and no document", got.StatusCode, got.Header.Get("Content-Type")), why,
			"have the proxy pass the Accept header on, and not keep the page that browsers get for it")}
	}
	if len(doc.Grasps) == 0 {
		return []Finding{found(check, Fail, fmt.Sprintf("the document of %q names no GRASP", doc.Name), why, "another relay answers at this address")}
	}
	return []Finding{ok(check, "%s: %s", doc.Name, strings.Join(doc.Grasps, ", "))}
}

// corsHeaders are on each answer once (C-01…C-03).
var corsHeaders = []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers"}

// headers looks whether pages of other origins may read answers: a proxy that adds what is there already
// makes browsers refuse all of it (H-112, check 282).
func (o *outside) headers(ctx context.Context, _ *Patient) (out []Finding) {
	const check = "public.cors"
	for _, path := range []string{"/", probe.Path, "/" + strings.Repeat("x", 8) + "/info/refs?service=git-upload-pack"} {
		got, err := o.ask(ctx, http.MethodGet, path, nil, "Origin", "https://gitworkshop.dev", "Accept", "application/nostr+json")
		if err != nil {
			return []Finding{o.unreached(check, err)}
		}
		if f, bad := judgeCORS(check, "GET "+path, got.Header); bad {
			return []Finding{f}
		}
	}
	return []Finding{ok(check, "pages of other origins may read answers; each header is there once")}
}

// judgeCORS looks at the headers of one answer.
func judgeCORS(check, what string, h http.Header) (Finding, bool) {
	for _, name := range corsHeaders {
		switch values := h.Values(name); {
		case len(values) == 0:
			return found(check, Fail, what+" has no "+name, "clients in browsers cannot read it", "have the proxy pass the header on"), true
		case len(values) > 1 || name == corsHeaders[0] && strings.Contains(values[0], ","):
			return found(check, Fail, fmt.Sprintf("%s has %s more than once: %s", what, name, strings.Join(values, " and ")), "browsers refuse an answer with two of them", "the proxy adds headers that the server sends already: take them out of the proxy's configuration"), true
		case name == corsHeaders[0] && values[0] != "*":
			return found(check, Fail, fmt.Sprintf("%s has %s: %s", what, name, values[0]), "pages of other origins may not read it", "have the proxy leave the header as it is"), true
		}
	}
	return Finding{}, false
}

// preflight asks what browsers ask before they send more than a plain request (C-04).
func (o *outside) preflight(ctx context.Context, _ *Patient) []Finding {
	const check = "public.preflight"
	const do = "have the proxy pass OPTIONS on, and answer none by itself"
	for _, path := range []string{"/", probe.Path + "/git-upload-pack"} {
		got, err := o.ask(ctx, http.MethodOptions, path, nil, "Origin", "https://gitworkshop.dev",
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,git-protocol,authorization")
		if err != nil {
			return []Finding{o.unreached(check, err)}
		}
		if got.StatusCode/100 != 2 {
			return []Finding{found(check, Fail, fmt.Sprintf("OPTIONS %s answers %d", path, got.StatusCode), "browsers give up before they ask", do)}
		}
		if f, bad := judgeCORS(check, "OPTIONS "+path, got.Header); bad {
			return []Finding{f}
		}
		allowed := strings.ToLower(got.Header.Get(corsHeaders[2]))
		for _, name := range []string{"content-type", "git-protocol", "authorization"} {
			if !strings.Contains(allowed, name) {
				return []Finding{found(check, Fail, fmt.Sprintf("OPTIONS %s does not allow %s", path, name), "git in a browser cannot send it", do)}
			}
		}
	}
	return []Finding{ok(check, "browsers may send what git sends")}
}

// socket opens the relay and asks it something (N-001).
func (o *outside) socket(ctx context.Context, _ *Patient) []Finding {
	const check = "public.websocket"
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	const why = "without it there are no events, and so no repositories"
	relay, err := client.Dial(ctx, o.server.Relay())
	if err != nil {
		return []Finding{found(check, Fail, errText(err), why, "have the proxy pass Upgrade and Connection on, over HTTP/1.1: deploy/nginx.conf shows how")}
	}
	defer relay.Close()
	if _, err := relay.Query(ctx, nostr.Filter{Kinds: []int{30617}, Limit: 1}); err != nil {
		return []Finding{found(check, Fail, "the WebSocket opens, and a question is not answered: "+errText(err), why, "have the proxy pass messages on as they come")}
	}
	return []Finding{ok(check, "opens, and the relay answers")}
}

// told asks the probe, and reads what it says.
func (o *outside) told(ctx context.Context, method, path string, body io.Reader, header ...string) (a probe.Arrival, got answer, err error) {
	got, err = o.ask(ctx, method, path, body, header...)
	if err == nil && got.StatusCode == http.StatusOK {
		err = json.Unmarshal(got.body, &a)
	}
	return a, got, err
}

// noProbe says that the server cannot tell, and why.
func noProbe(check string, got answer, err error) []Finding {
	switch {
	case err != nil:
		return []Finding{unknown(check, "the server does not say how it arrived: %s", errText(err))}
	case got.StatusCode == http.StatusServiceUnavailable:
		return []Finding{unknown(check, "the server is busy; try again")}
	}
	return []Finding{unknown(check, "%s answers %d: an older gitroost, or the proxy keeps the path from it", probe.Path, got.StatusCode)}
}

// arrival looks what the proxy made of the path and the headers.
func (o *outside) arrival(ctx context.Context, _ *Patient) (out []Finding) {
	path := probe.Path + "/a%20b%2Fc%C3%A9.git"
	a, got, err := o.told(ctx, http.MethodGet, path, nil, "Git-Protocol", "version=2", "Authorization", "Nostr bm9uZQ==")
	if err != nil || got.StatusCode != http.StatusOK {
		return noProbe("public.path", got, err)
	}
	if a.Path == path {
		out = append(out, ok("public.path", "percent-encoded paths arrive as they are"))
	} else {
		out = append(out, found("public.path", Fail, path+" arrives as "+a.Path, "repositories with a space or a slash in their identifier cannot be reached", "have the proxy pass the path on unchanged: nginx does with proxy_pass without a path, Apache with nocanon and AllowEncodedSlashes NoDecode"))
	}
	if a.GitProtocol == "version=2" {
		out = append(out, ok("public.gitproto", "Git-Protocol arrives"))
	} else {
		out = append(out, found("public.gitproto", Warn, "Git-Protocol arrives as "+quote(a.GitProtocol), "git falls back to the old protocol, which sends all refs each time", "have the proxy pass the header on"))
	}
	if strings.EqualFold(a.Host, o.host) {
		out = append(out, ok("public.host", "Host arrives"))
	} else {
		out = append(out, found("public.host", Warn, "Host "+o.host+" arrives as "+a.Host, "signed requests of the operator name the address, and sites are told apart by it", "have the proxy pass Host on"))
	}
	return append(out, o.address(a))
}

// address looks whether visitors can be told apart (H-112).
func (o *outside) address(a probe.Arrival) Finding {
	const check = "public.address"
	const limits = "limits for one visitor fall on all of them together"
	switch {
	case a.Forwarded && !a.Trusted:
		return found(check, Fail, "the proxy says who the visitor is, and is not believed", limits, "add the proxy's address to trusted_proxies")
	case a.Forwarded:
		return ok(check, "the proxy says who the visitor is, and is believed: you are counted for %s", a.From)
	case a.Scheme != "" || strings.HasPrefix(o.base, "https://"):
		return found(check, Fail, "a proxy is in front, and does not say who the visitor is", limits, "have it set X-Forwarded-For, and add its address to trusted_proxies")
	}
	return ok(check, "no proxy says that it speaks for another; you are counted for %s", a.From)
}

// bigBody is more than proxies let through if nobody tells them to (nginx: 1 MiB).
const bigBody = 3 << 20

// largeBody sends as much as a push does, in the two ways in which git does.
func (o *outside) largeBody(ctx context.Context, _ *Patient) []Finding {
	const check = "public.body"
	const why = "pushes over that end in “RPC failed; HTTP 413”, which tells nobody why"
	b := make([]byte, bigBody)
	_, _ = rand.Read(b)
	for _, how := range []struct {
		name string
		body io.Reader
	}{{"with a length", bytes.NewReader(b)}, {"in chunks", struct{ io.Reader }{bytes.NewReader(b)}}} {
		a, got, err := o.told(ctx, http.MethodPost, probe.Path, how.body, "Content-Type", "application/x-git-receive-pack-request")
		switch {
		case err == nil && got.StatusCode == http.StatusRequestEntityTooLarge, errors.Is(err, syscall.ECONNRESET):
			return []Finding{found(check, Fail, fmt.Sprintf("a body of %s %s is refused by the proxy", roundSize(bigBody), how.name), why, "lift its limit: client_max_body_size 0 in nginx")}
		case err == nil && got.StatusCode == http.StatusLengthRequired:
			return []Finding{found(check, Fail, "the proxy wants to know the length of a body", "git sends large pushes in chunks", "use a proxy that speaks HTTP/1.1 both ways")}
		case err != nil || got.StatusCode != http.StatusOK:
			return noProbe(check, got, err)
		case a.Bytes != bigBody:
			return []Finding{found(check, Fail, fmt.Sprintf("of %d bytes %s %d arrive", bigBody, how.name, a.Bytes), "pushes are cut off", "look into the proxy's log")}
		}
	}
	return []Finding{ok(check, "%s arrive, with a length and in chunks", roundSize(bigBody))}
}

func clip(b []byte) string { return oneLine(string(b[:min(len(b), 200)])) }

func quote(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

package acceptance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/doctor"
	"github.com/gitroost/gitroost/internal/housetest"
)

// A bad is what somebody can do wrong with a proxy.
type bad struct {
	request  func(*httputil.ProxyRequest)
	response func(*http.Response) error
	around   func(http.Handler) http.Handler
}

// proxied puts a proxy in front of a house, and returns its address.
func proxied(t *testing.T, house *housetest.House, b bad) string {
	t.Helper()
	target, err := url.Parse(house.URL)
	if err != nil {
		t.Fatal(err)
	}
	var h http.Handler = &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
			if b.request != nil {
				b.request(r)
			}
		},
		ModifyResponse: b.response,
	}
	if b.around != nil {
		h = b.around(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// examined looks at a server from outside and returns what is not well, by the name of the look.
func examined(t *testing.T, address string, wait time.Duration) map[string]doctor.Level {
	t.Helper()
	report, err := doctor.Online(t.Context(), &doctor.Patient{Config: config.Default(), Now: time.Now, Wait: wait}, address)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]doctor.Level{}
	for _, f := range report.Findings {
		if f.Level != doctor.OK {
			out[f.Check] = f.Level
			t.Logf("%+v", f)
			if f.Level != doctor.Unknown && (f.Why == "" || f.Do == "") {
				t.Errorf("%s does not say why it matters and what to do: %+v", f.Check, f)
			}
		}
	}
	return out
}

// check 282 (H-112): what a proxy in front does wrong is found from outside, and named, whatever it is; and
// a proxy that does all well is not blamed.
func TestDoctorFindsWhatAProxyDoesWrong(t *testing.T) {
	trusting := func(c *config.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
	house := housetest.Start(t, trusting)
	house.Served(house.Dial(), housetest.NewKey(t), "demo", house.Clock.Now().Unix())
	sole := housetest.Start(t) // trusts nobody

	const patient, short = time.Minute, 20 * time.Millisecond // what is kept back comes in neither
	for _, tt := range []struct {
		name  string
		house *housetest.House
		bad   bad
		wait  time.Duration
		want  map[string]doctor.Level
	}{
		{"all is well", house, bad{}, patient, nil},
		{"it adds its own CORS headers", house, bad{response: func(r *http.Response) error {
			r.Header.Add("Access-Control-Allow-Origin", "*")
			return nil
		}}, patient, map[string]doctor.Level{"public.cors": doctor.Fail, "public.preflight": doctor.Fail}},
		{"it takes CORS headers away", house, bad{response: func(r *http.Response) error {
			r.Header.Del("Access-Control-Allow-Headers")
			return nil
		}}, patient, map[string]doctor.Level{"public.cors": doctor.Fail, "public.preflight": doctor.Fail}},
		{"it answers OPTIONS itself", house, bad{around: func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodOptions {
					http.Error(w, "no", http.StatusMethodNotAllowed)
					return
				}
				h.ServeHTTP(w, r)
			})
		}}, patient, map[string]doctor.Level{"public.preflight": doctor.Fail}},
		{"it drops Accept", house, bad{request: func(r *httputil.ProxyRequest) { r.Out.Header.Del("Accept") }}, patient,
			map[string]doctor.Level{"public.nip11": doctor.Fail}},
		{"it drops Upgrade", house, bad{request: func(r *httputil.ProxyRequest) {
			r.Out.Header.Del("Upgrade")
			r.Out.Header.Del("Connection")
		}}, patient, map[string]doctor.Level{"public.websocket": doctor.Fail}},
		{"it drops Git-Protocol", house, bad{request: func(r *httputil.ProxyRequest) { r.Out.Header.Del("Git-Protocol") }}, patient,
			map[string]doctor.Level{"public.gitproto": doctor.Warn, "public.git": doctor.Warn}},
		{"it decodes paths", house, bad{request: func(r *httputil.ProxyRequest) { r.Out.URL.RawPath = "" }}, patient,
			map[string]doctor.Level{"public.path": doctor.Fail}},
		{"it changes Host", house, bad{request: func(r *httputil.ProxyRequest) { r.Out.Host = "backend" }}, patient,
			map[string]doctor.Level{"public.host": doctor.Warn}},
		{"it does not say for whom it asks", house, bad{request: func(r *httputil.ProxyRequest) {
			r.Out.Header.Del("X-Forwarded-For")
		}}, patient, map[string]doctor.Level{"public.address": doctor.Fail}},
		{"it is not trusted", sole, bad{}, patient, map[string]doctor.Level{"public.address": doctor.Fail, "public.git": doctor.Unknown}},
		{"it lets through a mebibyte", house, bad{around: func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.ContentLength > 1<<20 {
					http.Error(w, "too large", http.StatusRequestEntityTooLarge)
					return
				}
				h.ServeHTTP(w, r)
			})
		}}, patient, map[string]doctor.Level{"public.body": doctor.Fail}},
		{"it forgets that a body is packed", house, bad{request: func(r *httputil.ProxyRequest) { r.Out.Header.Del("Content-Encoding") }}, patient,
			map[string]doctor.Level{"public.gzip": doctor.Fail}},
		{"it collects requests", house, bad{around: func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					b, _ := io.ReadAll(r.Body)
					r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
				}
				h.ServeHTTP(w, r)
			})
		}}, short, map[string]doctor.Level{"public.stream.up": doctor.Warn}},
		{"it collects answers", house, bad{around: func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Upgrade") != "" {
					h.ServeHTTP(w, r)
					return
				}
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, r)
				maps.Copy(w.Header(), rec.Header())
				w.WriteHeader(rec.Code)
				_, _ = w.Write(rec.Body.Bytes())
			})
		}}, short, map[string]doctor.Level{"public.stream.down": doctor.Warn}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := examined(t, proxied(t, tt.house, tt.bad), tt.wait)
			if tt.wait == short { // the other direction is not given the time that a busy computer takes
				for _, name := range []string{"public.stream.up", "public.stream.down"} {
					if tt.want[name] == "" {
						delete(got, name)
					}
				}
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestDoctorLeavesNothingBehind(t *testing.T) { // people.md, journeys of the operator
	house := housetest.Start(t)
	conn := house.Dial()
	before := len(conn.Query(nostr.Filter{}))
	if got := examined(t, house.URL, time.Minute); !slices.Equal(slices.Collect(maps.Keys(got)), []string{"public.git"}) {
		t.Errorf("a house without a proxy: %v", got)
	}
	if after := len(conn.Query(nostr.Filter{})); after != before {
		t.Errorf("there were %d events, now %d", before, after)
	}
	// What cannot be reached at all is one finding.
	gone := httptest.NewServer(http.NotFoundHandler())
	url := gone.URL
	gone.Close()
	if got := examined(t, url, time.Minute); len(got) != 1 || got["public.reach"] != doctor.Fail {
		t.Errorf("nobody there: %v", got)
	}
	if _, err := doctor.Online(context.Background(), &doctor.Patient{Now: time.Now}, "no address/at all"); err == nil {
		t.Error("no address was looked at")
	}
	var out bytes.Buffer
	if err := (doctor.Report{}).JSON(&out); err != nil || !json.Valid(out.Bytes()) {
		t.Error(err, out.String())
	}
}

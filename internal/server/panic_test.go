package server

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
)

// check 88: C-07: a panic in a handler ends one request: 500, with the headers, and the process
// goes on.
func TestPanic(t *testing.T) {
	for what, h := range map[string]http.HandlerFunc{
		"at once": func(http.ResponseWriter, *http.Request) { panic("a bug") },
		//lint:ignore SA5000 the bug is the point
		"with nil": func(http.ResponseWriter, *http.Request) { var m map[string]int; m["x"] = 1 },
		"after the headers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			panic("a bug")
		},
	} {
		t.Run(what, func(t *testing.T) {
			srv := httptest.NewServer(withCORS(recovered(slog.New(slog.DiscardHandler), h)))
			defer srv.Close()
			for range 2 {
				resp, err := http.Get(srv.URL)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != 500 {
					t.Errorf("status %d, want 500", resp.StatusCode)
				}
				for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers"} {
					if n := len(resp.Header.Values(name)); n != 1 {
						t.Errorf("%s is there %d times, want once", name, n)
					}
				}
			}
		})
	}
}

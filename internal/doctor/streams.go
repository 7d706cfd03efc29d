package doctor

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/client"
	"github.com/gitroost/gitroost/internal/probe"
)

// packed sends a body that is compressed, as git does with long lists of what it has.
func (o *outside) packed(ctx context.Context, _ *Patient) []Finding {
	const check = "public.gzip"
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, strings.Repeat("0032have 0123456789abcdef0123456789abcdef01234567\n", 500))
	_ = z.Close()
	sum := sha256.Sum256(b.Bytes())
	a, got, err := o.told(ctx, http.MethodPost, probe.Path, bytes.NewReader(b.Bytes()), "Content-Encoding", "gzip", "Content-Type", "application/x-git-upload-pack-request")
	switch {
	case err != nil || got.StatusCode != http.StatusOK:
		return noProbe(check, got, err)
	case a.Encoding == "gzip" && a.Hash == hex.EncodeToString(sum[:]):
		return []Finding{ok(check, "compressed bodies arrive as they are")}
	case a.Encoding == "" && a.Hash != hex.EncodeToString(sum[:]):
		return []Finding{ok(check, "compressed bodies are unpacked on the way")}
	}
	return []Finding{found(check, Fail, "a compressed body arrives as something else, or without the word that it is compressed", "fetches into a repository that has much already fail", "have the proxy leave bodies and Content-Encoding alone")}
}

// streamUp looks whether a push arrives while it is sent, or after the proxy has all of it.
func (o *outside) streamUp(ctx context.Context, _ *Patient) []Finding {
	const check = "public.stream.up"
	ctx, cancel := context.WithTimeout(ctx, 2*askTime)
	defer cancel()
	name := rand.Text()
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		resp, err := o.send(ctx, http.MethodPost, probe.Path+"?part=body&call="+name, r)
		if err == nil {
			resp.Body.Close()
		}
		r.CloseWithError(io.ErrClosedPipe) // nobody reads what is written from now on
		sent <- err
	}()
	// Some of it, and no end: a proxy that waits for the whole waits now.
	_, werr := w.Write(make([]byte, 64<<10))
	seen, err := o.ask(ctx, http.MethodGet, probe.Path+"?part=seen&call="+name+o.wait, nil)
	w.Close()
	serr := <-sent
	switch {
	case err != nil:
		return noProbe(check, seen, err)
	case seen.StatusCode == http.StatusOK:
		return []Finding{ok(check, "what is pushed arrives while it is sent")}
	case werr != nil || serr != nil:
		return []Finding{unknown(check, "a body that comes slowly is not taken: %s", errText(firstOf(werr, serr)))}
	case seen.StatusCode == http.StatusNotFound && bytes.Contains(seen.body, []byte("nothing has arrived yet")):
		return []Finding{found(check, Warn, "the proxy collects a push before it passes it on", "large pushes take twice as long and fill its disk, and a push that is refused is sent whole first", "switch it off: proxy_request_buffering off in nginx")}
	}
	return noProbe(check, seen, nil)
}

// streamDown looks whether an answer is passed on while it is made.
func (o *outside) streamDown(ctx context.Context, _ *Patient) []Finding {
	const check = "public.stream.down"
	ctx, cancel := context.WithTimeout(ctx, 2*askTime)
	defer cancel()
	name := rand.Text()
	resp, err := o.send(ctx, http.MethodGet, probe.Path+"?part=stream&call="+name+o.wait, nil)
	if err != nil {
		return noProbe(check, answer{}, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return noProbe(check, answer{Response: resp}, nil)
	}
	lines := bufio.NewReader(io.LimitReader(resp.Body, 4096))
	if _, err := lines.ReadString('\n'); err != nil {
		return noProbe(check, answer{}, err)
	}
	if _, err := o.ask(ctx, http.MethodGet, probe.Path+"?part=go&call="+name, nil); err != nil {
		return noProbe(check, answer{}, err)
	}
	switch last, err := lines.ReadString('\n'); {
	case err != nil:
		return noProbe(check, answer{}, err)
	case strings.TrimSpace(last) == "freed":
		return []Finding{ok(check, "answers are passed on while they are made")}
	}
	return []Finding{found(check, Warn, "the proxy collects an answer before it passes it on", "clones show no progress, and large ones fill its disk or end by its time limit", "switch it off: proxy_buffering off in nginx")}
}

// protocol asks for the refs of a repository as git does, if there is one.
func (o *outside) protocol(ctx context.Context, _ *Patient) []Finding {
	const check = "public.git"
	qctx, cancel := context.WithTimeout(ctx, 2*askTime)
	defer cancel()
	relay, err := client.Dial(qctx, o.server.Relay())
	if err != nil {
		return nil // socket has said it
	}
	defer relay.Close()
	list, err := relay.Query(qctx, nostr.Filter{Kinds: []int{grasp.KindAnnouncement}, Limit: 1})
	if err != nil || len(list) == 0 {
		return []Finding{unknown(check, "there is no repository yet whose refs could be asked for")}
	}
	repo := grasp.Addr{Owner: grasp.PubKey(list[0].PubKey), ID: list[0].Tags.GetD()}
	path := strings.TrimPrefix(o.server.Clone(repo), o.base) + "/info/refs?service=git-upload-pack"
	got, err := o.ask(ctx, http.MethodGet, path, nil, "Git-Protocol", "version=2")
	if err != nil {
		return []Finding{o.unreached(check, err)}
	}
	const want = "application/x-git-upload-pack-advertisement"
	switch {
	case got.StatusCode != http.StatusOK || got.Header.Get("Content-Type") != want:
		return []Finding{found(check, Fail, fmt.Sprintf("%s answers %d, %s", path, got.StatusCode, got.Header.Get("Content-Type")), "nobody can clone", "have the proxy pass paths that end in .git/info/refs on, with their query")}
	case got.Header.Get("Content-Encoding") != "":
		return []Finding{found(check, Warn, "the proxy compresses what git sends", "packs are compressed already: it costs time alone", "leave application/x-git-* out of its compression")}
	case !bytes.Contains(got.body, []byte("version 2")):
		return []Finding{found(check, Warn, "git is answered in the old protocol", "all refs are sent each time", "have the proxy pass Git-Protocol on")}
	}
	return []Finding{ok(check, "git is answered in protocol 2")}
}

func firstOf(list ...error) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}

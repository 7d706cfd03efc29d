// Package sites is the door through which published sites of repositories are read: files of one folder,
// in which each repository has its own, with the generation that is shown at this moment.
//
// What strangers wrote is shown here, so every answer takes from a browser what it could do harm with: no
// scripts, no forms, an origin of its own (D6). Only regular files are opened, through a root that no link
// leads out of. It does not know how sites are made.
package sites

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/gitroost/gitroost/grasp"
)

// Config is what a Handler needs. Dir, Folder and Serves are required.
type Config struct {
	Dir string // what sites are published below

	// Folder returns the two names below it that a repository has for itself.
	Folder func(repo grasp.Addr) (string, error)

	// Serves reports whether a repository is served: the site of one that is denied or was deleted is not.
	Serves func(ctx context.Context, repo grasp.Addr) (bool, error)

	Log *slog.Logger // nil discards
}

// A Handler serves sites. It is safe for concurrent use.
type Handler struct{ cfg Config }

// New returns a Handler.
func New(cfg Config) *Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Handler{cfg}
}

// policy is what a browser may do with any page of a site: show it.
const policy = "sandbox; default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// types are the endings that sites have, and nothing else is shown as anything.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".txt": "text/plain; charset=utf-8",
	".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
}

// ServeHTTP answers GET and HEAD of <npub>/<identifier>/<file>, with prefix in front taken off already:
// the escaped path begins with the npub.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", policy)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Resource-Policy", "same-site")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		head.Set("Allow", "GET, HEAD, OPTIONS")
		http.Error(w, "a site can be read, and nothing else; use GET", http.StatusMethodNotAllowed)
		return
	}
	repo, name, ok := parse(r.URL.EscapedPath())
	if !ok {
		h.missing(w)
		return
	}
	if name == "" { // links on the first page are relative to the folder
		head.Set("Location", "./"+path.Base(r.URL.EscapedPath())+"/")
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	serves, err := h.cfg.Serves(r.Context(), repo)
	if err != nil || !serves {
		h.missing(w)
		return
	}
	own, err := h.cfg.Folder(repo)
	if err != nil {
		h.missing(w)
		return
	}
	if err := h.serve(w, r, filepath.Join(h.cfg.Dir, own), strings.TrimPrefix(name, "/")); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			h.cfg.Log.Warn("sites: a file cannot be read", "repo", repo.String(), "err", err)
		}
		h.missing(w)
	}
}

func (h *Handler) missing(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-cache")
	http.Error(w, "there is no such page; a site appears once a job of the kind site has published it", http.StatusNotFound)
}

// parse takes an escaped path apart. name begins with a slash, and is "" if there is none.
func parse(escaped string) (repo grasp.Addr, name string, ok bool) {
	npub, rest, _ := strings.Cut(strings.TrimPrefix(escaped, "/"), "/")
	id, file, found := strings.Cut(rest, "/")
	id, err := url.PathUnescape(id)
	if err != nil {
		return repo, "", false
	}
	if repo.Owner, err = grasp.ParseNpub(npub); err != nil {
		return repo, "", false
	}
	if repo.ID = id; !repo.Valid() {
		return repo, "", false
	}
	if !found {
		return repo, "", true
	}
	if file, err = url.PathUnescape(file); err != nil || strings.ContainsAny(file, "\x00\\") {
		return repo, "", false
	}
	return repo, "/" + file, true
}

var shown = regexp.MustCompile(`^gen-[1-9][0-9]{0,17}/site$`)

// serve answers with a file of the generation that is shown.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, dir, name string) error {
	if name == "" || strings.HasSuffix(name, "/") {
		name += "index.html"
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") { // nothing of ours begins so: no .well-known
			return fs.ErrNotExist
		}
	}
	root, gen, err := open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	f, fi, err := regular(root, name)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	head := w.Header()
	ext := path.Ext(name)
	kind, known := types[ext]
	if !known {
		kind = "application/octet-stream"
		head.Set("Content-Disposition", "attachment")
	}
	head.Set("Content-Type", kind)
	head.Set("Vary", "Accept-Encoding")
	tag := gen
	head.Set("Cache-Control", "no-cache") // another generation may be shown at any moment
	if strings.HasPrefix(name, "static/") || strings.HasPrefix(name, "raw/") {
		head.Set("Cache-Control", "public, max-age=31536000, immutable") // named after what they hold
		tag = "it"
	}
	if ext == ".html" && accepts(r, "gzip") {
		if z, zi, err := regular(root, name+".gz"); err == nil {
			f.Close()
			f, fi = z, zi
			head.Set("Content-Encoding", "gzip")
			tag += "z"
		}
	}
	head.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", fi.ModTime(), io.NewSectionReader(f, 0, fi.Size()))
	return nil
}

// open opens the generation that is shown. One that was shown until now may be gone by then: it is looked
// for again.
func open(dir string) (root *os.Root, gen string, err error) {
	for range 3 {
		var to string
		if to, err = os.Readlink(filepath.Join(dir, "current")); err != nil {
			return nil, "", err
		}
		if !shown.MatchString(to) {
			return nil, "", fs.ErrNotExist
		}
		if root, err = os.OpenRoot(filepath.Join(dir, to)); err == nil {
			return root, path.Dir(to), nil
		}
	}
	return nil, "", err
}

// regular opens a file that is one.
func regular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	fi, err := root.Lstat(name)
	if err != nil {
		return nil, nil, fs.ErrNotExist
	}
	if !fi.Mode().IsRegular() {
		return nil, nil, fs.ErrNotExist
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	return f, fi, nil
}

// accepts reports whether whoever asks takes the encoding.
func accepts(r *http.Request, coding string) bool {
	for _, v := range r.Header.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(v, ",") {
			name, q, _ := strings.Cut(part, ";")
			if strings.TrimSpace(name) == coding && strings.Trim(strings.TrimSpace(q), "q=0.") != "" || strings.TrimSpace(name) == coding && q == "" {
				return true
			}
		}
	}
	return false
}

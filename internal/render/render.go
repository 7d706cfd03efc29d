// Package render makes a site of a repository: static pages of its files, commits, diffs, branches
// and tags, published as a whole or not at all.
//
// Publish reads from a Source, renders into a new generation beside the one that is served, and
// turns one symbolic link. Each page has a key, a digest of all that it is made of; a page whose key
// the last generation has is linked from there and not rendered again. So the same repository always
// gives the same bytes, whether it was rendered at once or after every push.
//
// A folder that is published to looks so:
//
//	current -> gen-7/site     what is served
//	gen-7/site/               index.html, tree/, commits/, commit/, raw/, branches.html, tags.html, static/
//	gen-7/manifest            the keys of its pages
//	gen-6/…, gen-6/retired    served before; kept for the grace period, for those who read on
//	lock                      held by Publish
//
// Names are escaped injectively, see segment, and no page holds a script: texts go through
// html/template or escape, Markdown through a sanitiser, and raw files are named so that no browser
// takes them for pages. render refuses to know git's command line, configuration, jobs and HTTP.
package render

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/gitroost/gitroost/grasp"
)

// revision is part of every key: raise it whenever the same input gives other pages, unless only a
// template or the style sheet changed.
const revision = "1"

// A Source is one repository at one moment. Refs and Object are called from one goroutine; Diffs may
// run beside them. A fault.NotFound says that an object is not here: pages say so as well.
type Source interface {
	// Refs returns the refs; they do not change while the site is made.
	Refs(ctx context.Context) (*grasp.Snapshot, error)

	// Object returns an object's type, its size in bytes, and what it holds; data is nil if it is
	// larger than most.
	Object(ctx context.Context, oid grasp.OID, most int64) (kind string, size int64, data []byte, err error)

	// Diffs writes what `git diff-tree --stdin -r -z --raw -p` prints for each pair of trees. After a
	// fault.NotFound, or a fault.TooLarge for one pair, what was written is whole as far as it goes.
	Diffs(ctx context.Context, pairs [][2]grasp.OID, w io.Writer) error
}

// A Site is what pages say beside what is in the repository.
type Site struct {
	Name, Description string
	Clone             []string // clone URLs, shown as they are
}

// Caps bound a site. What is beyond them is left out, and said to be. Zero fields mean the defaults.
type Caps struct {
	// Commits is how many commits have a page, the newest of the default branch first. Default 5,000.
	Commits int

	// Branches is how many branches have lists of commits and files, the default one first, then
	// the newest. Default 10.
	Branches int

	// Refs is how many branches, and how many tags, are listed. Default 2,000.
	Refs int

	// Files is how many files and folders of one branch have a page. Default 20,000.
	Files int

	// Pages is how many files the site has, about; raw files and gzip siblings not counted.
	// Default 100,000.
	Pages int

	// Bytes is how large the site may grow, gzip siblings included, hard links counted once. Once it
	// is met each further page only says so. Default 1 GiB.
	Bytes int64

	// Highlight is the largest file that is highlighted, Text the largest shown, and Raw the largest
	// to be downloaded, in bytes. Default 256 KiB, 1 MiB, 8 MiB.
	Highlight, Text, Raw int64

	// DiffFiles and DiffBytes are how much of one commit's diff is shown. Default 300, 256 KiB.
	DiffFiles, DiffBytes int

	// Time is how long rendering may take; what takes longer fails, and changes nothing. Default
	// 10 minutes.
	Time time.Duration
}

func (c *Caps) defaults() {
	set(&c.Commits, 5000)
	set(&c.Branches, 10)
	set(&c.Refs, 2000)
	set(&c.Files, 20_000)
	set(&c.Pages, 100_000)
	set(&c.Bytes, 1<<30)
	set(&c.Highlight, 256<<10)
	set(&c.Text, 1<<20)
	set(&c.Raw, 8<<20)
	set(&c.DiffFiles, 300)
	set(&c.DiffBytes, 256<<10)
	set(&c.Time, 10*time.Minute)
}

func set[T int | int64 | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

// Options say how a site is made.
type Options struct {
	Theme Theme
	Caps  Caps

	// Grace is how long a generation stays after the next one took its place. Default 10 minutes;
	// negative is none.
	Grace time.Duration

	// Keep is how many generations stay, the one that is served included, however old they are.
	// Default 1.
	Keep int

	// Workers is how many pages are rendered at a time. Default 2.
	Workers int

	// Now tells the time. It must be set.
	Now func() time.Time

	// Progress, if set, is called about once a second when rendering takes longer than that, with
	// how many pages are done. It is called from the goroutine that called Publish.
	Progress func(pages int)

	// Log must be set.
	Log *slog.Logger

	// step is called between the steps of publishing. If it fails, so does Publish, there.
	step func(name string) error
}

func (o *Options) defaults() {
	o.Caps.defaults()
	set(&o.Workers, 2)
	if o.Grace == 0 {
		o.Grace = 10 * time.Minute
	}
	if o.step == nil {
		o.step = func(string) error { return nil }
	}
}

// A Report says what Publish did.
type Report struct {
	Generation string // "gen-7"
	Files      int    // files of the site, gzip siblings not counted
	Rendered   int    // of them, made now; the others are links
	Bytes      int64  // of the site, gzip siblings included, links counted once
	LeftOut    int    // pages that only say that the site is too large
	Missing    int    // pages that lack something because objects are not here
	Unchanged  bool   // nothing was different: the generation served stays
}

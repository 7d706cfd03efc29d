package render

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

const emptyTree = grasp.OID("4b825dc642cb6eb9a060e54bf8d69288fbee4904")

// A branch is what pages tell of one. files says whether it has lists of commits and files.
type branch struct {
	name  string
	tip   grasp.OID
	head  *commit // nil if it is not here
	files bool
}

func (b branch) tree() string { return "tree/" + segment(b.name) + "/" }
func (b branch) log() string  { return "commits/" + segment(b.name) + "/" }

// A builder gives all pages of one site.
type builder struct {
	p    *press
	src  Source
	site Site
	opt  *Options
	md   *markdowner

	style string // part of every key
	css   string // path of the style sheet
	sheet string

	hist     *history
	branches []branch // the default one first
	moreRefs int      // branches that are not listed
	tags     []tag
	moreTags int
	left     int // pages that there may still be
}

func newBuilder(p *press, src Source, site Site) (*builder, error) {
	b := &builder{p: p, src: src, site: site, opt: p.opt, md: newMarkdowner(p.opt.Now), left: p.opt.Caps.Pages,
		hist: &history{byID: map[grasp.OID]*commit{}}}
	b.sheet = p.opt.Theme.css()
	b.css = "static/" + digest(b.sheet)[:12] + ".css"
	if err := b.readRefs(p.ctx); err != nil {
		return nil, err
	}
	c := p.opt.Caps
	def := ""
	if len(b.branches) > 0 && b.branches[0].files {
		def = b.branches[0].name
	}
	parts := []string{revision, templateText, b.css, site.Name, site.Description, strings.Join(site.Clone, "\n"), def,
		fmt.Sprint(c.Highlight, c.Text, c.Raw, c.DiffFiles, c.DiffBytes)}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if strings.Contains(m.Path, "/chroma/") || strings.Contains(m.Path, "/goldmark") || strings.Contains(m.Path, "/bluemonday") {
				parts = append(parts, m.Path, m.Version)
			}
		}
	}
	b.style = digest(parts...)
	return b, nil
}

// readRefs sorts the refs and reads the history behind them.
func (b *builder) readRefs(ctx context.Context) error {
	snap, err := b.src.Refs(ctx)
	if err != nil {
		return err
	}
	var tags []tag
	for r := range snap.Refs.All() {
		if name, ok := strings.CutPrefix(string(r.Name), "refs/heads/"); ok {
			b.branches = append(b.branches, branch{name: name, tip: r.OID})
		} else if name, ok := strings.CutPrefix(string(r.Name), "refs/tags/"); ok {
			t := tag{name: name, oid: r.OID, target: r.OID}
			if r.Peeled != "" {
				t.target = r.Peeled
			}
			tags = append(tags, t)
		}
	}
	b.moreRefs = max(0, len(b.branches)-b.opt.Caps.Refs)
	b.moreTags = max(0, len(tags)-b.opt.Caps.Refs)
	def := strings.TrimPrefix(string(snap.Head), "refs/heads/")
	rank := func(x branch) int {
		for i, n := range []string{def, "main", "master"} {
			if x.name == n {
				return i
			}
		}
		return 3
	}
	slices.SortStableFunc(b.branches, func(x, y branch) int { return cmp.Compare(rank(x), rank(y)) })
	b.branches = b.branches[:min(len(b.branches), b.opt.Caps.Refs)]
	// The default branch may fill all that there is room for; the others share what is left.
	var tips []grasp.OID
	for i := range b.branches {
		if i == 0 {
			if err := b.hist.load(ctx, b.src, b.opt.Caps.Commits, b.branches[0].tip); err != nil {
				return err
			}
			continue
		}
		tips = append(tips, b.branches[i].tip)
	}
	if err := b.hist.load(ctx, b.src, b.opt.Caps.Commits, tips...); err != nil {
		return err
	}
	for i := range b.branches {
		b.branches[i].head = b.hist.byID[b.branches[i].tip]
	}
	if len(b.branches) > 1 {
		slices.SortStableFunc(b.branches[1:], func(x, y branch) int { return newer(x.head, y.head) })
	}
	n := 0
	for i := range b.branches {
		if b.branches[i].head != nil && n < b.opt.Caps.Branches {
			b.branches[i].files = true
			n++
		}
	}
	return b.readTags(ctx, tags)
}

func newer(x, y *commit) int {
	switch {
	case x == nil && y == nil:
		return 0
	case x == nil:
		return 1
	case y == nil:
		return -1
	}
	return y.committer.when.Compare(x.committer.when)
}

// readTags reads those tags that are listed, and the commits behind them.
func (b *builder) readTags(ctx context.Context, tags []tag) error {
	tags = tags[:min(len(tags), b.opt.Caps.Refs)]
	var tips []grasp.OID
	for i := range tags {
		t := &tags[i]
		if t.oid != t.target {
			kind, _, data, err := b.src.Object(ctx, t.oid, maxCommit)
			if err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
			if err == nil && kind == "tag" && data != nil {
				t.who, t.message = parseTag(data)
			}
		}
		tips = append(tips, t.target)
	}
	if err := b.hist.load(ctx, b.src, b.opt.Caps.Commits, tips...); err != nil {
		return err
	}
	for i := range tags {
		tags[i].head = b.hist.byID[tags[i].target]
		if tags[i].head != nil && !tags[i].who.known {
			tags[i].who.when, tags[i].who.known = tags[i].head.committer.when, tags[i].head.committer.known
		}
	}
	slices.SortStableFunc(tags, func(x, y tag) int {
		if c := y.who.when.Compare(x.who.when); c != 0 {
			return c
		}
		return cmp.Compare(y.name, x.name)
	})
	b.tags = tags
	return nil
}

// giveAll gives every page, in an order that depends on the repository alone.
func (b *builder) giveAll(ctx context.Context) error {
	sheet := []byte(b.sheet)
	if err := b.p.give(page{path: b.css, base: digest("css", b.css), fetch: func(context.Context) (func() (output, error), error) {
		return func() (output, error) { return output{data: sheet}, nil }, nil
	}}); err != nil {
		return err
	}
	for _, give := range []func(context.Context) error{b.giveIndex, b.giveRefs, b.giveCommits, b.giveFiles} {
		if err := give(ctx); err != nil {
			return err
		}
	}
	return nil
}

// made is the fetch of a page that needs nothing from the source.
func made(work func() (output, error)) func(context.Context) (func() (output, error), error) {
	return func(context.Context) (func() (output, error), error) { return work, nil }
}

// giveCommits gives the page of each commit, and the lists of commits of each branch.
func (b *builder) giveCommits(ctx context.Context) error {
	pages := make([]page, 0, len(b.hist.order))
	diffs := &diffStream{b: b}
	defer diffs.stop()
	for _, c := range b.hist.order {
		pair := [2]grasp.OID{emptyTree, c.tree}
		var known strings.Builder
		for i, p := range c.parents {
			pc := b.hist.byID[p]
			fmt.Fprintf(&known, "%t ", pc != nil)
			if i == 0 && pc != nil {
				pair[0] = pc.tree
			}
		}
		pg := page{path: "commit/" + string(c.oid) + ".html", base: digest("commit", b.style, string(c.oid), known.String())}
		if _, rec, _ := b.p.known(&pg); rec == nil {
			cut := len(c.parents) > 0 && b.hist.byID[c.parents[0]] == nil
			if pair[0] != pair[1] && !cut {
				diffs.pairs = append(diffs.pairs, pair)
			}
			pg.fetch = func(ctx context.Context) (func() (output, error), error) {
				var d diff
				switch {
				case cut:
					d.missing = true
				case pair[0] != pair[1]:
					var err error
					if d, err = diffs.next(ctx, pair); err != nil {
						return nil, err
					}
				}
				return func() (output, error) { return b.commitPage(pg.path, c, d) }, nil
			}
		}
		pages = append(pages, pg)
	}
	for _, pg := range pages {
		if b.left--; b.left < 0 {
			return nil
		}
		if err := b.p.give(pg); err != nil {
			return err
		}
	}
	for _, br := range b.branches {
		if br.files {
			if err := b.giveLog(br); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxDiffStarts is how often git is asked again after it died over an object that is not here.
const maxDiffStarts = 16

// A diffStream reads the diffs of pairs one after the other, while git works them out.
type diffStream struct {
	b      *builder
	pairs  [][2]grasp.OID
	at     int // of the next pair
	starts int
	reader *diffReader
	pipe   *io.PipeReader
	end    chan error
}

func (s *diffStream) start(ctx context.Context) {
	s.starts++
	r, w := io.Pipe()
	s.pipe, s.end = r, make(chan error, 1)
	s.reader = &diffReader{r: bufio.NewReaderSize(r, 64<<10), maxFiles: s.b.opt.Caps.DiffFiles, maxBytes: s.b.opt.Caps.DiffBytes}
	pairs := s.pairs[s.at:]
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { r.CloseWithError(context.Canceled) })
	go func(end chan error) {
		defer cancel()
		err := s.b.src.Diffs(ctx, pairs, w)
		stop()
		w.CloseWithError(err) // nil is an ordinary end
		end <- err
	}(s.end)
}

func (s *diffStream) stop() {
	if s.pipe == nil {
		return
	}
	s.pipe.CloseWithError(io.ErrClosedPipe)
	<-s.end
	s.pipe = nil
}

// next returns the diff of pair, which is the next one.
func (s *diffStream) next(ctx context.Context, pair [2]grasp.OID) (diff, error) {
	if s.at >= len(s.pairs) || s.pairs[s.at] != pair {
		return diff{}, fmt.Errorf("the diff of %s is out of turn", pair[1])
	}
	if s.pipe == nil {
		if s.starts >= maxDiffStarts {
			s.at++
			return diff{missing: true}, nil
		}
		s.start(ctx)
	}
	d, err := s.reader.next(pair)
	if err == nil {
		if s.at++; s.at < len(s.pairs) {
			// Did git end while it told this one? Then the next line never comes.
			if _, perr := s.reader.r.Peek(1); perr == nil {
				return d, nil
			}
		}
	} else {
		s.at++
	}
	s.pipe.CloseWithError(io.ErrClosedPipe)
	gerr := <-s.end
	s.pipe = nil
	switch {
	case ctx.Err() != nil:
		return diff{}, context.Cause(ctx)
	case fault.Is(gerr, fault.NotFound), fault.Is(gerr, fault.TooLarge):
		return diff{missing: true}, nil // and the rest is asked for anew
	case errors.Is(err, errDiff):
		s.b.opt.Log.Warn("a diff could not be read", "err", err)
		return diff{missing: true}, nil // git passes over trees that are not here
	case gerr != nil && fault.CodeOf(gerr) != fault.Invalid:
		return diff{}, gerr
	case err != nil:
		return diff{missing: true}, nil
	}
	return d, nil
}

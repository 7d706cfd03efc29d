package render

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/gitroost/gitroost/grasp"
)

// A change is what one commit did to one file. old is another path than path only if it was renamed
// or copied.
type change struct {
	status       byte // A, M, D, R, C, T
	old, path    string
	mode, before int
	binary       bool
	added, gone  int
	hunks        []hunk
}

type hunk struct {
	oldLine, newLine int
	lines            []string // the first byte says what the line is: ' ', '+', '-', '\'
}

// A diff is what one commit did. cut is true if files or lines were left out; missing if it could
// not be worked out because objects are not here.
type diff struct {
	files        []change
	total        int // files that changed, also those left out
	cut, missing bool
}

var errDiff = errors.New("not the output of git diff-tree")

const maxDiffLine = 1000 // bytes that are kept of a line

// A diffReader reads what Source.Diffs writes. It keeps at most maxFiles files and maxBytes bytes of
// lines of each pair.
type diffReader struct {
	r                  *bufio.Reader
	maxFiles, maxBytes int
}

// next reads the answer for one pair. The error is io.EOF if nothing of it is there.
func (d *diffReader) next(pair [2]grasp.OID) (diff, error) {
	var out diff
	line, err := d.line(200)
	if err != nil {
		return out, err
	}
	if want := string(pair[0]) + " " + string(pair[1]); line != want {
		return out, fmt.Errorf("%w: %.100q where %q was expected", errDiff, line, want)
	}
	var sections []int // of each section, the index of its file, or -1
	for {
		b, err := d.r.Peek(1)
		if err == io.EOF {
			break
		}
		if err != nil {
			return out, err
		}
		if b[0] != ':' {
			break
		}
		c, err := d.raw()
		if err != nil {
			return out, err
		}
		out.total++
		i := -1
		if len(out.files) < d.maxFiles {
			i = len(out.files)
			out.files = append(out.files, c)
		} else {
			out.cut = true
		}
		sections = append(sections, i)
		if c.status == 'T' {
			sections = append(sections, i) // told as removed and made
		}
		if len(sections) > 1<<20 {
			return out, fmt.Errorf("%w: too many files", errDiff)
		}
	}
	if len(sections) == 0 {
		return out, nil
	}
	if b, err := d.r.ReadByte(); err != nil || b != 0 {
		return out, orDiff(err, "no NUL before the patch")
	}
	room := d.maxBytes
	for n := 0; ; n++ {
		b, err := d.r.Peek(11)
		if err != nil && err != io.EOF {
			return out, err
		}
		if string(b) != "diff --git " {
			return out, nil
		}
		if n >= len(sections) {
			return out, fmt.Errorf("%w: more patches than files", errDiff)
		}
		var c *change
		if sections[n] >= 0 {
			c = &out.files[sections[n]]
		}
		if err := d.section(c, &room, &out.cut); err != nil {
			return out, err
		}
	}
}

// raw reads ":100644 100644 <oid> <oid> M\0path\0", with a second path for R and C.
func (d *diffReader) raw() (change, error) {
	var c change
	head, err := d.until(0, 200)
	if err != nil {
		return c, err
	}
	f := strings.Fields(strings.TrimPrefix(head, ":"))
	if len(f) != 5 || f[4] == "" {
		return c, fmt.Errorf("%w: %.100q", errDiff, head)
	}
	before, err1 := strconv.ParseUint(f[0], 8, 20)
	mode, err2 := strconv.ParseUint(f[1], 8, 20)
	if err1 != nil || err2 != nil {
		return c, fmt.Errorf("%w: %.100q", errDiff, head)
	}
	c.before, c.mode, c.status = int(before), int(mode), f[4][0]
	if c.path, err = d.until(0, 64<<10); err != nil {
		return c, err
	}
	c.old = c.path
	if c.status == 'R' || c.status == 'C' {
		c.path, err = d.until(0, 64<<10)
	}
	return c, err
}

// section reads the patch of one file. c is nil if it is not kept.
func (d *diffReader) section(c *change, room *int, cut *bool) error {
	for first := true; ; first = false {
		b, err := d.r.Peek(11)
		if err != nil && err != io.EOF {
			return err
		}
		if len(b) == 0 || !first && string(b) == "diff --git " {
			return nil
		}
		if bytes.HasPrefix(b, []byte("@@ -")) {
			if err := d.hunk(c, room, cut); err != nil {
				return err
			}
			continue
		}
		if !first && !isHeader(b) {
			return nil // the next pair
		}
		line, err := d.line(200)
		if err != nil {
			return err
		}
		if c != nil && strings.HasPrefix(line, "Binary files ") {
			c.binary = true
		}
	}
}

var headers = []string{"old mode ", "new mode ", "deleted ", "new file ", "copy ", "rename ", "similarity ", "dissimilarity ", "index ", "--- ", "+++ ", "Binary "}

func isHeader(b []byte) bool {
	for _, h := range headers {
		if bytes.HasPrefix(b, []byte(h[:min(len(h), len(b))])) && len(b) > 3 {
			return true
		}
	}
	return false
}

func (d *diffReader) hunk(c *change, room *int, cut *bool) error {
	line, err := d.line(200)
	if err != nil {
		return err
	}
	f := strings.Fields(line)
	if len(f) < 4 {
		return fmt.Errorf("%w: %.100q", errDiff, line)
	}
	oldLine, olds, ok1 := extent(f[1], '-')
	newLine, news, ok2 := extent(f[2], '+')
	if !ok1 || !ok2 {
		return fmt.Errorf("%w: %.100q", errDiff, line)
	}
	h := hunk{oldLine: oldLine, newLine: newLine}
	for {
		if olds == 0 && news == 0 {
			if b, err := d.r.Peek(1); err != nil || b[0] != '\\' {
				break
			}
		}
		line, err := d.line(maxDiffLine)
		if err != nil {
			return orDiff(err, "a hunk is cut off")
		}
		kind := byte(0)
		if line != "" {
			kind = line[0]
		}
		switch kind {
		case ' ':
			olds, news = olds-1, news-1
		case '-':
			olds--
		case '+':
			news--
		case '\\':
		default:
			return fmt.Errorf("%w: a line begins with %q", errDiff, kind)
		}
		if olds < 0 || news < 0 {
			return fmt.Errorf("%w: a hunk is longer than it says", errDiff)
		}
		if c == nil {
			continue
		}
		switch kind {
		case '-':
			c.gone++
		case '+':
			c.added++
		}
		if *room < len(line)+16 {
			*room, *cut = 0, true
			continue
		}
		*room -= len(line) + 16
		h.lines = append(h.lines, line)
	}
	if c != nil && len(h.lines) > 0 {
		c.hunks = append(c.hunks, h)
	}
	return nil
}

// extent reads "-12,3" or "-12".
func extent(s string, sign byte) (line, count int, ok bool) {
	if s == "" || s[0] != sign {
		return 0, 0, false
	}
	a, b, has := strings.Cut(s[1:], ",")
	line, err := strconv.Atoi(a)
	count = 1
	if err == nil && has {
		count, err = strconv.Atoi(b)
	}
	return line, count, err == nil && line >= 0 && count >= 0
}

// line reads one line without its end; of a long one only the first most bytes are kept.
func (d *diffReader) line(most int) (string, error) { return d.until('\n', most) }

func (d *diffReader) until(end byte, most int) (string, error) {
	var b []byte
	for {
		part, err := d.r.ReadSlice(end)
		if err == nil {
			part = part[:len(part)-1]
		}
		b = append(b, part[:min(len(part), most-len(b))]...)
		switch {
		case err == nil:
			return string(b), nil
		case err == io.EOF && len(b) > 0:
			return "", io.ErrUnexpectedEOF
		case err != bufio.ErrBufferFull:
			return "", err
		}
	}
}

func orDiff(err error, text string) error {
	if err != nil && err != io.EOF {
		return err
	}
	return fmt.Errorf("%w: %s", errDiff, text)
}

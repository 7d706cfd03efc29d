package render

import (
	"bufio"
	"io"

	"github.com/gitroost/gitroost/grasp"
)

// SetStep makes what is published fail or look where f does.
func (o *Options) SetStep(f func(string) error) { o.step = f }

// Segment, FileAddress and FolderAddress escape names.
var (
	Segment       = segment
	FileAddress   = fileAddress
	FolderAddress = folderAddress
	Show          = show
)

// ReadDiffs reads the answer to one pair and says how many files changed and what was kept of them.
func ReadDiffs(r io.Reader, pair [2]grasp.OID, maxFiles, maxBytes int) (files, kept, size int, err error) {
	d := diffReader{r: bufio.NewReader(r), maxFiles: maxFiles, maxBytes: maxBytes}
	got, err := d.next(pair)
	for _, f := range got.files {
		for _, h := range f.hunks {
			for _, l := range h.lines {
				size += len(l)
			}
		}
	}
	return got.total, len(got.files), size, err
}

// ParseObjects runs the parsers of objects.
func ParseObjects(data []byte) (names []string) {
	list, _ := parseTree(data)
	for _, e := range list {
		names = append(names, e.name)
	}
	parseCommit("", data)
	parseTag(data)
	return names
}

// GoTokens returns the tokens of Go source.
var GoTokens = goTokens

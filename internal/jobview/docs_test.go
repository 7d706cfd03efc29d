package jobview_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/jobview"
)

var update = flag.Bool("update", false, "write docs/jobs-api.md anew")

const apiHead = `# Watching jobs

<!-- Written from the code: go test ./internal/jobview -update -->

Whoever pushes is told where each job can be watched. What a job says can be read while it says it: on its page, as text, with
` + "`gitroost jobs log -f <id>`" + `, and in the terminal that pushes:

` + "```console" + `
$ git push -o follow              # all jobs of this push, one after the other
$ git push -o follow=test         # this one
` + "```" + `

The push is done by then, and its exit code is its own, however a job ends. After ten minutes the rest is left to the page.

## Over HTTP

| request | answer |
|---|---|
| ` + "`GET /jobs`" + ` | the newest jobs: a page, or with ` + "`Accept: application/json`" + ` or as ` + "`/jobs.json`" + ` an object with ` + "`jobs`" + ` and ` + "`next`" + `. Filters: ` + "`repo=npub1…/identifier`" + `, ` + "`name`" + `, ` + "`state`" + ` (several with commas), ` + "`since`" + ` (a time, or ` + "`90m`, `24h`, `7d`" + `), ` + "`limit`" + ` (50, at most 200), ` + "`before`" + ` (the ` + "`next`" + ` of the page before) |
| ` + "`GET /jobs/<id>`, `/jobs/<id>.json`" + ` | one job; ` + "`/jobs/schema.json`" + ` is its JSON schema |
| ` + "`GET /jobs/<id>/log`" + ` | what it said, as text, of the last attempt or ` + "`?attempt=<n>`" + `; ` + "`Range`" + ` and gzip are understood |
| ` + "`GET /jobs/<id>/log?follow=1`" + ` | the same while it is said, over all attempts, until the job has ended; it waits for a job that has not begun |
| … with ` + "`Accept: text/event-stream`" + ` | as server-sent events: each line is a message whose id is the place behind it. Who comes back with ` + "`Last-Event-ID`" + ` (or ` + "`from=<id>`" + `) misses nothing. ` + "`part`" + ` is a piece of a line that goes on, ` + "`end`" + ` the job at its end, ` + "`stopping`" + ` the server's. 204 says that nothing more will come |
| ` + "`POST /jobs/<id>/retry`" + ` | 201 and the new job |
| ` + "`POST /jobs/<id>/cancel`" + ` | 200 and the job |
| ` + "`POST /jobs/<id>/approve`" + ` | 200 and the job, which waited for approval: of what a pull request started a maintainer or the operator approves, of what a repository defines the operator alone |
| ` + "`POST /jobs`" + ` | runs jobs by name: ` + "`{\"repo\": \"npub1…/identifier\", \"names\": [\"test\"], \"ref\": \"main\", \"force\": false}`" + `; 201 and an object with ` + "`jobs`" + ` |
| ` + "`GET /jobs/explain?repo=…&ref=…&name=…`" + ` | why a push of the ref makes jobs, or none |

Everybody may read jobs, unless they say ` + "`private: true`" + `, their definition is gone, or their repository is not open. What is private, every POST, and explain need a
request that is signed by the operator or by a maintainer of the repository ([NIP-98](https://github.com/nostr-protocol/nips/blob/master/98.md));
maintainers may ask by name for those jobs that say ` + "`on: {manual: true}`" + `. Notifications can carry a token that runs their job again, once, within a
day: ` + "`POST /jobs/<id>/retry?t=<token>`" + `. Scripts of other sites may read what everybody may; there are no cookies, so they are nobody
in particular.

Logs know no secrets that a job was given: they are masked, in all the shapes in which they are likely to be written, before they reach the disk. A log that grows beyond
` + "`jobs_engine.logs.max_bytes`" + ` keeps its beginning and its end, and says what is missing.

## A job as JSON

| field | | |
|---|---|---|
`

// The page about the API is written from what the code says of itself.
func TestDocs(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(apiHead)
	fields(&b, "", reflect.TypeFor[jobview.View]())
	path := filepath.Join("..", "..", "docs", "jobs-api.md")
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%s is not what the code says (%v): go test ./internal/jobview -update", path, err)
	}
}

func fields(b *bytes.Buffer, prefix string, s reflect.Type) {
	for i := range s.NumField() {
		f := s.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		kind, of := "text", f.Type
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			if of.Kind() == reflect.Slice {
				name += "[]"
			}
			of = of.Elem()
		}
		switch of.Kind() {
		case reflect.Bool:
			kind = "true or false"
		case reflect.Int, reflect.Int64, reflect.Float64:
			kind = "number"
		case reflect.Struct:
			kind = "object"
			if of.PkgPath() == "time" {
				kind = "time"
			}
		}
		fmt.Fprintf(b, "| `%s%s` | %s | %s |\n", prefix, name, kind, f.Tag.Get("doc"))
		if kind == "object" {
			fields(b, prefix+name+".", of)
		}
	}
}

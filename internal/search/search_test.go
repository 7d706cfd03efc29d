package search_test

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/search"
)

func issue(subject, text string, tags ...nostr.Tag) *nostr.Event {
	return &nostr.Event{Kind: grasp.KindIssue, Content: text, Tags: append(nostr.Tags{{"subject", subject}}, tags...)}
}

// The words of a text: case, accents and width do not matter, and every character can be found.
func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "",
		"Fix the parser":                  "fix the parser",
		"smart-http, over_TLS (v2.39.5)!": "smart http over tls v2 39 5",
		"Zürich ÀÉÎ naïve Łódź søk":       "zurich aei naive lodz sok",
		"cafe\u0301 E\u0301te\u0301":      "cafe ete",
		"ΟΔΟΣ οδός":                       "οδοσ οδοσ",
		"Ёлка й":                          "елка и",
		"ｆｕｌｌ　ｗｉｄｔｈ":                      "full width",
		"搜索引擎":                            "搜索 索引 引擎 擎",
		"用go写":                            "用 go 写",
		"ソースコード":                          "ソー ース スコ コー ード ド",
		"깃 저장소":                           "깃 저장 장소 소",
		"हिन्दी":                          "हिन्दी",
		"می\u200cخواهم":                   "میخواهم",
		"🚀 ship it 🚀":                     "ship it",
		"a\x00b\x1fc":                     "a b c",
		"\u0301\u0302":                    "",
		strings.Repeat("x", 100):          strings.Repeat("x", 64),
		strings.Repeat("é", 100):          strings.Repeat("e", 64),
		strings.Repeat("ж", 100):          strings.Repeat("ж", 32),
	} {
		if got := search.Join(search.Of(issue("", text)).Text); got != want {
			t.Errorf("%.40q: %q, want %q", text, got, want)
		}
	}
}

// What of an event can be found: N-042 names the kinds.
func TestOf(t *testing.T) {
	repo := &nostr.Event{Kind: grasp.KindAnnouncement, Tags: nostr.Tags{
		{"d", "tool"}, {"name", "The Tool"}, {"description", "It works"}, {"t", "cli"}, {"t", "go"}, {"web", "https://example.com"},
		{"name"}, {"maintainers", "not found"},
	}}
	w := search.Of(repo)
	if got := search.Join(w.Title); got != "tool ¶ the tool ¶ cli ¶ go" {
		t.Errorf("titles: %q", got)
	}
	if got := search.Join(w.Text); got != "it works" {
		t.Errorf("text: %q", got)
	}
	for _, kind := range []int{1617, 1618, 1619, 1621} {
		w := search.Of(&nostr.Event{Kind: kind, Content: "body", Tags: nostr.Tags{{"d", "no"}, {"subject", "s"}, {"alt", "other words"}, {"subject", "!"}}})
		if search.Join(w.Title) != "s" || search.Join(w.Text) != "other words ¶ body" {
			t.Errorf("kind %d: %q", kind, w)
		}
	}
	for _, kind := range []int{0, 1, 5, 1111, 30618} {
		if w := search.Of(&nostr.Event{Kind: kind, Content: "body"}); len(w.Title)+len(w.Text) > 0 || search.Has(kind) {
			t.Errorf("kind %d: %q", kind, w)
		}
	}
	for _, kind := range search.Kinds {
		if !search.Has(kind) {
			t.Errorf("Has does not know kind %d", kind)
		}
	}
	// What is looked at is bounded, and ends with a whole character.
	long := search.Of(issue(strings.Repeat("ж ", 5000), "é"+strings.Repeat(" 漢", 50_000)))
	if n := len(long.Title); n < 1000 || n > search.MaxTitle {
		t.Errorf("%d words of titles", n)
	}
	if n := len(long.Text); n < 8000 || n > search.MaxText {
		t.Errorf("%d words of text", n)
	}
	var topics nostr.Tags
	for range 1000 {
		topics = append(topics, nostr.Tag{"t", "x"})
	}
	if n := len(search.Of(issue("", "", topics...)).Title); n > 200 {
		t.Errorf("%d words of topics", n)
	}
}

// write spells a query as the table below does.
func write(q search.Query) string {
	var out []string
	for i, list := range [][]search.Term{q.All, q.None} {
		for _, t := range list {
			s := []string{"", "-"}[i] + strings.Join(t.Words, "+")
			if t.Prefix {
				s += "*"
			}
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

// How a search is read (NIP-50).
func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"parser":                          "parser*",
		"parser ":                         "parser",
		"Fix the PARSER":                  "fix the parser*",
		`"fix the" parser`:                "fix+the parser*",
		`parser "fix the"`:                "parser fix+the",
		`parser "fix th`:                  "parser fix+th",
		`“fix the”`:                       "fix+the",
		"smart-http":                      "smart+http*",
		"smart-http x ":                   "smart+http x",
		"x":                               "x",
		"go":                              "go", // two letters begin too much
		"fix -parser":                     "fix -parser",
		`fix -"old parser" -x`:            "fix -old+parser -x",
		"-old new":                        "new* -old",
		"include:spam git":                "git*",
		"git language:en nsfw:false":      "git*",
		"-language:en git":                "git*",
		`"language:en"`:                   "language+en",
		"https://example.com":             "https+example+com*",
		"std::vector":                     "std+vector*",
		"12:30":                           "12+30",
		"note: x":                         "note x",
		"c++":                             "c",
		"git AND hub OR NOT NEAR(x y, 2)": "git and hub or not near+x y 2",
		`title : x * ^ {a b} + c`:         "title x a b c",
		`a"b`:                             "a+b",
		"搜索":                              "搜索",
		"搜索引擎":                            "搜索+索引+引擎",
		"搜":                               "搜*",
		"搜 git":                           "搜* git*",
		"-搜 git":                          "git* -搜*",
		`"搜索" x `:                         "搜索 x",
		"go语言":                            "go+语言",
		"语言go":                            "语言+言+go",
	} {
		q, means, err := search.Parse(text)
		if err != nil || means != search.Terms || write(q) != want {
			t.Errorf("%q: %q, %v, %v, want %q", text, write(q), means, err, want)
		}
	}
	for text, want := range map[string]search.Meaning{
		"": search.Anything, " \t\n": search.Anything, "include:spam": search.Anything, "a:b -c:d": search.Anything,
		"!!!": search.Nothing, "-x": search.Nothing, `""`: search.Nothing, "-": search.Nothing, "🚀": search.Nothing, "- -x !": search.Nothing,
	} {
		if q, means, err := search.Parse(text); err != nil || means != want || write(q) != "" {
			t.Errorf("%q: %q, %v, %v, want %v", text, write(q), means, err, want)
		}
	}
	for _, text := range []string{strings.Repeat("x", search.MaxQuery+1), strings.Repeat("x ", search.MaxTerms+1), strings.Repeat("-x ", search.MaxTerms+1), "\xff"} {
		if _, _, err := search.Parse(text); !fault.Is(err, fault.Invalid) {
			t.Errorf("%.20q: %v, want invalid", text, err)
		}
	}
	if _, _, err := search.Parse(strings.Repeat("x ", search.MaxTerms)); err != nil {
		t.Error(err)
	}
}

// Which searches find an event in memory.
func TestIndex(t *testing.T) {
	x := search.NewIndex(issue("Fix the parser", "The smart-http door drops packets when 搜索引擎 asks. Done.", nostr.Tag{"t", "good first issue"}))
	for text, want := range map[string]bool{
		"parser": true, "pars": true, "pars ": false, "arser": false, "parser packets": true, "parser missing": false,
		`"fix the"`: true, `"the fix"`: false, `"fix the par`: true, `"fix the par" `: false,
		"smart-http": true, "smart-htt": true, `"parser the"`: false, `"parser good"`: false, `"issue the"`: false,
		"parser -packets": false, "parser -rockets": true, `parser -"the parser"`: false, `parser -"parser the"`: true,
		"PARSER ÍSSUE": true, "搜": true, "擎": true, "索引": true, "搜索引擎": true, "引搜": false, "搜索 引擎": true, "擎 asks": true,
		"done": true, `"done`: true, `"done x`: false, "parser language:en": true, "¶ parser": true, `"parser ¶ good"`: false,
	} {
		q, means, err := search.Parse(text)
		if err != nil || means != search.Terms {
			t.Fatalf("%q: %v, %v", text, means, err)
		}
		if got := x.Has(&q); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if !slices.IsSorted(x.Words()) || slices.Contains(x.Words(), search.Gap) {
		t.Errorf("words: %q", x.Words())
	}
	empty := search.NewIndex(&nostr.Event{Kind: 1, Content: "parser"})
	if q, _, _ := search.Parse("parser"); empty.Has(&q) {
		t.Error("a note is found")
	}
}

// A live search is filed under a word that every event it finds has.
func TestKey(t *testing.T) {
	for text, want := range map[string]string{
		"a parser": "a", "a parser ": "parser", "par": "par*", `a "go parser" x`: "parser", "搜索引擎": "搜索", "-x par": "par*",
	} {
		q, _, err := search.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		word, prefix := q.Key()
		if prefix {
			word += "*"
		}
		if word != want {
			t.Errorf("%q: %q, want %q", text, word, want)
		}
	}
}

// FuzzSearch: no text is too odd to be searched, or to be searched for, and a text finds itself.
func FuzzSearch(f *testing.F) {
	for _, s := range []string{"fix the parser", `"a b" -c d:e`, "搜索引擎 go", "ｆ é\u0301 \u200d", `x" AND "y`, "-\"", "¶", "ﷺ"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, text, asked string) {
		if !utf8.ValidString(text) {
			return // no event has that
		}
		x := search.NewIndex(issue("", text))
		for _, w := range search.Of(issue("", text)).Text {
			if w == "" || len(w) > 64 || !utf8.ValidString(w) {
				t.Fatalf("%q has the word %q", text, w)
			}
			for _, r := range w {
				if unicode.IsSpace(r) || r < 0x80 && !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9') {
					t.Fatalf("%q has the word %q", text, w)
				}
			}
		}
		for _, s := range []string{asked, `"` + strings.ReplaceAll(text, `"`, " ") + `"`} {
			q, means, err := search.Parse(s)
			if err != nil || means != search.Terms {
				continue
			}
			found := x.Has(&q)
			if s != asked && !found && !strings.ContainsAny(s, "“”„") {
				t.Fatalf("%q does not find itself: %s", text, write(q))
			}
			word, prefix := q.Key()
			if found && !prefix && !slices.Contains(x.Words(), word) {
				t.Fatalf("%q finds %q, and is filed under %q", s, text, word)
			}
			for _, term := range append(q.All, q.None...) {
				if len(term.Words) == 0 || strings.ContainsAny(search.Join(term.Words), "\"*^:()") {
					t.Fatalf("%q asks for %q", s, term.Words)
				}
			}
		}
	})
}

func BenchmarkIndex(b *testing.B) {
	for name, text := range map[string]string{
		"short":  "The parser drops the last word of a line",
		"patch":  strings.Repeat("+	if err := parse(line, 42); err != nil { return fmt.Errorf(\"store: %w\", err) }\n", 400),
		"accent": strings.Repeat("é voilà naïve ", 3000),
		"han":    strings.Repeat("搜索引擎需要解析", 2000),
	} {
		ev := issue("Fix", text)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				search.NewIndex(ev)
			}
		})
	}
}

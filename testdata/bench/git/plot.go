package main

import (
	"fmt"
	"math"
	"strings"
)

// colours of the peers: ours strong, the limits grey.
var colours = map[string]string{
	ours: "#c2410c", tidy: "#fb923c", nginx: "#1d4ed8", goCGI: "#60a5fa", daemon: "#0f766e", local: "#6b7280", staticS: "#d1d5db",
}

// plot draws the times of the scenarios that match: a bar for each peer, on a logarithmic scale.
func (r *report) plot(match func(string) bool) string {
	const left, width, bar, gap = 230, 560, 11, 10
	low, high := math.Inf(1), math.Inf(-1)
	var names []string
	for _, s := range r.plan {
		if !match(s.name) || len(r.Results[s.name][mMS]) == 0 {
			continue
		}
		names = append(names, s.name)
		for _, v := range r.Results[s.name][mMS] {
			low, high = min(low, v.Median), max(high, v.Median)
		}
	}
	if len(names) == 0 {
		low, high = 1, 10
	}
	low, high = math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	if high <= low {
		high = low + 1
	}
	x := func(v float64) float64 { return left + width*(math.Log10(v)-low)/(high-low) }

	var b strings.Builder
	y := 46
	for _, name := range names {
		peers := r.peersOf(name, mMS)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" font-weight="bold">%s</text>`+"\n", left-8, y+bar*len(peers)/2+4, name)
		for _, p := range peers {
			v := r.Results[name][mMS][p].Median
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"><title>%s, %s: %s ms</title></rect>`+"\n",
				left, y, max(1, x(v)-left), bar-1, colours[p], name, p, figure(v))
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" font-size="9" fill="#444">%s</text>`+"\n", max(left+1, x(v))+4, y+bar-2, figure(v))
			y += bar
		}
		y += gap
	}
	height := y + 24
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", left+width+70, height, left+width+70, height)
	fmt.Fprintf(&out, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	at := 10
	for _, p := range columns {
		fmt.Fprintf(&out, `<rect x="%d" y="8" width="10" height="10" fill="%s"/><text x="%d" y="17">%s</text>`+"\n", at, colours[p], at+14, p)
		at += 34 + 7*len(p)
	}
	for d := low; d <= high; d++ {
		v := math.Pow(10, d)
		fmt.Fprintf(&out, `<line x1="%.1f" y1="34" x2="%.1f" y2="%d" stroke="#ddd"/><text x="%.1f" y="32" text-anchor="middle" fill="#444">%g ms</text>`+"\n", x(v), x(v), y, x(v), v)
	}
	out.WriteString(b.String())
	fmt.Fprintf(&out, `<text x="%d" y="%d" fill="#444">median time of one request or command; less is better; logarithmic</text>`+"\n</svg>\n", left, height-8)
	return out.String()
}

package joblog

// ParseFrame, ParseMember and ParseFoot are what reads files, for fuzzers.
func ParseFrame(b []byte) (n int, err error) {
	s := streams{1: "stdout"}
	_, n, _, err = s.parseFrame(b)
	return n, err
}

func ParseMember(extra, text []byte) (int, error) {
	_, lines, err := parseMember(extra, text)
	n := 0
	for _, e := range lines {
		n += int(e.size())
	}
	return n, err
}

package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/gitroost/gitroost/grasp"
)

// maxText is the longest text value, in bytes.
const maxText = 4096

// maxList is the longest list.
const maxList = 256

// A kind of setting: how it is read from text and written back. check returns the value as it
// will be kept.
func text(p *string, name, def string, check func(string) (string, error), doc string) Setting {
	return Setting{
		Name: name, Default: def, Doc: doc, Unit: "text",
		set: func(s string) error {
			if err := plain(s); err != nil {
				return err
			}
			v, err := check(strings.TrimSpace(s))
			if err == nil {
				*p = v
			}
			return err
		},
		get: func() string { return *p },
	}
}

func texts(p *[]string, name string, check func(string) (string, error), doc string) Setting {
	return Setting{
		Name: name, Doc: doc, Unit: "list", list: true,
		set: func(s string) error {
			var out []string
			err := each(s, func(item string) error {
				if err := plain(item); err != nil {
					return err
				}
				v, err := check(item)
				if v != "" {
					out = append(out, v)
				}
				return err
			})
			if err == nil {
				*p = out
			}
			return err
		},
		get: func() string { return strings.Join(*p, ", ") },
	}
}

func prefixes(p *[]netip.Prefix, name, doc string) Setting {
	return Setting{
		Name: name, Doc: doc, Unit: "list of CIDR ranges", list: true,
		set: func(s string) error {
			var out []netip.Prefix
			err := each(s, func(item string) error {
				pre, err := parsePrefix(item)
				out = append(out, pre)
				return err
			})
			if err == nil {
				*p = out
			}
			return err
		},
		get: func() string {
			out := make([]string, len(*p))
			for i, pre := range *p {
				out[i] = pre.String()
			}
			return strings.Join(out, ", ")
		},
	}
}

func key(p *grasp.PubKey, name, doc string) Setting {
	return Setting{
		Name: name, Doc: doc, Unit: "public key",
		set: func(s string) error {
			s = strings.TrimSpace(s)
			if s == "" {
				*p = ""
				return nil
			}
			k, err := publicKey(s)
			if err == nil {
				*p = k
			}
			return err
		},
		get: func() string { return p.Npub() },
	}
}

// publicKey reads an npub or 64 hex digits.
func publicKey(s string) (grasp.PubKey, error) {
	if strings.HasPrefix(s, "nsec1") {
		return "", errors.New("is a secret key; give the npub, and consider this nsec leaked")
	}
	if k, err := grasp.ParseNpub(s); err == nil {
		return k, nil
	}
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != 32 {
		return "", errors.New("is neither an npub nor 64 hex digits")
	}
	return grasp.PubKey(hex.EncodeToString(raw)), nil
}

func boolean(p *bool, name, def, doc string) Setting {
	return Setting{
		Name: name, Default: def, Doc: doc, Unit: "true or false", flag: true,
		set: func(s string) error {
			switch strings.ToLower(strings.TrimSpace(s)) {
			case "true", "yes", "on", "1":
				*p = true
			case "false", "no", "off", "0":
				*p = false
			default:
				return fmt.Errorf("is %s, not true or false", quoted(s))
			}
			return nil
		},
		get: func() string { return strconv.FormatBool(*p) },
	}
}

func choice(p *string, name, def string, among []string, doc string) Setting {
	return Setting{
		Name: name, Default: def, Doc: doc, Unit: "text", Limit: strings.Join(among, ", "),
		set: func(s string) error {
			v := strings.ToLower(strings.TrimSpace(s))
			if !slices.Contains(among, v) {
				return fmt.Errorf("is %s, not one of %s", quoted(s), strings.Join(among, ", "))
			}
			*p = v
			return nil
		},
		get: func() string { return *p },
	}
}

func count(p *int, name, def string, low, high int, doc string) Setting {
	return Setting{
		Name: name, Default: def, Doc: doc, Unit: "count", Limit: fmt.Sprintf("%d to %d", low, high),
		set: func(s string) error {
			n, err := strconv.Atoi(strings.TrimSpace(s))
			if err != nil {
				return fmt.Errorf("is %s, not a whole number", quoted(s))
			}
			if n < low || n > high {
				return fmt.Errorf("is %d; it may be %d to %d", n, low, high)
			}
			*p = n
			return nil
		},
		get: func() string { return strconv.Itoa(*p) },
		num: func() float64 { return float64(*p) },
	}
}

func size(p *int64, name, def string, low, high int64, doc string) Setting {
	return Setting{
		Name: name, Default: def, Doc: doc, Unit: "bytes",
		Limit: Size(low) + " to " + Size(high),
		set: func(s string) error {
			n, err := ParseSize(s)
			if err != nil {
				return err
			}
			if n < low || n > high {
				return fmt.Errorf("is %s; it may be %s to %s", Size(n), Size(low), Size(high))
			}
			*p = n
			return nil
		},
		get: func() string { return Size(*p) },
		num: func() float64 { return float64(*p) },
	}
}

func duration(p *time.Duration, name, def string, low, high time.Duration, doc string) Setting {
	return Setting{
		Name: name, Default: def, Doc: doc, Unit: "duration",
		Limit: Duration(low) + " to " + Duration(high),
		set: func(s string) error {
			d, err := ParseDuration(s)
			if err != nil {
				return err
			}
			if d < low || d > high {
				return fmt.Errorf("is %s; it may be %s to %s", Duration(d), Duration(low), Duration(high))
			}
			*p = d
			return nil
		},
		get: func() string { return Duration(*p) },
		num: func() float64 { return p.Seconds() },
	}
}

// skew is a duration that may be negative, at most most either way.
func skew(p *time.Duration, name string, most time.Duration, doc string) Setting {
	return Setting{
		Name: name, Default: "0s", Doc: doc, Unit: "duration",
		Limit: "-" + Duration(most) + " to " + Duration(most),
		set: func(s string) error {
			rest, behind := strings.CutPrefix(strings.TrimSpace(s), "-")
			d, err := ParseDuration(rest)
			if err != nil {
				return err
			}
			if d > most {
				return fmt.Errorf("is %s; it may be -%s to %s", quoted(s), Duration(most), Duration(most))
			}
			if *p = d; behind {
				*p = -d
			}
			return nil
		},
		get: func() string {
			if *p < 0 {
				return "-" + Duration(-*p)
			}
			return Duration(*p)
		},
		num: func() float64 { return p.Seconds() },
	}
}

var units = []struct {
	name string
	n    int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// ParseSize reads "2 GiB", "512MiB", "5 GB" or a bare number of bytes. Units are told apart
// whatever their case: GiB is 2^30 bytes, GB is 10^9. Fractions are not accepted.
func ParseSize(s string) (int64, error) {
	t := strings.TrimSpace(s)
	digits := strings.IndexFunc(t, func(r rune) bool { return r < '0' || r > '9' })
	unit := "B"
	if digits >= 0 {
		t, unit = t[:digits], strings.TrimSpace(t[digits:])
	}
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("is %s, not a size such as 512 MiB or 2 GiB", quoted(s))
	}
	for _, u := range units {
		if strings.EqualFold(u.name, unit) {
			if n > (1<<63-1)/u.n {
				return 0, fmt.Errorf("is %s, which is more than can be counted", quoted(s))
			}
			return n * u.n, nil
		}
	}
	return 0, fmt.Errorf("is %s, not a size such as 512 MiB or 2 GiB", quoted(s))
}

// Size writes n with the largest binary unit that divides it.
func Size(n int64) string {
	for _, u := range units {
		if n >= u.n && n%u.n == 0 && u.n&(u.n-1) == 0 {
			return strconv.FormatInt(n/u.n, 10) + " " + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " B"
}

// ParseDuration reads "90s", "30m", "1h30m" or whole days such as "30d".
func ParseDuration(s string) (time.Duration, error) {
	t := strings.ReplaceAll(strings.TrimSpace(s), " ", "")
	if days, ok := strings.CutSuffix(t, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("is %s, not a duration such as 90s, 30m or 30d", quoted(s))
		}
		return time.Duration(n) * day, nil
	}
	d, err := time.ParseDuration(t)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("is %s, not a duration such as 90s, 30m or 30d", quoted(s))
	}
	return d, nil
}

// Duration writes d as ParseDuration reads it, as short as possible.
func Duration(d time.Duration) string {
	if d >= 2*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func anything(s string) (string, error) { return s, nil }

func notEmpty(s string) (string, error) {
	if s == "" {
		return "", errors.New("must not be empty")
	}
	return s, nil
}

func optional(check func(string) (string, error)) func(string) (string, error) {
	return func(s string) (string, error) {
		if s == "" {
			return "", nil
		}
		return check(s)
	}
}

func hostport(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("is %s, not host:port such as 127.0.0.1:7334", quoted(s))
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("has the port %s, which is not a number up to 65535", quoted(port))
	}
	if strings.ContainsAny(host, "/ ") {
		return "", fmt.Errorf("is %s, not host:port such as 127.0.0.1:7334", quoted(s))
	}
	return s, nil
}

// pattern accepts what names repositories in a list of an operator.
func pattern(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if _, err := grasp.ParsePattern(s); err != nil {
		return "", fmt.Errorf("%s %w", quoted(s), err)
	}
	return s, nil
}

// relayAddress accepts the address of a relay.
func relayAddress(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "wss" && u.Scheme != "ws" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("is %s, not the address of a relay such as wss://relay.example", quoted(s))
	}
	return s, nil
}

// authority accepts host[:port] with or without http:// or https://, and gives a name of another
// script in its ASCII form, which is how it will arrive.
// bareHost is a host without a scheme or a path, and with a port only if it is not a usual one.
func bareHost(s string) (string, error) {
	host := strings.ToLower(s)
	if strings.Contains(host, "://") || strings.ContainsAny(host, "/ @?#") {
		return "", fmt.Errorf("is %s, not a host such as pages.example.com", quoted(s))
	}
	if _, err := authority(host); err != nil {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(host, ":443"), ":80"), nil
}

func authority(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	bad := fmt.Errorf("is %s, not a host such as git.example.com, or host:port", quoted(s))
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	}
	switch scheme = strings.ToLower(scheme); scheme {
	case "", "http", "https":
	case "ws", "wss":
		return "", errors.New("names a WebSocket URL; give the host alone")
	default:
		return "", bad
	}
	rest = strings.TrimSuffix(rest, "/")
	if strings.ContainsAny(rest, "/?#@\\% ") {
		return "", bad
	}
	host, port := splitPort(rest)
	if port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", bad
		}
		if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
			port = ""
		}
	}
	if bare := strings.Trim(host, "[]"); strings.HasPrefix(host, "[") || strings.Contains(bare, ":") {
		ip, err := netip.ParseAddr(bare)
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", bad
		}
		host = "[" + ip.String() + "]"
	} else {
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil || ascii == "" || len(ascii) > 253 {
			return "", bad
		}
		if ip, err := netip.ParseAddr(ascii); err == nil && ip.IsUnspecified() {
			return "", errors.New("is an address that nobody can call; give the name that visitors use")
		}
		host = strings.ToLower(ascii)
	}
	if port != "" {
		host += ":" + port
	}
	if scheme != "" {
		host = scheme + "://" + host
	}
	return host, nil
}

func webURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return "", fmt.Errorf("is %s, not an http or https URL", quoted(s))
	}
	return u.String(), nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.Prefix{}, fmt.Errorf("names %s, not an address or a range such as 10.0.0.0/8", quoted(s))
}

// each calls f with the trimmed items of a comma-separated list.
func each(s string, f func(string) error) error {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	items := strings.Split(s, ",")
	if len(items) > maxList {
		return fmt.Errorf("has %d items; it may have %d", len(items), maxList)
	}
	for _, item := range items {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		if err := f(item); err != nil {
			return err
		}
	}
	return nil
}

// plain refuses what would garble a header, a page or a terminal.
func plain(s string) error {
	if len(s) > maxText {
		return fmt.Errorf("is longer than %d bytes", maxText)
	}
	if !utf8.ValidString(s) {
		return errors.New("is not UTF-8")
	}
	for _, r := range strings.TrimSpace(s) {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return fmt.Errorf("contains the control character %U", r)
		}
	}
	return nil
}

// quoted shows s to a person, shortened.
func quoted(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return strconv.Quote(s)
}

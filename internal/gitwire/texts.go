package gitwire

import (
	"fmt"

	"github.com/gitroost/gitroost/grasp"
)

// Every sentence by which this package refuses a push or a fetch. They are read by people, after a
// stable word that whoever writes the report puts in front.
const (
	textBadCommand   = "malformed command in the push request"
	textBadShallow   = "malformed shallow line in the push request"
	textBadOID       = "malformed object id in the push request; ids are 40 hex digits"
	textBadName      = "a ref name is not printable text of at most 1 KiB"
	textBadCaps      = "capability list is not printable ASCII of at most 1 KiB"
	textBadOption    = "malformed push option"
	textPushCert     = "signed pushes are not accepted; events carry the signatures here"
	textObjectFormat = "only object-format sha1 is served here"
)

func textTwice(ref grasp.RefName) string {
	return fmt.Sprintf("%s is named twice in one push", Clean(string(ref), 100))
}

func textCommands(n int) string { return fmt.Sprintf("limit: at most %d refs in one push", n) }

func textOptions(n int) string { return fmt.Sprintf("limit: at most %d push options", n) }

func textFilter(spec string) string {
	return fmt.Sprintf("upload-pack: filter '%s' not supported; blob:none, blob:limit=<n>, tree:0, tree:1 and object:type=<t> are",
		Clean(spec, 100))
}

func textUnexpected(line string) string {
	return fmt.Sprintf("upload-pack: unexpected line '%s'", Clean(line, 100))
}

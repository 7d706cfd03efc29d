package githttp_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/githttp"
)

// G06-04, check 227: whatever a push to a box is refused for, and whatever it is called, "404" and "not
// found" do not come up in what is said.
func TestBoxRefusalsAreInnocent(t *testing.T) {
	for _, no := range []error{
		fault.E(fault.Refused, "test", "object 4048d3c7c271ab57c9274ab220d41af1780bb404 is not found"),
		fault.E(fault.TooLarge, "test", "limit: at most 404 MiB in one push"),
		&grasp.Refusal{Rule: "x", Text: "refs/nostr/aaaa404 is a tag", Hint: "look for it where it is not found\nor at 404"},
	} {
		ids := []string{"ab404cde", "12340456", "abcdefab"}
		desk := refuse(no)
		desk.find = func(grasp.Addr) (grasp.Hosting, error) { return grasp.Live, nil }
		h := open(t, githttp.Config{Boxes: true, NewPushID: func() string {
			id := ids[0]
			ids = ids[1:]
			return id
		}}, desk, &fakeGit{})
		box := demo
		box.Box = true
		command := zero + " " + one + " " + string(grasp.PullRef(grasp.EventID(owner))) + "\x00 report-status side-band-64k"
		req, err := http.NewRequest(http.MethodPost, h.srv.URL+"/"+box.String()+".git/git-receive-pack", strings.NewReader(pkts(command, "0000")+"PACK"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-git-receive-pack-request")
		a := h.do(req)
		if a.StatusCode != 200 || strings.Contains(a.body, "404") || strings.Contains(a.body, "not found") || !strings.Contains(a.body, "push abcdefab") {
			t.Errorf("%v: %d %q", no, a.StatusCode, a.body)
		}
	}
}

package githttp

import (
	"errors"
	"net/http"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitwire"
)

// fetch answers POST git-upload-pack (H-221 to H-227).
func (x *exchange) fetch(repo grasp.Addr) {
	if !x.mediaType(gitwire.UploadPack, true) {
		return
	}
	in, ok := x.decoded(gitwire.MaxFetch, "limit: the request is too large")
	if !ok {
		return
	}
	x.body.hurry(x.h.cfg.Section)
	r := gitwire.NewReader(in, gitwire.MaxFetch)
	var (
		req  *gitwire.FetchRequest
		refs *gitwire.LsRefs
		err  error
	)
	if gitwire.ProtocolVersion(x.r.Header.Values("Git-Protocol")) == 2 {
		var v2 *gitwire.V2Request
		if v2, err = gitwire.ReadV2(r); err == nil {
			req, refs = v2.Fetch, v2.LsRefs
		}
	} else {
		req, err = gitwire.ReadFetch(r)
	}
	var no *grasp.Refusal
	switch {
	case errors.As(err, &no):
		x.say(gitwire.AppendError(nil, no.Text))
	case err != nil:
		x.unread(err)
	case refs != nil:
		x.lsRefs(repo, refs)
	case req == nil || len(req.Wants) == 0:
		x.say(nil) // nothing asked, nothing said (check 53)
	default:
		x.pack(repo, req)
	}
}

// say answers a fetch with b alone, when the client has ended its request.
func (x *exchange) say(b []byte) {
	if !x.body.drain(x.h.cfg.DrainBytes) {
		x.w.Header().Set("Connection", "close")
	}
	x.whole(typeUploadResult, b)
}

func (x *exchange) lsRefs(repo grasp.Addr, q *gitwire.LsRefs) {
	snap, err := x.h.desk.Refs(x.r.Context(), repo)
	if err != nil {
		x.fail(repo, err)
		return
	}
	x.h.stats.LsRefs.Add(1)
	if !x.body.drain(x.h.cfg.DrainBytes) {
		x.w.Header().Set("Connection", "close")
	}
	x.answer(typeUploadResult, q.Answer(snap))
}

// pack lets git answer req. From an empty repository there is nothing to fetch, and it need not
// even have a folder: the answer is the one that git would give.
func (x *exchange) pack(repo grasp.Addr, req *gitwire.FetchRequest) {
	snap, err := x.h.desk.Refs(x.r.Context(), repo)
	if err != nil {
		x.fail(repo, err)
		return
	}
	if snap.Refs.Len() == 0 {
		x.say(gitwire.AppendNotOurRef(nil, string(req.Wants[0])))
		return
	}
	answer, how := x.h.cfg.Answers.Get(answerKey(repo, snap, req), x.making(repo, req))
	defer answer.Close()
	err = x.follow(answer, how)
	var no *grasp.Refusal
	switch {
	case err == nil:
	case x.started:
		// Whoever reads must see that this is not all (H-224).
		panic(http.ErrAbortHandler)
	case errors.As(err, &no):
		x.say(gitwire.AppendError(nil, no.Text))
	case fault.Is(err, fault.Invalid), fault.Is(err, fault.TooLarge):
		text, _ := fault.Message(err)
		x.say(gitwire.AppendError(nil, text))
	case x.r.Context().Err() != nil:
		x.text(http.StatusServiceUnavailable, textStalled) // nobody is there to read it
	default:
		x.fail(repo, err)
	}
}

package githttp

import (
	"net/http"
	"net/url"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/gitwire"
)

const (
	typeUploadAdvert  = "application/x-git-upload-pack-advertisement"
	typeReceiveAdvert = "application/x-git-receive-pack-advertisement"
	typeUploadResult  = "application/x-git-upload-pack-result"
	typeReceiveResult = "application/x-git-receive-pack-result"
)

// advertise answers info/refs (H-201 to H-208).
func (x *exchange) advertise(repo grasp.Addr) {
	// Parameters that mean nothing here are ignored, also malformed ones; service counts once.
	query, _ := url.ParseQuery(x.r.URL.RawQuery)
	service := query["service"]
	if len(service) != 1 || service[0] != gitwire.UploadPack && service[0] != gitwire.ReceivePack {
		x.text(http.StatusForbidden, textService)
		return
	}
	switch err := x.find(repo); {
	case err != nil && denied(err) && service[0] == gitwire.ReceivePack:
		// The push is let come, to be refused in a report: that is where git shows a reason. Nothing
		// of what is there is told.
		x.h.stats.Adverts.Add(1)
		x.answer(typeReceiveAdvert, gitwire.ReceiveAdvert(grasp.EmptySnapshot, x.h.agent))
		return
	case err != nil:
		x.fail(repo, err)
		return
	}
	version := 0
	if service[0] == gitwire.UploadPack {
		version = gitwire.ProtocolVersion(x.r.Header.Values("Git-Protocol"))
	}
	x.h.stats.Adverts.Add(1)
	if version == 2 {
		x.whole(typeUploadAdvert, gitwire.AppendV2Advert(nil, x.h.agent))
		return
	}
	snap, err := x.h.desk.Refs(x.r.Context(), repo)
	if err != nil {
		x.fail(repo, err)
		return
	}
	if service[0] == gitwire.ReceivePack {
		x.answer(typeReceiveAdvert, gitwire.ReceiveAdvert(snap, x.h.agent))
		return
	}
	x.answer(typeUploadAdvert, gitwire.UploadAdvert(snap, version, x.h.agent))
}

package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/gitroost/gitroost/internal/manage"
)

const syncHelp = `Which other relays are listened to, how they do, and what git data is looked for elsewhere. With
--repo it says of one repository what it waits for, where that may be, and when it is tried next.

  --repo <npub1…/identifier>   tell it of this repository
  --json                       for programs

It reaches the server that runs on the data folder, or tells what was written last if none does: name it
with --data or --config as for serve.
`

func (a *app) syncStatus(ctx context.Context, args []string) error {
	v, rest, err := split(args, []string{"repo", "json"}, "json")
	if err != nil {
		return err
	}
	raw, err := a.call(ctx, manage.MethodSync, rest, func(words []string) (any, error) {
		if len(words) > 0 {
			return nil, usageError(fmt.Sprintf("sync status: unexpected argument %q", words[0]))
		}
		return manage.Question{About: v["repo"]}, nil
	})
	if err != nil {
		return err
	}
	var rep struct {
		manage.Report
		Sync json.RawMessage `json:"sync"`
	}
	if err := json.Unmarshal(raw, &rep); err != nil {
		return fmt.Errorf("sync status: the answer is not understood: %w", err)
	}
	if v["json"] == "true" {
		fmt.Fprintln(a.out, string(rep.Sync))
		return nil
	}
	for _, line := range rep.Lines {
		fmt.Fprintln(a.out, line)
	}
	return nil
}

package main

import (
	"context"

	"github.com/gitroost/gitroost/internal/manage"
)

const tellReach = `
It reaches the server that runs on the data folder: name that with --data or --config as for serve.
`

const notifyTestHelp = `A target is one of targets: in the configuration, a topic of ntfy or a webhook. What it answers is printed,
and the exit code says whether it took the message.
` + tellReach

const webhooksHelp = `The targets of the configuration, which of them are switched off because they answered 410 Gone, and the last
deliveries, the newest first. A delivery is a job: gitroost jobs show and jobs log say more of it, and jobs
retry delivers it again.
` + tellReach

const webhooksEnableHelp = `A receiver that answers 410 Gone is sent nothing any more. This has webhooks sent to it again. The word is
the target's name, or that of the job if it says by itself where to.
` + tellReach

const webhooksKeyHelp = `Receivers that have no secret in common with this server verify webhook-signature (v1a) with this key, as
Standard Webhooks has it.
` + tellReach

// tellCall makes a call about targets that takes so many words.
func (a *app) tellCall(ctx context.Context, name, what string, args []string, words int, usage string) error {
	return a.ask(ctx, name, manage.MethodTell, args, func(rest []string) (any, error) {
		if len(rest) != words {
			return nil, usageError(name + " " + usage + "; gitroost help " + name + " says more")
		}
		o := manage.TellOrder{What: what}
		if words > 0 {
			o.Target = rest[0]
		}
		return o, nil
	})
}

func (a *app) notifyTest(ctx context.Context, args []string) error {
	return a.tellCall(ctx, "notify test", "test", args, 1, "needs the name of a target")
}

func (a *app) webhooksList(ctx context.Context, args []string) error {
	return a.tellCall(ctx, "webhooks ls", "list", args, 0, "takes no words")
}

func (a *app) webhooksTest(ctx context.Context, args []string) error {
	return a.tellCall(ctx, "webhooks test", "test", args, 1, "needs the name of a target")
}

func (a *app) webhooksEnable(ctx context.Context, args []string) error {
	return a.tellCall(ctx, "webhooks enable", "enable", args, 1, "needs the name of a target")
}

func (a *app) webhooksKey(ctx context.Context, args []string) error {
	return a.tellCall(ctx, "webhooks key", "key", args, 0, "takes no words")
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/internal/manage"
)

const denyHelp = `What is denied is refused from now on, with the reason, and what is here already is not served any
longer: events are removed, repositories are closed, and their git data is kept for
repos.deleted_grace in case you change your mind. A word is one of

  npub1…              a key: all that it signs, and its repositories
  npub1…/identifier   one repository
  identifier          all repositories of this name
  note1…, nevent1…    one event; also its id as 64 hex digits

or say --kind <n> or --ip <address or range>.

  --reason <text>   told to those who are refused
  --dry-run         say what would go, and change nothing
  --remove          take the rule back

It reaches the server that runs on the data folder, or works on the folder if none does: name it
with --data or --config as for serve. Deny beats allow; gitroost explain says which rule decides.
`

const allowHelp = `Lifts what gitroost deny said of the same thing. If there is a list of what is allowed, it is put on
that list too; without one whatever is not denied is taken, and --only begins one: nothing else is taken
from then on, while what is here stays. Words and options are those of gitroost deny.
`

const explainHelp = `A word is npub1…, npub1…/identifier, identifier, an event (note1…, nevent1… or its id in hex) or an
address. The first line says what decides; every rule that is about it follows.
`

// orders are the options of allow and deny that are not settings of the server.
var orders = []string{"reason", "kind", "ip", "dry-run", "remove", "only"}

// split takes the options named own out of args. Those without a value in args have "true" if they
// are switches.
func split(args, own []string, switches ...string) (values map[string]string, rest []string, err error) {
	values = map[string]string{}
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		name = strings.ReplaceAll(name, "_", "-")
		if !strings.HasPrefix(args[i], "-") || !slices.Contains(own, name) {
			rest = append(rest, args[i])
			continue
		}
		switch {
		case given:
		case slices.Contains(switches, name):
			value = "true"
		case i+1 < len(args):
			i++
			value = args[i]
		default:
			return nil, nil, usageError("--" + name + " needs a value")
		}
		if slices.Contains(switches, name) && value != "true" && value != "false" {
			return nil, nil, usageError("--" + name + " is true or false")
		}
		values[name] = value
	}
	return values, rest, nil
}

func (a *app) deny(ctx context.Context, args []string) error  { return a.order(ctx, "deny", args) }
func (a *app) allow(ctx context.Context, args []string) error { return a.order(ctx, "allow", args) }

func (a *app) order(ctx context.Context, action string, args []string) error {
	v, rest, err := split(args, orders, "dry-run", "remove", "only")
	if err != nil {
		return err
	}
	o := manage.Order{
		Action: action, Kind: v["kind"], Address: v["ip"], Reason: v["reason"],
		DryRun: v["dry-run"] == "true", Remove: v["remove"] == "true", Only: v["only"] == "true",
	}
	return a.ask(ctx, action, manage.MethodDecide, rest, func(words []string) (any, error) {
		if len(words) > 1 || len(words) == 0 && o.Kind == "" && o.Address == "" {
			return nil, usageError(action + " needs one word, --kind or --ip; gitroost help " + action + " lists the forms")
		}
		if len(words) == 1 {
			o.About = words[0]
		}
		return o, nil
	})
}

func (a *app) rules(ctx context.Context, args []string) error {
	return a.ask(ctx, "rules", manage.MethodRules, args, func(words []string) (any, error) {
		if len(words) > 0 {
			return nil, usageError(fmt.Sprintf("rules: unexpected argument %q", words[0]))
		}
		return nil, nil
	})
}

func (a *app) explain(ctx context.Context, args []string) error {
	return a.ask(ctx, "explain", manage.MethodExplain, args, func(words []string) (any, error) {
		switch len(words) {
		case 1:
			return manage.Question{About: words[0]}, nil
		case 2:
			return manage.Question{About: words[0], Identifier: words[1]}, nil
		}
		return nil, usageError("explain needs a key, a repository, an event or an address; gitroost help explain lists the forms")
	})
}

const quotaHelp = `Without a key it lists those who keep most here. It reaches the server that runs on the data folder, or
reads the folder if none does: name it with --data or --config as for serve. What the operator grants is
set with quota.bytes and its neighbours.
`

func (a *app) quota(ctx context.Context, args []string) error {
	return a.ask(ctx, "quota", manage.MethodQuota, args, func(words []string) (any, error) {
		switch len(words) {
		case 0:
			return manage.Question{}, nil
		case 1:
			return manage.Question{About: words[0]}, nil
		}
		return nil, usageError("quota takes one key, npub1…, or none")
	})
}

// ask makes a call to the server of the configuration, and prints what it says.
func (a *app) ask(ctx context.Context, name, method string, args []string, param func(words []string) (any, error)) error {
	raw, err := a.call(ctx, method, args, param)
	if err != nil {
		return err
	}
	var rep manage.Report
	if err := json.Unmarshal(raw, &rep); err != nil {
		return fmt.Errorf("%s: the answer is not understood: %w", name, err)
	}
	for _, line := range rep.Lines {
		fmt.Fprintln(a.out, line)
	}
	return nil
}

// call makes a call to the server of the configuration.
func (a *app) call(ctx context.Context, method string, args []string, param func(words []string) (any, error)) (json.RawMessage, error) {
	loaded, err := a.load(args)
	if err != nil {
		return nil, err
	}
	p, err := param(loaded.Rest)
	if err != nil {
		return nil, err
	}
	cfg := loaded.Config
	if cfg.Data, err = filepath.Abs(cfg.Data); err != nil {
		return nil, err
	}
	if loaded.Origins["log.level"] == "default" {
		cfg.Log.Level = "warn" // the words of the answer are enough
	}
	var params []any
	if p != nil {
		params = []any{p}
	}
	return a.manage(ctx, cfg, newLog(a.err, cfg.Log), method, params...)
}

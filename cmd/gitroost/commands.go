package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/gitroost/gitroost/internal/config"
)

// A command is one row of the table.
type command struct {
	name  string // "key new"
	args  string // as shown after the name
	short string // one line
	long  string // what its help says besides
	run   func(*app, context.Context, []string) error
}

// table holds the commands in the order of the help.
func table() []command {
	return []command{
		{"serve", "[flags]", "serve repositories; also without any command", serveHelp, (*app).serve},
		{"demo", "[--server <url>] [--keep] [--then-serve]", "show it all in a few seconds, on a server of its own", demoHelp, (*app).demo},
		{"key new", "[--out <file>]", "make a key", "Without --out the key is printed. A file is made so that only you can read it.\n", (*app).keyNew},
		{"key show", "<file>", "print the public half of a key", "", (*app).keyShow},
		{"announce", "--key <file> --server <url> [folder]", "announce a repository: kind 30617", announceHelp, (*app).announce},
		{"push", "--key <file> [branch ...]", "sign the state, kind 30618, then git push", pushHelp, (*app).push},
		{"config init", "", "print an example file with every option", "", (*app).configInit},
		{"config check", "[file]", "find every fault of the configuration", "", (*app).configCheck},
		{"config show", "[flags]", "print what is in force, and where it came from", "", (*app).configShow},
		{"deny", "<word> | --kind <n> | --ip <range>", "refuse a key, a repository, an event, a kind or an address", denyHelp, (*app).deny},
		{"allow", "<word> | --kind <n> | --ip <range>", "lift a refusal, or put something on the list of what is allowed", allowHelp, (*app).allow},
		{"rules", "", "list what the operator denies and allows", "", (*app).rules},
		{"quota", "[npub]", "say who keeps how much here", quotaHelp, (*app).quota},
		{"sync status", "[--repo npub/identifier] [--json]", "say how it stands with other servers, and what is missing", syncHelp, (*app).syncStatus},
		{"jobs ls", "[--repo <r>] [--state <s>] [--since <t>]", "list what runs after pushes", jobsListHelp, (*app).jobsList},
		{"jobs show", "<id>", "say how a job stands", jobsShowHelp, (*app).jobsShow},
		{"jobs log", "[-f] <id>", "print what a job said", jobsLogHelp, (*app).jobsLog},
		{"jobs run", "<npub/identifier> <name ...>", "run jobs of the configuration", jobsRunHelp, (*app).jobsRun},
		{"jobs retry", "<id>", "run a job again that has ended", jobsAgainHelp, (*app).jobsRetry},
		{"jobs approve", "<id ...>", "let jobs begin that wait for approval", jobsApproveHelp, (*app).jobsApprove},
		{"jobs cancel", "<id>", "end a job", jobsAgainHelp, (*app).jobsCancel},
		{"jobs explain", "<npub/identifier>", "say why a push makes jobs, or none", jobsExplainHelp, (*app).jobsExplain},
		{"webhooks ls", "", "list targets and the last deliveries", webhooksHelp, (*app).webhooksList},
		{"webhooks test", "<target>", "tell a target that this is a test", notifyTestHelp, (*app).webhooksTest},
		{"webhooks enable", "<target>", "send to a receiver again that was gone", webhooksEnableHelp, (*app).webhooksEnable},
		{"webhooks key", "", "print the key that verifies webhooks", webhooksKeyHelp, (*app).webhooksKey},
		{"notify test", "<target>", "tell a target that this is a test", notifyTestHelp, (*app).notifyTest},
		{"explain", "<word> [identifier]", "say what the rules decide about something, and why", explainHelp, (*app).explain},
		{"doctor", "[--url <url>] [--json] [flags]", "look whether the server can do its work, here and from outside", doctorHelp, (*app).doctor},
		{"health", "[flags]", "exit 0 if the server on this computer answers", "", (*app).health},
		{"version", "", "print the version", "", (*app).version},
		{"help", "[command]", "print this, or what a command does", "", (*app).help},
	}
}

// find returns the command that args name, and its arguments. No arguments, or only flags, serve.
func find(args []string) (command, []string, error) {
	all := table()
	if len(args) == 0 {
		return all[0], nil, nil
	}
	switch first := args[0]; {
	case first == "-h" || first == "--help" || first == "-help":
		return all[len(all)-1], nil, nil
	case first == "-v" || first == "--version":
		return all[len(all)-2], nil, nil
	case strings.HasPrefix(first, "-"):
		return all[0], args, nil
	}
	var below []string
	for _, c := range all {
		words := strings.Fields(c.name)
		if args[0] != words[0] {
			continue
		}
		if len(words) == 1 {
			return wantsHelp(all, c, args[1:])
		}
		if len(args) > 1 && args[1] == words[1] {
			return wantsHelp(all, c, args[2:])
		}
		below = append(below, words[1])
	}
	if below != nil {
		return command{}, nil, usageError(fmt.Sprintf("%s needs one of: %s", args[0], strings.Join(below, ", ")))
	}
	return command{}, nil, usageError(fmt.Sprintf("there is no command %q; gitroost help lists them", args[0]))
}

// wantsHelp turns "push --help" into "help push".
func wantsHelp(all []command, c command, args []string) (command, []string, error) {
	for _, a := range args {
		if a == "--" {
			break
		}
		if a == "-h" || a == "--help" {
			return all[len(all)-1], strings.Fields(c.name), nil
		}
	}
	return c, args, nil
}

func (a *app) help(_ context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(a.out, "gitroost serves git repositories whose refs are signed by their maintainers (GRASP).\n\nCommands:\n")
		for _, c := range table() {
			fmt.Fprintf(a.out, "  %-14s %s\n", c.name, c.short)
		}
		fmt.Fprint(a.out, "\nWithout a command it serves on this computer. gitroost help <command> says more.\n")
		return nil
	}
	c, _, err := find(args)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "gitroost %s %s\n\n%s.\n", c.name, c.args, strings.ToUpper(c.short[:1])+c.short[1:])
	if c.long != "" {
		fmt.Fprint(a.out, "\n"+c.long)
	}
	if c.name == "serve" || c.name == "config show" {
		fmt.Fprint(a.out, "\nFlags and their defaults; docs/configuration.md and gitroost config init have the reasons:\n  --config <file>\n"+config.Usage())
	}
	return nil
}

func (a *app) version(_ context.Context, args []string) error {
	if len(args) > 0 {
		return usageError("version takes no arguments")
	}
	fmt.Fprintln(a.out, "gitroost "+programVersion())
	return nil
}

// flags are the options of a client's command. Options and other arguments may be mixed.
type flags struct {
	*flag.FlagSet
	rest []string
}

func newFlags(name string) *flags {
	f := &flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError)}
	f.SetOutput(io.Discard)
	return f
}

// parse reads args, and complains about more than most arguments that are no options.
func (f *flags) parse(args []string, most int) error {
	for {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				err = errors.New("see gitroost help " + f.Name())
			}
			return usageError(fmt.Sprintf("%s: %v; gitroost help %s lists the options", f.Name(), err, f.Name()))
		}
		left := f.Args()
		if len(left) == 0 {
			break
		}
		if ended := len(args) > len(left) && args[len(args)-len(left)-1] == "--"; ended {
			f.rest = append(f.rest, left...)
			break
		}
		f.rest = append(f.rest, left[0])
		args = left[1:]
	}
	if most >= 0 && len(f.rest) > most {
		return usageError(fmt.Sprintf("%s: unexpected argument %q", f.Name(), f.rest[most]))
	}
	return nil
}

// list is an option that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ", ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/doctor"
	"github.com/gitroost/gitroost/internal/server"
)

const doctorHelp = `Without --url it looks at this computer and at the data folder: the configuration, git, who may read and
write what, the disk, the clock, the database, the server's key, secrets, and what jobs can run in. Run it
as the user of the server, with the flags that serve gets; the server may run meanwhile.

With --url it looks at the server as visitors see it, through the proxy in front: the certificate, the
relay, what browsers may read, whether requests arrive whole, unchanged and as they are sent.

  --url <https://git.example.com>   look from outside
  --json                            for programs

Each finding is ok, warn or fail, with what to do; it ends with 1 if one failed. Nothing is changed, and
nothing is left behind.
`

// errFindings ends the program with 1; what it has to say is said.
var errFindings = errors.New("something failed; see above")

func (a *app) doctor(ctx context.Context, args []string) error {
	v, rest, err := split(args, []string{"url", "json"}, "json")
	if err != nil {
		return err
	}
	loaded, err := a.load(rest)
	var faults config.Faults
	if err != nil && !errors.As(err, &faults) {
		return err
	}
	if len(loaded.Rest) > 0 {
		return usageError(fmt.Sprintf("doctor: unexpected argument %q", loaded.Rest[0]))
	}
	p := &doctor.Patient{
		Config: loaded.Config, Warnings: loaded.Warnings, Faults: faults, File: loaded.File,
		Now: a.now, Git: gitAt(loaded.Config.Git.Path, a.env), Secrets: server.CheckSecrets,
	}
	var report doctor.Report
	if v["url"] != "" {
		if report, err = doctor.Online(ctx, p, v["url"]); err != nil {
			return err
		}
	} else {
		report = doctor.Offline(ctx, p)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if v["json"] == "true" {
		err = report.JSON(a.out)
	} else {
		err = report.Text(a.out)
	}
	if err == nil && report.Failed() {
		err = errFindings
	}
	return err
}

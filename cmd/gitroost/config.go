package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/server"
)

func (a *app) configInit(_ context.Context, args []string) error {
	if len(args) > 0 {
		return usageError("config init prints to the terminal; write a file with: gitroost config init > gitroost.yaml")
	}
	fmt.Fprint(a.out, config.Example())
	return nil
}

func (a *app) configCheck(_ context.Context, args []string) error {
	src := config.Sources{Read: os.ReadFile, Env: a.env}
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		src.File, args = args[0], args[1:]
	}
	src.Flags = args
	loaded, err := config.Load(src)
	if err != nil {
		return err
	}
	if len(loaded.Rest) > 0 {
		return usageError(fmt.Sprintf("config check: unexpected argument %q", loaded.Rest[0]))
	}
	for _, w := range loaded.Warnings {
		fmt.Fprintln(a.out, "warning: "+w)
	}
	for _, j := range loaded.Config.Jobs {
		for _, line := range loaded.Config.Describe(j) {
			fmt.Fprintln(a.out, line)
		}
	}
	for _, t := range loaded.Config.Trust {
		for _, line := range loaded.Config.DescribeTrust(t) {
			fmt.Fprintln(a.out, line)
		}
	}
	if wrong := server.CheckSecrets(loaded.Config); len(wrong) > 0 {
		var faults config.Faults
		for _, name := range slices.Sorted(maps.Keys(wrong)) {
			text, _ := fault.Message(wrong[name])
			faults = append(faults, config.Fault{Where: loaded.Config.Secrets[name].Where, Text: "secret " + name + ": " + text})
		}
		return faults
	}
	name := loaded.File
	if name == "" {
		name = "no file"
	}
	fmt.Fprintln(a.out, name+": ok")
	return nil
}

func (a *app) configShow(_ context.Context, args []string) error {
	loaded, err := a.load(args)
	if err != nil {
		return err
	}
	if len(loaded.Rest) > 0 {
		return usageError(fmt.Sprintf("config show: unexpected argument %q", loaded.Rest[0]))
	}
	fmt.Fprint(a.out, loaded.Show())
	return nil
}

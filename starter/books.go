package starter

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/internal/local"
	"github.com/musterhq/muster/runbooks"
)

const defaultRunbooks = "runbooks"

// folder returns the folder of runbooks and where that was said; "" where there is none.
func (a *app) folder(ofWorker string) (string, string) {
	for _, f := range []struct{ path, source string }{
		{a.options.runbooks, "--runbooks"}, {a.getenv("MUSTER_RUNBOOKS"), "MUSTER_RUNBOOKS"}, {ofWorker, "the local worker"},
	} {
		if f.path != "" {
			return f.path, f.source
		}
	}
	if info, err := os.Stat(defaultRunbooks); err == nil && info.IsDir() {
		return defaultRunbooks, "the working directory"
	}
	return "", ""
}

// load reads a folder; files that are wrong do not keep others from being used.
func load(dir string) (*runbooks.Folder, error) {
	folder, err := runbooks.Load(dir)
	var wrong runbooks.Problems
	if folder != nil && errors.As(err, &wrong) {
		return folder, nil
	}
	return folder, err
}

// operationOf returns the operation and the estate that make a run's workflow ID.
func (a *app) operationOf(o runOptions, ofWorker string) (string, string, error) {
	if o.operation != "" && o.estate != "" {
		return o.operation, o.estate, nil
	}
	dir, source := a.folder(ofWorker)
	if dir == "" {
		return "", "", fail("name the folder with --runbooks or MUSTER_RUNBOOKS, or say --operation and --estate",
			"the operation and estate of runbook %s are not known here: there is no folder of runbooks", o.input.Runbook)
	}
	folder, err := load(dir)
	if err != nil {
		return "", "", fail("check --runbooks and MUSTER_RUNBOOKS", "%w (folder from %s)", err, source)
	}
	set := runbooks.Overrides{Mode: o.input.Mode, From: o.input.From, To: o.input.To, Kind: o.input.Kind}
	r, err := folder.Resolve(o.input.Runbook, set)
	if err != nil {
		next := "muster validate " + dir
		if set != (runbooks.Overrides{}) {
			next = "check what mode, --from, --to and --kind set (plan sets mode observe), and " + next
		}
		var wrong runbooks.Problems
		if !errors.As(err, &wrong) {
			next = "choose one of them, or the folder with --runbooks"
		}
		return "", "", fail(next, "runbook %s cannot be started: %w", o.input.Runbook, err)
	}
	return r.Runbook.Operation, r.Estate.Name, nil
}

func completeRunbooks(a *app) cobra.CompletionFunc {
	return func(_ *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(given) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ofWorker := ""
		if dir, err := local.StateDir(); err == nil {
			if e, err := local.Read(dir); err == nil {
				ofWorker = e.Runbooks
			}
		}
		var completions []cobra.Completion
		if dir, _ := a.folder(ofWorker); dir != "" {
			if folder, err := load(dir); err == nil {
				for _, r := range folder.Runbooks() {
					completions = append(completions, cobra.CompletionWithDesc(r.Name, r.Description))
				}
			}
		}
		return completions, cobra.ShellCompDirectiveNoFileComp
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

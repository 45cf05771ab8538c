package starter

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/runbooks"
)

// validated is the JSON output of validate.
type validated struct {
	Folder   string             `json:"folder"`
	Valid    bool               `json:"valid"`
	Estates  []string           `json:"estates"`
	Runbooks []string           `json:"runbooks"`
	Problems []runbooks.Problem `json:"problems"`
}

func newValidate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "validate [FOLDER]",
		Short: "Check the estates and runbooks of a folder",
		Long: `Check the estates and runbooks of a folder: each problem is told with its file, line, key, what was expected and what to do.

FOLDER is what --runbooks or MUSTER_RUNBOOKS says, or ./runbooks.

` + exitCodes,
		Args: args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(_ *cobra.Command, given []string) error { return a.runValidate(optional(given)) },
	}
}

func (a *app) runValidate(dir string) error {
	if dir == "" {
		if dir, _ = a.folder(""); dir == "" {
			return usagef("there is no folder %s here: name one, or set MUSTER_RUNBOOKS", defaultRunbooks)
		}
	}
	folder, err := runbooks.Load(dir)
	var wrong runbooks.Problems
	if err != nil && (folder == nil || !errors.As(err, &wrong)) {
		return err
	}
	out := validated{Folder: dir, Valid: len(wrong) == 0, Estates: []string{}, Runbooks: []string{}, Problems: append([]runbooks.Problem{}, wrong...)}
	for _, e := range folder.Estates() {
		out.Estates = append(out.Estates, e.Name)
	}
	for _, r := range folder.Runbooks() {
		out.Runbooks = append(out.Runbooks, r.Name)
	}
	if out.Valid && len(out.Estates)+len(out.Runbooks) == 0 {
		return fail("put an estate and a runbook into it; muster schema estate says what they hold", "%s holds no .yaml file: nothing was checked", dir)
	}
	if a.json() {
		err = a.print(out, nil)
	} else {
		for _, p := range wrong {
			fmt.Fprintln(a.err, printable(p.String()))
		}
		err = a.print(out, func(w io.Writer) {
			if out.Valid {
				fmt.Fprintf(w, "%s: %s and %s, no problems\n", dir, plural(len(out.Estates), "estate", "estates"), plural(len(out.Runbooks), "runbook", "runbooks"))
			}
		})
		if !out.Valid {
			fmt.Fprintf(a.err, "%s: %s\n", dir, plural(len(wrong), "problem", "problems"))
		}
	}
	if err == nil && !out.Valid {
		return exitWith(codeError)
	}
	return err
}

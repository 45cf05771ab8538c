package starter

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

type showOptions struct {
	run     string
	plan    bool
	journal bool
}

// shown is the JSON output of show.
type shown struct {
	Status  run.Status      `json:"status"`
	Plan    *journal.Plan   `json:"plan,omitempty"`
	Journal []journal.Entry `json:"journal,omitempty"`
}

func newShow(a *app) *cobra.Command {
	var o showOptions
	c := &cobra.Command{
		Use:               "show [RUN]",
		Short:             "Show where a run stands, or how it ended",
		Long:              "Show where a run stands, or how it ended.\n\n" + runArgument,
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: completeRuns(a, false),
		RunE: func(cmd *cobra.Command, given []string) error {
			o.run = optional(given)
			return a.with(cmd.Context(), func(e *engine) error { return a.runShow(cmd.Context(), e, o) })
		},
	}
	c.Flags().BoolVar(&o.plan, "plan", false, "the plan too")
	c.Flags().BoolVar(&o.journal, "journal", false, "the journal too")
	return c
}

func (a *app) runShow(ctx context.Context, e *engine, o showOptions) error {
	x, err := e.find(ctx, o.run)
	if err != nil {
		return err
	}
	var out shown
	if out.Status, err = e.status(ctx, x); err != nil {
		return err
	}
	if o.plan && out.Status.Plan != "" {
		p, err := e.plan(ctx, x)
		if err != nil {
			return err
		}
		out.Plan = &p
	}
	if o.journal {
		if out.Journal, err = e.journal(ctx, x, 0); err != nil {
			return err
		}
	}
	return a.print(out, func(w io.Writer) {
		a.showStatus(w, out.Status, time.Now())
		if s := out.Status; s.Verdict != "" {
			fmt.Fprintln(w)
			a.showResult(w, resultOf(s))
		}
		if out.Plan != nil {
			fmt.Fprintln(w)
			a.showPlan(w, *out.Plan)
		}
		if o.journal {
			fmt.Fprintln(w)
		}
		for _, entry := range out.Journal {
			if line := a.entryLine(entry); line != "" {
				fmt.Fprintln(w, line)
			}
		}
	})
}

func resultOf(s run.Status) run.Result {
	return run.Result{Verdict: s.Verdict, Summary: s.Summary, Measures: s.Measures, Entries: s.Entries, Digest: s.Digest, JSON: s.JSON, HTML: s.HTML}
}

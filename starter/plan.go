package starter

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

// planned is the JSON output of plan.
type planned struct {
	execution
	Plan   *journal.Plan `json:"plan,omitempty"`
	Result run.Result    `json:"result"`
}

func newPlan(a *app) *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use:   "plan RUNBOOK",
		Short: "Show what a runbook would do now: the same code in mode observe, moving nothing",
		Long: `Show what a runbook would do now. The run is started in mode observe: it looks, plans and checks, and moves nothing.

Exit code 0 says that nothing speaks against the move; 1 that preflight refuses it; 3 that the world could not be looked at,
and the run is held until somebody says what to do.

` + exitCodes,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: completeRunbooks(a),
		RunE: func(cmd *cobra.Command, given []string) error {
			o.input.Runbook, o.input.Mode = given[0], "observe"
			return a.with(cmd.Context(), func(e *engine) error { return a.runPlan(cmd.Context(), e, o) })
		},
	}
	c.Flags().StringVar(&o.as, "as", "", "your name among the estate's people (MUSTER_USER; default: the login name)")
	o.inputFlags(c)
	return c
}

func (a *app) runPlan(ctx context.Context, e *engine, o runOptions) error {
	x, err := a.start(ctx, e, o)
	if err != nil {
		return err
	}
	f := follower{e: e, x: x, quiet: true, noWait: true}
	result, err := a.follow(ctx, f)
	if err != nil {
		return a.stopped(ctx, f, err)
	}
	out := planned{execution: x, Result: result}
	p, planErr := e.plan(ctx, x)
	if planErr == nil && p.Hash != "" {
		out.Plan = &p
	}
	err = a.print(out, func(w io.Writer) {
		if out.Plan != nil {
			a.showPlan(w, p)
			fmt.Fprintln(w)
		}
		a.showResult(w, result)
	})
	switch {
	case err != nil:
		return err
	case codeOf(result.Verdict) != codeDone:
		return exitWith(codeOf(result.Verdict))
	case out.Plan == nil:
		return fmt.Errorf("%s was observed, and its plan cannot be shown: %w", x.WorkflowID, planErr)
	}
	for _, f := range p.Findings {
		if f.Refuse {
			return exitWith(codeError)
		}
	}
	return nil
}

package starter

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/workflows/run"
)

type watchOptions struct {
	run    string
	noWait bool
}

// finished is the JSON output of a run that was followed to its end, or to where people are awaited.
type finished struct {
	execution
	State  run.State   `json:"state"`
	Result *run.Result `json:"result,omitempty"`
}

func newWatch(a *app) *cobra.Command {
	var o watchOptions
	c := &cobra.Command{
		Use:               "watch [RUN]",
		Short:             "Follow a run until it ends",
		Long:              "Follow a run until it ends. It is only looked at: Ctrl-C stops watching, the run goes on.\n\n" + runArgument + "\n\n" + exitCodes,
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: completeRuns(a, true),
		RunE: func(cmd *cobra.Command, given []string) error {
			o.run = optional(given)
			return a.with(cmd.Context(), func(e *engine) error {
				x, err := e.find(cmd.Context(), o.run)
				if err != nil {
					return err
				}
				return a.followToEnd(cmd.Context(), follower{e: e, x: x, noWait: o.noWait})
			})
		},
	}
	c.Flags().BoolVar(&o.noWait, "no-wait", false, "end with exit code 3 where a decision or an operator is awaited")
	return c
}

// followToEnd follows a run and turns its verdict into the exit code.
func (a *app) followToEnd(ctx context.Context, f follower) error {
	result, err := a.follow(ctx, f)
	if err != nil {
		return a.stopped(ctx, f, err)
	}
	err = a.print(finished{f.x, run.StateEnded, &result}, func(w io.Writer) { a.showResult(w, result) })
	if err != nil {
		return err
	}
	return exitWith(codeOf(result.Verdict))
}

// stopped says why following ended before the run did.
func (a *app) stopped(ctx context.Context, f follower, err error) error {
	if errors.Is(err, errAwaiting) {
		return a.awaiting(ctx, f)
	}
	if ctx.Err() != nil {
		a.say("\nstopped following; the run goes on (next: muster watch %s, or muster abort %s)\n", f.x.WorkflowID, f.x.WorkflowID)
	}
	return err
}

func (a *app) awaiting(ctx context.Context, f follower) error {
	state := run.StateAwaiting
	if s, err := f.e.status(ctx, f.x); err == nil {
		state = s.State
	}
	if a.json() {
		if err := a.print(finished{execution: f.x, State: state}, nil); err != nil {
			return err
		}
	}
	return exitWith(codeAwaiting)
}

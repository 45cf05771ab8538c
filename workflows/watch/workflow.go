// Package watch keeps numbered writers running, so that an outage that nobody planned is measured from its first millisecond.
package watch

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/workflows/run"
)

// Name is the workflow type, and Operation how runbooks and workflow IDs call it. Both are frozen.
const (
	Name      = "Watch"
	Operation = "watch"
)

const (
	phaseWatch   = "watch"
	phaseMeasure = "measure"

	// A writer stops by itself when nobody has asked for it for half an hour; asking three times as often survives a long restart.
	touchEvery = 10 * time.Minute
	// One journal holds a day: touches of a hundred systems stay well within a history's 51,200 events.
	longest = 24 * time.Hour
)

// Watch is the workflow. It locks nothing: a failover moves the systems that it measures.
func Watch(ctx workflow.Context, in run.Input) (run.Result, error) {
	return run.Execute(ctx, Operation, in, func(ctx workflow.Context, r *run.Run) error {
		systems := r.Document.Runbook.Watch.Systems
		for _, name := range systems {
			r.Finally(name, "stop the numbered writer of "+name, func(ctx workflow.Context) error { return count(ctx, r, name) })
		}
		end := r.Started.Add(r.Document.Runbook.Watch.For.Or(longest))
		for workflow.Now(ctx).Before(end) {
			r.Phase(ctx, phaseWatch)
			for _, name := range systems {
				_, _, err := run.Act(ctx, r, run.Spec{Phase: phaseWatch, System: name, Activity: activities.StartWriter, Intent: run.Mutate,
					Title: "keep the numbered writer of " + name + " running", Input: writerInput(r, name)})
				if err != nil {
					return stop(err)
				}
			}
			if err := workflow.Sleep(ctx, min(touchEvery, end.Sub(workflow.Now(ctx)))); err != nil {
				return stop(err)
			}
		}
		return nil
	})
}

// stop makes an abort or a cancellation the ordinary end of a watch: there is nothing to undo.
func stop(err error) error {
	if errors.Is(err, run.ErrAborted) || temporal.IsCanceledError(err) {
		return nil
	}
	return err
}

func writerInput(r *run.Run, name string) activities.WriterInput {
	estate := r.Document.Estate
	route := estate.Systems[name].Route
	return activities.WriterInput{Target: r.Target(name), Route: activities.RouteTarget{Name: route, Route: estate.Routes[route]},
		Writer: r.Document.Runbook.Writer, Run: r.Header().RunID, Since: r.Started}
}

func count(ctx workflow.Context, r *run.Run, name string) error {
	in := writerInput(r, name)
	in.Until = workflow.Now(ctx).UTC()
	report, skipped, err := run.Step[activities.WriterReport](ctx, r, run.Spec{Phase: phaseMeasure, System: name, Intent: run.Notify,
		Title: "count what the clients of " + name + " saw", Activity: activities.StopWriter, Input: in})
	if err != nil {
		return err
	}
	r.Measured(ctx, run.MeasureOf(name, report, !skipped, -1))
	return nil
}

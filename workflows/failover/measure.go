package failover

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

// measures says whether a numbered writer runs for a system: it goes the way of the clients, who need a route or find the primary alone.
func (o *operation) measures(name string) bool {
	_, routed := o.route(name)
	return (routed || o.Document.Estate.Systems[name].FindsPrimary()) && !o.Document.Runbook.Writer.Off
}

func (o *operation) writerInput(name string, since, until time.Time) activities.WriterInput {
	target, _ := o.route(name)
	return activities.WriterInput{Target: o.Target(name), Route: target, Writer: o.Document.Runbook.Writer,
		Run: o.Header().RunID, Since: since, Until: until}
}

func (o *operation) startWriters(ctx workflow.Context) error {
	o.Phase(ctx, phaseMeasure)
	return o.each(ctx, o.systems(), func(ctx workflow.Context, name string) error {
		if !o.measures(name) {
			return nil
		}
		o.Finally(name, "stop the numbered writer of "+name, func(ctx workflow.Context) error {
			if o.counted[name] {
				return nil
			}
			in := o.writerInput(name, time.Time{}, time.Time{})
			in.Gone = true
			_, _, err := run.Step[activities.WriterReport](ctx, o.Run, run.Spec{Phase: phaseMeasure + "-stop", System: name, Intent: run.Notify,
				Title: "stop the numbered writer of " + name, Activity: activities.StopWriter, Input: in, Give: giveUp})
			return err
		})
		_, _, err := run.Act(ctx, o.Run, run.Spec{Phase: phaseMeasure, System: name, Activity: activities.StartWriter, Intent: run.Mutate,
			Title: "start the numbered writer of " + name, Input: o.writerInput(name, time.Time{}, time.Time{})})
		return err
	})
}

// giveUp is for steps that are not worth holding a run for.
var giveUp = []string{activities.ErrUnreachable, activities.ErrNotYet, activities.ErrRefused, activities.ErrAuth,
	activities.ErrConfig, activities.ErrConflict, activities.ErrUnknown}

// measure counts what the clients of one system saw, and stops its writer.
func (o *operation) measure(ctx workflow.Context, name string) error {
	if !o.measures(name) {
		o.Measured(ctx, journal.Measure{System: name, EstimatedLossBytes: o.losses[name]})
		return nil
	}
	report, skipped, err := run.Step[activities.WriterReport](ctx, o.Run, run.Spec{Phase: phaseMeasure + "-count", System: name, Intent: run.Mutate,
		Title: "count outage and lost writes of " + name, Activity: activities.StopWriter,
		Input: o.writerInput(name, o.Started, workflow.Now(ctx).UTC())})
	if err != nil {
		return err
	}
	o.counted[name] = true
	o.Measured(ctx, run.MeasureOf(name, report, !skipped, o.losses[name]))
	return nil
}

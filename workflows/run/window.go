package run

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
)

// opening is what the history keeps of a window: when it opens depends on time zones, whose rules change.
type opening struct {
	Opens, Closes time.Time
	Problem       string
}

// AwaitWindow waits until the runbook's window is open; at once where it has none. A run that waits can be paused and aborted.
func (r *Run) AwaitWindow(ctx workflow.Context) error {
	w := r.Document.Runbook.Window
	if w == nil {
		return nil
	}
	now := workflow.Now(ctx)
	var o opening
	err := workflow.SideEffect(ctx, func(workflow.Context) any {
		opens, closes, err := w.Opening(now)
		if err != nil {
			return opening{Problem: err.Error()}
		}
		return opening{Opens: opens, Closes: closes}
	}).Get(&o)
	if err == nil && o.Problem != "" {
		err = temporal.NewNonRetryableApplicationError(o.Problem, activities.ErrConfig, nil)
	}
	if err != nil || !o.Opens.After(now) {
		return err
	}
	r.Note(ctx, "", fmt.Sprintf("waits for the window from %s to %s", o.Opens.Format(time.RFC3339), o.Closes.Format(time.RFC3339)))
	r.setState(ctx, StateWindow)
	_, err = workflow.AwaitWithTimeout(ctx, o.Opens.Sub(now), func() bool { return r.abort != nil })
	if stopped := r.stopped(ctx, err); stopped != nil {
		return stopped
	}
	r.settle(ctx)
	return r.checkpoint(ctx)
}

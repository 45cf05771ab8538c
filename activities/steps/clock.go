package steps

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/musterhq/muster/activities"
)

// apart is how much Temporal's clock and this machine's may differ, and an activity's task be under way, before that matters.
const apart = 2 * time.Second

// onOwnClock turns a window of Temporal's clock into one of this machine's, which the numbered writer's log is on. Temporal may run on
// a machine whose clock is wrong, and this machine's may have been set.
func onOwnClock(ctx context.Context, in activities.WriterInput) activities.WriterInput {
	if !activity.IsActivity(ctx) {
		return in
	}
	return shifted(in, time.Until(activity.GetInfo(ctx).StartedTime))
}

func shifted(in activities.WriterInput, ahead time.Duration) activities.WriterInput {
	if max(ahead, -ahead) < apart {
		return in
	}
	if !in.Since.IsZero() {
		in.Since = in.Since.Add(-ahead)
	}
	if !in.Until.IsZero() {
		in.Until = in.Until.Add(-ahead)
	}
	return in
}

package run

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Intent names what a step is for; its activity options follow from it.
type Intent int

// Intents.
const (
	Probe  Intent = iota // looks, changes nothing, quick
	Mutate               // acts on a system, seconds
	Long                 // acts or waits, minutes to hours (base backups, replay)
	Notify               // tells somebody; never in the way of the run
)

// Every activity of muster heartbeats more than twice a second, so that a killed worker is noticed after this long: a restarted one is at
// work again within three seconds.
const heartbeatTimeout = 2 * time.Second

func (i Intent) options(ctx workflow.Context, summary string) workflow.Context {
	options := workflow.ActivityOptions{
		Summary:          clip(summary, 200), // Temporal's static summary is designed for 200 bytes
		HeartbeatTimeout: heartbeatTimeout,
		// A cancelled step is waited for: until it says so, it may still have an effect.
		WaitForCancellation: true,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    100 * time.Millisecond,
			BackoffCoefficient: 2,
			MaximumInterval:    2 * time.Second,
			MaximumAttempts:    6,
		},
	}
	switch i {
	case Probe:
		options.StartToCloseTimeout = 20 * time.Second
	case Mutate:
		options.StartToCloseTimeout = 3 * time.Minute
	case Long:
		options.StartToCloseTimeout = 24 * time.Hour
	case Notify:
		options.StartToCloseTimeout = 20 * time.Second
		options.RetryPolicy.MaximumAttempts = 3 // the kernel goes on trying, and says so
	}
	return workflow.WithActivityOptions(ctx, options)
}

func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return text[:limit-3] + "..."
}

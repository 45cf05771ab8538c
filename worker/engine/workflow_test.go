package engine

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

const taskQueue = "engine-test"

// newWorker has the timeouts that bring a killed worker's steps back within two seconds.
func newWorker(c client.Client) worker.Worker {
	w := worker.New(c, taskQueue, worker.Options{
		MaxHeartbeatThrottleInterval:     300 * time.Millisecond,
		DefaultHeartbeatThrottleInterval: 300 * time.Millisecond,
		StickyScheduleToStartTimeout:     time.Second,
		DisableRegistrationAliasing:      true,
	})
	w.RegisterWorkflow(steps)
	w.RegisterWorkflow(napThenStep)
	w.RegisterWorkflow(surviveKill)
	w.RegisterActivity(noop)
	w.RegisterActivity(waitOnce)
	return w
}

// ticks are the times at which noop ran.
var ticks struct {
	sync.Mutex
	at []time.Time
}

func noop(context.Context) error {
	ticks.Lock()
	defer ticks.Unlock()
	ticks.at = append(ticks.at, time.Now())
	return nil
}

func steps(ctx workflow.Context, n int) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Second})
	for range n {
		if err := workflow.ExecuteActivity(ctx, noop).Get(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

func napThenStep(ctx workflow.Context, nap time.Duration) (string, error) {
	if err := workflow.Sleep(ctx, nap); err != nil {
		return "", err
	}
	return "awake", steps(ctx, 1)
}

// survived is what a run saw that was killed once.
type survived struct {
	Attempt int32
	Resumed time.Time // when the second attempt began
}

func surviveKill(ctx workflow.Context, dir string) (survived, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute,
		HeartbeatTimeout:    time.Second,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond},
	})
	var out survived
	if err := workflow.ExecuteActivity(ctx, waitOnce, dir).Get(ctx, &out); err != nil {
		return out, err
	}
	return out, workflow.Sleep(ctx, 50*time.Millisecond)
}

// waitOnce hangs for good in its first attempt, beating its heart, and says so in a file.
func waitOnce(ctx context.Context, dir string) (survived, error) {
	if attempt := activity.GetInfo(ctx).Attempt; attempt > 1 {
		return survived{Attempt: attempt, Resumed: time.Now()}, nil
	}
	if err := os.WriteFile(startedMarker(dir), nil, 0o600); err != nil {
		return survived{}, err
	}
	beat := time.NewTicker(100 * time.Millisecond)
	defer beat.Stop()
	for {
		activity.RecordHeartbeat(ctx)
		select {
		case <-ctx.Done():
			return survived{}, ctx.Err()
		case <-beat.C:
		}
	}
}

func startedMarker(dir string) string { return filepath.Join(dir, "step-started") }

package run

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

var unsigned = runbooks.Runbook{Trust: "unsigned"}

func TestStepRecordsWhatItDid(t *testing.T) {
	b := newBench(t, unsigned, fenceOnce)
	fence := &failing{}
	b.register(activities.Fence, fence.do)
	result, err := b.run(Input{})
	require.NoError(t, err)
	require.Equal(t, journal.Passed, result.Verdict)
	ended := kinds(b.journal(), journal.StepEnded)
	require.Len(t, ended, 1)
	require.Equal(t, journal.Changed, ended[0].Outcome)
	require.Equal(t, "stopped", ended[0].After["proof"])
	require.Equal(t, "fence/orders", ended[0].Step)
}

func TestHeldStep(t *testing.T) {
	tests := []struct {
		name    string
		until   int
		answer  Intervention
		verdict journal.Verdict
		calls   int
		to      string
	}{
		{"retry", 2, Intervention{Action: ActionRetry, Author: "dana"}, journal.Passed, 2, "west"},
		{"retry names the step", 2, Intervention{Action: ActionRetry, Step: "fence/orders", Author: "dana"}, journal.Passed, 2, "west"},
		{"retry with changed input", 2, Intervention{Action: ActionRetry, Author: "dana", Set: map[string]string{"to": "north"}}, journal.Passed, 2, "north"},
		{"skip never reads as success", 99, Intervention{Action: ActionSkip, Author: "dana", Reason: "done by hand"}, journal.PassedWithSkips, 1, "west"},
		{"abort", 99, Intervention{Action: ActionAbort, Author: "dana"}, journal.Undone, 1, "west"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, unsigned, fenceOnce)
			fence := &failing{until: tt.until}
			b.register(activities.Fence, fence.do)
			b.env.RegisterDelayedCallback(func() {
				s := b.status()
				require.Equal(t, StateHeld, s.State)
				require.Len(t, s.Holds, 1)
				require.Contains(t, s.Holds[0].Why, "the disk is full")
			}, time.Minute)
			b.after(2*time.Minute, UpdateIntervene, tt.answer, accepted(t))
			result, err := b.run(Input{})
			require.NoError(t, err)
			require.Equal(t, tt.verdict, result.Verdict)
			require.Len(t, fence.calls, tt.calls)
			require.Equal(t, tt.to, fence.calls[len(fence.calls)-1].To)
			require.Len(t, kinds(b.journal(), journal.Intervened), 1)
		})
	}
}

// An act whose answer was lost shows when the operator has the step tried again: the step did it, before it was held.
func TestAHeldStepDidWhatAnEarlierAttemptDid(t *testing.T) {
	b := newBench(t, unsigned, fenceOnce)
	calls := 0
	b.register(activities.Fence, func(context.Context, activities.ActInput) (activities.ActResult, error) {
		if calls++; calls == 1 {
			mine := activities.Intent{RequestID: "r", Before: journal.Facts{"role": "primary"}}
			return activities.ActResult{}, temporal.NewApplicationErrorWithOptions("connection lost", activities.ErrUnreachable,
				temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{mine}})
		}
		return activities.ActResult{Before: journal.Facts{"role": "none"}, Proof: activities.ProofStopped, Attempt: 1}, nil
	})
	b.after(time.Minute, UpdateIntervene, Intervention{Action: ActionRetry, Author: "dana"}, accepted(t))
	_, err := b.run(Input{})
	require.NoError(t, err)
	ended := kinds(b.journal(), journal.StepEnded)
	require.Len(t, ended, 1)
	require.Equal(t, journal.Changed, ended[0].Outcome)
	require.Equal(t, journal.Facts{"role": "primary"}, ended[0].Before)
}

func TestRefusedInterventionsChangeNothing(t *testing.T) {
	tests := []struct {
		name   string
		send   Intervention
		reason string
	}{
		{"nobody", Intervention{Action: ActionRetry}, "names nobody"},
		{"viewer", Intervention{Action: ActionRetry, Author: "lee"}, "needs operator"},
		{"approver is no operator", Intervention{Action: ActionSkip, Author: "kim"}, "needs operator"},
		{"unknown action", Intervention{Action: "explode", Author: "dana"}, "unknown action"},
		{"unknown step", Intervention{Action: ActionRetry, Step: "promote/orders", Author: "dana"}, "held are: fence/orders"},
		{"unknown key", Intervention{Action: ActionRetry, Author: "dana", Set: map[string]string{"too": "x"}}, `no "too"`},
		{"wrong type", Intervention{Action: ActionRetry, Author: "dana", Set: map[string]string{"planned": "maybe"}}, "not \"maybe\""},
		{"set with skip", Intervention{Action: ActionSkip, Author: "dana", Set: map[string]string{"to": "x"}}, "only retry"},
		{"resume while not paused", Intervention{Action: ActionResume, Author: "dana"}, "not paused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, unsigned, fenceOnce)
			fence := &failing{until: 2}
			b.register(activities.Fence, fence.do)
			b.after(time.Minute, UpdateIntervene, tt.send, refused(t, tt.reason))
			b.env.RegisterDelayedCallback(func() {
				require.Equal(t, StateHeld, b.status().State)
				require.Len(t, fence.calls, 1)
			}, 2*time.Minute)
			b.after(3*time.Minute, UpdateIntervene, Intervention{Action: ActionRetry, Author: "root"}, accepted(t))
			_, err := b.run(Input{})
			require.NoError(t, err)
			require.Len(t, kinds(b.journal(), journal.Refused), 1)
		})
	}
}

func TestPauseStopsBeforeTheNextStep(t *testing.T) {
	var second time.Time
	b := newBench(t, unsigned, func(ctx workflow.Context, r *Run) error {
		if err := workflow.Sleep(ctx, time.Hour); err != nil {
			return err
		}
		err := fenceOnce(ctx, r)
		second = workflow.Now(ctx)
		return err
	})
	b.register(activities.Fence, (&failing{}).do)
	start := b.env.Now()
	b.after(30*time.Minute, UpdateIntervene, Intervention{Action: ActionPause, Author: "dana"}, accepted(t))
	b.after(31*time.Minute, UpdateIntervene, Intervention{Action: ActionPause, Author: "dana"}, refused(t, "paused already"))
	b.after(3*time.Hour, UpdateIntervene, Intervention{Action: ActionResume, Author: "dana"}, accepted(t))
	result, err := b.run(Input{})
	require.NoError(t, err)
	require.Equal(t, journal.Passed, result.Verdict)
	require.GreaterOrEqual(t, second.Sub(start), 3*time.Hour)
}

func TestUndo(t *testing.T) {
	stop := map[string]struct {
		how     func(b *bench)
		verdict journal.Verdict
	}{
		"abort": {func(b *bench) {
			b.after(time.Minute, UpdateIntervene, Intervention{Action: ActionAbort, Author: "dana"}, accepted(t))
		}, journal.Undone},
		"cancel": {func(b *bench) { b.env.RegisterDelayedCallback(b.env.CancelWorkflow, time.Minute) }, journal.Undone},
		"reject": {func(b *bench) {
			b.env.RegisterDelayedCallback(func() { b.env.SignalWorkflow(UpdateDecide, Decision{Decision: "reject", Approver: "kim"}) }, time.Minute)
		}, journal.RejectedVerdict},
	}
	for name, tt := range stop {
		t.Run(name, func(t *testing.T) {
			var undone []string
			b := newBench(t, unsigned, func(ctx workflow.Context, r *Run) error {
				for _, title := range []string{"first", "second"} {
					r.Undo(ctx, "orders", title, func(ctx workflow.Context) error {
						require.NoError(t, ctx.Err(), "undo runs on a detached context")
						undone = append(undone, title)
						return workflow.Sleep(ctx, time.Second)
					})
				}
				r.Undo(ctx, "search", "gone", func(workflow.Context) error { undone = append(undone, "gone"); return nil })
				if err := r.PassNoReturn(ctx, "search"); err != nil {
					return err
				}
				r.past = nil // only orders is of interest for the verdict
				return r.Gate(ctx, GateSpec{Name: runbooks.GateApprove, Title: "go on?"})
			})
			tt.how(b)
			_, err := b.run(Input{})
			if name == "cancel" {
				require.True(t, temporal.IsCanceledError(err))
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, []string{"second", "first"}, undone)
			require.Equal(t, tt.verdict, b.status().Verdict)
		})
	}
}

func TestAbortAfterTheStepThatCannotBeUndone(t *testing.T) {
	b := newBench(t, unsigned, func(ctx workflow.Context, r *Run) error {
		if err := r.PassNoReturn(ctx, "orders"); err != nil {
			return err
		}
		return fenceOnce(ctx, r)
	})
	b.register(activities.Fence, (&failing{until: 9}).do)
	b.after(time.Minute, UpdateIntervene, Intervention{Action: ActionAbort, Author: "dana"}, func(a Answer) {
		require.Contains(t, a.Message, "failback is the way back")
	})
	result, err := b.run(Input{})
	require.NoError(t, err)
	require.Equal(t, journal.Aborted, result.Verdict)
	require.Contains(t, result.Summary, "failback is the way back")
}

func TestAbortWhilePausedBeforeThePointOfNoReturn(t *testing.T) {
	undone := false
	b := newBench(t, unsigned, func(ctx workflow.Context, r *Run) error {
		r.Undo(ctx, "orders", "primary again", func(workflow.Context) error { undone = true; return nil })
		if err := workflow.Sleep(ctx, time.Hour); err != nil {
			return err
		}
		if err := r.PassNoReturn(ctx, "orders"); err != nil {
			return err
		}
		return fenceOnce(ctx, r)
	})
	fence := &failing{}
	b.register(activities.Fence, fence.do)
	b.after(time.Minute, UpdateIntervene, Intervention{Action: ActionPause, Author: "dana"}, accepted(t))
	b.after(2*time.Hour, UpdateIntervene, Intervention{Action: ActionAbort, Author: "dana"}, accepted(t))
	result, err := b.run(Input{})
	require.NoError(t, err)
	require.Equal(t, journal.Undone, result.Verdict, result.Summary)
	require.True(t, undone, "a paused run has not passed it")
	require.Empty(t, fence.calls)
	require.Empty(t, kinds(b.journal(), journal.NoReturn))
	require.Empty(t, kinds(b.journal(), journal.StepStarted), "no step is said to have started")
}

func TestRunbookOfAnotherOperation(t *testing.T) {
	b := newBench(t, unsigned, fenceOnce)
	b.book.Operation = "failover"
	_, err := b.run(Input{})
	require.ErrorContains(t, err, "was started as test")
}

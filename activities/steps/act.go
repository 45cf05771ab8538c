package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

const (
	pollFirst = 3 * time.Millisecond // promotion of an idle standby takes some 50 ms: polls must not add to the outage
	pollMost  = 250 * time.Millisecond
	// An earlier attempt may have acted just before its worker was killed: its effect is awaited this long before acting again.
	settle = 2 * time.Second
	// The activity ends by itself, with what is missing, before Temporal times it out without a reason.
	margin = 5 * time.Second
	// A world that cannot be looked at for so long ends the wait with the reason, while a world that is slow is waited for.
	blind = 15 * time.Second
	// How long an act may need to show its effect where the activity has all day.
	patience = 2 * time.Minute
)

var (
	errInVain   = errors.New("waited in vain")
	errNoAnswer = errors.New("the act did not come back in time, and nobody knows whether it is still at work")
)

// act is one activity call at work.
type act struct {
	Op        string
	RequestID string
	Lease     activities.Lease
	Runs      Runs
}

// do holds an action to: look, and return where the goal is met; act once; look until it is met. An act whose outcome is
// unknown, because its worker was killed, is looked for first and repeated only where the look says that it had no effect.
func (a act) do(ctx context.Context, goal activities.Action) (activities.ActResult, error) {
	started := time.Now()
	pulse, ctx := startPulse(ctx)
	defer pulse.stop()
	result, err := a.carryOut(ctx, goal, pulse)
	result.Attempt, result.Took = pulse.attempt, time.Since(started)
	return result, withIntent(finish(ctx, err), pulse.last)
}

// withIntent has an error tell the run that there may have been an act.
func withIntent(err error, last any) error {
	var failed *temporal.ApplicationError
	if mine, acted := last.(activities.Intent); acted && errors.As(err, &failed) {
		return temporal.NewApplicationErrorWithOptions(failed.Message(), failed.Type(),
			temporal.ApplicationErrorOptions{NonRetryable: failed.NonRetryable(), Details: []any{mine}})
	}
	return err
}

func (a act) carryOut(ctx context.Context, goal activities.Action, pulse *pulse) (activities.ActResult, error) {
	earlier := pulse.found
	first, err := goal.Look(ctx)
	if err == nil && first.Met {
		return a.resultOf(earlier != nil, before(earlier, first), first), nil
	}
	if err != nil && !retryable(err) {
		return activities.ActResult{}, err
	}
	if earlier != nil {
		quiet, cancel := context.WithTimeout(ctx, settle)
		last, waitErr := await(quiet, goal.Look, a.Op)
		cancel()
		if waitErr == nil {
			return a.resultOf(true, before(earlier, first), last), nil
		}
		if ctx.Err() != nil {
			return activities.ActResult{}, ctx.Err()
		}
		first, err = goal.Look(ctx)
	}
	if err == nil && goal.Act != nil && first.Busy {
		if first, err = idle(ctx, goal.Look, a.Op); err == nil && first.Met {
			return a.resultOf(true, before(earlier, first), first), nil
		}
	}
	if err != nil {
		return activities.ActResult{}, err
	}
	if goal.Act != nil && !first.Met {
		if err := a.actOnce(ctx, goal, pulse, activities.Intent{RequestID: a.RequestID, Before: before(earlier, first)}); err != nil {
			// The act may have taken effect although its answer was lost: only the world knows.
			if seen, lookErr := goal.Look(ctx); lookErr == nil && seen.Met {
				return a.resultOf(true, before(earlier, first), seen), nil
			}
			return activities.ActResult{}, err
		}
	}
	limited, cancel := context.WithDeadline(ctx, waitUntil(ctx, goal.Act != nil))
	defer cancel()
	last, err := await(limited, goal.Look, a.Op)
	if err != nil {
		return activities.ActResult{}, err
	}
	return a.resultOf(goal.Act != nil, before(earlier, first), last), nil
}

func (a act) actOnce(ctx context.Context, goal activities.Action, pulse *pulse, mine activities.Intent) error {
	if a.Lease.LockWorkflow != "" {
		if err := a.Runs.Holds(ctx, a.Lease); err != nil {
			return err
		}
	}
	if err := pulse.record(ctx, mine); err != nil {
		return &activities.Error{Type: activities.ErrUnknown, Op: a.Op + ": write down the intent, before acting", Err: err}
	}
	limited, cancel := context.WithDeadlineCause(ctx, waitUntil(ctx, true), errNoAnswer)
	defer cancel()
	err := goal.Act(limited, a.RequestID)
	if err != nil && errors.Is(context.Cause(limited), errNoAnswer) {
		return &activities.Error{Type: activities.ErrNotYet, Op: a.Op, Err: fmt.Errorf("%w: %w", errNoAnswer, err)}
	}
	return err
}

func (a act) resultOf(changed bool, before journal.Facts, last activities.Look) activities.ActResult {
	return activities.ActResult{Changed: changed, Before: before, After: last.Facts, Position: last.Position, Proof: last.Proof}
}

// await looks until the goal is met, and says what is missing where it is not in time.
func await(ctx context.Context, look func(context.Context) (activities.Look, error), op string) (activities.Look, error) {
	pause := pollFirst
	why := errors.New("nothing was seen")
	sighted := time.Now()
	for {
		seen, err := look(ctx)
		if err == nil {
			sighted = time.Now()
		} else if ctx.Err() == nil && time.Since(sighted) > blind {
			return activities.Look{}, err
		}
		switch {
		case err == nil && seen.Met:
			return seen, nil
		case err == nil:
			why = errors.New(cmp.Or(seen.Why, "the goal is not met yet"))
		case ctx.Err() == nil && !retryable(err):
			return activities.Look{}, err
		case ctx.Err() == nil:
			why = err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return activities.Look{}, &activities.Error{Type: activities.ErrNotYet, Op: op, Err: fmt.Errorf("%w: %w", errInVain, why)}
		case <-timer.C:
		}
		pause = min(pause*3/2, pollMost)
	}
}

// idle waits while an earlier act is still at work. It may meet the goal, or leave something to do: then it is acted again.
func idle(ctx context.Context, look func(context.Context) (activities.Look, error), op string) (activities.Look, error) {
	limited, cancel := context.WithDeadline(ctx, waitUntil(ctx, true))
	defer cancel()
	var last activities.Look
	_, err := await(limited, func(ctx context.Context) (activities.Look, error) {
		var err error
		last, err = look(ctx)
		return activities.Look{Met: last.Met || !last.Busy, Why: last.Why}, err
	}, op)
	return last, err
}

func waitUntil(ctx context.Context, acted bool) time.Time {
	limit := time.Now().Add(patience)
	deadline, ok := ctx.Deadline()
	if !ok {
		return limit
	}
	deadline = deadline.Add(-margin)
	if time.Until(deadline) > time.Hour { // a long intent: base backups, replay
		return deadline
	}
	if acted && limit.Before(deadline) {
		return limit
	}
	return deadline
}

func before(earlier *activities.Intent, first activities.Look) journal.Facts {
	if earlier != nil {
		return earlier.Before
	}
	return first.Facts
}

func retryable(err error) bool {
	var e *activities.Error
	return !errors.As(err, &e) || e.Retryable()
}

// finish turns an error into what Temporal keeps; a cancelled activity says so.
func finish(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(context.Cause(ctx), errCanceled) {
		return temporal.NewCanceledError(err.Error())
	}
	if errors.Is(err, errInVain) || errors.Is(err, errNoAnswer) { // waiting as long again, six times, would only keep it from people
		return temporal.NewApplicationErrorWithOptions(err.Error(), activities.TypeOf(err), temporal.ApplicationErrorOptions{NonRetryable: true})
	}
	return activities.ToTemporal(err)
}

// beat wraps an activity that only looks, or whose own code holds to look, act, look: it heartbeats and maps errors.
func beat[I, O any](f func(context.Context, I) (O, error)) func(context.Context, I) (O, error) {
	return func(ctx context.Context, in I) (O, error) {
		pulse, ctx := startPulse(ctx)
		defer pulse.stop()
		out, err := f(ctx, in)
		if stamped, ok := any(&out).(*activities.ActResult); ok {
			stamped.Attempt = activity.GetInfo(ctx).Attempt
		}
		return out, finish(ctx, err)
	}
}

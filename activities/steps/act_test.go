package steps

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// world is a fake system: what an act does to it, and when that shows.
type world struct {
	met     bool
	acts    int
	showsAt int // the look after the act in which the effect shows
	looks   int
	busy    int // looks until an earlier act has ended
	act     func() error
	look    func() error
}

func (w *world) action() activities.Action {
	return activities.Action{
		Look: func(context.Context) (activities.Look, error) {
			w.looks++
			if w.look != nil {
				if err := w.look(); err != nil {
					return activities.Look{}, err
				}
			}
			if w.acts > 0 && w.looks >= w.showsAt {
				w.met = true
			}
			return activities.Look{Met: w.met, Why: "still in recovery", Busy: w.looks < w.busy, Facts: journal.Facts{"met": map[bool]string{true: "yes", false: "no"}[w.met]}}, nil
		},
		Act: func(context.Context, string) error {
			w.acts++
			if w.act != nil {
				return w.act()
			}
			return nil
		},
	}
}

// testPulse stores intents in memory; the real one is tested with the engine.
func testPulse(earlier *activities.Intent) (*memoryPulse, *pulse) {
	m := &memoryPulse{}
	p := &pulse{attempt: 1, found: earlier, cancel: func(error) {}}
	p.send = func(_ context.Context, details any) error {
		m.stored = append(m.stored, details)
		return m.err
	}
	return m, p
}

type memoryPulse struct {
	stored []any
	err    error
}

func TestAnErrorTellsOfTheIntent(t *testing.T) {
	t.Parallel()
	failed := activities.ToTemporal(&activities.Error{Type: activities.ErrUnreachable, Op: "fence", Err: errors.New("connection lost")})
	require.Equal(t, failed, withIntent(failed, nil), "nobody acted")
	require.NoError(t, withIntent(nil, activities.Intent{RequestID: "r"}))
	var told *temporal.ApplicationError
	require.ErrorAs(t, withIntent(failed, activities.Intent{RequestID: "r"}), &told)
	var mine activities.Intent
	require.NoError(t, told.Details(&mine))
	require.Equal(t, "r", mine.RequestID)
	require.Equal(t, activities.ErrUnreachable, told.Type())
	require.False(t, told.NonRetryable())
	require.Equal(t, failed.Error(), told.Error())
}

func TestCarryOut(t *testing.T) {
	t.Parallel()
	refused := &activities.Error{Type: activities.ErrRefused, Op: "promote", Err: errors.New("no")}
	lost := &activities.Error{Type: activities.ErrUnreachable, Op: "promote", Err: errors.New("connection lost")}
	earlier := &activities.Intent{RequestID: "r", Before: journal.Facts{"met": "long ago"}}
	tests := []struct {
		name    string
		world   world
		earlier *activities.Intent
		acts    int
		changed bool
		before  string
		err     string
	}{
		{name: "goal met before", world: world{met: true}, before: "yes"},
		{name: "acts once", world: world{}, acts: 1, changed: true, before: "no"},
		{name: "waits for the effect", world: world{showsAt: 4}, acts: 1, changed: true, before: "no"},
		{name: "earlier attempt acted and it shows", world: world{met: true}, earlier: earlier, changed: true, before: "long ago"},
		{name: "earlier attempt acted and it shows late", world: world{acts: 1, showsAt: 3}, earlier: earlier, acts: 1, changed: true, before: "long ago"},
		{name: "earlier attempt did not act", world: world{}, earlier: earlier, acts: 1, changed: true, before: "long ago"},
		{name: "earlier act at work, it meets the goal", world: world{busy: 4, acts: 1, showsAt: 3}, earlier: earlier, acts: 1, changed: true, before: "long ago"},
		{name: "earlier act at work, it ends halfway", world: world{busy: 25}, earlier: earlier, acts: 1, changed: true, before: "long ago"},
		{name: "somebody's act at work, it ends halfway", world: world{busy: 4}, acts: 1, changed: true, before: "no"},
		{name: "answer lost, effect there", world: world{act: func() error { return lost }}, acts: 1, changed: true, before: "no"},
		{name: "refused", world: world{showsAt: 99, act: func() error { return refused }}, acts: 1, err: "no"},
		{name: "look refused", world: world{look: func() error { return refused }}, err: "no"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := tt.world
			_, p := testPulse(tt.earlier)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			result, err := act{Op: "promote orders", RequestID: "r"}.carryOut(ctx, w.action(), p)
			require.Equal(t, tt.acts, w.acts)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.changed, result.Changed)
			require.Equal(t, tt.before, result.Before["met"])
			require.Equal(t, "yes", result.After["met"])
		})
	}
}

func TestIntentIsStoredBeforeTheAct(t *testing.T) {
	t.Parallel()
	m, p := testPulse(nil)
	w := world{}
	w.act = func() error {
		require.Equal(t, []any{activities.Intent{RequestID: "r", Before: journal.Facts{"met": "no"}}}, m.stored)
		return nil
	}
	_, err := act{Op: "promote orders", RequestID: "r"}.carryOut(t.Context(), w.action(), p)
	require.NoError(t, err)
}

func TestNoActWhereTheIntentCannotBeStored(t *testing.T) {
	t.Parallel()
	m, p := testPulse(nil)
	m.err = errors.New("Temporal is away")
	w := world{}
	_, err := act{Op: "promote orders", RequestID: "r"}.carryOut(t.Context(), w.action(), p)
	require.ErrorContains(t, err, "Temporal is away")
	require.Zero(t, w.acts)
}

func TestNoActWithoutTheLock(t *testing.T) {
	t.Parallel()
	_, p := testPulse(nil)
	w := world{}
	lost := &activities.Error{Type: activities.ErrConflict, Op: "check the lease", Err: errors.New("token 3 is no longer the lock's")}
	call := act{Op: "promote orders", RequestID: "r", Lease: activities.Lease{LockWorkflow: "lock:shop/orders"}, Runs: noLease{err: lost}}
	_, err := call.carryOut(t.Context(), w.action(), p)
	require.ErrorIs(t, err, lost)
	require.Zero(t, w.acts)
}

type noLease struct {
	Runs
	err error
}

func (n noLease) Holds(context.Context, activities.Lease) error { return n.err }

func TestWaitEndsWhereNothingCanBeSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := &activities.Error{Type: activities.ErrUnreachable, Op: "look", Err: errors.New("connection refused")}
		began := time.Now()
		_, err := await(t.Context(), func(context.Context) (activities.Look, error) {
			if time.Since(began) < time.Minute {
				return activities.Look{Why: "slow"}, nil
			}
			return activities.Look{}, gone
		}, "promote orders")
		require.ErrorIs(t, err, gone)
		require.InDelta(t, (time.Minute + blind).Seconds(), time.Since(began).Seconds(), 1)
	})
}

func TestActThatNeverComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, p := testPulse(nil)
		w := world{}
		a := w.action()
		a.Act = func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
		began := time.Now()
		_, err := act{Op: "fence orders", RequestID: "r"}.carryOut(t.Context(), a, p)
		require.ErrorIs(t, err, errNoAnswer)
		require.Equal(t, patience, time.Since(began))
		var failed *temporal.ApplicationError
		require.ErrorAs(t, finish(t.Context(), err), &failed)
		require.True(t, failed.NonRetryable(), "people are asked, rather than the same wait repeated")
		require.Equal(t, activities.ErrNotYet, failed.Type())
	})
}

func TestWaitSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w := world{showsAt: 1 << 30}
	_, err := await(ctx, w.action().Look, "promote orders")
	require.ErrorContains(t, err, "promote orders: waited in vain: still in recovery")
	require.Equal(t, activities.ErrNotYet, activities.TypeOf(err))
}

func TestStartedEarlier(t *testing.T) {
	t.Parallel()
	mine := activities.ActResult{After: journal.Facts{activities.FactStartedBy: "run"}}
	require.True(t, startedEarlier(2, "run", mine))
	require.False(t, startedEarlier(1, "run", mine), "a second start of a writer that runs changes nothing")
	require.False(t, startedEarlier(2, "run", activities.ActResult{}), "somebody else's writer ran already")
	require.False(t, startedEarlier(2, "other", mine))
}

package run

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

var anything = mock.Anything

// lockBench runs the lock's workflow and records its grants, in order.
type lockBench struct {
	t      *testing.T
	env    *testsuite.TestWorkflowEnvironment
	grants []string
	tokens []int64
	closed map[string]bool
}

func newLockBench(t *testing.T) *lockBench {
	t.Parallel()
	var suite testsuite.WorkflowTestSuite
	b := &lockBench{t: t, env: suite.NewTestWorkflowEnvironment(), closed: map[string]bool{}}
	b.env.RegisterWorkflowWithOptions(Lock, workflow.RegisterOptions{Name: "Lock"})
	b.env.RegisterActivityWithOptions(func(_ context.Context, in []journal.Holder) ([]journal.Holder, error) {
		if b.closed[in[0].RunID] {
			return in, nil
		}
		return nil, nil
	}, activity.RegisterOptions{Name: activities.CheckHolders})
	b.env.OnSignalExternalWorkflow(anything, anything, anything, SignalGranted, anything).Return(
		func(_ string, _ string, runID string, _ string, arg any) error {
			b.grants, b.tokens = append(b.grants, runID), append(b.tokens, arg.(Grant).Token)
			return nil
		})
	return b
}

func (b *lockBench) at(wait time.Duration, signal string, payload any) {
	b.env.RegisterDelayedCallback(func() { b.env.SignalWorkflow(signal, payload) }, wait)
}

// until runs the lock for that long and returns its last state.
func (b *lockBench) until(wait time.Duration) LockStatus {
	b.t.Helper()
	var status LockStatus
	b.env.RegisterDelayedCallback(func() {
		answer, err := b.env.QueryWorkflow(QueryLock)
		require.NoError(b.t, err)
		require.NoError(b.t, answer.Get(&status))
		b.env.CancelWorkflow()
	}, wait)
	b.env.ExecuteWorkflow("Lock", LockState{})
	require.Error(b.t, b.env.GetWorkflowError(), "a lock ends only by being cancelled")
	return status
}

func holder(run string) journal.Holder {
	return journal.Holder{WorkflowID: "failover:shop", RunID: run}
}

func TestLockGoesInOrderAndTokensRise(t *testing.T) {
	b := newLockBench(t)
	for i, run := range []string{"a", "b", "c"} {
		b.at(time.Duration(i+1)*time.Second, SignalAcquire, holder(run))
	}
	b.at(4*time.Second, SignalAcquire, holder("b")) // asks again after a crash: queued once
	b.at(10*time.Second, SignalRelease, "a")
	b.at(11*time.Second, SignalRelease, "x") // not the holder: nothing happens
	b.at(20*time.Second, SignalRelease, "b")
	status := b.until(30 * time.Second)
	require.Equal(t, []string{"a", "b", "c"}, b.grants)
	require.Equal(t, "c", status.Holder.RunID)
	require.Less(t, b.tokens[0], b.tokens[1])
	require.Less(t, b.tokens[1], b.tokens[2])
	require.Empty(t, status.Queue)
}

func TestHolderThatAsksAgainIsToldAgain(t *testing.T) {
	b := newLockBench(t)
	b.at(time.Second, SignalAcquire, holder("a"))
	b.at(2*time.Second, SignalAcquire, holder("a"))
	b.until(5 * time.Second)
	require.Equal(t, []string{"a", "a"}, b.grants)
	require.Equal(t, b.tokens[0], b.tokens[1])
}

func TestClosedHolderFreesTheLock(t *testing.T) {
	b := newLockBench(t)
	b.at(time.Second, SignalAcquire, holder("a"))
	b.at(2*time.Second, SignalAcquire, holder("b"))
	b.env.RegisterDelayedCallback(func() { b.closed["a"] = true }, time.Minute)
	status := b.until(2 * time.Minute)
	require.Equal(t, []string{"a", "b"}, b.grants)
	require.Equal(t, "b", status.Holder.RunID)
}

func TestRunningHolderKeepsTheLock(t *testing.T) {
	b := newLockBench(t)
	b.at(time.Second, SignalAcquire, holder("a"))
	b.at(2*time.Second, SignalAcquire, holder("b"))
	status := b.until(10 * time.Minute)
	require.Equal(t, []string{"a"}, b.grants, "a lock is never freed by time alone")
	require.Len(t, status.Queue, 1)
}

func TestRunWaitsForTheLockAndFreesIt(t *testing.T) {
	var lease activities.Lease
	b := newBench(t, unsigned, func(ctx workflow.Context, r *Run) error {
		err := r.Lock(ctx, []string{"orders", "orders"})
		lease = r.Lease("orders")
		return err
	})
	other := holder("other")
	b.register(activities.AcquireLock, func(context.Context, activities.LockInput) (activities.LockResult, error) {
		return activities.LockResult{HeldBy: &other}, nil
	})
	var freed string
	b.env.OnSignalExternalWorkflow(anything, "lock:shop/orders", anything, SignalRelease, anything).Return(
		func(_ string, _ string, _ string, _ string, arg any) error { freed = arg.(string); return nil })
	b.env.RegisterDelayedCallback(func() {
		require.Equal(t, StateWaiting, b.status().State)
		b.env.SignalWorkflow(SignalGranted, Grant{LockWorkflow: "lock:shop/orders", Token: 7})
	}, time.Minute)
	result, err := b.run(Input{})
	require.NoError(t, err)
	require.Equal(t, journal.Passed, result.Verdict)
	require.Equal(t, int64(7), lease.Token)
	require.Equal(t, "default-test-run-id", freed)
}

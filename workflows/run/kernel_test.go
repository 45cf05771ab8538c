package run

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// The activities below are fakes: these tests are about the kernel, in Temporal's test environment, whose clock skips waits.

const testOperation = "test"

// bench is a kernel under test with one operation.
type bench struct {
	t    *testing.T
	env  *testsuite.TestWorkflowEnvironment
	book runbooks.Runbook
	// estate changes what the run loads; may be nil.
	estate func(*runbooks.Estate)
	acts   map[string]func(context.Context, activities.ActInput) (activities.ActResult, error)
}

func newBench(t *testing.T, book runbooks.Runbook, body Body) *bench {
	t.Helper()
	t.Parallel()
	var suite testsuite.WorkflowTestSuite
	b := &bench{t: t, env: suite.NewTestWorkflowEnvironment(), book: book, acts: map[string]func(context.Context, activities.ActInput) (activities.ActResult, error){}}
	b.book.Name, b.book.Operation = "test-shop", testOperation
	b.env.RegisterWorkflowWithOptions(func(ctx workflow.Context, in Input) (Result, error) {
		return Execute(ctx, testOperation, in, body)
	}, workflow.RegisterOptions{Name: "Test"})
	b.register(activities.LoadRunbook, func(context.Context, activities.LoadRunbookInput) (activities.LoadRunbookResult, error) {
		estate := runbooks.Estate{Name: "shop", People: map[string]runbooks.Person{
			"dana": {Roles: []string{"operator", "approver"}}, "kim": {Roles: []string{"approver"}},
			"lee": {Roles: []string{"viewer"}}, "root": {Roles: []string{"admin"}},
		}, Systems: map[string]runbooks.System{"orders": {Kind: "postgresql"}}}
		if b.estate != nil {
			b.estate(&estate)
		}
		return activities.LoadRunbookResult{Resolved: runbooks.Resolved{Runbook: b.book, Estate: estate, SHA256: "doc"}, SearchAttributes: true}, nil
	})
	b.register(activities.WriteEvidence, func(context.Context, activities.EvidenceInput) (activities.EvidenceResult, error) {
		return activities.EvidenceResult{JSON: "/e.json", HTML: "/e.html"}, nil
	})
	return b
}

func (b *bench) register(name string, f any) {
	b.env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
}

func (b *bench) run(in Input) (Result, error) {
	b.t.Helper()
	in.Runbook = "test-shop"
	b.env.ExecuteWorkflow("Test", in)
	require.True(b.t, b.env.IsWorkflowCompleted())
	var result Result
	err := b.env.GetWorkflowError()
	if err == nil {
		require.NoError(b.t, b.env.GetWorkflowResult(&result))
	}
	entries := b.journal()
	_, verifyErr := journal.Verify(entries)
	require.NoError(b.t, verifyErr)
	return result, err
}

func (b *bench) journal() []journal.Entry {
	b.t.Helper()
	answer, err := b.env.QueryWorkflow(QueryJournal, JournalPage{})
	require.NoError(b.t, err)
	var entries []journal.Entry
	require.NoError(b.t, answer.Get(&entries))
	return entries
}

func (b *bench) status() Status {
	b.t.Helper()
	answer, err := b.env.QueryWorkflow(QueryStatus)
	require.NoError(b.t, err)
	var s Status
	require.NoError(b.t, answer.Get(&s))
	return s
}

// kinds returns the entries of one kind.
func kinds(entries []journal.Entry, kind journal.Kind) []journal.Entry {
	var found []journal.Entry
	for _, e := range entries {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

// after sends an update when the workflow has waited that long, and hands its answer to then.
func (b *bench) after(wait time.Duration, update string, payload any, then func(Answer)) {
	b.env.RegisterDelayedCallback(func() {
		b.env.UpdateWorkflow(update, "", &testsuite.TestUpdateCallback{
			OnAccept:   func() {},
			OnReject:   func(err error) { b.t.Errorf("%s was rejected: %v", update, err) },
			OnComplete: func(answer any, err error) { require.NoError(b.t, err); then(answer.(Answer)) },
		}, payload)
	}, wait)
}

func accepted(t *testing.T) func(Answer) {
	return func(a Answer) { require.True(t, a.Accepted, a.Message) }
}

func refused(t *testing.T, reason string) func(Answer) {
	return func(a Answer) {
		require.False(t, a.Accepted, a.Message)
		require.Contains(t, a.Message, reason)
	}
}

func fenceSpec() Spec {
	return Spec{Phase: "fence", System: "orders", Title: "fence orders", Activity: activities.Fence, Intent: Mutate,
		Input: activities.ActInput{Move: activities.Move{From: "east", To: "west"}, RequestID: "r"}}
}

func fenceOnce(ctx workflow.Context, r *Run) error {
	_, _, err := Act(ctx, r, fenceSpec())
	return err
}

// failing fails until the call of that number, and records what it was asked for.
type failing struct {
	until int
	calls []activities.ActInput
}

func (f *failing) do(_ context.Context, in activities.ActInput) (activities.ActResult, error) {
	f.calls = append(f.calls, in)
	if len(f.calls) < f.until {
		return activities.ActResult{}, activities.ToTemporal(&activities.Error{Type: activities.ErrRefused, Op: "fence orders", Err: errors.New("the disk is full")})
	}
	return activities.ActResult{Changed: true, Proof: activities.ProofStopped, Attempt: 1}, nil
}

package starter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

const (
	queryTimeout  = 5 * time.Second
	answerTimeout = 30 * time.Second
	workerNext    = "start or check muster-worker on task queue " + run.TaskQueue
)

// query asks a run. A worker must be up, also for runs that have ended: it answers from the history.
func (e *engine) query(ctx context.Context, x execution, name string, into any, in ...any) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	value, err := e.QueryWorkflow(ctx, x.WorkflowID, x.RunID, name, in...)
	if err != nil {
		return unanswered(fmt.Sprintf("ask run %s for its %s", x.WorkflowID, name), err)
	}
	if err := value.Get(into); err != nil {
		return fmt.Errorf("read the %s of run %s: %w", name, x.WorkflowID, err)
	}
	return nil
}

func unanswered(what string, err error) error {
	var late *serviceerror.DeadlineExceeded
	if errors.As(err, &late) || errors.Is(err, context.DeadlineExceeded) {
		return fail(workerNext, "%s: no worker answered in time", what)
	}
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return fail("muster list shows the runs there are", "%s: Temporal does not know it: %w", what, err)
	}
	return fail(workerNext, "%s: %w", what, err)
}

func (e *engine) status(ctx context.Context, x execution) (run.Status, error) {
	var s run.Status
	return s, e.query(ctx, x, run.QueryStatus, &s)
}

func (e *engine) plan(ctx context.Context, x execution) (journal.Plan, error) {
	var p journal.Plan
	return p, e.query(ctx, x, run.QueryPlan, &p)
}

// journal returns the entries after a number, all of them.
func (e *engine) journal(ctx context.Context, x execution, after int) ([]journal.Entry, error) {
	var all []journal.Entry
	for {
		var entries []journal.Entry
		if err := e.query(ctx, x, run.QueryJournal, &entries, run.JournalPage{After: after}); err != nil {
			return nil, err
		}
		if len(entries) == 0 { // a page is as long as its bytes allow: only an empty one is the last
			return all, nil
		}
		all = append(all, entries...)
		after = entries[len(entries)-1].Seq
	}
}

// send hands a run a decision or an intervention and returns its answer. By signal there is none: the journal tells.
func (e *engine) send(ctx context.Context, x execution, name string, payload any, nonce string, bySignal bool) (run.Answer, error) {
	if bySignal {
		if err := e.SignalWorkflow(ctx, x.WorkflowID, x.RunID, name, payload); err != nil {
			return run.Answer{}, closed(x, fmt.Errorf("signal run %s: %w", x.WorkflowID, err))
		}
		return run.Answer{Accepted: true, Message: "sent by signal: what becomes of it stands in the journal once a worker is up (muster show)"}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	handle, err := e.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		// The nonce makes a resent payload the same update: Temporal answers it once.
		UpdateID: nonce, WorkflowID: x.WorkflowID, RunID: x.RunID, UpdateName: name, Args: []any{payload},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	var answer run.Answer
	if err == nil {
		err = handle.Get(ctx, &answer)
	}
	var refused *temporal.ApplicationError
	switch {
	case err == nil:
		return answer, nil
	case errors.As(err, &refused):
		return run.Answer{Message: refused.Message()}, nil
	case ctx.Err() != nil:
		return answer, fail(workerNext+", look with muster show, and send it again or with --signal, which waits for a worker",
			"%s of run %s: no worker answered within %s, so it is not known whether it counts", name, x.WorkflowID, answerTimeout)
	}
	return answer, closed(x, fmt.Errorf("%s of run %s: %w", name, x.WorkflowID, err))
}

func closed(x execution, err error) error {
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return fail("muster show "+x.WorkflowID, "run %s has ended or is unknown, so nothing can be sent to it: %w", x.WorkflowID, err)
	}
	return err
}

// result waits for a run's end. A run that failed or was cancelled says how in the error's details.
func (e *engine) result(ctx context.Context, x execution) (run.Result, error) {
	var r run.Result
	err := e.GetWorkflow(ctx, x.WorkflowID, x.RunID).Get(ctx, &r)
	var failed *temporal.ApplicationError
	var canceled *temporal.CanceledError
	switch {
	case err == nil:
		return r, nil
	case errors.As(err, &failed) && failed.HasDetails() && failed.Details(&r) == nil && r.Verdict != "":
		return r, nil
	case errors.As(err, &canceled) && canceled.HasDetails() && canceled.Details(&r) == nil && r.Verdict != "":
		return r, nil
	case ctx.Err() != nil:
		return r, ctx.Err()
	case errors.As(err, &failed):
		return r, fail("fix what it says and start the run again", "run %s could not be carried out: %s", x.WorkflowID, failed.Message())
	}
	return r, fmt.Errorf("wait for run %s: %w", x.WorkflowID, err)
}

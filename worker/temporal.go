package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows"
	"github.com/musterhq/muster/workflows/run"
)

// runs answers what activities ask Temporal; it implements steps.Runs.
type runs struct{ client client.Client }

// Acquire signals the lock workflow, starting it where there is none. Safe to repeat: a lock knows who asked before.
func (r runs) Acquire(ctx context.Context, in activities.LockInput) (activities.LockResult, error) {
	options := client.StartWorkflowOptions{ID: in.LockWorkflow, TaskQueue: run.TaskQueue, WorkflowTaskTimeout: 2 * time.Second}
	_, err := r.client.SignalWithStartWorkflow(ctx, in.LockWorkflow, run.SignalAcquire, in.Holder, options, workflows.LockName, run.LockState{})
	if err != nil {
		return activities.LockResult{}, mapError("ask for "+in.LockWorkflow, err)
	}
	status, err := r.lock(ctx, in.LockWorkflow)
	return activities.LockResult{HeldBy: status.Holder}, err
}

// Holds checks the lease against the lock, so that a run that lost its lock does not act.
func (r runs) Holds(ctx context.Context, lease activities.Lease) error {
	status, err := r.lock(ctx, lease.LockWorkflow)
	if err != nil {
		return err
	}
	if status.Holder == nil || status.Holder.RunID != lease.Holder || status.Token != lease.Token {
		return &activities.Error{Type: activities.ErrConflict, Op: "check the lease of " + lease.LockWorkflow,
			Err:  fmt.Errorf("this run's fencing token %d is no longer the lock's (%d)", lease.Token, status.Token),
			Next: "abort this run; somebody ended its lock"}
	}
	return nil
}

func (r runs) lock(ctx context.Context, id string) (run.LockStatus, error) {
	var status run.LockStatus
	answer, err := r.client.QueryWorkflow(ctx, id, "", run.QueryLock)
	if err == nil {
		err = answer.Get(&status)
	}
	return status, mapError("look at "+id, err)
}

// Closed returns the holders whose workflow has ended, or is not known any more.
func (r runs) Closed(ctx context.Context, holders []journal.Holder) ([]journal.Holder, error) {
	var closed []journal.Holder
	for _, h := range holders {
		description, err := r.client.DescribeWorkflow(ctx, h.WorkflowID, h.RunID)
		var gone *serviceerror.NotFound
		switch {
		case errors.As(err, &gone):
			closed = append(closed, h)
		case err != nil:
			return nil, mapError("look whether "+h.WorkflowID+" still runs", err)
		case description.Status != enums.WORKFLOW_EXECUTION_STATUS_RUNNING:
			closed = append(closed, h)
		}
	}
	return closed, nil
}

// Journal reads a run's journal by query, page by page: one answer would outgrow Temporal's payload limit.
func (r runs) Journal(ctx context.Context, in activities.EvidenceInput) ([]journal.Entry, error) {
	var entries []journal.Entry
	for {
		answer, err := r.client.QueryWorkflow(ctx, in.WorkflowID, in.RunID, run.QueryJournal, run.JournalPage{After: len(entries)})
		var page []journal.Entry
		if err == nil {
			err = answer.Get(&page)
		}
		if err != nil {
			return nil, mapError("read the journal of "+in.WorkflowID, err)
		}
		if len(page) == 0 {
			return entries, nil
		}
		entries = append(entries, page...)
	}
}

// registerAttributes makes muster's search attributes known to the cluster, and reports whether it knows them now.
// A cluster that does not let the worker do it still carries runs; only searching for them is then poorer.
func registerAttributes(ctx context.Context, c client.Client, namespace string) (bool, error) {
	listed, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return false, fmt.Errorf("list search attributes: %w", err)
	}
	missing := map[string]enums.IndexedValueType{}
	for _, name := range run.SearchAttributes() {
		if listed.CustomAttributes[name] != enums.INDEXED_VALUE_TYPE_KEYWORD {
			missing[name] = enums.INDEXED_VALUE_TYPE_KEYWORD
		}
	}
	if len(missing) == 0 {
		return true, nil
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: missing})
	var exists *serviceerror.AlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return false, fmt.Errorf("register search attributes: %w", err)
	}
	return true, nil
}

// mapError turns Temporal's errors into typed ones.
func mapError(op string, err error) error {
	if err == nil {
		return nil
	}
	kind := activities.ErrUnreachable
	var notFound *serviceerror.NotFound
	var denied *serviceerror.PermissionDenied
	var invalid *serviceerror.InvalidArgument
	switch {
	case errors.As(err, &denied):
		kind = activities.ErrAuth
	case errors.As(err, &notFound), errors.As(err, &invalid):
		kind = activities.ErrConflict
	}
	return &activities.Error{Type: kind, Op: op, Err: err}
}

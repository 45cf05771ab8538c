package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows"
	"github.com/musterhq/muster/workflows/run"
)

// runs asks Temporal about runs and locks, as the worker does: it implements steps.Runs for bench's own worker.
type runs struct{ client.Client }

func (r runs) Acquire(ctx context.Context, in activities.LockInput) (activities.LockResult, error) {
	options := client.StartWorkflowOptions{ID: in.LockWorkflow, TaskQueue: run.TaskQueue, WorkflowTaskTimeout: 2 * time.Second}
	_, err := r.SignalWithStartWorkflow(ctx, in.LockWorkflow, run.SignalAcquire, in.Holder, options, workflows.LockName, run.LockState{})
	return activities.LockResult{}, err
}

func (r runs) Holds(ctx context.Context, lease activities.Lease) error {
	var status run.LockStatus
	answer, err := r.QueryWorkflow(ctx, lease.LockWorkflow, "", run.QueryLock)
	if err == nil {
		err = answer.Get(&status)
	}
	if err == nil && (status.Holder == nil || status.Holder.RunID != lease.Holder || status.Token != lease.Token) {
		err = errors.New("the lease is no longer the lock's")
	}
	return err
}

func (r runs) Closed(context.Context, []journal.Holder) ([]journal.Holder, error) { return nil, nil }

func (r runs) Journal(ctx context.Context, in activities.EvidenceInput) ([]journal.Entry, error) {
	var entries []journal.Entry
	for {
		answer, err := r.QueryWorkflow(ctx, in.WorkflowID, in.RunID, run.QueryJournal, run.JournalPage{After: len(entries)})
		var page []journal.Entry
		if err == nil {
			err = answer.Get(&page)
		}
		if err != nil {
			return nil, fmt.Errorf("read the journal of %s: %w", in.WorkflowID, err)
		}
		if len(page) == 0 {
			return entries, nil
		}
		entries = append(entries, page...)
	}
}

// finished is a run that has ended.
type finished struct {
	id, run string
	result  run.Result
}

// wait waits for a run's end. A verdict other than wanted is an error.
func (r runs) wait(ctx context.Context, x client.WorkflowRun, wanted journal.Verdict) (finished, error) {
	f := finished{id: x.GetID(), run: x.GetRunID()}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	err := x.Get(ctx, &f.result)
	var failed *temporal.ApplicationError
	if errors.As(err, &failed) && failed.HasDetails() {
		err = failed.Details(&f.result)
	}
	if err == nil && f.result.Verdict != wanted {
		err = fmt.Errorf("it ended with %s: %s", f.result.Verdict, f.result.Summary)
	}
	if err != nil {
		return f, fmt.Errorf("run %s: %w", f.id, err)
	}
	return f, nil
}

// journal reads a closed run's journal: each page of it has a worker replay the whole run.
func (r runs) journal(ctx context.Context, f finished) ([]journal.Entry, error) {
	return r.Journal(ctx, activities.EvidenceInput{WorkflowID: f.id, RunID: f.run})
}

// approve approves the gates of a run as they open, until it ends.
func (r runs) approve(ctx context.Context, x client.WorkflowRun) error {
	for {
		var s run.Status
		answer, err := r.QueryWorkflow(ctx, x.GetID(), x.GetRunID(), run.QueryStatus)
		if err == nil {
			err = answer.Get(&s)
		}
		switch {
		case err != nil:
			return fmt.Errorf("ask %s where it stands: %w", x.GetID(), err)
		case s.State == run.StateEnded:
			return nil
		case s.State == run.StateHeld:
			return fmt.Errorf("%s is held: %+v", x.GetID(), s.Holds)
		}
		for _, g := range s.Gates {
			update, err := r.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: x.GetID(), RunID: x.GetRunID(), UpdateName: run.UpdateDecide,
				WaitForStage: client.WorkflowUpdateStageCompleted,
				Args:         []any{run.Decision{Gate: g.Name, PlanHash: g.PlanHash, Decision: "approve", Approver: "kim", Channel: "bench"}}})
			var a run.Answer
			if err == nil {
				err = update.Get(ctx, &a)
			}
			if err == nil && !a.Accepted {
				err = errors.New(a.Message)
			}
			if err != nil {
				return fmt.Errorf("approve gate %s of %s: %w", g.Name, x.GetID(), err)
			}
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// history reads a run's events.
func (r runs) history(ctx context.Context, id, runID string) ([]*history.HistoryEvent, error) {
	var events []*history.HistoryEvent
	page := r.GetWorkflowHistory(ctx, id, runID, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for page.HasNext() {
		e, err := page.Next()
		if err != nil {
			return nil, fmt.Errorf("read the history of %s: %w", id, err)
		}
		events = append(events, e)
	}
	return events, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

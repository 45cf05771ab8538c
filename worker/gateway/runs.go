package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

// ErrNoRun says that no such run takes anything: it has ended, or never was.
var ErrNoRun = errors.New("no such run, or it has ended")

// Runs is how the gateway asks and tells runs. An empty run ID is the workflow's latest run.
type Runs interface {
	// Ready says whether runs can be asked at all.
	Ready(ctx context.Context) error
	// Open lists at most limit runs that have not ended, the newest first; more says that there are others.
	Open(ctx context.Context, limit int) (open []OpenRun, more bool, err error)
	Status(ctx context.Context, workflowID, runID string) (run.Status, error)
	Plan(ctx context.Context, workflowID, runID string) (journal.Plan, error)
	// Journal returns the entries after a number.
	Journal(ctx context.Context, workflowID, runID string, after int) ([]journal.Entry, error)
	// Decide and Intervene send once for each nonce, however often they are called. ErrNoRun where nobody is there to take it.
	Decide(ctx context.Context, workflowID, runID string, d run.Decision) (run.Answer, error)
	Intervene(ctx context.Context, workflowID, runID string, v run.Intervention) (run.Answer, error)
}

// OpenRun is a run as the listing tells it. State is empty where the cluster does not know muster's search attributes.
type OpenRun struct {
	WorkflowID string
	RunID      string
	Operation  string
	Estate     string
	State      run.State
	Started    time.Time
}

// FromTemporal returns the runs of a namespace.
func FromTemporal(c client.Client, namespace string) Runs { return runs{c, namespace} }

type runs struct {
	client    client.Client
	namespace string
}

func (r runs) Ready(ctx context.Context) error {
	if _, err := r.client.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
		return fmt.Errorf("ask Temporal whether it is up: %w", err)
	}
	return nil
}

func (r runs) Open(ctx context.Context, limit int) ([]OpenRun, bool, error) {
	request := &workflowservice.ListWorkflowExecutionsRequest{Namespace: r.namespace, PageSize: 200,
		Query: fmt.Sprintf("TaskQueue = '%s' AND ExecutionStatus = 'Running'", run.TaskQueue)}
	var open []OpenRun
	for {
		page, err := r.client.ListWorkflow(ctx, request)
		if err != nil {
			return nil, false, fmt.Errorf("list the open runs: %w", err)
		}
		for _, info := range page.GetExecutions() {
			o, ok := openRun(info)
			if !ok {
				continue
			}
			if len(open) == limit {
				return open, true, nil
			}
			open = append(open, o)
		}
		if len(page.GetNextPageToken()) == 0 {
			return open, false, nil
		}
		request.NextPageToken = page.GetNextPageToken()
	}
}

// openRun reads what the listing tells; false for workflows that are no runs, such as locks and notices that are still to be told.
func openRun(info *workflow.WorkflowExecutionInfo) (OpenRun, bool) {
	o := OpenRun{WorkflowID: info.GetExecution().GetWorkflowId(), RunID: info.GetExecution().GetRunId(), Started: info.GetStartTime().AsTime(),
		Operation: attribute(info, run.AttributeOperation), Estate: attribute(info, run.AttributeEstate), State: run.State(attribute(info, run.AttributeState))}
	if o.Operation != "" {
		return o, true
	}
	// Without attributes the ID says what it is: failover:shop.
	operation, estate, named := strings.Cut(o.WorkflowID, ":")
	if kind := info.GetType().GetName(); kind == "Lock" || kind == run.NoticesName || !named {
		return o, false
	}
	o.Operation, o.Estate, o.State = operation, estate, ""
	return o, true
}

func attribute(info *workflow.WorkflowExecutionInfo, name string) string {
	var text string
	if p := info.GetSearchAttributes().GetIndexedFields()[name]; p != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(p, &text) // not a keyword: not ours
	}
	return text
}

func (r runs) Status(ctx context.Context, workflowID, runID string) (run.Status, error) {
	return query[run.Status](ctx, r, workflowID, runID, run.QueryStatus)
}

func (r runs) Plan(ctx context.Context, workflowID, runID string) (journal.Plan, error) {
	return query[journal.Plan](ctx, r, workflowID, runID, run.QueryPlan)
}

func (r runs) Journal(ctx context.Context, workflowID, runID string, after int) ([]journal.Entry, error) {
	var entries []journal.Entry
	for { // a page ends where an answer would outgrow Temporal's payload
		page, err := query[[]journal.Entry](ctx, r, workflowID, runID, run.QueryJournal, run.JournalPage{After: after + len(entries)})
		if err != nil || len(page) == 0 {
			return entries, err
		}
		entries = append(entries, page...)
	}
}

func query[T any](ctx context.Context, r runs, workflowID, runID, name string, in ...any) (T, error) {
	var answer T
	value, err := r.client.QueryWorkflow(ctx, workflowID, runID, name, in...)
	if err == nil {
		err = value.Get(&answer)
	}
	if err != nil {
		return answer, fmt.Errorf("ask run %s for its %s: %w", workflowID, name, missing(err))
	}
	return answer, nil
}

func (r runs) Decide(ctx context.Context, workflowID, runID string, d run.Decision) (run.Answer, error) {
	return r.send(ctx, workflowID, runID, run.UpdateDecide, d.Nonce, d)
}

func (r runs) Intervene(ctx context.Context, workflowID, runID string, v run.Intervention) (run.Answer, error) {
	return r.send(ctx, workflowID, runID, run.UpdateIntervene, v.Nonce, v)
}

func (r runs) send(ctx context.Context, workflowID, runID, name, nonce string, payload any) (run.Answer, error) {
	var answer run.Answer
	handle, err := r.client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		// The nonce makes a click that is delivered twice the same update: Temporal answers both with the one answer.
		UpdateID: nonce, WorkflowID: workflowID, RunID: runID, UpdateName: name, Args: []any{payload},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(ctx, &answer)
	}
	var refused *temporal.ApplicationError
	if errors.As(err, &refused) {
		return run.Answer{Message: refused.Message()}, nil // malformed: the run's validator turned it away
	}
	if err != nil {
		return answer, fmt.Errorf("send %s to run %s: %w", name, workflowID, missing(err))
	}
	return answer, nil
}

func missing(err error) error {
	var gone *serviceerror.NotFound
	var invalid *serviceerror.InvalidArgument // a run ID that is none
	if errors.As(err, &gone) || errors.As(err, &invalid) {
		return fmt.Errorf("%w (%w)", ErrNoRun, err)
	}
	return err
}

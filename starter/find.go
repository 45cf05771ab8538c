package starter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"github.com/musterhq/muster/workflows"
	"github.com/musterhq/muster/workflows/run"
)

const runArgument = `RUN is a workflow ID (failover:shop), a run ID or its beginning, a runbook's name, or latest.
Left out, it is the only open run.`

// execution names one run.
type execution struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
}

// listed is a run as Temporal's visibility lists it.
type listed struct {
	execution
	Operation   string     `json:"operation"`
	Estate      string     `json:"estate"`
	Runbook     string     `json:"runbook,omitempty"` // where muster or a schedule of muster's started it
	State       string     `json:"state"`
	Verdict     string     `json:"verdict,omitempty"`
	PlanHash    string     `json:"plan_hash,omitempty"`
	RequestedBy string     `json:"requested_by,omitempty"`
	Started     time.Time  `json:"started"`
	Ended       *time.Time `json:"ended,omitempty"`
}

func (l listed) open() bool { return l.Ended == nil }

// each calls f with the runs that a visibility query finds, the newest first, until f returns false.
func (e *engine) each(ctx context.Context, query string, f func(listed) bool) error {
	request := &workflowservice.ListWorkflowExecutionsRequest{Namespace: e.namespace, PageSize: 100, Query: query}
	for {
		page, err := e.ListWorkflow(ctx, request)
		if err != nil {
			return err
		}
		for _, info := range page.GetExecutions() {
			if l, ok := toListed(info); ok && !f(l) {
				return nil
			}
		}
		if len(page.GetNextPageToken()) == 0 {
			return nil
		}
		request.NextPageToken = page.GetNextPageToken()
	}
}

// kernels are the workflow types that are no runs.
var kernels = map[string]bool{workflows.LockName: true, run.NoticesName: true}

// toListed reads what the listing tells; false for workflows that are no runs, such as locks.
func toListed(info *workflow.WorkflowExecutionInfo) (listed, bool) {
	l := listed{execution: execution{info.GetExecution().GetWorkflowId(), info.GetExecution().GetRunId()}, Started: info.GetStartTime().AsTime()}
	operation, estate, named := strings.Cut(l.WorkflowID, ":")
	if kernels[info.GetType().GetName()] {
		return l, false
	}
	l.Operation = attribute(info, run.AttributeOperation)
	if l.Operation == "" {
		if !named {
			return l, false
		}
		l.Operation, l.Estate = operation, estate // the attributes are missing: the ID says it too
	} else {
		l.Estate = attribute(info, run.AttributeEstate)
	}
	l.Verdict, l.PlanHash = attribute(info, run.AttributeVerdict), attribute(info, run.AttributePlanHash)
	l.State = attribute(info, run.AttributeState)
	if info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		l.State = string(run.StateEnded)
		ended := info.GetCloseTime().AsTime()
		l.Ended = &ended
		if l.Verdict == "" {
			l.Verdict = strings.ToLower(info.GetStatus().String()) // terminated, failed, ...: Temporal's own word
		}
	} else if l.State == "" {
		l.State = string(run.StateRunning)
	}
	for key, into := range map[string]*string{run.MemoRunbook: &l.Runbook, run.MemoRequestedBy: &l.RequestedBy} {
		if p := info.GetMemo().GetFields()[key]; p != nil {
			_ = converter.GetDefaultDataConverter().FromPayload(p, into) // a memo of somebody else's making stays empty
		}
	}
	return l, true
}

func attribute(info *workflow.WorkflowExecutionInfo, name string) string {
	var text string
	if p := info.GetSearchAttributes().GetIndexedFields()[name]; p != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(p, &text) // not a keyword: not ours
	}
	return text
}

func onQueue() string { return fmt.Sprintf("TaskQueue = '%s'", run.TaskQueue) }

func openOnQueue() string { return onQueue() + " AND ExecutionStatus = 'Running'" }

// find turns what people call a run into the run.
func (e *engine) find(ctx context.Context, name string) (execution, error) {
	switch name {
	case "":
		return e.onlyOpen(ctx)
	case "latest":
		return e.first(ctx, "any run", func(listed) bool { return true })
	}
	described, err := e.DescribeWorkflowExecution(ctx, name, "")
	if err == nil {
		x := described.GetWorkflowExecutionInfo().GetExecution()
		return execution{x.GetWorkflowId(), x.GetRunId()}, nil
	}
	var missing *serviceerror.NotFound
	var invalid *serviceerror.InvalidArgument
	if !errors.As(err, &missing) && !errors.As(err, &invalid) {
		return execution{}, fmt.Errorf("look up run %s: %w", name, err)
	}
	var matches []listed
	err = e.each(ctx, onQueue(), func(l listed) bool {
		if l.Runbook == name {
			matches = append(matches[:0], l) // the newest run of that runbook
			return false
		}
		if len(name) >= 4 && strings.HasPrefix(l.RunID, name) {
			matches = append(matches, l)
		}
		return len(matches) < 2
	})
	switch {
	case err != nil:
		return execution{}, fmt.Errorf("look up run %s: %w", name, err)
	case len(matches) == 0:
		return execution{}, fail("muster list shows the runs there are", "no run is called %q at %s, namespace %s", name, e.address, e.namespace)
	case len(matches) > 1:
		return execution{}, fail("type more of the run ID", "several run IDs begin with %s: %s, %s", name, matches[0].RunID, matches[1].RunID)
	}
	return matches[0].execution, nil
}

func (e *engine) first(ctx context.Context, what string, want func(listed) bool) (execution, error) {
	var found *listed
	err := e.each(ctx, onQueue(), func(l listed) bool {
		if want(l) {
			found = &l
		}
		return found == nil
	})
	if err != nil {
		return execution{}, fmt.Errorf("list the runs: %w", err)
	}
	if found == nil {
		return execution{}, fail("start one: muster run RUNBOOK", "there is no run yet at %s, namespace %s: looked for %s", e.address, e.namespace, what)
	}
	return found.execution, nil
}

func (e *engine) onlyOpen(ctx context.Context) (execution, error) {
	var open []listed
	err := e.each(ctx, openOnQueue(), func(l listed) bool {
		open = append(open, l)
		return len(open) < 20
	})
	switch {
	case err != nil:
		return execution{}, fmt.Errorf("list the open runs: %w", err)
	case len(open) == 0:
		return execution{}, fail("name one: muster list shows them all", "no run is open at %s, namespace %s", e.address, e.namespace)
	case len(open) > 1:
		var ids []string
		for _, l := range open {
			ids = append(ids, l.WorkflowID)
		}
		return execution{}, usagef("%d runs are open, name one: %s", len(open), strings.Join(ids, ", "))
	}
	return open[0].execution, nil
}

// completeRuns offers the workflow IDs of runs, where the engine answers quickly.
func completeRuns(a *app, openOnly bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(given) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
		defer cancel()
		completions := []cobra.Completion{"latest"}
		_ = a.with(ctx, func(e *engine) error { // completion has nobody to tell
			query := onQueue()
			if openOnly {
				query = openOnQueue()
			}
			seen := map[string]bool{}
			return e.each(ctx, query, func(l listed) bool {
				if !seen[l.WorkflowID] {
					seen[l.WorkflowID] = true
					completions = append(completions, cobra.CompletionWithDesc(l.WorkflowID, l.State+" "+l.Verdict))
				}
				return len(completions) < 30
			})
		})
		return completions, cobra.ShellCompDirectiveNoFileComp
	}
}

func optional(given []string) string {
	if len(given) == 0 {
		return ""
	}
	return given[0]
}

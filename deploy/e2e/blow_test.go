package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/musterhq/muster/workflows/run"
)

// blow is one moment at which a run is disturbed: when the history has so many events of a type, or after a time.
type blow struct {
	event enums.EventType
	nth   int
	after time.Duration
	apart bool // strikes the engine, which is a process of its own, and not the worker
}

func (b blow) String() string {
	if b.apart {
		b.apart = false
		return "the engine alone " + b.String()
	}
	switch {
	case b.nth == 0:
		return "after " + b.after.String()
	case b.event == enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
		return fmt.Sprintf("when activity %d is scheduled", b.nth)
	default:
		return fmt.Sprintf("when activity %d has ended", b.nth)
	}
}

// boundaries are the beginnings and ends of the first so many activities.
func boundaries(steps int) []blow {
	var all []blow
	for nth := 1; nth <= steps; nth++ {
		all = append(all, blow{event: enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, nth: nth}, blow{event: enums.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, nth: nth})
	}
	return all
}

// strike does its work once, at the moment of the blow. It asks the engine only, so that the worker is not kept busy by it.
func (s *shop) strike(ctx context.Context, x execution, b blow, do func()) <-chan struct{} {
	struck := make(chan struct{})
	go func() {
		defer close(struck)
		if b.nth == 0 {
			select {
			case <-ctx.Done():
			case <-time.After(b.after):
				do()
			}
			return
		}
		events, seen := s.temporal.GetWorkflowHistory(ctx, x.WorkflowID, x.RunID, true, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT), 0
		for events.HasNext() {
			e, err := events.Next()
			if err != nil {
				return
			}
			if e.GetEventType() == b.event {
				if seen++; seen == b.nth {
					do()
					return
				}
			}
		}
	}()
	return struck
}

// drive approves what waits for people; true where the run has ended.
func (s *shop) drive(t *testing.T, x execution) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	exited, engine := s.exited, s.engineExited()
	go func() { // a client whose engine is dead waits and tries again
		select {
		case <-exited:
			cancel()
		case <-engine:
			cancel()
		case <-ctx.Done():
		}
	}()
	d, err := s.temporal.DescribeWorkflowExecution(ctx, x.WorkflowID, x.RunID)
	if err != nil {
		return false
	}
	if d.GetWorkflowExecutionInfo().GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return true
	}
	value, err := s.temporal.QueryWorkflow(ctx, x.WorkflowID, x.RunID, run.QueryStatus)
	var st run.Status
	if err != nil || value.Get(&st) != nil {
		return false
	}
	for _, g := range st.Gates {
		_, _ = s.decide(ctx, x, run.Decision{Gate: g.Name, PlanHash: g.PlanHash, Decision: "approve", Approver: "kim"}) // the next round sees whether it counted
	}
	for _, h := range st.Holds {
		require.Empty(t, h.Step, "held: %s\n%s", h.Why, s.tell(ctx, x)) // a paused run has no step
	}
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Millisecond):
	}
	return false
}

func (s *shop) decide(ctx context.Context, x execution, d run.Decision) (run.Answer, error) {
	return send(ctx, s.temporal, x, run.UpdateDecide, d)
}

func (s *shop) intervene(ctx context.Context, x execution, v run.Intervention) (run.Answer, error) {
	return send(ctx, s.temporal, x, run.UpdateIntervene, v)
}

func send(ctx context.Context, c client.Client, x execution, update string, payload any) (run.Answer, error) {
	var a run.Answer
	handle, err := c.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: x.WorkflowID, RunID: x.RunID,
		UpdateName: update, Args: []any{payload}, WaitForStage: client.WorkflowUpdateStageCompleted})
	if err == nil {
		err = handle.Get(ctx, &a)
	}
	return a, err
}

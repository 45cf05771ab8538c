package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/update/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/musterhq/muster/internal/journal"
)

// payload is what the temporal CLI makes of --input.
func payload(t *testing.T, value any) *common.Payloads {
	t.Helper()
	text, err := json.Marshal(value)
	require.NoError(t, err)
	return &common.Payloads{Payloads: []*common.Payload{{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: text}}}
}

// startedByCalls starts and decides with the very calls that `temporal workflow start`, `update execute` and `signal` make.
func startedByCalls(t *testing.T, s *shop) {
	service := s.temporal.WorkflowService()
	decisions := map[string]func(x execution, decision map[string]string){
		"update": func(x execution, decision map[string]string) {
			answer, err := service.UpdateWorkflowExecution(t.Context(), &workflowservice.UpdateWorkflowExecutionRequest{
				Namespace:         "default",
				WorkflowExecution: &common.WorkflowExecution{WorkflowId: x.WorkflowID},
				WaitPolicy:        &update.WaitPolicy{LifecycleStage: enums.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED},
				Request: &update.Request{
					Meta:  &update.Meta{UpdateId: uuid.NewString(), Identity: "temporal-cli:e2e"},
					Input: &update.Input{Name: "decide", Args: payload(t, decision)},
				},
			})
			require.NoError(t, err)
			require.Contains(t, string(answer.GetOutcome().GetSuccess().GetPayloads()[0].GetData()), `"accepted":true`)
		},
		"signal": func(x execution, decision map[string]string) {
			_, err := service.SignalWorkflowExecution(t.Context(), &workflowservice.SignalWorkflowExecutionRequest{
				Namespace: "default", WorkflowExecution: &common.WorkflowExecution{WorkflowId: x.WorkflowID},
				SignalName: "decide", Input: payload(t, decision), RequestId: uuid.NewString(), Identity: "temporal-cli:e2e",
			})
			require.NoError(t, err)
		},
	}
	for how, decide := range decisions {
		here, there := s.sites(t)
		started, err := service.StartWorkflowExecution(t.Context(), &workflowservice.StartWorkflowExecutionRequest{
			Namespace: "default", WorkflowId: "failover:shop", WorkflowType: &common.WorkflowType{Name: "Failover"},
			TaskQueue: &taskqueue.TaskQueue{Name: "muster"}, RequestId: uuid.NewString(), Identity: "temporal-cli:e2e",
			Input: payload(t, map[string]string{"runbook": runbook(here, ""), "mode": "execute"}),
		})
		require.NoError(t, err)
		x := s.follow(t, execution{"failover:shop", started.GetRunId()})
		g := s.gate(t, x, "approve")
		decide(x, map[string]string{"gate": g.Name, "plan_hash": g.PlanHash, "decision": "approve", "approver": "kim"})
		_, entries := s.ended(t, x, journal.Passed)
		require.Equal(t, "temporal", entries[0].Channel, how)
		s.requireSettled(t, there)
		s.save(t, x.WorkflowID, x.RunID, "failover-"+how)
	}
}

const nightly = `runbook: nightly-shop
description: what the schedule of the end-to-end test starts
operation: failover
estate: shop
trust: unsigned
failover:
  from: %s
  to: %s
  kind: planned
  order: [[orders]]
gates:
  approve:
    skip: true
schedule:
  cron: "0 3 1 1 *"
`

func startedBySchedule(t *testing.T, s *shop) {
	here, there := s.sites(t)
	path := filepath.Join(s.sandbox.Runbooks(), "nightly.yaml")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, nightly, here, there), 0o644))
	t.Cleanup(func() { require.NoError(t, os.Remove(path)) })
	s.ok(t, "validate", s.sandbox.Runbooks())
	s.ok(t, "schedule", "apply", "nightly-shop")

	began := time.Now()
	schedule := s.temporal.ScheduleClient().GetHandle(t.Context(), "muster:nightly-shop")
	require.NoError(t, schedule.Trigger(t.Context(), client.ScheduleTriggerOptions{}))
	x := awaited(t, "the schedule's run", 20*time.Second, func() (execution, bool) {
		d, err := schedule.Describe(t.Context())
		require.NoError(t, err)
		for _, a := range d.Info.RecentActions {
			if a.StartWorkflowResult != nil {
				return execution{a.StartWorkflowResult.WorkflowID, a.StartWorkflowResult.FirstExecutionRunID}, true
			}
		}
		return execution{}, false
	})
	t.Logf("the schedule took %s to start", time.Since(began))
	s.follow(t, x)
	require.True(t, strings.HasPrefix(x.WorkflowID, "failover:shop-"), x.WorkflowID)
	_, entries := s.ended(t, x, journal.Passed)
	require.Equal(t, "schedule", entries[0].Channel)
	s.requireSettled(t, there)
	s.ok(t, "schedule", "delete", "nightly-shop")
	s.save(t, x.WorkflowID, x.RunID, "failover-scheduled")
}

package gateway

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

// fakeTemporal answers as Temporal's client does. What a test does not use panics: the embedded interface is nil.
type fakeTemporal struct {
	client.Client
	listed  []*workflow.WorkflowExecutionInfo
	query   func(id, runID, name string, in []any) (any, error)
	updates []client.UpdateWorkflowOptions
	answer  run.Answer
	err     error
}

func (f *fakeTemporal) CheckHealth(context.Context, *client.CheckHealthRequest) (*client.CheckHealthResponse, error) {
	return nil, f.err
}

func (f *fakeTemporal) ListWorkflow(_ context.Context, r *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	at := len(r.GetNextPageToken())
	page := &workflowservice.ListWorkflowExecutionsResponse{Executions: f.listed[at:min(at+2, len(f.listed))]}
	if at+2 < len(f.listed) {
		page.NextPageToken = make([]byte, at+2)
	}
	return page, f.err
}

func (f *fakeTemporal) QueryWorkflow(_ context.Context, id, runID, name string, in ...any) (converter.EncodedValue, error) {
	answer, err := f.query(id, runID, name, in)
	if err != nil {
		return nil, err
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(answer)
	return client.NewValue(payloads), err
}

func (f *fakeTemporal) UpdateWorkflow(_ context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	f.updates = append(f.updates, o)
	return updated{answer: f.answer}, f.err
}

type updated struct {
	client.WorkflowUpdateHandle
	answer run.Answer
}

func (u updated) Get(_ context.Context, into any) error {
	*into.(*run.Answer) = u.answer
	return nil
}

func listed(t *testing.T, kind, id string, attributes map[string]string) *workflow.WorkflowExecutionInfo {
	t.Helper()
	fields := map[string]*common.Payload{}
	for name, value := range attributes {
		payload, err := converter.GetDefaultDataConverter().ToPayload(value)
		require.NoError(t, err)
		fields[name] = payload
	}
	return &workflow.WorkflowExecutionInfo{Execution: &common.WorkflowExecution{WorkflowId: id, RunId: "r-" + id}, Type: &common.WorkflowType{Name: kind},
		Status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING, StartTime: timestamppb.New(noon), SearchAttributes: &common.SearchAttributes{IndexedFields: fields}}
}

func TestOpenRuns(t *testing.T) {
	t.Parallel()
	ours := map[string]string{run.AttributeOperation: "failover", run.AttributeEstate: "shop", run.AttributeState: "held"}
	f := &fakeTemporal{listed: []*workflow.WorkflowExecutionInfo{
		listed(t, "Failover", "any-name", ours), listed(t, "Lock", "lock:shop/orders", nil), listed(t, run.NoticesName, "notices:failover:shop:r", nil),
		listed(t, "Failover", "failover:stock", nil), listed(t, "Other", "somebody-elses", nil)}}
	open, more, err := FromTemporal(f, "default").Open(t.Context(), 10)
	require.NoError(t, err)
	require.False(t, more)
	require.Equal(t, []OpenRun{
		{WorkflowID: "any-name", RunID: "r-any-name", Operation: "failover", Estate: "shop", State: run.StateHeld, Started: noon},
		{WorkflowID: "failover:stock", RunID: "r-failover:stock", Operation: "failover", Estate: "stock", Started: noon}}, open)
	open, more, err = FromTemporal(f, "default").Open(t.Context(), 1)
	require.NoError(t, err)
	require.True(t, more)
	require.Len(t, open, 1)
}

func TestTheJournalIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	f := &fakeTemporal{query: func(_, _, _ string, in []any) (any, error) {
		after := in[0].(run.JournalPage).After
		if after >= 7 {
			return []journal.Entry{}, nil
		}
		return []journal.Entry{{Seq: after + 1}}, nil
	}}
	entries, err := FromTemporal(f, "default").Journal(t.Context(), "w", "r", 4)
	require.NoError(t, err)
	require.Len(t, entries, 3)
	require.Equal(t, 7, entries[2].Seq)
}

func TestWhatTemporalAnswers(t *testing.T) {
	t.Parallel()
	f := &fakeTemporal{answer: run.Answer{Accepted: true, Message: "counted"}}
	r := FromTemporal(f, "default")
	answer, err := r.Decide(t.Context(), "w", "r", run.Decision{Nonce: "slack:n1"})
	require.NoError(t, err)
	require.True(t, answer.Accepted)
	require.Equal(t, "slack:n1", f.updates[0].UpdateID, "delivered twice, it is one update")
	require.Equal(t, client.WorkflowUpdateStageCompleted, f.updates[0].WaitForStage)

	f.err = temporal.NewApplicationError("a field of the payload has 9000 bytes", "")
	answer, err = r.Intervene(t.Context(), "w", "r", run.Intervention{Nonce: "n"})
	require.NoError(t, err)
	require.False(t, answer.Accepted)
	require.Contains(t, answer.Message, "9000 bytes")

	f.err = serviceerror.NewNotFound("workflow execution already completed")
	_, err = r.Decide(t.Context(), "w", "r", run.Decision{Nonce: "n"})
	require.ErrorIs(t, err, ErrNoRun)

	f.err = serviceerror.NewUnavailable("connection refused")
	_, err = r.Decide(t.Context(), "w", "r", run.Decision{Nonce: "n"})
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrNoRun)
	require.ErrorContains(t, r.Ready(t.Context()), "whether it is up")

	f.query = func(string, string, string, []any) (any, error) { return nil, errors.New("no worker") }
	_, err = r.Status(t.Context(), "w", "r")
	require.ErrorContains(t, err, "ask run w for its status: no worker")
}

package workflows_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/musterhq/muster/workflows"
)

const histories = "testdata/history" // <release>/<workflow>-<path>.json, recorded from real runs by make record-histories

func replayer(t *testing.T, entries []workflows.Entry) worker.WorkflowReplayer {
	t.Helper()
	r := worker.NewWorkflowReplayer()
	for _, e := range entries {
		r.RegisterWorkflowWithOptions(e.Func, workflow.RegisterOptions{Name: e.Name})
	}
	return r
}

// replay gives the workflow its own name: IDs of what it starts and locks are made of it.
func replay(t *testing.T, r worker.WorkflowReplayer, file string) error {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	h := &history.History{}
	require.NoError(t, protojson.Unmarshal(text, h))
	started := h.Events[0].GetWorkflowExecutionStartedEventAttributes()
	return r.ReplayWorkflowHistoryWithOptions(nil, h, worker.ReplayWorkflowHistoryOptions{
		OriginalExecution: workflow.Execution{ID: started.GetWorkflowId(), RunID: started.GetOriginalExecutionRunId()}})
}

// TestRecordedHistoriesReplay fails where a change would break a run that is under way.
func TestRecordedHistoriesReplay(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(histories, "*", "*.json"))
	require.NoError(t, err)
	for _, file := range files {
		t.Run(strings.TrimPrefix(file, histories+"/"), func(t *testing.T) {
			t.Parallel()
			require.NoError(t, replay(t, replayer(t, workflows.Registry()), file))
		})
	}
}

// TestEveryWorkflowHasAHistory fails for a workflow that no recorded history covers.
func TestEveryWorkflowHasAHistory(t *testing.T) {
	t.Parallel()
	for _, e := range workflows.Registry() {
		files, err := filepath.Glob(filepath.Join(histories, "*", strings.ToLower(e.Name)+"-*.json"))
		require.NoError(t, err)
		require.NotEmpty(t, files, "no recorded history of %s (next: make record-histories)", e.Name)
	}
}

// TestReplayFindsABrokenWorkflow shows that the tests above can fail: a workflow that goes another way does not replay.
func TestReplayFindsABrokenWorkflow(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(histories, "*", "failover-*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	broken := func(ctx workflow.Context, _ any) error {
		return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 1}), "Promote").Get(ctx, nil)
	}
	r := replayer(t, []workflows.Entry{{Name: "Failover", Func: broken}})
	require.Error(t, replay(t, r, files[0]))
}

func TestRegistryNamesAreComplete(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, e := range workflows.Registry() {
		require.NotEmpty(t, e.Name)
		require.False(t, seen[e.Name])
		require.NotEqual(t, workflow.VersioningBehaviorUnspecified, e.Versioning)
		seen[e.Name] = true
		if e.Operation != "" {
			require.Equal(t, e.Name, workflows.TypeOf(e.Operation))
		}
	}
	require.DirExists(t, histories)
	_, err := os.ReadDir(histories)
	require.NoError(t, err)
}

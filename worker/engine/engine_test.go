package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
)

func TestReadyInTimeAndStops(t *testing.T) {
	// A folder name that means something in a URI.
	dir := filepath.Join(t.TempDir(), "state of 50% #1?")
	var log logged
	begin := time.Now()
	e, err := Start(t.Context(), Options{Dir: dir, Logger: log.logger()})
	require.NoError(t, err)
	ready := time.Since(begin)
	t.Logf("ready in %s, RSS %s", ready.Round(time.Millisecond), residentSize(t))
	require.Less(t, ready, 10*time.Second)
	for _, name := range []string{databaseFile, databaseFile + "-wal", versionFile, lockFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "%s is for its owner alone", name)
	}

	c := dial(t, e)
	ns, err := c.WorkflowService().DescribeNamespace(t.Context(), &workflowservice.DescribeNamespaceRequest{Namespace: "default"})
	require.NoError(t, err)
	require.Equal(t, DefaultRetention, ns.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration())

	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: taskQueue}, steps, 1)
	require.NoError(t, err)
	w := startWorker(t, c)
	require.NoError(t, run.Get(t.Context(), nil))

	w.Stop()
	c.Close()
	ui := strings.TrimPrefix(e.UIAddress(), "http://")
	begin = time.Now()
	require.NoError(t, e.Stop())
	t.Logf("stopped in %s", time.Since(begin).Round(time.Millisecond))
	require.NoError(t, e.Stop(), "safe to repeat")
	requireClosed(t, e.Address())
	requireClosed(t, ui)
	wal, err := os.Stat(filepath.Join(dir, databaseFile+"-wal"))
	require.True(t, err != nil || wal.Size() == 0, "an orderly stop leaves the whole database in one file")
	require.Empty(t, log.String(), "a healthy engine has nothing to say")
	select {
	case err := <-e.Failed():
		require.NoError(t, err)
	default:
	}
}

func TestRetentionFollowsOptions(t *testing.T) {
	dir := t.TempDir()
	for _, retention := range []time.Duration{72 * time.Hour, 48 * time.Hour} {
		e := startEngine(t, Options{Dir: dir, UIPort: -1, Namespace: "team", Retention: retention})
		require.Empty(t, e.UIAddress())
		ns, err := dial(t, e).WorkflowService().DescribeNamespace(t.Context(), &workflowservice.DescribeNamespaceRequest{Namespace: "team"})
		require.NoError(t, err)
		require.Equal(t, retention, ns.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration())
		require.NoError(t, e.Stop())
	}
}

func TestStepIsFast(t *testing.T) {
	e := startEngine(t, Options{UIPort: -1})
	c := dial(t, e)
	startWorker(t, c)

	const n = 100
	ticks.Lock()
	ticks.at = nil
	ticks.Unlock()
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: taskQueue}, steps, n)
	require.NoError(t, err)
	require.NoError(t, run.Get(t.Context(), nil))

	ticks.Lock()
	defer ticks.Unlock()
	require.Len(t, ticks.at, n)
	took := make([]time.Duration, 0, n)
	for i := range n - 1 {
		took = append(took, ticks.at[i+1].Sub(ticks.at[i]))
	}
	slices.Sort(took)
	median := took[len(took)/2]
	t.Logf("a step takes %s (median), %s (p95), RSS %s", median.Round(10*time.Microsecond), took[len(took)*95/100].Round(10*time.Microsecond), residentSize(t))
	require.Less(t, median, 100*time.Millisecond, "ten times what was measured on a quiet machine")
}

// The worker registers these through the SDK, as it would on any cluster: they must work at once.
func TestSearchAttributesWorkAtOnce(t *testing.T) {
	e := startEngine(t, Options{UIPort: -1})
	c := dial(t, e)
	keywords := map[string]enumspb.IndexedValueType{}
	for _, name := range []string{"MusterEstate", "MusterOperation", "MusterState", "MusterVerdict", "MusterPlanHash"} {
		keywords[name] = enumspb.INDEXED_VALUE_TYPE_KEYWORD
	}
	begin := time.Now()
	_, err := c.OperatorService().AddSearchAttributes(t.Context(), &operatorservice.AddSearchAttributesRequest{
		Namespace: "default", SearchAttributes: keywords,
	})
	require.NoError(t, err)
	registered := time.Since(begin)

	var run client.WorkflowRun
	require.Eventually(t, func() bool {
		run, err = c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
			TaskQueue: taskQueue,
			TypedSearchAttributes: temporal.NewSearchAttributes(
				temporal.NewSearchAttributeKeyKeyword("MusterEstate").ValueSet("shop"),
				temporal.NewSearchAttributeKeyKeyword("MusterState").ValueSet("running"),
			),
		}, steps, 0)
		return err == nil
	}, 10*time.Second, 20*time.Millisecond, "%v", err)
	usable := time.Since(begin)
	require.Eventually(t, func() bool {
		list, err := c.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{Query: "MusterEstate = 'shop'"})
		return err == nil && len(list.GetExecutions()) == 1 && list.GetExecutions()[0].GetExecution().GetRunId() == run.GetRunID()
	}, 10*time.Second, 20*time.Millisecond)
	t.Logf("registered in %s, usable after %s, listed after %s", registered.Round(time.Millisecond),
		usable.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
}

func residentSize(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		var kb int
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return fmt.Sprintf("%d MiB", kb/1024)
		}
	}
	return "unknown"
}

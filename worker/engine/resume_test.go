package engine

import (
	"bufio"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

func TestStopAndStartKeepsARun(t *testing.T) {
	dir := t.TempDir()
	e := startEngine(t, Options{Dir: dir, UIPort: -1})
	c := dial(t, e)
	w := startWorker(t, c)
	const nap = 3 * time.Second
	begin := time.Now()
	_, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "nap", TaskQueue: taskQueue}, napThenStep, nap)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // until its timer is set
		d, err := c.DescribeWorkflowExecution(t.Context(), "nap", "")
		return err == nil && d.GetWorkflowExecutionInfo().GetHistoryLength() >= 5
	}, 5*time.Second, 10*time.Millisecond)
	w.Stop()
	c.Close()
	require.NoError(t, e.Stop())

	again := startEngine(t, Options{Dir: dir, UIPort: -1})
	c = dial(t, again)
	startWorker(t, c)
	var said string
	require.NoError(t, c.GetWorkflow(t.Context(), "nap", "").Get(t.Context(), &said))
	require.Equal(t, "awake", said)
	require.GreaterOrEqual(t, time.Since(begin), nap)
	require.Less(t, time.Since(begin), nap+10*time.Second)
}

func TestKilledProcessResumes(t *testing.T) {
	dir := t.TempDir()
	cmd, out := child(t, "run", dir)
	address, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	c, err := client.Dial(client.Options{HostPort: strings.TrimSpace(address), Logger: quiet()})
	require.NoError(t, err)
	_, err = c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: "killed", TaskQueue: taskQueue, WorkflowTaskTimeout: 2 * time.Second,
	}, surviveKill, dir)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // until the step runs
		_, err := os.Stat(startedMarker(dir))
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
	c.Close()
	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	require.Error(t, cmd.Wait())

	restart := time.Now()
	e := startEngine(t, Options{Dir: dir, UIPort: -1})
	c = dial(t, e)
	startWorker(t, c)
	ready := time.Since(restart)
	var got survived
	require.NoError(t, c.GetWorkflow(t.Context(), "killed", "").Get(t.Context(), &got))
	t.Logf("after the kill: ready in %s, the step runs again %s after the restart, the run ends after %s", ready.Round(time.Millisecond),
		got.Resumed.Sub(restart).Round(time.Millisecond), time.Since(restart).Round(time.Millisecond))
	require.EqualValues(t, 2, got.Attempt)
	require.Less(t, got.Resumed.Sub(restart), 10*time.Second, "one to two seconds on a quiet machine")
}

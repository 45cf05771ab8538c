package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

const lockID = "lock:shop/" + system

// TestLocks has many runs want one system at the same time. The first holder is terminated, as with the button in the Temporal
// UI; the second one moves the system; all others find it moved when it is their turn, and refuse to move it again.
func TestLocks(t *testing.T) {
	t.Parallel()
	const runs = 50
	s := openShop(t)
	here, there := s.sites(t)
	timeline := s.timeline(t)
	s.runbookWithoutGate(t, runbook(here, ""), "auto")

	first := s.startAs(t, "auto", "first")
	s.strikeAndWait(t, first, blow{event: enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, nth: askForLock}, func() {
		a, err := s.intervene(t.Context(), first, run.Intervention{Action: run.ActionPause, Author: "dana"})
		require.NoError(t, err)
		require.True(t, a.Accepted, a.Message)
	})
	s.await(t, first, "the first to hold the lock", func(st run.Status) bool { return st.Paused && s.lock(t).Holder != nil })
	require.Equal(t, first.RunID, s.lock(t).Holder.RunID)

	var others []execution
	for n := 1; n < runs; n++ {
		others = append(others, s.startAs(t, "auto", fmt.Sprintf("%02d", n)))
	}
	awaited(t, "all to wait in the queue", 2*time.Minute, func() (int, bool) { n := len(s.lock(t).Queue); return n, n == runs-1 })
	st, ok := s.status(t, others[0])
	require.True(t, ok)
	require.Equal(t, run.StateWaiting, st.State)
	queue := s.lock(t).Queue

	require.NoError(t, s.temporal.TerminateWorkflow(t.Context(), first.WorkflowID, first.RunID, "the button in the Temporal UI"))
	terminated := time.Now()
	awaited(t, "the lock to go on without the terminated holder", 10*time.Second, func() (run.LockStatus, bool) {
		l := s.lock(t)
		return l, l.Holder == nil || l.Holder.RunID != first.RunID
	})
	t.Logf("the lock was free %s after its holder was terminated", time.Since(terminated).Round(time.Millisecond))

	verdicts := map[journal.Verdict]int{}
	for _, x := range others {
		r := s.result(t, x)
		verdicts[r.Verdict]++
		if r.Verdict == journal.FailedVerdict {
			require.Contains(t, r.Summary, activities.FindingMoved, "it looks again when it has the lock")
		}
	}
	require.Equal(t, map[journal.Verdict]int{journal.Passed: 1, journal.FailedVerdict: runs - 2}, verdicts)
	require.Equal(t, timeline+1, s.timeline(t), "moved once")
	s.requireSettled(t, there)
	s.requireInTurn(t, append([]journal.Holder{{RunID: first.RunID}}, queue...), first.RunID)
	l := s.lock(t)
	require.Nil(t, l.Holder)
	require.Empty(t, l.Queue)
}

// runbookWithoutGate writes a copy of a runbook that asks nobody.
func (s *shop) runbookWithoutGate(t *testing.T, of, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.sandbox.Runbooks(), of+".yaml"))
	require.NoError(t, err)
	changed := strings.Replace(string(text), of, name, 1)
	changed = strings.Replace(changed, "  approve:\n", "  approve:\n    skip: true\n", 1)
	require.Contains(t, changed, "skip: true")
	require.NoError(t, os.WriteFile(filepath.Join(s.sandbox.Runbooks(), name+".yaml"), []byte(changed), 0o644))
}

// startAs starts a run under a workflow ID of its own, past the CLI's "one run at a time".
func (s *shop) startAs(t *testing.T, book, id string) execution {
	t.Helper()
	r, err := s.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "failover:" + id, TaskQueue: run.TaskQueue, WorkflowTaskTimeout: 2 * time.Second},
		"Failover", run.Input{Runbook: book, RequestedBy: "dana"})
	require.NoError(t, err)
	return execution{r.GetID(), r.GetRunID()}
}

func (s *shop) strikeAndWait(t *testing.T, x execution, b blow, do func()) {
	t.Helper()
	var once sync.Once
	done := false
	<-s.strike(t.Context(), x, b, func() { once.Do(func() { do(); done = true }) })
	require.True(t, done, "%s never came", b)
}

func (s *shop) lock(t *testing.T) run.LockStatus {
	t.Helper()
	value := awaited(t, "the lock's answer", time.Minute, func() (converter.EncodedValue, bool) { // fifty runs keep the worker busy
		value, err := s.temporal.QueryWorkflow(t.Context(), lockID, "", run.QueryLock)
		return value, err == nil
	})
	var l run.LockStatus
	require.NoError(t, value.Get(&l))
	return l
}

// requireInTurn reads the lock's own history: granted in the order of the queue, tokens rising, never before the holder before
// had freed it. The terminated one cannot free it.
func (s *shop) requireInTurn(t *testing.T, want []journal.Holder, terminated string) {
	t.Helper()
	var granted []string
	var token int64
	freed := map[string]bool{terminated: true}
	for _, e := range s.history(t, lockID, "").Events {
		if a := e.GetWorkflowExecutionSignaledEventAttributes(); a.GetSignalName() == run.SignalRelease {
			var runID string
			decodePayload(t, a.GetInput(), &runID)
			freed[runID] = true
		}
		if a := e.GetSignalExternalWorkflowExecutionInitiatedEventAttributes(); a != nil {
			var g run.Grant
			decodePayload(t, a.GetInput(), &g)
			if len(granted) > 0 {
				require.True(t, freed[granted[len(granted)-1]], "granted while it was held")
			}
			require.Greater(t, g.Token, token)
			token = g.Token
			granted = append(granted, a.GetWorkflowExecution().GetRunId())
		}
	}
	var order []string
	for _, h := range want {
		order = append(order, h.RunID)
	}
	require.True(t, slices.Equal(order, granted), "granted in the order of asking")
}

func decodePayload(t *testing.T, p *common.Payloads, to any) {
	t.Helper()
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(p, to))
}

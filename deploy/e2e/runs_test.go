package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

// execution is one run, as muster's JSON names it.
type execution struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
}

// begin starts a runbook with the CLI. On a failure the run's journal goes to the test's log, and the run is ended.
func (w *worker) begin(t *testing.T, runbook string, flags ...string) execution {
	t.Helper()
	s := w.ok(t, append([]string{"run", runbook, "--detach", "-o", "json"}, flags...)...)
	return w.follow(t, decode[execution](t, s.out))
}

func (w *worker) follow(t *testing.T, x execution) execution {
	t.Helper()
	require.NotEmpty(t, x.WorkflowID)
	require.NotEmpty(t, x.RunID)
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		t.Logf("journal of %s (%s):\n%s", x.WorkflowID, x.RunID, w.tell(ctx, x))
		_ = w.temporal.TerminateWorkflow(ctx, x.WorkflowID, x.RunID, "the test failed")
	})
	return x
}

func (w *worker) tell(ctx context.Context, x execution) string {
	value, err := w.temporal.QueryWorkflow(ctx, x.WorkflowID, x.RunID, run.QueryJournal, run.JournalPage{Limit: 1000})
	var entries []journal.Entry
	if err == nil {
		err = value.Get(&entries)
	}
	if err != nil {
		return err.Error()
	}
	var text strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&text, "%3d %s %-18s %-24s %-10s %s | %s\n", e.Seq, e.At.Format("15:04:05.000"), e.Kind, e.Step+e.Gate, e.Outcome, e.Title, e.Message)
	}
	return text.String()
}

// status asks the run; false where no worker answers.
func (w *worker) status(t *testing.T, x execution) (run.Status, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var s run.Status
	value, err := w.temporal.QueryWorkflow(ctx, x.WorkflowID, x.RunID, run.QueryStatus)
	if err != nil {
		return s, false
	}
	require.NoError(t, value.Get(&s))
	return s, true
}

// await waits until the run's status is as wanted.
func (w *worker) await(t *testing.T, x execution, what string, want func(run.Status) bool) run.Status {
	t.Helper()
	return awaited(t, what, 40*time.Second, func() (run.Status, bool) {
		s, ok := w.status(t, x)
		require.False(t, ok && s.State == run.StateEnded && !want(s), "the run ended with %s while waiting for %s: %s", s.Verdict, what, s.Summary)
		return s, ok && want(s)
	})
}

// gate waits until a gate is open.
func (w *worker) gate(t *testing.T, x execution, name string) run.GateStatus {
	t.Helper()
	s := w.await(t, x, "gate "+name, func(s run.Status) bool { return len(s.Gates) > 0 && strings.HasPrefix(s.Gates[0].Name, name) })
	return s.Gates[0]
}

// approve waits for a gate and approves it as kim.
func (w *worker) approve(t *testing.T, x execution, name string) {
	t.Helper()
	g := w.gate(t, x, name)
	s := w.as(t, "kim", "approve", x.WorkflowID, "--gate", g.Name, "--plan", g.PlanHash, "--reason", "e2e")
	require.Zero(t, s.code, s.String())
}

// held waits until a step is held.
func (w *worker) held(t *testing.T, x execution) run.HoldStatus {
	t.Helper()
	return w.await(t, x, "a held step", func(s run.Status) bool { return len(s.Holds) > 0 && s.Holds[0].Step != "" }).Holds[0]
}

// step waits until a step is at work, or is over.
func (w *worker) step(t *testing.T, x execution, id, state string) {
	t.Helper()
	w.await(t, x, "step "+id+" to be "+state, func(s run.Status) bool {
		for _, st := range s.Steps {
			if st.ID == id && (st.State == state || st.State == "done") {
				return true
			}
		}
		return false
	})
}

// result waits for the run's end.
func (w *worker) result(t *testing.T, x execution) run.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	var r run.Result
	err := w.temporal.GetWorkflow(ctx, x.WorkflowID, x.RunID).Get(ctx, &r)
	var failed *temporal.ApplicationError
	if errors.As(err, &failed) && failed.HasDetails() {
		err = failed.Details(&r)
	}
	require.NoError(t, err, "%s %s", x.WorkflowID, x.RunID)
	return r
}

// ended waits for the run's end, requires the verdict, and holds the run to what is true of every run.
func (w *worker) ended(t *testing.T, x execution, want journal.Verdict) (run.Result, []journal.Entry) {
	t.Helper()
	return w.endedAfter(t, x, want, time.Time{})
}

// endedAfter is ended for a run whose worker was killed and at work again at some time. True of every run is: a whole journal that ends
// with the verdict and has the digest that Temporal keeps, every step ended once, evidence within two seconds of the end, or after the
// run was at work again where it was killed just then, and no criterion of a run that passed that does not hold.
func (w *worker) endedAfter(t *testing.T, x execution, want journal.Verdict, again time.Time) (run.Result, []journal.Entry) {
	t.Helper()
	r := w.result(t, x)
	require.Equal(t, want, r.Verdict, r.Summary)
	entries := w.journal(t, x)
	digest, err := journal.Verify(entries)
	require.NoError(t, err)
	require.Equal(t, r.Digest, digest)
	require.Len(t, entries, r.Entries)
	last := entries[len(entries)-1]
	require.Equal(t, journal.RunEnded, last.Kind)
	require.Equal(t, want, last.Verdict)
	counted := map[journal.Kind]map[string]int{journal.StepStarted: {}, journal.StepEnded: {}}
	for _, e := range entries {
		if of := counted[e.Kind]; of != nil {
			of[e.Step]++
			require.Equal(t, 1, of[e.Step], "%s of %s", e.Kind, e.Step)
		}
	}
	require.Equal(t, counted[journal.StepStarted], counted[journal.StepEnded])
	due := last.At
	if again.After(due) {
		due = again
	}
	for _, path := range []string{r.JSON, r.HTML} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Less(t, info.ModTime().Sub(due), 2*time.Second, "evidence is written within two seconds of the end, or of the restart")
	}
	if want == journal.Passed {
		requireCriteria(t, r.JSON)
	}
	return r, entries
}

// requireCriteria reads a file of evidence and requires that each of its criteria holds, where it applies and was measured.
func requireCriteria(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	file := decode[struct {
		Criteria []struct{ Title, Found, Result string } `json:"criteria"`
	}](t, string(text))
	require.NotEmpty(t, file.Criteria)
	for _, c := range file.Criteria {
		require.NotEqual(t, "not-met", c.Result, "%s: %s", c.Title, c.Found)
	}
}

func (w *worker) journal(t *testing.T, x execution) []journal.Entry {
	t.Helper()
	var entries []journal.Entry
	for {
		value, err := w.temporal.QueryWorkflow(t.Context(), x.WorkflowID, x.RunID, run.QueryJournal, run.JournalPage{After: len(entries), Limit: 50})
		require.NoError(t, err)
		var page []journal.Entry
		require.NoError(t, value.Get(&page))
		if len(page) == 0 {
			return entries
		}
		entries = append(entries, page...)
	}
}

// history reads all events of a workflow.
func (w *worker) history(t *testing.T, workflowID, runID string) *history.History {
	t.Helper()
	h := &history.History{}
	events := w.temporal.GetWorkflowHistory(t.Context(), workflowID, runID, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		require.NoError(t, err)
		h.Events = append(h.Events, e)
	}
	return h
}

// save keeps the run's history for workflows/replay_test.go, where -record says so.
func (w *worker) save(t *testing.T, workflowID, runID, name string) {
	t.Helper()
	if *record == "" {
		return
	}
	text, err := protojson.MarshalOptions{Indent: " "}.Marshal(w.history(t, workflowID, runID))
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(*record, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(*record, name+".json"), append(text, '\n'), 0o644))
}

// all lists every workflow that the engine knows.
func (w *worker) all(t *testing.T) []execution {
	t.Helper()
	var found []execution
	page, err := w.temporal.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{PageSize: 1000})
	require.NoError(t, err)
	require.Empty(t, page.GetNextPageToken())
	for _, info := range page.GetExecutions() {
		found = append(found, execution{info.GetExecution().GetWorkflowId(), info.GetExecution().GetRunId()})
	}
	return found
}

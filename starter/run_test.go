package starter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

func TestRunStartsAsContracted(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.fake.onStart = func() *fakeRun { return newFakeRun("failover:shop", "r-1").end(journal.Passed) }
	code, out, _ := c.run("run", "failover-shop", "--kind", "unplanned")
	require.Equal(t, codeDone, code)
	o := c.fake.starts[0]
	require.Equal(t, "failover:shop", o.ID)
	require.Equal(t, run.TaskQueue, o.TaskQueue)
	require.Equal(t, 2*time.Second, o.WorkflowTaskTimeout)
	require.Equal(t, enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL, o.WorkflowIDConflictPolicy)
	require.True(t, o.WorkflowExecutionErrorWhenAlreadyStarted)
	require.Less(t, len(o.StaticSummary), 200)
	require.Equal(t, "Failover", c.fake.types[0])
	require.Equal(t, run.Input{Runbook: "failover-shop", Kind: "unplanned", RequestedBy: "dana", Channel: "cli"}, c.fake.inputs[0])
	require.Contains(t, out, "started failover:shop, run ID r-1\nhttp://ui/namespaces/default/workflows/failover:shop/r-1\n")
	require.Contains(t, out, "Verdict: passed\n")
	require.Contains(t, out, "orders: outage 812ms as clients saw it, 0 of 412 acknowledged writes lost")
}

func TestRunExitCodes(t *testing.T) {
	t.Parallel()
	for verdict, want := range map[journal.Verdict]int{
		journal.Passed: 0, journal.ObservedVerdict: 0, journal.FailedVerdict: 1, journal.RejectedVerdict: 4, journal.Undone: 5,
		journal.Aborted: 5, journal.PassedWithSkips: 6, journal.MissedObjective: 7,
	} {
		c := newCLI(t)
		c.fake.onStart = func() *fakeRun {
			r := newFakeRun("failover:shop", "r-1")
			r.end(verdict)
			switch verdict { // as the kernel ends these
			case journal.FailedVerdict:
				r.resultErr = temporal.NewApplicationErrorWithOptions("it failed", "failed", temporal.ApplicationErrorOptions{Details: []any{r.result}})
			case journal.Undone:
				r.resultErr = temporal.NewCanceledError(r.result)
			}
			return r
		}
		code, out, _ := c.run("run", "failover-shop", "--output", "json")
		require.Equal(t, want, code, verdict)
		var got finished
		require.NoError(t, json.Unmarshal([]byte(out), &got), "stdout holds JSON and nothing else: %s", out)
		require.Equal(t, verdict, got.Result.Verdict)
	}
}

func TestRunThatCouldNotBeCarriedOut(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.fake.onStart = func() *fakeRun {
		r := newFakeRun("failover:shop", "r-1")
		r.silent, r.resultErr = true, temporal.NewApplicationError("unknown runbook", "Config")
		close(r.done)
		return r
	}
	code, _, err := c.run("run", "failover-shop")
	require.Equal(t, codeError, code)
	require.Contains(t, err, "failover:shop could not be carried out: unknown runbook")
	require.Contains(t, err, "next: ")
}

func TestRunDetached(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.fake.onStart = func() *fakeRun { return newFakeRun("failover:shop", "r-1") }
	code, out, _ := c.run("run", "failover-shop", "-d", "-o", "json")
	require.Equal(t, codeDone, code)
	require.JSONEq(t, `{"workflow_id": "failover:shop", "run_id": "r-1", "state": "running"}`, out)
}

func TestRunWaitsForPeople(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.fake.onStart = func() *fakeRun { return newFakeRun("failover:shop", "r-1").openGate("signed") }
	code, out, _ := c.run("run", "failover-shop", "--no-wait")
	require.Equal(t, codeAwaiting, code)
	require.Contains(t, out, "promote orders at west  <- point of no return")
	require.Contains(t, out, "next: muster approve failover:shop --gate approve --plan "+hash[:12])

	c.fake.onStart = func() *fakeRun {
		r := newFakeRun("failover:shop", "r-2")
		r.status.State, r.status.Holds = run.StateHeld, []run.HoldStatus{{Step: "fence/orders", Why: "host east does not answer", Since: started}}
		return r
	}
	code, out, _ = c.run("run", "failover-shop", "--no-wait", "-o", "json")
	require.Equal(t, codeAwaiting, code)
	require.JSONEq(t, `{"workflow_id": "failover:shop", "run_id": "r-2", "state": "held"}`, out)
}

func TestSecondStartSaysWhoStartedTheFirst(t *testing.T) {
	t.Parallel()
	first := newFakeRun("failover:shop", "r-1")
	first.status.Header.RequestedBy = "kim"
	c := newCLI(t, first)
	c.fake.startErr = serviceerror.NewWorkflowExecutionAlreadyStarted("already started", "", "r-1")
	code, _, err := c.run("run", "failover-shop")
	require.Equal(t, codeError, code)
	require.Contains(t, err, "failover:shop is running already: kim started it with runbook failover-shop via cli at "+started.Local().Format(time.DateTime))
	require.Contains(t, err, "run ID r-1")
	require.Contains(t, err, "next: follow it with muster watch failover:shop")

	first.silent = true
	code, _, err = c.run("run", "failover-shop")
	require.Equal(t, codeError, code)
	require.Contains(t, err, "since "+started.Local().Format(time.DateTime)+"; no worker answers who started it (run ID r-1)")
}

func TestRunNeedsToKnowItsID(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.fake.onStart = func() *fakeRun { return newFakeRun("failover:shop", "r-1").end(journal.Passed) }
	tests := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"run", "failover-shpo"}, codeError, `did you mean "failover-shop"?`},
		{[]string{"run", "failover-shop", "--to", "north"}, codeError, "north"},
		{[]string{"run", "failover-shop", "--from", "east", "--to", "east"}, codeUsage, "nothing to move"},
		{[]string{"run", "failover-shop", "--kind", "quick"}, codeUsage, "--kind is planned or unplanned"},
		{[]string{"run", "failover-shop", "--mode", "dry"}, codeUsage, "--mode is execute or observe"},
		{[]string{"run", "failover-shop", "--runbooks", "/nowhere"}, codeError, "/nowhere"},
	}
	for _, tt := range tests {
		code, _, err := c.run(tt.args...)
		require.Equal(t, tt.code, code, "%v: %s", tt.args, err)
		require.Contains(t, err, tt.want)
	}
	require.Empty(t, c.fake.starts, "nothing was started")

	code, _, _ := c.run("run", "elsewhere", "--operation", "rolling-restart", "--estate", "bank")
	require.Equal(t, codeDone, code)
	require.Equal(t, "rolling-restart:bank", c.fake.starts[0].ID)
	require.Equal(t, "RollingRestart", c.fake.types[0])
}

func TestFollowPrintsTheJournalOnce(t *testing.T) {
	t.Parallel()
	r := newFakeRun("failover:shop", "r-1")
	for range 450 { // more than a page
		r.record(journal.Entry{Kind: journal.Noted, Message: "note"})
	}
	r.record(journal.Entry{Kind: journal.StepEnded, Step: "fence/orders", Outcome: journal.Changed, TookMs: 1234, Attempts: 2})
	c := newCLI(t, r)
	go func() {
		time.Sleep(3 * pollEvery)
		c.fake.mu.Lock()
		defer c.fake.mu.Unlock()
		r.end(journal.Passed)
	}()
	code, out, _ := c.run("watch", "failover:shop")
	require.Equal(t, codeDone, code)
	require.Equal(t, 450, strings.Count(out, "  noted "))
	require.Contains(t, out, "step-ended         fence/orders               changed in 1.2s, 2 attempts\n")
	require.Equal(t, 1, strings.Count(out, "run-ended"))
}

func TestFollowSurvivesAWorkerThatIsAway(t *testing.T) {
	t.Parallel()
	r := newFakeRun("failover:shop", "r-1")
	r.silent = true
	c := newCLI(t, r)
	go func() {
		time.Sleep(3 * pollEvery)
		c.fake.mu.Lock()
		defer c.fake.mu.Unlock()
		r.silent = false
		r.end(journal.Passed)
	}()
	code, out, _ := c.run("watch", "failover:shop")
	require.Equal(t, codeDone, code)
	require.Equal(t, 1, strings.Count(out, "waiting: ask run failover:shop for its status: no worker answered in time"))
}

func TestInterruptedFollowingLeavesTheRun(t *testing.T) {
	t.Parallel()
	c := newCLI(t, newFakeRun("failover:shop", "r-1"))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(2*pollEvery, cancel)
	var out, err bytes.Buffer
	require.Equal(t, codeInterrupted, c.app(&out, &err).execute(ctx, []string{"watch", "failover:shop"}))
	require.Contains(t, out.String(), "the run goes on (next: muster watch failover:shop")
}

// follow runs a follower that asks, as run does at a terminal.
func (c *cli) follow(f follower) (run.Result, string, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	var out bytes.Buffer
	a := c.app(&out, io.Discard)
	e, err := a.dial(ctx, a)
	require.NoError(c.t, err)
	f.e, f.x = e, execution{c.fake.runs[0].id, c.fake.runs[0].runID}
	result, err := a.follow(ctx, f)
	return result, out.String(), err
}

func TestForegroundDecision(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, typed string
		want        journal.Verdict
		decision    run.Decision
	}{
		{"approve", "approve\nchange 4711\n", journal.Passed, run.Decision{Decision: "approve", Reason: "change 4711"}},
		{"reject after nonsense", "what?\nreject\n\n", journal.RejectedVerdict, run.Decision{Decision: "reject"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newFakeRun("failover:shop", "r-1").openGate("unsigned")
			c := newCLI(t, r)
			c.stdin = strings.NewReader(tt.typed)
			result, out, err := c.follow(follower{decider: &identity{}})
			require.NoError(t, err)
			require.Equal(t, tt.want, result.Verdict)
			require.Less(t, strings.Index(out, "Plan "+hash[:12]), strings.Index(out, "Decide on plan "+hash[:12]), "the plan is shown before it is asked for")
			require.Len(t, r.decisions, 1)
			d := r.decisions[0]
			require.Equal(t, tt.decision.Decision, d.Decision)
			require.Equal(t, tt.decision.Reason, d.Reason)
			require.Equal(t, hash, d.PlanHash)
			require.Equal(t, "dana", d.Approver)
		})
	}
}

func TestQuestionIsWithdrawnWhenSomebodyElseDecides(t *testing.T) {
	t.Parallel()
	r := newFakeRun("failover:shop", "r-1").openGate("unsigned")
	c := newCLI(t, r)
	typed, hold := io.Pipe() // a person who types nothing
	defer func() { _ = hold.Close() }()
	c.stdin = typed
	time.AfterFunc(4*pollEvery, func() {
		c.fake.mu.Lock()
		defer c.fake.mu.Unlock()
		r.end(journal.Passed)
	})
	result, _, err := c.follow(follower{decider: &identity{}})
	require.NoError(t, err)
	require.Equal(t, journal.Passed, result.Verdict)
	require.Empty(t, r.decisions)
}

func TestAutoTakesNoRiskAndGivesUpAtAHold(t *testing.T) {
	t.Parallel()
	risky := newFakeRun("failover:shop", "r-1").openGate("unsigned")
	risky.status.Gates[0].Risk = "up to 4 MB may be lost"
	result, _, err := newCLI(t, risky).follow(follower{decider: &identity{}, auto: true})
	require.NoError(t, err)
	require.Equal(t, journal.RejectedVerdict, result.Verdict)

	held := newFakeRun("failover:shop", "r-1")
	held.status.Holds = []run.HoldStatus{{Step: "fence/orders", Why: "no"}}
	_, _, err = newCLI(t, held).follow(follower{decider: &identity{}, auto: true})
	require.EqualError(t, err, "held: fence/orders: no")

	refused := newFakeRun("failover:shop", "r-1").openGate("unsigned")
	refused.answer = &run.Answer{Message: "not you"}
	_, _, err = newCLI(t, refused).follow(follower{decider: &identity{}, auto: true})
	require.ErrorContains(t, err, "not you")
}

func TestPlanMovesNothing(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.fake.onStart = func() *fakeRun { return newFakeRun("failover:shop", "r-1").end(journal.ObservedVerdict) }
	code, out, _ := c.run("plan", "failover-shop")
	require.Equal(t, codeDone, code)
	require.Equal(t, "observe", c.fake.inputs[0].(run.Input).Mode)
	require.Contains(t, out, "Expected loss: none\n  Hash: "+hash)

	c.fake.onStart = func() *fakeRun {
		r := newFakeRun("failover:shop", "r-2")
		r.plan.Findings = []journal.Finding{{Code: "standby-not-streaming", System: "orders", Refuse: true, Message: "it\x1b[31m streams from nobody", Next: "start it"}}
		return r.end(journal.ObservedVerdict)
	}
	code, out, _ = c.run("plan", "failover-shop")
	require.Equal(t, codeError, code, "preflight refuses")
	require.Contains(t, out, "refused standby-not-streaming orders: it\uFFFD[31m streams from nobody\n      next: start it")
}

func TestPlanThatIsHeld(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.fake.onStart = func() *fakeRun {
		r := newFakeRun("failover:shop", "r-1")
		r.status.State, r.status.Holds = run.StateHeld, []run.HoldStatus{{Step: "observe/orders", Why: "no route to host", Since: started}}
		return r
	}
	code, out, _ := c.run("plan", "failover-shop")
	require.Equal(t, codeAwaiting, code)
	require.Equal(t, "held: observe/orders: no route to host\n  next: muster retry failover:shop observe/orders   # or with --set key=value, or: muster skip failover:shop observe/orders, muster abort failover:shop\n", out)
}

func TestExitOfUnknownErrors(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.fake.startErr = errors.New("boom")
	code, _, err := c.run("run", "failover-shop")
	require.Equal(t, codeError, code)
	require.Equal(t, "muster: start failover:shop at fake:7233, namespace default: boom\n", err)
}

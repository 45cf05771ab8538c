package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

func statusOf(r *http.Request) (int, error) {
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}

// expired leaves a gate alone until its deadline, which counts as a rejection. Whoever presses too late is told.
func expired(t *testing.T, g *gated) {
	here, _ := g.sites(t)
	x := g.begin(t, g.book(t, "expiring", "{roles: [approver], deadline: 8s}", ""))
	gate := g.gate(t, x, "approve")
	form, answer := g.form(t, g.overHTTP, "U000000KIM", g.message(t, x, "gate/approve"), "approve")
	require.Empty(t, answer)
	_, entries := g.ended(t, x, journal.RejectedVerdict)
	last := entries[len(entries)-1].At
	require.WithinRange(t, last, gate.Deadline, gate.Deadline.Add(10*time.Second))
	require.Empty(t, decided(entries))
	closed := 0
	for _, e := range entries {
		if e.Kind == journal.GateClosed && e.Outcome == journal.Expired {
			closed++
		}
	}
	require.Equal(t, 1, closed)
	require.Contains(t, g.submit(t, g.overHTTP, "U000000KIM", form, "yes, do"), "has ended or is unknown: nothing was changed")
	require.True(t, g.slack.Await(time.Minute, func() bool { return strings.Contains(string(g.message(t, x, "gate/approve").Blocks), "*EXPIRED*") }))
	require.Equal(t, entries, g.journal(t, x))
	g.requireSettled(t, here)
}

// escalated asks other people when those of the gate have not decided; before that, their word does not count.
func escalated(t *testing.T, g *gated) {
	_, there := g.sites(t)
	x := g.begin(t, g.book(t, "escalating", "{approvers: [kim], deadline: 8s, escalate: {approvers: [lou], to: [chat], deadline: 1h}}", ""))
	gate := g.gate(t, x, "approve")
	m := g.message(t, x, "gate/approve")
	require.Contains(t, g.click(t, g.overHTTP, "U000000LOU", m, "approve", "too early"), "lou may not decide gate approve: it is for [kim]")
	g.await(t, x, "the escalation", func(s run.Status) bool {
		return len(s.Gates) == 1 && s.Gates[0].Deadline.After(gate.Deadline.Add(30*time.Minute)) && fmt.Sprint(s.Gates[0].People) == "[kim lou]"
	})
	require.True(t, g.slack.Await(20*time.Second, func() bool {
		rung := g.messages(x, "gate/approve/ring")
		return len(rung) == 1 && rung[0].Thread == m.TS && strings.Contains(string(rung[0].Blocks), "@U000000LOU")
	}), "lou is told in the gate's thread")
	require.Contains(t, g.click(t, g.overHTTP, "U000000LOU", m, "approve", "on call"), "approved: approve")
	_, entries := g.ended(t, x, journal.Passed)
	require.Equal(t, "lou", decided(entries)[0].Author)
	var kinds []journal.Kind
	for _, e := range entries {
		switch e.Kind {
		case journal.GateOpened, journal.Refused, journal.Escalated, journal.Decided, journal.GateClosed:
			kinds = append(kinds, e.Kind)
		}
	}
	require.Equal(t, []journal.Kind{journal.GateOpened, journal.Refused, journal.Escalated, journal.Decided, journal.GateClosed}, kinds)
	g.requireSettled(t, there)
}

// windowed starts a run that is approved now and may move from the beginning of a minute that is soon.
func windowed(t *testing.T, g *gated) (execution, time.Time) {
	opens := time.Now().UTC().Add(80 * time.Second).Truncate(time.Minute) // in 20 to 80 seconds
	window := fmt.Sprintf("window: {cron: \"%d %d * * *\", for: 10m}\n", opens.Minute(), opens.Hour())
	started, err := g.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "failover:shop-in-its-window", TaskQueue: run.TaskQueue}, "Failover",
		run.Input{Runbook: g.book(t, "windowed", "{roles: [approver]}", window), RequestedBy: "dana"}) // other runs are to come and go meanwhile
	require.NoError(t, err)
	x := g.follow(t, execution{started.GetID(), started.GetRunID()})
	gate := g.gate(t, x, "approve")
	said := g.signedBy(t, "kim", "approve", x.WorkflowID, "--plan", gate.PlanHash)
	require.Zero(t, said.code, said.String())
	g.await(t, x, "the wait for the window", func(s run.Status) bool { return s.State == run.StateWindow })
	return x, opens
}

func windowOpened(t *testing.T, g *gated, x execution, opens time.Time) {
	_, there := g.sites(t)
	_, entries := g.ended(t, x, journal.Passed)
	locked := false
	for _, e := range entries {
		if e.Kind == journal.Locked {
			locked = true
			require.False(t, e.At.Before(opens), "it is locked at %s, and the window opens at %s", e.At, opens)
		}
	}
	require.True(t, locked)
	g.requireSettled(t, there)
}

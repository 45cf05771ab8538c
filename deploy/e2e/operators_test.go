package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/workflows/run"
)

// The activities of a planned move as its history counts them: the runbook is loaded by the first, the lock is asked for by the
// fourth, the twelfth promotes, the last writes the evidence.
const (
	askForLock   = 4
	promotion    = 12
	plannedSteps = 20

	// Of two systems side by side: what comes before their moves, and what of these is over when both routes are open again.
	bothMeasured  = 12
	twoPromotions = 28
)

// TestOperatorsInTheMiddle pauses, aborts and cancels runs at boundaries of their steps.
func TestOperatorsInTheMiddle(t *testing.T) {
	t.Parallel()
	dice := luck(t)
	s := openShop(t)
	members := s.writeToMembers(t)
	all := boundaries(plannedSteps)
	if kills() < allBoundaries { // one on each side of the point of no return
		all = []blow{all[2*(askForLock-1)+dice.IntN(2*(promotion-askForLock))], all[2*(promotion-1)+dice.IntN(8)]}
	}
	for _, b := range all {
		for _, action := range []string{run.ActionPause, run.ActionAbort, "cancel"} {
			ok := t.Run(fmt.Sprintf("%s %s", action, b), func(t *testing.T) {
				s, members := s, members
				if action != run.ActionPause && b.nth >= promotion-1 { // it may stop past the point of no return: an estate of its own
					s = openShop(t)
					members = s.writeToMembers(t)
				}
				s.operatorActs(t, members, action, b)
			})
			if !ok && s.sandboxBroken(t) {
				return
			}
		}
	}
}

// TestOperatorsBetweenTwoSystems aborts when one system is past its point of no return and the other one is on its way there, or further:
// the same runbook finishes both, although one refuses a move of its own by then.
func TestOperatorsBetweenTwoSystems(t *testing.T) {
	t.Parallel()
	dice := luck(t)
	s := openBoth(t, runbooks.RedisReplication)
	members := s.writeToMembers(t)
	all := boundaries(twoPromotions)[2*bothMeasured:]
	if kills() < allBoundaries {
		all = []blow{all[dice.IntN(len(all))], all[dice.IntN(len(all))]}
	}
	for _, b := range all {
		ok := t.Run(b.String(), func(t *testing.T) { s.operatorActs(t, members, run.ActionAbort, b) })
		if !ok && s.sandboxBroken(t) {
			return
		}
	}
}

func (s *shop) operatorActs(t *testing.T, members *members, action string, b blow) {
	here, there := s.sites(t)
	timeline, mark := s.timeline(t), members.mark()
	x := s.begin(t, runbook(here, ""))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var answer run.Answer
	var err error
	struck := s.strike(ctx, x, b, func() {
		switch action {
		case "cancel":
			err = s.temporal.CancelWorkflow(ctx, x.WorkflowID, x.RunID)
			answer.Accepted = err == nil
		default:
			answer, err = s.intervene(ctx, x, run.Intervention{Action: action, Author: "dana", Reason: "e2e"})
		}
	})
	var asked time.Time
	for over := false; !over; {
		select {
		case <-struck:
			if asked.IsZero() {
				asked = time.Now()
			}
		default:
		}
		if !asked.IsZero() && answer.Accepted && action == run.ActionPause {
			break
		}
		over = s.drive(t, x)
	}
	cancel()
	<-struck
	if action == run.ActionPause && answer.Accepted {
		s.pausedWell(t, x)
		s.ended(t, x, journal.Passed)
		s.requireSettled(t, there)
		members.requireOneWriter(t, mark, here, there)
		return
	}
	verdict, entries := s.stoppedWell(t, x)
	t.Logf("%s %s: accepted %v (%s %v), %s", action, b, answer.Accepted, answer.Message, err, verdict.Verdict)
	switch verdict.Verdict {
	case journal.Undone:
		require.Equal(t, timeline, s.timeline(t))
		s.requireSettled(t, here)
		members.requireStill(t, mark, there)
	case journal.Aborted:
		require.Contains(t, verdict.Message, "failback is the way")
		require.True(t, slices.ContainsFunc(entries, func(e journal.Entry) bool { return e.Kind == journal.NoReturn }))
		again := s.begin(t, runbook(here, "")) // as the message says
		for over := false; !over; {
			over = s.drive(t, again)
		}
		if r := s.result(t, again); r.Verdict == journal.FailedVerdict {
			require.Contains(t, r.Summary, activities.FindingMoved, "aborted when there was nothing left to move")
		} else {
			s.ended(t, again, journal.Passed)
		}
		s.requireSettled(t, there)
		members.requireOneWriter(t, mark, here, there)
	case journal.Passed: // it was too late to stop anything
		s.requireSettled(t, there)
		require.False(t, answer.Accepted && action == run.ActionAbort, "an accepted abort cannot pass")
	default:
		require.Fail(t, "verdict", "%s: %s", verdict.Verdict, verdict.Message)
	}
}

// pausedWell waits until the step at work has ended, sees that no other starts, and resumes.
func (s *shop) pausedWell(t *testing.T, x execution) {
	t.Helper()
	st := s.await(t, x, "the step at work to end", func(st run.Status) bool {
		return st.Paused && !slices.ContainsFunc(st.Steps, func(step run.StepStatus) bool { return step.State == "running" })
	})
	for _, g := range st.Gates { // a gate may be answered while the run is paused; it goes no further
		a, err := s.decide(t.Context(), x, run.Decision{Gate: g.Name, PlanHash: g.PlanHash, Decision: "approve", Approver: "kim"})
		require.NoError(t, err)
		require.True(t, a.Accepted, a.Message)
	}
	before := len(st.Steps)
	for range 5 { // each query is a round trip through the workflow: a step that wanted to start had its chance
		st, ok := s.status(t, x)
		require.True(t, ok)
		require.Len(t, st.Steps, before, "a paused run starts no step")
	}
	a, err := s.intervene(t.Context(), x, run.Intervention{Action: run.ActionResume, Author: "dana"})
	require.NoError(t, err)
	require.True(t, a.Accepted, a.Message)
	for over := false; !over; {
		over = s.drive(t, x)
	}
}

// stoppedWell returns the entry that ends a journal, and holds the run to having stopped within the step that was at work.
func (s *shop) stoppedWell(t *testing.T, x execution) (journal.Entry, []journal.Entry) {
	t.Helper()
	entries := s.journal(t, x)
	_, err := journal.Verify(entries)
	require.NoError(t, err)
	last := entries[len(entries)-1]
	require.Equal(t, journal.RunEnded, last.Kind)
	asked := slices.IndexFunc(entries, func(e journal.Entry) bool { return e.Kind == journal.Intervened && e.Action == run.ActionAbort })
	if asked < 0 {
		return last, entries
	}
	for _, e := range entries[asked:] {
		if e.Kind == journal.StepStarted {
			after := strings.HasPrefix(e.Step, "undo-") || strings.HasPrefix(e.Step, "measure-stop") || strings.HasPrefix(e.Step, "observe")
			require.True(t, after, "%s started after the abort", e.Step)
		}
	}
	return last, entries
}

// TestOperatorsDecide is about people who answer twice, at once, too late, or for another plan.
func TestOperatorsDecide(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *shop)
	}{
		{"two at once", twoAtOnce},
		{"retry with changed input", retriedWithInput},
		{"a decision for an old plan", oldPlan},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, s) }) {
			return
		}
	}
}

// twoAtOnce lets two people answer one gate, and two people one held step, at the same moment: one counts, the other is told.
func twoAtOnce(t *testing.T, s *shop) {
	_, there := s.sites(t)
	x := s.begin(t, runbook(otherSite(there), ""))
	g := s.gate(t, x, "approve")
	s.ok(t, "sandbox", "break", "route", "--dir", s.sandbox.Dir())
	one := atOnce(func(i int) run.Answer {
		a, err := s.decide(t.Context(), x, run.Decision{Gate: g.Name, PlanHash: g.PlanHash, Decision: "approve", Approver: []string{"kim", "dana"}[i]})
		require.NoError(t, err)
		return a
	})
	require.Contains(t, one.Message, "closed")
	hold := s.held(t, x)
	s.ok(t, "sandbox", "mend", "route", "--dir", s.sandbox.Dir())
	two := atOnce(func(i int) run.Answer {
		a, err := s.intervene(t.Context(), x, run.Intervention{Step: hold.Step, Action: run.ActionRetry, Author: "dana", Reason: fmt.Sprint(i)})
		require.NoError(t, err)
		return a
	})
	require.NotEmpty(t, two.Message)
	s.ended(t, x, journal.Passed)
	s.requireSettled(t, there)
}

// atOnce asks twice at the same time and returns the answer that was refused; the other one was accepted.
func atOnce(ask func(int) run.Answer) run.Answer {
	var answers [2]run.Answer
	var wait sync.WaitGroup
	for i := range answers {
		wait.Go(func() { answers[i] = ask(i) })
	}
	wait.Wait()
	if answers[0].Accepted == answers[1].Accepted {
		panic(fmt.Sprintf("one of two answers must count: %+v", answers))
	}
	if answers[0].Accepted {
		return answers[1]
	}
	return answers[0]
}

func otherSite(site string) string {
	if site == "east" {
		return "west"
	}
	return "east"
}

func retriedWithInput(t *testing.T, s *shop) {
	here, there := s.sites(t)
	x := s.begin(t, runbook(here, ""))
	s.gate(t, x, "approve")
	s.ok(t, "sandbox", "break", "route", "--dir", s.sandbox.Dir())
	s.approve(t, x, "approve")
	s.held(t, x)
	s.ok(t, "sandbox", "mend", "route", "--dir", s.sandbox.Dir())
	refused := s.muster(t, "retry", x.WorkflowID, "--set", "route.haproxy.nonsense=x")
	require.Equal(t, 1, refused.code, refused.String())
	require.Contains(t, refused.out+refused.err, "nonsense")
	s.ok(t, "retry", x.WorkflowID, "--set", "route.haproxy.backend=wrong", "--reason", "a slip")
	awaited(t, "the wrong input to be held", 30*time.Second, func() (run.Status, bool) {
		st, ok := s.status(t, x)
		return st, ok && len(st.Holds) == 1 && strings.Contains(st.Holds[0].Why, "wrong")
	})
	s.ok(t, "retry", x.WorkflowID, "--set", "route.haproxy.backend=orders-db", "--reason", "the right one")
	_, entries := s.ended(t, x, journal.Passed)
	require.True(t, slices.ContainsFunc(entries, func(e journal.Entry) bool {
		return e.Kind == journal.Intervened && e.After["route.haproxy.backend"] == "orders-db" && e.Reason == "the right one"
	}))
	s.requireSettled(t, there)
}

// oldPlan changes the world while people decide: the primary dies. Who approved the old plan is asked again, and the old plan counts no more.
func oldPlan(t *testing.T, s *shop) {
	here, there := s.sites(t)
	s.replayed(t, here, there)
	x := s.begin(t, runbook(here, "-unplanned"))
	old := s.gate(t, x, "approve")
	s.breakPrimary(t, here, 0)
	approve := func(g run.GateStatus) run.Answer {
		a, err := s.decide(t.Context(), x, run.Decision{Gate: g.Name, PlanHash: g.PlanHash, Decision: "approve", Approver: "kim"})
		require.NoError(t, err)
		return a
	}
	require.True(t, approve(old).Accepted)
	again := s.gate(t, x, "approve#2")
	require.NotEqual(t, old.PlanHash, again.PlanHash)
	stale := again
	stale.PlanHash = old.PlanHash
	a := approve(stale)
	require.False(t, a.Accepted)
	require.Contains(t, a.Message, "look at the plan again")
	late := approve(old)
	require.False(t, late.Accepted)
	require.Contains(t, late.Message, "closed")
	require.True(t, approve(again).Accepted)
	s.ended(t, x, journal.Passed)
	s.requireSettled(t, there)
}

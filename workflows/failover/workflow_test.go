package failover

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/workflows/run"
)

// estate is a fake of every activity: these tests are about the order of steps, in Temporal's test environment.
// The real systems are in the end-to-end tests.
type estate struct {
	t     *testing.T
	env   *testsuite.TestWorkflowEnvironment
	book  runbooks.Runbook
	mu    sync.Mutex
	calls []string
	fail  map[string]error                                             // by "Activity/system"
	see   func(call int, m activities.Move) activities.PreflightResult // what preflight sees, by number of look
	looks map[string]int
	sites map[string]activities.RouteSite // of every route
	proof activities.Proof
	moves map[string]activities.Move // by "Activity/system": the last that it was asked for
}

func newEstate(t *testing.T, f runbooks.Failover, gates map[string]runbooks.Gate) *estate {
	t.Helper()
	t.Parallel()
	var suite testsuite.WorkflowTestSuite
	e := &estate{t: t, env: suite.NewTestWorkflowEnvironment(), fail: map[string]error{}, looks: map[string]int{}, proof: activities.ProofStopped,
		moves: map[string]activities.Move{}}
	e.see = func(int, activities.Move) activities.PreflightResult { return healthy() }
	if f.Mode == "" {
		f.Mode = "execute"
	}
	f.From, f.To = "east", "west"
	e.book = runbooks.Runbook{Name: "failover-shop", Operation: Operation, Estate: "shop", Failover: &f, Gates: gates, Trust: "unsigned"}
	e.env.RegisterWorkflowWithOptions(Failover, workflow.RegisterOptions{Name: Name})
	e.registerAll()
	return e
}

func healthy() activities.PreflightResult {
	return activities.PreflightResult{State: activities.SystemState{Members: map[string]activities.MemberState{
		"east": {Role: activities.RolePrimary, AcceptsWrites: true, Identity: "7", Lineage: "1"},
		"west": {Role: activities.RoleStandby, Identity: "7", Lineage: "1"},
	}}}
}

func (e *estate) doc() runbooks.Resolved {
	systems, routes := map[string]runbooks.System{}, map[string]runbooks.Route{}
	for _, name := range slices.Concat(e.book.Failover.Order...) {
		systems[name] = runbooks.System{Kind: "fake", Route: name + "-db", Members: map[string]runbooks.Member{"east": {}, "west": {}}}
		routes[name+"-db"] = runbooks.Route{Kind: "fake", Address: "127.0.0.1:1"}
	}
	return runbooks.Resolved{Runbook: e.book, Estate: runbooks.Estate{Name: "shop", Systems: systems, Routes: routes}, SHA256: "doc"}
}

func (e *estate) did(name, system string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, name+"/"+system)
	return e.fail[name+"/"+system]
}

func (e *estate) registerAll() {
	register := func(name string, f any) { e.env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name}) }
	register(activities.LoadRunbook, func(context.Context, activities.LoadRunbookInput) (activities.LoadRunbookResult, error) {
		return activities.LoadRunbookResult{Resolved: e.doc()}, nil
	})
	register(activities.Preflight, func(_ context.Context, m activities.Move) (activities.PreflightResult, error) {
		e.mu.Lock()
		e.looks[m.Name]++
		look := e.looks[m.Name]
		e.mu.Unlock()
		return e.see(look, m), nil
	})
	register(activities.ObserveRoute, func(_ context.Context, r activities.RouteTarget) (activities.RouteState, error) {
		return activities.RouteState{Route: r.Name, Sites: e.sites}, nil
	})
	for _, name := range []string{activities.Prepare, activities.Fence, activities.Unfence, activities.CatchUp, activities.Promote, activities.Follow} {
		register(name, func(_ context.Context, in activities.ActInput) (activities.ActResult, error) {
			result := activities.ActResult{Changed: true, Position: "0/1", Attempt: 1}
			if name == activities.Fence {
				result.Proof = e.proof
			}
			if name == activities.CatchUp && in.Planned {
				require.Equal(e.t, "0/1", in.Position, "a planned move catches up to the old primary's last record")
			}
			require.Equal(e.t, int64(7), in.Lease.Token)
			e.mu.Lock()
			e.moves[name+"/"+in.Name] = in.Move
			e.mu.Unlock()
			return result, e.did(name, in.Name)
		})
	}
	for _, name := range []string{activities.CloseRoute, activities.PointRoute} {
		register(name, func(_ context.Context, in activities.RouteInput) (activities.ActResult, error) {
			return activities.ActResult{Changed: true}, e.did(name+":"+in.Site, strings.TrimSuffix(in.Name, "-db"))
		})
	}
	register(activities.VerifyRoute, func(_ context.Context, in activities.VerifyInput) (activities.ActResult, error) {
		return activities.ActResult{Changed: true}, e.did(activities.VerifyRoute, in.Name)
	})
	for _, name := range []string{activities.StartWriter, activities.AwaitWriter} {
		register(name, func(_ context.Context, in activities.WriterInput) (activities.ActResult, error) {
			return activities.ActResult{Changed: true}, e.did(name, in.Name)
		})
	}
	register(activities.StopWriter, func(_ context.Context, in activities.WriterInput) (activities.WriterReport, error) {
		band := journal.Band{From: time.Unix(100, 0), To: time.Unix(101, 0)}
		return activities.WriterReport{Acknowledged: 50, Outages: []journal.Band{band}}, e.did(activities.StopWriter, in.Name)
	})
	register(activities.AcquireLock, func(_ context.Context, in activities.LockInput) (activities.LockResult, error) {
		e.env.SignalWorkflow(run.SignalGranted, run.Grant{LockWorkflow: in.LockWorkflow, Token: 7})
		return activities.LockResult{}, nil
	})
	register(activities.WriteEvidence, func(context.Context, activities.EvidenceInput) (activities.EvidenceResult, error) {
		return activities.EvidenceResult{}, nil
	})
	e.env.OnSignalExternalWorkflow(mock.Anything, mock.Anything, mock.Anything, run.SignalRelease, mock.Anything).Return(nil)
}

// approve approves the open gate of that name as soon as the run has waited that long, for the plan it shows then.
func (e *estate) approve(wait time.Duration, gate string) {
	e.env.RegisterDelayedCallback(func() {
		s := e.status()
		require.Len(e.t, s.Gates, 1)
		require.Equal(e.t, gate, s.Gates[0].Name)
		e.env.SignalWorkflow(run.UpdateDecide, run.Decision{PlanHash: s.Gates[0].PlanHash, Decision: "approve", Approver: "kim"})
	}, wait)
}

func (e *estate) status() run.Status {
	answer, err := e.env.QueryWorkflow(run.QueryStatus)
	require.NoError(e.t, err)
	var s run.Status
	require.NoError(e.t, answer.Get(&s))
	return s
}

func (e *estate) journal() []journal.Entry {
	answer, err := e.env.QueryWorkflow(run.QueryJournal, run.JournalPage{})
	require.NoError(e.t, err)
	var entries []journal.Entry
	require.NoError(e.t, answer.Get(&entries))
	return entries
}

func (e *estate) run() journal.Verdict {
	e.env.ExecuteWorkflow(Name, run.Input{Runbook: "failover-shop"})
	require.True(e.t, e.env.IsWorkflowCompleted())
	return e.status().Verdict
}

func (e *estate) index(call string) int {
	i := slices.Index(e.calls, call)
	require.GreaterOrEqual(e.t, i, 0, "%s was not called: %v", call, e.calls)
	return i
}

func planned(systems ...string) runbooks.Failover {
	return runbooks.Failover{Kind: "planned", Order: [][]string{systems}}
}

func unplanned(systems ...string) runbooks.Failover {
	return runbooks.Failover{Kind: "unplanned", Order: [][]string{systems}}
}

func unreachable() error {
	return activities.ToTemporal(&activities.Error{Type: activities.ErrUnreachable, Op: "fence", Err: errors.New("no route to host")})
}

func TestPlannedGoesInThisOrder(t *testing.T) {
	e := newEstate(t, planned("orders"), nil)
	e.approve(time.Minute, "approve")
	require.Equal(t, journal.Passed, e.run())
	require.Equal(t, []string{"StartWriter/orders", "Prepare/orders", "CloseRoute:east/orders", "Fence/orders", "CatchUp/orders", "Promote/orders",
		"PointRoute:west/orders", "VerifyRoute/orders", "AwaitWriter/orders", "Follow/orders", "StopWriter/orders"}, e.calls)
}

func TestGroupsFollowOneAnother(t *testing.T) {
	f := planned("orders", "payments")
	f.Order = append(f.Order, []string{"search"})
	e := newEstate(t, f, nil)
	e.approve(time.Minute, "approve")
	require.Equal(t, journal.Passed, e.run())
	require.Less(t, e.index("AwaitWriter/orders"), e.index("CloseRoute:east/search"))
	require.Less(t, e.index("AwaitWriter/payments"), e.index("CloseRoute:east/search"))
	require.Less(t, e.index("AwaitWriter/search"), e.index("Follow/orders"))
}

func TestObserveMovesNothing(t *testing.T) {
	f := planned("orders")
	f.Mode = "observe"
	e := newEstate(t, f, nil)
	require.Equal(t, journal.ObservedVerdict, e.run())
	require.Empty(t, e.calls)
}

func TestPreflightRefuses(t *testing.T) {
	e := newEstate(t, planned("orders"), nil)
	e.see = func(int, activities.Move) activities.PreflightResult {
		r := healthy()
		r.Findings = []journal.Finding{{Code: "standby-not-streaming", Refuse: true, Message: "west streams from nobody"}}
		return r
	}
	require.Equal(t, journal.FailedVerdict, e.run())
	require.Contains(t, e.status().Summary, "standby-not-streaming: west streams from nobody")
	require.Empty(t, e.calls)
}

// What an earlier run has moved already refuses a run that has nothing else to do, and no other.
func TestARunFinishesWhatAnAbortLeft(t *testing.T) {
	open, shut := activities.RouteSite{Open: true}, activities.RouteSite{}
	for name, test := range map[string]struct {
		moved   []string
		sites   map[string]activities.RouteSite
		verdict journal.Verdict
	}{
		"one of two":            {[]string{"orders"}, nil, journal.Passed},
		"both":                  {[]string{"orders", "users"}, map[string]activities.RouteSite{"east": shut, "west": open}, journal.FailedVerdict},
		"both, but for clients": {[]string{"orders", "users"}, map[string]activities.RouteSite{"east": open, "west": shut}, journal.Passed},
		"both, clients closed":  {[]string{"orders", "users"}, map[string]activities.RouteSite{"east": shut, "west": shut}, journal.Passed},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEstate(t, planned("orders", "users"), nil)
			e.sites = test.sites
			e.see = func(_ int, m activities.Move) activities.PreflightResult {
				r := healthy()
				if slices.Contains(test.moved, m.Name) {
					r.Findings = []journal.Finding{{Code: activities.FindingMoved, System: m.Name, Refuse: true, Message: "it is at west"}}
				}
				return r
			}
			e.approve(time.Minute, "approve")
			require.Equal(t, test.verdict, e.run())
			if test.verdict == journal.FailedVerdict {
				require.Contains(t, e.status().Summary, activities.FindingMoved)
				require.Empty(t, e.calls)
			}
		})
	}
}

func TestChangedPlanIsAskedAgain(t *testing.T) {
	e := newEstate(t, planned("orders"), nil)
	e.see = func(look int, _ activities.Move) activities.PreflightResult {
		r := healthy()
		if look > 1 {
			west := r.State.Members["west"]
			west.Lineage = "2"
			r.State.Members["west"] = west
		}
		return r
	}
	e.approve(time.Minute, "approve")
	e.approve(2*time.Minute, "approve#2")
	require.Equal(t, journal.Passed, e.run())
}

func TestTheWorldIsLookedAtAgainUnderTheLock(t *testing.T) {
	e := newEstate(t, planned("orders"), nil)
	e.approve(time.Minute, "approve")
	require.Equal(t, journal.Passed, e.run())
	entries := e.journal()
	locked := slices.IndexFunc(entries, func(e journal.Entry) bool { return e.Kind == journal.Locked })
	looked := slices.IndexFunc(entries, func(e journal.Entry) bool { return e.Step == "observe/orders#2" })
	require.Positive(t, locked)
	require.Less(t, locked, looked, "who waited for the lock must not act on what was seen before")
}

func TestRejectionMovesNothing(t *testing.T) {
	e := newEstate(t, planned("orders"), nil)
	require.Equal(t, journal.RejectedVerdict, e.run(), "nobody decides before the deadline")
	require.Empty(t, e.calls)
}

func TestUnplannedWithoutFenceProofAsksForExactlyThatRisk(t *testing.T) {
	e := newEstate(t, unplanned("orders"), nil)
	e.fail["Fence/orders"] = unreachable()
	e.approve(time.Minute, "approve")
	e.approve(time.Hour/2, "no-fence-proof/orders")
	require.Equal(t, journal.Passed, e.run())
	require.Less(t, e.index("Fence/orders"), e.index("Promote/orders"))
}

func TestUnplannedWithoutFenceProofAndNobodyAcceptsIt(t *testing.T) {
	e := newEstate(t, unplanned("orders"), nil)
	e.fail["Fence/orders"] = unreachable()
	e.approve(time.Minute, "approve")
	require.Equal(t, journal.RejectedVerdict, e.run())
	require.NotContains(t, e.calls, "Promote/orders")
	require.Less(t, e.index("Unfence/orders"), e.index("PointRoute:east/orders"), "undos run last-in first-out")
}

func TestWeakProofIsAskedForToo(t *testing.T) {
	e := newEstate(t, unplanned("orders"), nil)
	e.proof = activities.ProofCutOff
	e.approve(time.Minute, "approve")
	e.approve(2*time.Minute, "no-fence-proof/orders")
	require.Equal(t, journal.Passed, e.run())
}

func TestProvenLossIsAskedFor(t *testing.T) {
	e := newEstate(t, unplanned("orders"), nil)
	e.see = func(int, activities.Move) activities.PreflightResult {
		r := healthy()
		r.LossBytes = 4096
		return r
	}
	e.approve(time.Minute, "approve")
	e.approve(2*time.Minute, "data-loss/orders")
	require.Equal(t, journal.Passed, e.run())
	require.True(t, e.moves["Follow/orders"].Discard, "that loss was accepted")
	require.False(t, e.moves["Promote/orders"].Takeover)
}

func TestAPromotionWithoutAVoteIsAskedFor(t *testing.T) {
	for _, test := range []struct {
		name    string
		approve bool
		verdict journal.Verdict
	}{{"accepted", true, journal.Passed}, {"not answered", false, journal.RejectedVerdict}} {
		t.Run(test.name, func(t *testing.T) {
			e := newEstate(t, unplanned("orders"), nil)
			e.see = func(int, activities.Move) activities.PreflightResult {
				r := healthy()
				r.Findings = []journal.Finding{{Code: activities.FindingNoVote, System: "orders"}}
				return r
			}
			e.approve(time.Minute, "approve")
			if test.approve {
				e.approve(2*time.Minute, "takeover/orders")
			}
			require.Equal(t, test.verdict, e.run())
			require.Equal(t, test.approve, e.moves["Promote/orders"].Takeover)
			require.False(t, e.moves["Follow/orders"].Discard)
		})
	}
}

func TestPlannedFenceThatFailsHoldsAndAbortPutsItBack(t *testing.T) {
	e := newEstate(t, planned("orders"), nil)
	e.fail["Fence/orders"] = unreachable()
	e.approve(time.Minute, "approve")
	e.env.RegisterDelayedCallback(func() {
		require.Equal(t, run.StateHeld, e.status().State)
		e.env.SignalWorkflow(run.UpdateIntervene, run.Intervention{Action: run.ActionAbort, Author: "dana"})
	}, time.Hour/2)
	require.Equal(t, journal.Undone, e.run())
	require.NotContains(t, e.calls, "Promote/orders")
	e.index("Unfence/orders")
	e.index("PointRoute:east/orders")
	e.index("StopWriter/orders")
	entries := e.journal()
	slices.Reverse(entries)
	seen := slices.IndexFunc(entries, func(e journal.Entry) bool { return e.Kind == journal.Observed })
	undone := slices.IndexFunc(entries, func(e journal.Entry) bool { return e.Step == "undo-fence/orders" })
	require.Less(t, seen, undone, "evidence shows the world as it is after the undo")
}

func TestSkippedFenceAsksForTheRisk(t *testing.T) {
	e := newEstate(t, planned("orders"), nil)
	e.fail["Fence/orders"] = unreachable()
	e.approve(time.Minute, "approve")
	e.env.RegisterDelayedCallback(func() {
		e.env.SignalWorkflow(run.UpdateIntervene, run.Intervention{Action: run.ActionSkip, Author: "dana"})
	}, time.Hour/2)
	require.Equal(t, journal.RejectedVerdict, e.run())
	require.NotContains(t, e.calls, "Promote/orders", "a skipped fence is no proof")
}

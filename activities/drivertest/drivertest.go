// Package drivertest is the conformance suite of activities.System. Every driver passes it against the real system.
package drivertest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// Fixture is a healthy system with two members: a primary at From and a standby at To that follows it.
type Fixture struct {
	Driver activities.System
	Target activities.Target
	From   string
	To     string
	// Over returns the driver on other hosts.
	Over func(hosts activities.Hosts) activities.System
	// Kill ends a member's server as a power cut would, and returns when it is gone.
	Kill func(t testing.TB, site string)
	// Fenced is the proof of a fence on a healthy primary; default ProofStopped.
	Fenced activities.Proof
	// LossUnknown: the position of a crashed primary died with its process, and no host can read it.
	LossUnknown bool
	// Accept sets what people accepted at gates of an unplanned move; may be nil.
	Accept func(m *activities.Move)
	// Timings takes what each step of a move took; may be nil.
	Timings func(move, step string, took time.Duration)
}

// Suite runs every property, each on a fixture of its own, side by side.
func Suite(t *testing.T, fixture func(t *testing.T) Fixture) {
	for name, property := range map[string]func(*testing.T, Fixture){
		"observe changes nothing":               observeChangesNothing,
		"observe sees a member that is down":    observeMemberDown,
		"a planned move and back loses nothing": plannedMoveAndBack,
		"unfence restores":                      unfenceRestores,
		"an unplanned move after a crash":       unplannedMove,
		"refusals":                              refusals,
		"acts survive being cut short":          cutShort,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			property(t, fixture(t))
		})
	}
}

// limit is for any single step; a step that takes longer is broken.
const limit = 90 * time.Second

// Run carries an action out: look, act once, look again until it is met. It returns the last look and whether it acted.
func Run(t testing.TB, a activities.Action) (activities.Look, bool) {
	t.Helper()
	look, acted, err := run(t.Context(), a)
	require.NoError(t, err)
	require.True(t, look.Met, "not met: %s", look.Why)
	return look, acted
}

func run(ctx context.Context, a activities.Action) (look activities.Look, acted bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for done := false; ; {
		if look, err = a.Look(ctx); err == nil && look.Met {
			return look, acted, nil
		}
		if err != nil && activities.TypeOf(err) != activities.ErrUnreachable {
			return look, acted, err
		}
		if err == nil && !done && !look.Busy && a.Act != nil {
			acted = true
			err := a.Act(ctx, "drivertest")
			if err != nil && activities.TypeOf(err) != activities.ErrNotYet { // for that Temporal would try again, too
				return look, acted, err
			}
			if done = err == nil; done {
				continue
			}
		}
		select {
		case <-ctx.Done():
			return look, acted, ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// CarryOut fences, catches up and promotes. The old primary is left as the fence made it.
func (f Fixture) CarryOut(t testing.TB, m activities.Move) {
	t.Helper()
	fenced, _ := Run(t, f.Driver.Fence(m))
	m.Position = fenced.Position
	Run(t, f.Driver.CatchUp(m))
	Run(t, f.Driver.Promote(m))
}

func (f Fixture) move(planned bool) activities.Move {
	m := activities.Move{Target: f.Target, From: f.From, To: f.To, Planned: planned}
	if !planned && f.Accept != nil {
		f.Accept(&m)
	}
	return m
}

// reversed is the same system, seen from the other side.
func (f Fixture) reversed() Fixture {
	f.From, f.To = f.To, f.From
	return f
}

// fenced is the proof that a fence on a healthy primary must give.
func (f Fixture) fenced() activities.Proof {
	if f.Fenced == "" {
		return activities.ProofStopped
	}
	return f.Fenced
}

func (f Fixture) address(site string) string { return f.Target.System.Members[site].Address }

func (f Fixture) timed(move, step string, began time.Time) {
	if f.Timings != nil {
		f.Timings(move, step, time.Since(began))
	}
}

func (f Fixture) observe(t testing.TB) activities.SystemState {
	t.Helper()
	state, err := f.Driver.Observe(t.Context(), f.Target)
	require.NoError(t, err)
	return state
}

// settled waits until the standby follows with no lag, and returns what was seen then: a moment later the server may have
// written something of its own.
func (f Fixture) settled(t testing.TB) activities.SystemState {
	t.Helper()
	var state activities.SystemState
	require.Eventually(t, func() bool {
		state = f.observe(t)
		return state.Members[f.From].AcceptsWrites && state.Members[f.To].Role == activities.RoleStandby &&
			state.Members[f.To].Following != "" && state.Members[f.To].LagBytes == 0
	}, limit, 5*time.Millisecond)
	return state
}

// refused are the codes of findings that refuse a move.
func refused(found []journal.Finding) []string {
	var codes []string
	for _, f := range found {
		if f.Refuse {
			codes = append(codes, f.Code+": "+f.Message)
		}
	}
	slices.Sort(codes)
	return codes
}

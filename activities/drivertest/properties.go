package drivertest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

func observeChangesNothing(t *testing.T, f Fixture) {
	first := f.settled(t)
	for range 10 {
		again := f.observe(t)
		for site, want := range first.Members {
			got := again.Members[site]
			require.Equal(t, want.Role, got.Role)
			require.Equal(t, want.AcceptsWrites, got.AcceptsWrites)
			require.Equal(t, want.Identity, got.Identity)
			require.Equal(t, want.Lineage, got.Lineage)
			require.Equal(t, want.Following, got.Following)
			require.Empty(t, got.Unreachable)
		}
	}
	from, to := first.Members[f.From], first.Members[f.To]
	require.Equal(t, activities.RolePrimary, from.Role)
	require.True(t, from.AcceptsWrites)
	require.Equal(t, activities.RoleStandby, to.Role)
	require.False(t, to.AcceptsWrites)
	require.Equal(t, from.Identity, to.Identity)
	require.Zero(t, to.LagSeconds, "an idle system has no lag, however long ago its last write was")

	result, err := f.Driver.Preflight(t.Context(), f.move(true))
	require.NoError(t, err)
	require.Empty(t, refused(result.Findings))
	require.Zero(t, result.LossBytes)
	require.Equal(t, from.Role, f.observe(t).Members[f.From].Role)
}

func observeMemberDown(t *testing.T, f Fixture) {
	f.settled(t)
	f.Kill(t, f.To)
	state := f.observe(t)
	require.True(t, state.Members[f.From].AcceptsWrites)
	down := state.Members[f.To]
	require.Equal(t, activities.RoleStopped, down.Role)
	require.NotEmpty(t, down.Unreachable)
	require.True(t, down.HostReachable)
	require.False(t, down.AcceptsWrites)

	result, err := f.Driver.Preflight(t.Context(), f.move(true))
	require.NoError(t, err)
	require.NotEmpty(t, refused(result.Findings), "there is nothing to move to")
}

// again checks that a goal that is met stays as it is: the first look says so, and nothing acts.
func again(t *testing.T, step string, a activities.Action) {
	t.Helper()
	_, acted := Run(t, a)
	require.False(t, acted, "%s acted although its goal was met", step)
}

// step runs an action, then once more.
func (f Fixture) step(t *testing.T, move, name string, make func(activities.Move) activities.Action, m activities.Move) activities.Look {
	t.Helper()
	began := time.Now()
	look, _ := Run(t, make(m))
	f.timed(move, name, began)
	again(t, name, make(m))
	return look
}

func plannedMove(t *testing.T, f Fixture) {
	t.Helper()
	f.settled(t)
	old := startWriter(t, f, f.From, f.From+time.Now().String())
	next := startWriter(t, f, f.To, f.To+time.Now().String())
	old.awaitWrites(t, 50)

	m := f.move(true)
	began := time.Now()
	fenced := f.step(t, "planned", "fence", f.Driver.Fence, m)
	require.Equal(t, f.fenced(), fenced.Proof)
	require.True(t, fenced.Proof.Strong())
	require.NotEmpty(t, fenced.Position)
	m.Position = fenced.Position
	f.step(t, "planned", "catch-up", f.Driver.CatchUp, m)
	require.Zero(t, next.count(), "the standby accepted a write before it was promoted")
	promoted := f.step(t, "planned", "promote", f.Driver.Promote, m)
	require.NotEmpty(t, promoted.Position)
	f.timed("planned", "fence to promote, with second runs", began)
	next.awaitWrites(t, 10)
	_, last := old.firstLast()
	first, _ := next.firstLast()
	f.timed("planned", "outage as the two writers saw it", time.Now().Add(-first.Sub(last)))
	f.step(t, "planned", "follow", f.Driver.Follow, m)
	old.end()
	next.awaitWrites(t, 10)
	next.end()

	_, last = old.firstLast()
	require.True(t, last.Before(first), "both members accepted writes: the old one until %s, the new one from %s", last, first)
	require.Empty(t, old.missing(t, f, f.To), "acknowledged writes are missing after a planned move")
	require.Empty(t, next.missing(t, f, f.To))
	f.reversed().settled(t)
	require.Empty(t, next.missing(t, f, f.From), "the old primary does not have what the new one wrote")

	// A goal that was met stays met at the end of the move.
	again(t, "catch-up", f.Driver.CatchUp(m))
	again(t, "promote", f.Driver.Promote(m))
	again(t, "follow", f.Driver.Follow(m))
	again(t, "fence", f.Driver.Fence(m))
}

func plannedMoveAndBack(t *testing.T, f Fixture) {
	plannedMove(t, f)
	plannedMove(t, f.reversed())
}

func unfenceRestores(t *testing.T, f Fixture) {
	f.settled(t)
	w := startWriter(t, f, f.From, "unfence")
	w.awaitWrites(t, 10)
	m := f.move(true)
	f.step(t, "undo", "fence", f.Driver.Fence, m)
	f.step(t, "undo", "unfence", f.Driver.Unfence, m)
	w.awaitWrites(t, 10)
	w.end()
	require.Empty(t, w.missing(t, f, f.From))
	f.settled(t)
	result, err := f.Driver.Preflight(t.Context(), m)
	require.NoError(t, err)
	require.Empty(t, refused(result.Findings), "after the undo the move is possible as before")
	plannedMove(t, f)
}

// mute is every host, as a login does it that runs another command than the one it was asked to (sshd_config: ForceCommand).
type mute struct{}

func (mute) Open(context.Context, string, runbooks.Host) (activities.Host, error) { return mute{}, nil }
func (mute) Run(context.Context, activities.Command) (activities.Output, error) {
	return activities.Output{}, nil
}
func (mute) Close() error { return nil }

func unplannedMove(t *testing.T, f Fixture) {
	f.settled(t)
	old := startWriter(t, f, f.From, "crash")
	old.awaitWrites(t, 50)
	f.Kill(t, f.From)
	old.end()
	next := startWriter(t, f, f.To, "after")

	m := f.move(false)
	result, err := f.Driver.Preflight(t.Context(), m)
	require.NoError(t, err)
	require.Empty(t, refused(result.Findings))
	if f.LossUnknown {
		require.Equal(t, int64(-1), result.LossBytes, "a guess is no figure")
	} else {
		require.GreaterOrEqual(t, result.LossBytes, int64(0), "the old member's data can be read: the loss is known")
	}

	blind, err := f.Over(mute{}).Fence(m).Look(t.Context())
	require.False(t, blind.Met, "a host that answers nothing is no proof that the server is down: %+v, %v", blind, err)
	require.Contains(t, []activities.Proof{"", activities.ProofNone}, blind.Proof)

	fenced := f.step(t, "unplanned", "fence", f.Driver.Fence, m)
	require.Equal(t, activities.ProofCrashed, fenced.Proof)
	m.Position = fenced.Position
	f.step(t, "unplanned", "catch-up", f.Driver.CatchUp, m)
	f.step(t, "unplanned", "promote", f.Driver.Promote, m)
	next.awaitWrites(t, 10)
	lost := old.missing(t, f, f.To)
	if result.LossBytes == 0 {
		require.Empty(t, lost, "preflight said that nothing would be lost")
	}
	t.Logf("estimated loss %d bytes, %d acknowledged writes missing", result.LossBytes, len(lost))

	f.step(t, "unplanned", "follow", f.Driver.Follow, m)
	next.awaitWrites(t, 10)
	next.end()
	f.reversed().settled(t)
	require.Empty(t, next.missing(t, f, f.From))
	plannedMove(t, f.reversed())
}

func refusals(t *testing.T, f Fixture) {
	f.settled(t)
	for name, m := range map[string]activities.Move{
		"from is to":      {Target: f.Target, From: f.From, To: f.From},
		"no member there": {Target: f.Target, From: f.From, To: "nowhere"},
	} {
		_, err := f.Driver.Preflight(t.Context(), m)
		require.Equal(t, activities.ErrConfig, activities.TypeOf(err), name)
	}
	result, err := f.Driver.Preflight(t.Context(), f.reversed().move(true))
	require.NoError(t, err)
	require.NotEmpty(t, refused(result.Findings), "the move is the wrong way round")

	m := f.move(true)
	conflict := func(name string, a activities.Action) {
		t.Helper()
		_, _, err := run(t.Context(), a)
		require.Equal(t, activities.ErrConflict, activities.TypeOf(err), "%s: %v", name, err)
	}
	conflict("promote while the old primary accepts writes", f.Driver.Promote(m))
	require.Equal(t, activities.RoleStandby, f.observe(t).Members[f.To].Role)

	follow := f.Driver.Follow(m)
	err = follow.Act(t.Context(), "drivertest")
	require.Equal(t, activities.ErrConflict, activities.TypeOf(err), "follow a standby: %v", err)
	require.True(t, f.observe(t).Members[f.From].AcceptsWrites, "a refused follow leaves the primary alone")

	f.CarryOut(t, m)
	conflict("unfence after the promotion", f.Driver.Unfence(m))
	require.False(t, f.observe(t).Members[f.From].AcceptsWrites)
	Run(t, f.Driver.Follow(m))
}

// cutShort ends every act at ever later instants, as a worker's death would, and then carries it out.
func cutShort(t *testing.T, f Fixture) {
	for round, after := range []time.Duration{0, 3 * time.Millisecond, 30 * time.Millisecond, 150 * time.Millisecond} {
		f.settled(t)
		w := startWriter(t, f, f.From, "cut"+after.String())
		w.awaitWrites(t, 20)
		m := f.move(true)
		cut := func(a activities.Action) {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			_ = a.Act(ctx, "drivertest") // its outcome is unknown, as after a crash
		}
		cut(f.Driver.Fence(m))
		if round%2 == 1 { // half of them are taken back
			cut(f.Driver.Unfence(m))
			Run(t, f.Driver.Unfence(m))
			w.awaitWrites(t, 5)
			cut(f.Driver.Fence(m))
		}
		fenced, _ := Run(t, f.Driver.Fence(m))
		m.Position = fenced.Position
		Run(t, f.Driver.CatchUp(m))
		cut(f.Driver.Promote(m))
		Run(t, f.Driver.Promote(m))
		w.end()
		require.Empty(t, w.missing(t, f, f.To))
		cut(f.Driver.Follow(m))
		Run(t, f.Driver.Follow(m))
		f = f.reversed()
	}
}

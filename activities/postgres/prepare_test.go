package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/drivertest"
	"github.com/musterhq/muster/activities/host"
	"github.com/musterhq/muster/activities/postgres"
	"github.com/musterhq/muster/deploy/sandbox"
)

// A real PostgreSQL that has written 24 MiB since its last checkpoint is prepared by one, and needs none right after it.
func TestPrepareWritesACheckpointOnce(t *testing.T) {
	s := sandbox.ForTest(t)
	hosts := host.New()
	t.Cleanup(hosts.Close)
	driver := postgres.New(hosts)
	t.Cleanup(driver.Close)
	estate := s.Estate()
	move := activities.Move{From: sandbox.East, To: sandbox.West, Planned: true,
		Target: activities.Target{Estate: estate.Name, Name: "orders", System: estate.Systems["orders"], Hosts: estate.Hosts}}

	conn, err := s.Connect(t.Context(), "orders", sandbox.East)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE TABLE filler AS SELECT repeat(md5(i::text), 32) AS x FROM generate_series(1, 24000) i")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))

	acts := 0
	counted := driver.Prepare(move)
	act := counted.Act
	counted.Act = func(ctx context.Context, id string) error { acts++; return act(ctx, id) }
	drivertest.Run(t, counted)
	require.Equal(t, 1, acts)
	drivertest.Run(t, counted)
	require.Equal(t, 1, acts, "right after a checkpoint there is nothing to prepare")
}

// A move that was aborted right before the promotion, or after it, left the old primary down. The same runbook finishes it: nothing is
// refused, what was done is met at the first look, and the old primary follows in the end.
func TestSameMoveFinishesWhatAnAbortLeftHalfway(t *testing.T) {
	s := sandbox.ForTest(t, sandbox.Options{NoRoute: true})
	f := fixtureOf(t, s)
	m := activities.Move{Target: f.Target, From: f.From, To: f.To, Planned: true}
	fenced, _ := drivertest.Run(t, f.Driver.Fence(m))
	m.Position = fenced.Position
	drivertest.Run(t, f.Driver.CatchUp(m))
	refused, warned := codes(t, f, true, nil)
	require.Empty(t, refused)
	require.Contains(t, warned, "source-is-fenced")

	drivertest.Run(t, f.Driver.Promote(m))
	for _, planned := range []bool{true, false} {
		refused, warned = codes(t, f, planned, nil)
		require.Empty(t, refused)
		require.Contains(t, warned, "already-promoted")
	}
	prepare := f.Driver.(activities.Preparer).Prepare(m)
	for name, goal := range map[string]activities.Action{"prepare": prepare, "fence": f.Driver.Fence(m), "catch-up": f.Driver.CatchUp(m), "promote": f.Driver.Promote(m)} {
		look, err := goal.Look(t.Context())
		require.NoError(t, err)
		require.True(t, look.Met, "%s: %s", name, look.Why)
	}
	drivertest.Run(t, f.Driver.Follow(m))
	refused, _ = codes(t, f, true, nil)
	require.Equal(t, []string{activities.FindingMoved}, refused)
	back := f
	back.From, back.To = f.To, f.From
	awaitHealthy(t, back)
}

// PostgreSQL checkpoints at its leisure after a promotion: one that is killed before has the old timeline in pg_control. What it
// wrote since is lost all the same, and must be counted.
func TestLossOfAPrimaryKilledSoonAfterItsPromotion(t *testing.T) {
	s := sandbox.ForTest(t, sandbox.Options{NoRoute: true})
	f := fixtureOf(t, s)
	for _, site := range []string{sandbox.East, sandbox.West} {
		sql(t, s, site, "ALTER SYSTEM SET checkpoint_timeout = '1h'")
		sql(t, s, site, "SELECT pg_reload_conf()")
	}
	sql(t, s, sandbox.East, "CREATE TABLE dirty AS SELECT repeat(md5(i::text), 32) AS x FROM generate_series(1, 20000) i")
	m := activities.Move{Target: f.Target, From: f.From, To: f.To, Planned: true}
	f.CarryOut(t, m)
	drivertest.Run(t, f.Driver.Follow(m))

	back := f
	back.From, back.To = f.To, f.From
	awaitHealthy(t, back)
	sql(t, s, sandbox.East, "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'")
	sql(t, s, sandbox.East, "SELECT pg_reload_conf()")
	require.Eventually(t, func() bool {
		state, err := f.Driver.Observe(t.Context(), f.Target)
		return err == nil && state.Members[sandbox.East].Following == ""
	}, wait, 5*time.Millisecond)
	sql(t, s, sandbox.West, "CREATE TABLE lost AS SELECT g FROM generate_series(1, 1000) g")
	conn, err := s.Connect(t.Context(), "orders", sandbox.West)
	require.NoError(t, err)
	var timeline int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT timeline_id FROM pg_control_checkpoint()").Scan(&timeline))
	require.NoError(t, conn.Close(t.Context()))
	require.Equal(t, 1, timeline, "this test is about a primary without a checkpoint since its promotion")
	f.Kill(t, sandbox.West)

	result, err := f.Driver.Preflight(t.Context(), activities.Move{Target: f.Target, From: sandbox.West, To: sandbox.East})
	require.NoError(t, err)
	require.Greater(t, result.LossBytes, int64(10_000), "a thousand rows are lost")
	require.Equal(t, "2", result.State.Members[sandbox.West].Lineage)
}

// An earlier attempt's promotion may take effect between a later one's look and its act: that is what was wanted, and no error.
func TestPromotionTakesEffectInTheMiddleOfAnAct(t *testing.T) {
	f := fixtureOf(t, sandbox.ForTest(t, sandbox.Options{NoRoute: true}))
	m := activities.Move{Target: f.Target, From: f.From, To: f.To, Planned: true}
	fenced, _ := drivertest.Run(t, f.Driver.Fence(m))
	m.Position = fenced.Position
	drivertest.Run(t, f.Driver.CatchUp(m))
	attempts := make(chan error)
	for range 8 {
		go func() { attempts <- actUntilMet(t.Context(), f.Driver.Promote(m)) }()
	}
	for range 8 {
		require.NoError(t, <-attempts)
	}
	drivertest.Run(t, f.Driver.Follow(m))
}

func actUntilMet(ctx context.Context, goal activities.Action) error {
	for {
		if look, err := goal.Look(ctx); err != nil || look.Met {
			return err
		}
		if err := goal.Act(ctx, "test"); err != nil {
			return err
		}
	}
}

package postgres_test

import (
	"context"
	"testing"

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

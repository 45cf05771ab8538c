package redis_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/drivertest"
	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/runbooks"
)

func TestSentinelQuorumIsNeeded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisSentinel)
	require.Empty(t, f.codes(t, f.move(true)))
	for _, name := range []string{"sentinel-1", "sentinel-2"} {
		kill(t, f.sandbox.RedisPID(name))
	}
	f.awaitCode(t, f.move(true), "quorum-missing!")
	m := f.move(true)
	drivertest.Run(t, f.driver.Fence(m))
	err := f.driver.Promote(m).Act(t.Context(), "test")
	require.Equal(t, activities.ErrRefused, activities.TypeOf(err), "%v", err)
	drivertest.Run(t, f.driver.Unfence(m))
}

// Beneath Sentinels nobody but they changes who follows whom: they say SLAVEOF, muster would say REPLICAOF.
func TestNoRawCommandBeneathSentinel(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisSentinel)
	m := f.move(true)
	f.CarryOut(t, m)
	drivertest.Run(t, f.driver.Follow(m))
	for _, name := range []string{east, west} {
		stats, err := f.client(t, name).Info(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		require.Contains(t, stats, "cmdstat_slaveof:", name)
		require.NotContains(t, stats, "cmdstat_replicaof:", name)
		require.NotContains(t, stats, "cmdstat_failover:", name)
	}
}

// An estate that does not know of the Sentinels or the Cluster is told before anything moves.
func TestAnotherManagerIsNamed(t *testing.T) {
	t.Parallel()
	for _, shape := range []string{runbooks.RedisSentinel, runbooks.RedisCluster} {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, shape)
			settings := *f.Target.System.Redis
			settings.Shape = runbooks.RedisReplication
			f.Target.System.Redis = &settings
			require.Contains(t, f.codes(t, f.move(true)), "another-manager!")
		})
	}
}

func TestFactsOfAMember(t *testing.T) {
	t.Parallel()
	for _, shape := range []string{runbooks.RedisReplication, runbooks.RedisSentinel} {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, shape)
			state, err := f.driver.Observe(t.Context(), f.Target)
			require.NoError(t, err)
			primary, standby := state.Members[sandbox.East].Facts, state.Members[sandbox.West].Facts
			for _, facts := range []map[string]string{primary, standby} {
				for _, fact := range []string{"role", "replid", "offset", "version", "keys", "dataset_bytes", "persistence"} {
					require.NotEmpty(t, facts[fact], "%s of %v", fact, facts)
				}
				require.Equal(t, shape, facts["manager"])
			}
			require.Equal(t, "up", standby["link"])
			require.Equal(t, activities.RoleStandby, state.Members[sandbox.West].Role)
			require.Zero(t, state.Members[sandbox.West].LagBytes)

			f.do(t, east, "ACL", "SETUSER", f.Target.System.Redis.User, "-pubsub")
			state, err = f.driver.Observe(t.Context(), f.Target)
			require.NoError(t, err)
			require.Equal(t, activities.RolePrimary, state.Members[sandbox.East].Role, "a user who may not ask who listens is served all the same")
		})
	}
}

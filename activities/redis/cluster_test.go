package redis_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/drivertest"
	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/runbooks"
)

func TestClusterSlotsAndVotes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisCluster)
	require.Empty(t, f.codes(t, f.move(true)))
	kill(t, f.sandbox.RedisPID(west+"-1"))
	f.awaitCode(t, f.move(true), "slots-uncovered!") // the shard has nobody to go to
	f.awaitCode(t, f.move(true), "target-unreachable!")
	require.NoError(t, f.sandbox.StartRedis(t.Context(), sandbox.West))
	require.Eventually(t, func() bool { return len(f.codes(t, f.move(true))) == 0 }, 20*time.Second, 20*time.Millisecond)

	require.NoError(t, f.sandbox.KillRedis(t.Context(), sandbox.East))
	m := f.move(false)
	f.awaitCode(t, m, "no-majority-to-vote")
	drivertest.Run(t, f.driver.Fence(m))
	err := f.driver.Promote(m).Act(t.Context(), "test")
	require.Equal(t, activities.ErrRefused, activities.TypeOf(err), "%v", err)
	require.Contains(t, err.Error(), "takeover=true")
	state, err := f.driver.Observe(t.Context(), f.Target)
	require.NoError(t, err)
	require.Equal(t, activities.RoleStandby, state.Members[sandbox.West].Role)
	m.Takeover = true
	drivertest.Run(t, f.driver.Promote(m))
}

// A replica that won an election just now takes itself for the winner of the next one, too: it must accept nothing before the Cluster agrees.
func TestAClusterMovesThereAndBackAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisCluster)
	written := int64(0)
	for range 3 {
		marks, err := f.driver.Marks(t.Context(), f.Target, f.Target.System.Members[f.From].Address)
		require.NoError(t, err)
		for range 20 {
			require.NoError(t, marks.Write(t.Context(), "edge", written+1))
			written++
		}
		marks.Close()
		m := f.move(true)
		f.CarryOut(t, m)
		drivertest.Run(t, f.driver.Follow(m))
		f.From, f.To = f.To, f.From
	}
	marks, err := f.driver.Marks(t.Context(), f.Target, f.Target.System.Members[f.From].Address)
	require.NoError(t, err)
	defer marks.Close()
	found, err := marks.Read(t.Context(), "edge", 1, written)
	require.NoError(t, err)
	require.Len(t, found, int(written))
}

// With a majority of masters left, a shard whose master is gone is promoted by their vote.
func TestClusterForce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisCluster)
	for _, name := range []string{west + "-1", west + "-2", west + "-3"} { // else the Cluster may be there first
		f.do(t, name, "CONFIG", "SET", "cluster-replica-no-failover", "yes")
	}
	kill(t, f.sandbox.RedisPID(east+"-1"))
	m := f.move(false)
	require.Eventually(t, func() bool {
		state, err := f.driver.Observe(t.Context(), f.Target)
		return err == nil && state.Members[sandbox.East].Role != activities.RoleUnknown && !slices.Contains(f.codes(t, m), "no-majority-to-vote")
	}, 20*time.Second, 20*time.Millisecond)
	fenced, _ := drivertest.Run(t, f.driver.Fence(m))
	m.Position = fenced.Position
	drivertest.Run(t, f.driver.Promote(m))
	log, err := os.ReadFile(filepath.Join(f.sandbox.Dir(), "redis", west+"-1", "redis.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "Forced failover user request accepted")
	require.NotContains(t, string(log), "Taking over the master")
}

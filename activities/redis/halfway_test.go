package redis_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/drivertest"
	"github.com/musterhq/muster/runbooks"
)

// A run that was aborted after the promotion is finished by the same runbook: what is there already is named, and every step is met.
func TestSameMoveFinishesWhatAnAbortLeftHalfway(t *testing.T) {
	t.Parallel()
	for _, shape := range []string{runbooks.RedisReplication, runbooks.RedisSentinel, runbooks.RedisCluster} {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, shape)
			m := f.move(true)
			f.CarryOut(t, m)
			drivertest.Run(t, f.driver.Follow(m))
			require.Equal(t, []string{activities.FindingMoved + "!"}, f.codes(t, m))
			for name, goal := range map[string]activities.Action{
				"prepare": f.driver.Prepare(m), "fence": f.driver.Fence(m), "catch-up": f.driver.CatchUp(m), "promote": f.driver.Promote(m), "follow": f.driver.Follow(m),
			} {
				look, err := goal.Look(t.Context())
				require.NoError(t, err)
				require.True(t, look.Met, "%s: %s", name, look.Why)
			}
		})
	}
	t.Run("unplanned", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, runbooks.RedisReplication)
		f.Kill(t, f.From)
		f.CarryOut(t, f.move(false))
		require.Equal(t, []string{"already-promoted"}, f.codes(t, f.move(false)))
		require.Contains(t, f.codes(t, f.move(true)), "source-unreachable!", "it is not the runbook that was aborted")
	})
}

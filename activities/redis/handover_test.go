package redis

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/host"
	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/runbooks"
)

// A FAILOVER that was given up is not waited for: the old primary says that none is at work, and the standby is one still.
func TestAFailoverThatWasGivenUpIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	s := sandbox.ForTest(t, sandbox.Options{Systems: []string{}, Redis: runbooks.RedisReplication, NoRoute: true})
	hosts := host.New()
	t.Cleanup(hosts.Close)
	d := New(hosts)
	t.Cleanup(d.Close)
	e := s.Estate()
	from, to, err := d.pair(activities.Move{From: sandbox.East, To: sandbox.West, Planned: true,
		Target: activities.Target{Estate: e.Name, Name: sandbox.RedisSystem, System: e.Systems[sandbox.RedisSystem], Hosts: e.Hosts}})
	require.NoError(t, err)
	_, err = d.awaitPrimary(t.Context(), to[0], from[0], true, time.Hour)
	require.Equal(t, activities.ErrNotYet, activities.TypeOf(err))
	require.ErrorContains(t, err, "FAILOVER ended")
}

package redis_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/drivertest"
	"github.com/musterhq/muster/runbooks"
)

const anyMoment = "any"

// Clients that are cut off are cut off shortly before the replica's next word to its primary, for which FAILOVER waits.
func TestPrepareWaitsForTheReplicasWord(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisReplication)
	look, _ := drivertest.Run(t, f.driver.Prepare(f.move(true)))
	require.Equal(t, anyMoment, look.Facts["moment"], "nobody writes: there is nothing to wait for")

	client := f.client(t, east)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_ = client.Incr(ctx, "written").Err()
			<-time.After(time.Millisecond)
		}
	}()
	began := time.Now()
	look, _ = drivertest.Run(t, f.driver.Prepare(f.move(true)))
	require.GreaterOrEqual(t, time.Since(began), 800*time.Millisecond, "from a word that was heard to shortly before the next")
	require.NotEqual(t, anyMoment, look.Facts["moment"])
	stop()
	<-ended
}

// Clients are cut off when the Sentinel that will be asked has just so long not looked at the replica as the promotion will take.
func TestPrepareWaitsForTheSentinelsLook(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisSentinel)
	look, _ := drivertest.Run(t, f.driver.Prepare(f.move(true)))
	require.NotEqual(t, anyMoment, look.Facts["moment"])
	age := f.sentinelsLook(t)
	require.GreaterOrEqual(t, age, 450*time.Millisecond)
	require.Less(t, age, 5*time.Second, "a look is up to ten seconds old at any moment")
}

func (f fixture) sentinelsLook(t *testing.T) time.Duration {
	t.Helper()
	c := goredis.NewSentinelClient(&goredis.Options{Addr: f.Target.System.Redis.Sentinels[0]})
	defer func() { _ = c.Close() }()
	replicas, err := c.Replicas(t.Context(), f.Target.System.Redis.MasterName).Result()
	require.NoError(t, err)
	require.Len(t, replicas, 1)
	age, err := strconv.Atoi(replicas[0]["info-refresh"])
	require.NoError(t, err)
	return time.Duration(age) * time.Millisecond
}

// What only shortens an outage keeps no move from beginning.
func TestPrepareNeedsNobody(t *testing.T) {
	t.Parallel()
	for shape, victims := range map[string][]string{
		runbooks.RedisSentinel:    {"sentinel-1", "sentinel-2", "sentinel-3"},
		runbooks.RedisReplication: {west},
		runbooks.RedisCluster:     nil,
	} {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, shape)
			for _, name := range victims {
				kill(t, f.sandbox.RedisPID(name))
			}
			var prepares activities.Preparer = f.driver
			look, _ := drivertest.Run(t, prepares.Prepare(f.move(true)))
			require.Equal(t, anyMoment, look.Facts["moment"])
		})
	}
}

package redis_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/drivertest"
	"github.com/musterhq/muster/runbooks"
)

const (
	anyMoment = "any"
	lateLook  = 16 * time.Second // a Sentinel's looks are ten seconds apart otherwise
)

// Clients that are cut off are cut off shortly before the replica's next word to its primary, for which FAILOVER waits.
func TestPrepareWaitsForTheReplicasWord(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisReplication)
	client := f.client(t, east)
	require.Eventually(t, func() bool { // its first word may be due after the fixture has seen the link
		info, err := client.Info(t.Context(), "replication").Result()
		return err == nil && strings.Contains(info, "state=online")
	}, 10*time.Second, 5*time.Millisecond)
	look, _ := drivertest.Run(t, f.driver.Prepare(f.move(true)))
	require.Equal(t, anyMoment, look.Facts["moment"], "nobody writes: there is nothing to wait for")

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
	_, age := f.sentinelSays(t, 0)
	require.GreaterOrEqual(t, age, 450*time.Millisecond)
	require.Less(t, age, 5*time.Second, "a look is up to ten seconds old at any moment")
}

// sentinelSays is what one Sentinel last saw of the only replica.
func (f fixture) sentinelSays(t *testing.T, number int) (role string, age time.Duration) {
	t.Helper()
	c := f.sentinel(t, number)
	replicas, err := c.Replicas(t.Context(), f.Target.System.Redis.MasterName).Result()
	require.NoError(t, err)
	require.Len(t, replicas, 1)
	milliseconds, err := strconv.Atoi(replicas[0]["info-refresh"])
	require.NoError(t, err)
	return replicas[0]["role-reported"], time.Duration(milliseconds) * time.Millisecond
}

func (f fixture) sentinel(t *testing.T, number int) *goredis.SentinelClient {
	t.Helper()
	c := goredis.NewSentinelClient(&goredis.Options{Addr: f.Target.System.Redis.Sentinels[number]})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Right after a failover some Sentinels have seen that the old master is a replica now, and some not yet. One of these would undo a
// promotion: at its next look it would find the master that it saw before, and make it a replica for the first time.
func TestNoFailoverWhileASentinelIsMistaken(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*testing.T, fixture, activities.Move){
		"prepared": func(t *testing.T, f fixture, m activities.Move) {
			drivertest.Run(t, f.driver.Prepare(m))
			role, _ := f.sentinelSays(t, 1)
			require.Equal(t, "slave", role)
		},
		"promoted at once": func(t *testing.T, f fixture, _ activities.Move) {
			require.Eventually(t, func() bool { // its next look will come in the middle of the failover
				_, age := f.sentinelSays(t, 1)
				return age >= lateLook-500*time.Millisecond
			}, lateLook, 5*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, runbooks.RedisSentinel)
			f.CarryOut(t, f.move(true))
			late := goredis.NewStatusCmd(t.Context(), "SENTINEL", "DEBUG", "INFO-PERIOD", lateLook.Milliseconds())
			require.NoError(t, f.sentinel(t, 1).Process(t.Context(), late))
			drivertest.Run(t, f.driver.Follow(f.move(true)))
			role, _ := f.sentinelSays(t, 1)
			require.Equal(t, "master", role, "it looks later than the others")

			back := activities.Move{Target: f.Target, From: f.To, To: f.From, Planned: true}
			begin(t, f, back)
			f.CarryOut(t, back)
			drivertest.Run(t, f.driver.Follow(back))
			look, err := f.driver.Promote(back).Look(t.Context())
			require.NoError(t, err)
			require.True(t, look.Met, look.Why)
		})
	}
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

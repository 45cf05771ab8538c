package redis_test

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/drivertest"
	"github.com/musterhq/muster/activities/host"
	"github.com/musterhq/muster/activities/redis"
	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/runbooks"
)

// TestMain has more tests at once than there are cores: Sentinels and Clusters wait for their own timers most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestConformance runs the suite for every shape.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, shape := range []string{runbooks.RedisReplication, runbooks.RedisSentinel, runbooks.RedisCluster} {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			drivertest.Suite(t, func(t *testing.T) drivertest.Fixture { return newFixture(t, shape).Fixture })
		})
	}
}

type fixture struct {
	drivertest.Fixture
	sandbox *sandbox.Sandbox
	driver  *redis.Driver
}

func newFixture(t *testing.T, shape string) fixture {
	t.Helper()
	return fixtureOf(t, sandbox.ForTest(t, sandbox.Options{Systems: []string{}, Redis: shape, NoRoute: true}))
}

func fixtureOf(t *testing.T, s *sandbox.Sandbox) fixture {
	t.Helper()
	hosts := host.New()
	t.Cleanup(hosts.Close)
	driver := redis.New(hosts)
	t.Cleanup(driver.Close)
	estate := s.Estate()
	f := drivertest.Fixture{
		Driver: driver,
		Target: activities.Target{Estate: estate.Name, Name: sandbox.RedisSystem, System: estate.Systems[sandbox.RedisSystem], Hosts: estate.Hosts},
		From:   sandbox.East, To: sandbox.West,
		Over: func(hosts activities.Hosts) activities.System {
			over := redis.New(hosts)
			t.Cleanup(over.Close)
			return over
		},
		Kill: func(t testing.TB, site string) {
			t.Helper()
			require.NoError(t, s.KillRedis(t.Context(), site))
		},
		Fenced: activities.ProofRefuses, LossUnknown: true,
		Timings: func(move, step string, took time.Duration) {
			if os.Getenv("MUSTER_TIMINGS") != "" {
				t.Logf("%s %s: %s", move, step, took.Round(time.Millisecond))
			}
		},
	}
	if f.Target.System.Redis.Shape == runbooks.RedisCluster { // all masters are at one site: nobody is left to vote
		f.Accept = func(m *activities.Move) { m.Takeover = true }
	}
	return fixture{Fixture: f, sandbox: s, driver: driver}
}

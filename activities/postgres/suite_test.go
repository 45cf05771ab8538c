package postgres_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/drivertest"
	"github.com/musterhq/muster/activities/host"
	"github.com/musterhq/muster/activities/postgres"
	"github.com/musterhq/muster/deploy/sandbox"
)

// TestConformance runs the suite for every PostgreSQL of this machine, with local hosts and through a real sshd.
func TestConformance(t *testing.T) {
	versions := sandbox.BinDirectories()
	require.NotEmpty(t, versions, "no PostgreSQL below /usr/lib/postgresql: apt-get install postgresql")
	for _, bin := range versions {
		for _, kind := range []string{"local", "ssh"} {
			name := filepath.Base(filepath.Dir(bin)) + "/" + kind
			t.Run(name, func(t *testing.T) {
				drivertest.Suite(t, func(t *testing.T) drivertest.Fixture {
					return newFixture(t, sandbox.Options{BinDirectory: bin, SSH: kind == "ssh", NoRoute: true})
				})
			})
		}
	}
}

func newFixture(t *testing.T, o sandbox.Options) drivertest.Fixture {
	s := sandbox.ForTest(t, o)
	return fixtureOf(t, s)
}

func fixtureOf(t *testing.T, s *sandbox.Sandbox) drivertest.Fixture {
	hosts := host.New()
	t.Cleanup(hosts.Close)
	driver := postgres.New(hosts)
	t.Cleanup(driver.Close)
	estate := s.Estate()
	return drivertest.Fixture{
		Driver: driver,
		Target: activities.Target{Estate: estate.Name, Name: "orders", System: estate.Systems["orders"], Hosts: estate.Hosts},
		From:   sandbox.East, To: sandbox.West,
		Over: func(hosts activities.Hosts) activities.System {
			over := postgres.New(hosts)
			t.Cleanup(over.Close)
			return over
		},
		Kill: func(t testing.TB, site string) {
			t.Helper()
			what := "standby"
			state, err := driver.Observe(t.Context(), activities.Target{Estate: estate.Name, Name: "orders", System: estate.Systems["orders"], Hosts: estate.Hosts})
			require.NoError(t, err)
			if state.Members[site].AcceptsWrites {
				what = "primary"
			}
			_, err = s.Break(t.Context(), what+":orders")
			require.NoError(t, err)
		},
		Timings: func(move, step string, took time.Duration) {
			if os.Getenv("MUSTER_TIMINGS") != "" {
				t.Logf("%s %s: %s", move, step, took.Round(time.Millisecond))
			}
		},
	}
}

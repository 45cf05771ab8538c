package postgres_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/drivertest"
	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/runbooks"
)

const wait = 60 * time.Second

// sql runs one statement on a member, directly.
func sql(t testing.TB, s *sandbox.Sandbox, site, text string) {
	t.Helper()
	conn, err := s.Connect(t.Context(), "orders", site)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), text, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err, text)
}

func codes(t testing.TB, f drivertest.Fixture, planned bool, change func(m *activities.Move)) (refused, warned []string) {
	t.Helper()
	m := activities.Move{Target: f.Target, From: f.From, To: f.To, Planned: planned}
	if change != nil {
		change(&m)
	}
	result, err := f.Driver.Preflight(t.Context(), m)
	require.NoError(t, err)
	for _, found := range result.Findings {
		require.NotEmpty(t, found.Message)
		if found.Refuse {
			refused = append(refused, found.Code)
		} else {
			warned = append(warned, found.Code)
		}
	}
	return refused, warned
}

func awaitHealthy(t testing.TB, f drivertest.Fixture) {
	t.Helper()
	require.Eventually(t, func() bool {
		refused, _ := codes(t, f, true, nil)
		return len(refused) == 0
	}, wait, 20*time.Millisecond)
}

// copyOf changes a target without changing the original's maps.
func withMember(m *activities.Move, site string, change func(member *runbooks.Member)) {
	members := map[string]runbooks.Member{}
	for name, member := range m.System.Members {
		own := *member.PostgreSQL
		member.PostgreSQL = &own
		members[name] = member
	}
	member := members[site]
	change(&member)
	members[site] = member
	m.System.Members = members
}

func TestPreflightRefuses(t *testing.T) {
	s := sandbox.ForTest(t, sandbox.Options{NoRoute: true, Systems: []string{"orders", "other"}})
	f := fixtureOf(t, s)
	awaitHealthy(t, f)

	t.Run("healthy", func(t *testing.T) {
		_, warned := codes(t, f, true, nil)
		require.Empty(t, warned)
		_, warned = codes(t, f, false, nil)
		require.Equal(t, []string{"source-is-healthy"}, warned)
	})
	t.Run("wrong way round", func(t *testing.T) {
		refused, _ := codes(t, f, true, func(m *activities.Move) { m.From, m.To = m.To, m.From })
		require.Equal(t, []string{activities.FindingMoved}, refused)
	})
	t.Run("another system's standby", func(t *testing.T) {
		other := s.Estate().Systems["other"].Members[sandbox.West]
		refused, _ := codes(t, f, true, func(m *activities.Move) {
			withMember(m, sandbox.West, func(w *runbooks.Member) { w.Address = other.Address })
			pg := *m.System.PostgreSQL
			pg.Database = "postgres"
			m.System.PostgreSQL = &pg
		})
		require.Contains(t, refused, "different-system-identifier")
		require.Contains(t, refused, "standby-follows-someone-else")
	})
	t.Run("two primaries", func(t *testing.T) {
		other := s.Estate().Systems["other"].Members[sandbox.East]
		for _, planned := range []bool{true, false} {
			refused, _ := codes(t, f, planned, func(m *activities.Move) {
				withMember(m, sandbox.West, func(w *runbooks.Member) { w.Address = other.Address })
				pg := *m.System.PostgreSQL
				pg.Database = "postgres"
				m.System.PostgreSQL = &pg
			})
			require.Contains(t, refused, "two-primaries")
		}
	})
	t.Run("missing slots", func(t *testing.T) {
		refused, _ := codes(t, f, true, func(m *activities.Move) {
			withMember(m, sandbox.West, func(w *runbooks.Member) { w.PostgreSQL.Slot = "nowhere" })
		})
		require.Equal(t, []string{"missing-slot"}, refused)
		_, warned := codes(t, f, true, func(m *activities.Move) {
			withMember(m, sandbox.East, func(e *runbooks.Member) { e.PostgreSQL.Slot = "" })
		})
		require.Equal(t, []string{"missing-slot"}, warned)
	})
	t.Run("muster's own password", func(t *testing.T) {
		secretFile := filepath.Join(t.TempDir(), "wrong")
		require.NoError(t, os.WriteFile(secretFile, []byte("planted-wrong-password"), 0o600))
		refused, _ := codes(t, f, true, func(m *activities.Move) {
			pg := *m.System.PostgreSQL
			pg.Password = runbooks.Secret("file:" + secretFile)
			m.System.PostgreSQL = &pg
		})
		require.Contains(t, refused, "wrong-credentials")
		require.NotContains(t, refused, "target-unreachable", "a server that answers is not down")
	})
	t.Run("credentials for the way back", func(t *testing.T) {
		secretFile := filepath.Join(t.TempDir(), "wrong")
		require.NoError(t, os.WriteFile(secretFile, []byte("planted-wrong-password"), 0o600))
		change := func(m *activities.Move) {
			pg := *m.System.PostgreSQL
			pg.ReplicationPassword = runbooks.Secret("file:" + secretFile)
			m.System.PostgreSQL = &pg
		}
		refused, _ := codes(t, f, true, change)
		require.Equal(t, []string{"missing-credentials", "missing-credentials"}, refused)
		m := activities.Move{Target: f.Target, From: f.From, To: f.To, Planned: true}
		change(&m)
		result, err := f.Driver.Preflight(t.Context(), m)
		require.NoError(t, err)
		require.NotContains(t, fmt.Sprint(result), "planted-wrong-password")
	})
	t.Run("host unusable", func(t *testing.T) {
		refused, _ := codes(t, f, true, func(m *activities.Move) {
			withMember(m, sandbox.East, func(e *runbooks.Member) { e.PostgreSQL.DataDirectory += "-none" })
		})
		require.Contains(t, refused, "host-unusable")
		refused, _ = codes(t, f, true, func(m *activities.Move) {
			withMember(m, sandbox.East, func(e *runbooks.Member) {
				e.PostgreSQL.DataDirectory = m.System.Members[sandbox.West].PostgreSQL.DataDirectory
			})
		})
		require.Equal(t, []string{"host-unusable"}, refused, "the other member's data directory")
	})
	t.Run("fence does not stop the wrong server", func(t *testing.T) {
		m := activities.Move{Target: f.Target, From: f.From, To: f.To, Planned: true}
		withMember(&m, sandbox.East, func(e *runbooks.Member) {
			e.PostgreSQL.DataDirectory = m.System.Members[sandbox.West].PostgreSQL.DataDirectory
		})
		require.Equal(t, activities.ErrConfig, activities.TypeOf(f.Driver.Fence(m).Act(t.Context(), "wrong")))
		awaitHealthy(t, f)
	})
	t.Run("replay paused and lag", func(t *testing.T) {
		sql(t, s, sandbox.West, "SELECT pg_wal_replay_pause()")
		sql(t, s, sandbox.East, "CREATE TABLE lag AS SELECT g FROM generate_series(1, 10000) g")
		zero := int64(0)
		require.Eventually(t, func() bool {
			refused, _ := codes(t, f, true, func(m *activities.Move) { m.Objectives.MaxLagBytes = &zero })
			return slices.Equal(refused, []string{"replay-paused", "lag-over-objective"})
		}, wait, 10*time.Millisecond)
		_, err := f.Driver.CatchUp(activities.Move{Target: f.Target, From: f.From, To: f.To, Planned: true, Position: "F/0"}).Look(t.Context())
		require.Equal(t, activities.ErrRefused, activities.TypeOf(err))
		sql(t, s, sandbox.West, "SELECT pg_wal_replay_resume()")
		awaitHealthy(t, f)
	})
	t.Run("no WAL to rewind from", func(t *testing.T) {
		sql(t, s, sandbox.East, "ALTER SYSTEM SET full_page_writes = off")
		sql(t, s, sandbox.East, "SELECT pg_reload_conf()")
		require.Eventually(t, func() bool {
			refused, warned := codes(t, f, true, nil)
			return len(refused) == 0 && slices.Equal(warned, []string{"no-wal-to-rewind"})
		}, wait, 10*time.Millisecond)
		refused, _ := codes(t, f, true, func(m *activities.Move) {
			pg := *m.System.PostgreSQL
			pg.ReplicationUser = "nobody"
			m.System.PostgreSQL = &pg
		})
		require.Contains(t, refused, "no-wal-to-rewind", "neither rewind nor base backup is possible")
		sql(t, s, sandbox.East, "ALTER SYSTEM RESET full_page_writes")
		sql(t, s, sandbox.East, "SELECT pg_reload_conf()")
		awaitHealthy(t, f)
	})
	t.Run("standby not streaming", func(t *testing.T) {
		sql(t, s, sandbox.West, "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'")
		sql(t, s, sandbox.West, "SELECT pg_reload_conf()")
		require.Eventually(t, func() bool {
			refused, _ := codes(t, f, true, nil)
			return slices.Contains(refused, "standby-not-streaming")
		}, wait, 10*time.Millisecond)
	})
	t.Run("source down", func(t *testing.T) {
		f.Kill(t, sandbox.East)
		refused, _ := codes(t, f, true, nil)
		require.Contains(t, refused, "source-unreachable")
		refused, _ = codes(t, f, false, nil)
		require.Empty(t, refused)
	})
}

// Where the host cannot be reached, the server is made read-only, which is undone by Unfence and does not follow a promotion.
func TestFenceWithoutHost(t *testing.T) {
	s := sandbox.ForTest(t, sandbox.Options{NoRoute: true})
	f := fixtureOf(t, s)
	awaitHealthy(t, f)
	blind := activities.Move{Target: f.Target, From: f.From, To: f.To, Planned: true}
	withMember(&blind, f.From, func(m *runbooks.Member) { m.Host = "" })

	client, err := s.Connect(t.Context(), "orders", sandbox.East)
	require.NoError(t, err)
	defer client.Close(context.Background())
	look, acted := drivertest.Run(t, f.Driver.Fence(blind))
	require.True(t, acted)
	require.Equal(t, activities.ProofCutOff, look.Proof)
	require.NotEmpty(t, look.Position)
	require.Error(t, client.Ping(t.Context()), "the client was cut off")
	marks, err := f.Driver.Marks(t.Context(), f.Target, f.Target.System.Members[f.From].Address)
	require.NoError(t, err)
	defer marks.Close()
	require.Equal(t, activities.ErrRefused, activities.TypeOf(marks.Write(t.Context(), "x", 1)))
	blind.Position = look.Position
	drivertest.Run(t, f.Driver.CatchUp(blind))

	drivertest.Run(t, f.Driver.Unfence(blind))
	require.NoError(t, marks.Write(t.Context(), "x", 1))

	// Read-only is not inherited by the next primary.
	sql(t, s, sandbox.West, "ALTER SYSTEM SET default_transaction_read_only = on")
	sql(t, s, sandbox.West, "SELECT pg_reload_conf()")
	m := activities.Move{Target: f.Target, From: f.From, To: f.To, Planned: true}
	look, _ = drivertest.Run(t, f.Driver.Fence(m))
	require.Equal(t, activities.ProofStopped, look.Proof)
	drivertest.Run(t, f.Driver.Promote(m))
	marks, err = f.Driver.Marks(t.Context(), f.Target, f.Target.System.Members[f.To].Address)
	require.NoError(t, err)
	defer marks.Close()
	require.NoError(t, marks.Write(t.Context(), "x", 2))
	drivertest.Run(t, f.Driver.Follow(m))
}

func TestNothingReachable(t *testing.T) {
	s := sandbox.ForTest(t, sandbox.Options{NoRoute: true})
	f := fixtureOf(t, s)
	awaitHealthy(t, f)
	f.Kill(t, f.From)
	m := activities.Move{Target: f.Target, From: f.From, To: f.To}
	withMember(&m, f.From, func(m *runbooks.Member) { m.Host = "" })
	look, err := f.Driver.Fence(m).Look(t.Context())
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err), "%v", err)
	require.False(t, look.Met)
	require.Equal(t, activities.ProofNone, look.Proof)
	result, err := f.Driver.Preflight(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, int64(-1), result.LossBytes)
	require.Equal(t, activities.RoleUnknown, result.State.Members[f.From].Role)
	// The gate for the missing proof was approved: the move goes on, and the old primary follows once its host is there again.
	drivertest.Run(t, f.Driver.CatchUp(m))
	drivertest.Run(t, f.Driver.Promote(m))
	drivertest.Run(t, f.Driver.Follow(activities.Move{Target: f.Target, From: f.From, To: f.To}))
}

// diverge writes on the old primary what the standby never gets, crashes it and promotes the other.
func diverge(t *testing.T, s *sandbox.Sandbox, f drivertest.Fixture) activities.Move {
	t.Helper()
	awaitHealthy(t, f)
	sql(t, s, sandbox.West, "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'")
	sql(t, s, sandbox.West, "SELECT pg_reload_conf()")
	require.Eventually(t, func() bool {
		state, err := f.Driver.Observe(t.Context(), f.Target)
		return err == nil && state.Members[f.To].Following == ""
	}, wait, 5*time.Millisecond)
	sql(t, s, sandbox.East, "CREATE TABLE lost AS SELECT g FROM generate_series(1, 1000) g")
	f.Kill(t, f.From)
	m := activities.Move{Target: f.Target, From: f.From, To: f.To}
	result, err := f.Driver.Preflight(t.Context(), m)
	require.NoError(t, err)
	require.Greater(t, result.LossBytes, int64(10_000), "a thousand rows are known to be lost")
	look, _ := drivertest.Run(t, f.Driver.Fence(m))
	require.Equal(t, activities.ProofCrashed, look.Proof)
	m.Position = look.Position
	look, _ = drivertest.Run(t, f.Driver.CatchUp(m))
	require.NotEmpty(t, look.Facts["behind_bytes"])
	drivertest.Run(t, f.Driver.Promote(m))
	return m
}

func followed(t *testing.T, s *sandbox.Sandbox, f drivertest.Fixture, m activities.Move, how string) {
	t.Helper()
	look, _ := drivertest.Run(t, f.Driver.Follow(m))
	require.Equal(t, "ok "+how, look.Facts["made_by"])
	sql(t, s, sandbox.West, "CREATE TABLE after_all AS SELECT 1 AS one")
	conn, err := s.Connect(t.Context(), "orders", sandbox.East)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	require.Eventually(t, func() bool {
		_, err := conn.Exec(t.Context(), "SELECT * FROM after_all")
		return err == nil
	}, wait, 10*time.Millisecond)
	_, err = conn.Exec(t.Context(), "SELECT * FROM lost")
	require.Error(t, err, "what was lost is gone on both")
	entries, err := filepath.Glob(s.DataDirectory("orders", sandbox.East) + ".muster-*")
	require.NoError(t, err)
	for _, path := range entries {
		require.NotRegexp(t, `muster-(rewind|new|keep)`, path, "nothing half done is left")
	}
	back := f
	back.From, back.To = f.To, f.From
	awaitHealthy(t, back)
}

func TestFollow(t *testing.T) {
	for name, test := range map[string]struct {
		options sandbox.Options
		before  func(t *testing.T, s *sandbox.Sandbox, m *activities.Move)
		how     string
	}{
		"rewind": {how: "rewind"},
		"rewind with the configuration outside": {
			options: sandbox.Options{ConfigOutside: true}, how: "rewind",
		},
		"rewind over ssh": {
			options: sandbox.Options{SSH: true}, how: "rewind",
		},
		"backup where rewind fails": {
			before: func(t *testing.T, s *sandbox.Sandbox, m *activities.Move) {
				// WAL that pg_rewind needs is gone from the old primary.
				dir := filepath.Join(s.DataDirectory("orders", sandbox.East), "pg_wal")
				names, err := filepath.Glob(dir + "/0000*")
				require.NoError(t, err)
				for _, name := range names {
					require.NoError(t, os.Rename(name, filepath.Join(t.TempDir(), filepath.Base(name))))
				}
			}, how: "backup",
		},
		"backup where an earlier rewind was left halfway": {
			before: func(t *testing.T, s *sandbox.Sandbox, m *activities.Move) {
				dir := s.DataDirectory("orders", sandbox.East)
				require.NoError(t, os.Rename(dir, dir+".muster-rewind"))
			}, how: "backup",
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.options.NoRoute = true
			s := sandbox.ForTest(t, test.options)
			f := fixtureOf(t, s)
			m := diverge(t, s, f)
			if test.before != nil {
				test.before(t, s, &m)
			}
			followed(t, s, f, m, test.how)
		})
	}
}

// A worker that dies while pg_rewind or a base backup runs leaves the work to finish; nobody does it twice.
func TestFollowIsCutShort(t *testing.T) {
	s := sandbox.ForTest(t, sandbox.Options{NoRoute: true})
	f := fixtureOf(t, s)
	m := diverge(t, s, f)
	for _, after := range []time.Duration{20 * time.Millisecond, 200 * time.Millisecond, 600 * time.Millisecond, time.Second} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		_ = f.Driver.Follow(m).Act(ctx, "cut")
		cancel()
	}
	look, _ := drivertest.Run(t, f.Driver.Follow(m))
	require.True(t, strings.HasPrefix(look.Facts["made_by"], "ok "))
	back := f
	back.From, back.To = f.To, f.From
	awaitHealthy(t, back)
}

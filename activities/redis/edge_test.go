package redis_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/drivertest"
	"github.com/musterhq/muster/activities/host"
	"github.com/musterhq/muster/activities/redis"
	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/runbooks"
)

func (f fixture) client(t *testing.T, name string) *goredis.Client {
	t.Helper()
	c, err := f.sandbox.Redis(name)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (f fixture) do(t *testing.T, name string, args ...any) {
	t.Helper()
	require.NoError(t, f.client(t, name).Do(t.Context(), args...).Err(), "%v", args)
}

func (f fixture) move(planned bool) activities.Move {
	return activities.Move{Target: f.Target, From: f.From, To: f.To, Planned: planned}
}

// codes are the findings of a preflight, the refusing ones with an exclamation mark.
func (f fixture) codes(t *testing.T, m activities.Move) []string {
	t.Helper()
	result, err := f.driver.Preflight(t.Context(), m)
	require.NoError(t, err)
	var codes []string
	for _, found := range result.Findings {
		require.NotEmpty(t, found.Message)
		code := found.Code
		if found.Refuse {
			code += "!"
		}
		codes = append(codes, code)
	}
	return codes
}

func (f fixture) awaitCode(t *testing.T, m activities.Move, code string) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, c := range f.codes(t, m) {
			if c == code {
				return true
			}
		}
		return false
	}, 20*time.Second, 20*time.Millisecond, "no finding %s in %v", code, f.codes(t, m))
}

func (f fixture) writeMarks(t *testing.T, address string, n int64) {
	t.Helper()
	marks, err := f.driver.Marks(t.Context(), f.Target, address)
	require.NoError(t, err)
	defer marks.Close()
	for seq := int64(1); seq <= n; seq++ {
		require.NoError(t, marks.Write(t.Context(), "edge", seq))
	}
}

// awaitMarks waits until a server has as many: WAIT, on a connection that wrote nothing, waits for nothing.
func awaitMarks(t *testing.T, c *goredis.Client, want int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		n, err := c.ZCard(t.Context(), "muster:mark:edge").Result()
		return err == nil && n == want
	}, 20*time.Second, 5*time.Millisecond)
}

const (
	east = sandbox.RedisSystem + "/" + sandbox.East
	west = sandbox.RedisSystem + "/" + sandbox.West
)

func TestPreflightNamesBadStates(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisReplication)
	m := f.move(true)
	require.Empty(t, f.codes(t, m))

	f.do(t, west, "CONFIG", "SET", "replica-read-only", "no")
	require.Equal(t, []string{"replica-is-writable!"}, f.codes(t, m))
	f.do(t, west, "CONFIG", "SET", "replica-read-only", "yes")

	f.do(t, east, "CONFIG", "SET", "masterauth", "")
	require.Equal(t, []string{"missing-credentials!"}, f.codes(t, m))

	wrong := m
	system := *m.System.Redis
	system.Password = wrongPassword(t)
	wrong.System.Redis = &system
	hosts := host.New()
	defer hosts.Close()
	other := redis.New(hosts) // its clients have not logged in yet
	defer other.Close()
	result, err := other.Preflight(t.Context(), wrong)
	require.NoError(t, err)
	require.Equal(t, "wrong-password", result.Findings[0].Code)
	require.True(t, result.Findings[0].Refuse)

	// A standby that hangs is behind: its primary goes on.
	f.do(t, east, "CONFIG", "SET", "repl-timeout", "1")
	f.do(t, west, "CONFIG", "SET", "masterauth", "wrong")
	f.do(t, east, "CLIENT", "KILL", "TYPE", "replica")
	f.awaitCode(t, m, "replica-link-down!")
	f.writeMarks(t, f.Target.System.Members[sandbox.East].Address, 100)
	lagged, limit := m, int64(10)
	lagged.Objectives.MaxLagBytes = &limit
	f.awaitCode(t, lagged, "lag-over-objective!")
	result, err = f.driver.Preflight(t.Context(), f.move(false))
	require.NoError(t, err)
	require.Greater(t, result.LossBytes, int64(1000), "what the standby has not received")

	f.do(t, east, "CONFIG", "SET", "masterauth", "something")
	f.do(t, west, "REPLICAOF", "127.0.0.1", "1")
	f.awaitCode(t, m, "standby-follows-someone-else!")
	f.do(t, west, "REPLICAOF", "NO", "ONE")
	f.awaitCode(t, m, "two-primaries!")

	// Its own history makes the way back a full synchronisation, which a delay for each key holds up.
	require.NoError(t, f.client(t, west).Set(t.Context(), "own", "write", 0).Err())
	password, err := f.sandbox.Password("redis")
	require.NoError(t, err)
	f.do(t, west, "CONFIG", "SET", "masterauth", password)
	f.do(t, east, "CONFIG", "SET", "rdb-key-save-delay", "10000000")
	f.do(t, west, "REPLICAOF", "127.0.0.1", f.sandbox.Port(east))
	f.awaitCode(t, m, "sync-in-progress!")
	held, err := f.driver.CatchUp(f.move(false)).Look(t.Context())
	require.NoError(t, err)
	require.False(t, held.Met, "a standby without usable data has caught up with nothing")
}

func TestAMasterThatRestartedEmptyIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisReplication)
	f.writeMarks(t, f.Target.System.Members[sandbox.East].Address, 10)
	awaitMarks(t, f.client(t, west), 10)
	f.do(t, west, "CONFIG", "SET", "masterauth", "wrong") // keeps it from losing the data as well
	f.do(t, east, "CONFIG", "SET", "appendonly", "no")
	f.do(t, east, "CONFIG", "REWRITE")
	require.NoError(t, f.sandbox.KillRedis(t.Context(), sandbox.East))
	require.NoError(t, f.sandbox.StartRedis(t.Context(), sandbox.East))
	f.awaitCode(t, f.move(true), "master-restarted-empty!")
	f.awaitCode(t, f.move(true), "different-replid!")
	f.awaitCode(t, f.move(false), "master-restarted-empty") // going where the data is is what an unplanned move is for
}

// What only the old primary holds is not discarded unasked; the loss is known to the byte before it is.
func TestFollowRefusesToDiscard(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisReplication)
	address := f.Target.System.Members[sandbox.East].Address
	f.writeMarks(t, address, 10)
	awaitMarks(t, f.client(t, west), 10)
	f.do(t, west, "CONFIG", "SET", "masterauth", "wrong")
	f.do(t, east, "CLIENT", "KILL", "TYPE", "replica")
	marks, err := f.driver.Marks(t.Context(), f.Target, address)
	require.NoError(t, err)
	for seq := int64(11); seq <= 20; seq++ {
		require.NoError(t, marks.Write(t.Context(), "edge", seq))
	}
	marks.Close()

	m := f.move(false)
	fenced, _ := drivertest.Run(t, f.driver.Fence(m))
	require.Equal(t, activities.ProofRefuses, fenced.Proof)
	drivertest.Run(t, f.driver.CatchUp(m))
	before, err := f.driver.Preflight(t.Context(), m)
	require.NoError(t, err)
	require.Positive(t, before.LossBytes)
	drivertest.Run(t, f.driver.Promote(m))
	after, err := f.driver.Preflight(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, before.LossBytes, after.LossBytes, "second_repl_offset says the same after the promotion")

	follow := f.driver.Follow(m)
	err = follow.Act(t.Context(), "test")
	require.Equal(t, activities.ErrConflict, activities.TypeOf(err), "%v", err)
	require.Contains(t, err.Error(), "discard=true")
	count, err := f.client(t, east).ZCard(t.Context(), "muster:mark:edge").Result()
	require.NoError(t, err)
	require.Equal(t, int64(20), count)

	m.Discard = true
	drivertest.Run(t, f.driver.Follow(m))
	count, err = f.client(t, east).ZCard(t.Context(), "muster:mark:edge").Result()
	require.NoError(t, err)
	require.Equal(t, int64(10), count)
}

// Roles and fences outlive a restart.
func TestRestartsKeepWhatWasDone(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisReplication)
	m := f.move(true)
	fenced, _ := drivertest.Run(t, f.driver.Fence(m))
	m.Position = fenced.Position
	f.restart(t, sandbox.East)
	require.ErrorContains(t, f.client(t, east).Set(t.Context(), "x", "y", 0).Err(), "NOREPLICAS")
	drivertest.Run(t, f.driver.Fence(m)) // the file has the first step only: it is told once more that the fence is there to stay
	drivertest.Run(t, f.driver.Unfence(m))
	require.NoError(t, f.client(t, east).Set(t.Context(), "x", "y", 0).Err())
	require.Eventually(t, func() bool { return len(f.codes(t, m)) == 0 }, 20*time.Second, 20*time.Millisecond)

	f.CarryOut(t, m)
	f.restart(t, sandbox.East)
	f.restart(t, sandbox.West)
	state, err := f.driver.Observe(t.Context(), f.Target)
	require.NoError(t, err)
	require.Equal(t, activities.RoleStandby, state.Members[sandbox.East].Role)
	require.True(t, state.Members[sandbox.West].AcceptsWrites)
	m.Planned = false // both restarted: nothing can tell any more whose data goes further
	drivertest.Run(t, f.driver.Follow(m))
	f.restart(t, sandbox.East)
	drivertest.Run(t, f.driver.Follow(m))
	original, err := f.client(t, east).ConfigGet(t.Context(), "min-replicas-to-write").Result()
	require.NoError(t, err)
	require.Equal(t, "0", original["min-replicas-to-write"])
}

func (f fixture) restart(t *testing.T, site string) {
	t.Helper()
	require.NoError(t, f.sandbox.KillRedis(t.Context(), site))
	require.NoError(t, f.sandbox.StartRedis(t.Context(), site))
}

// A server that hangs does not answer, and may go on at any moment: an unplanned move fences its file and ends it.
func TestAServerThatHangsIsEnded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisReplication)
	hang(t, f.sandbox.RedisPID(east))
	look, _ := drivertest.Run(t, f.driver.Fence(f.move(false)))
	require.Equal(t, activities.ProofCrashed, look.Proof)
	require.Zero(t, f.sandbox.RedisPID(east))
}

// Behind the clients' own route it is the same, and Where tells which server answers.
func TestMarksThroughTheRoute(t *testing.T) {
	t.Parallel()
	f := fixtureOf(t, sandbox.ForTest(t, sandbox.Options{Systems: []string{}, Redis: runbooks.RedisReplication}))
	estate := f.sandbox.Estate()
	system := estate.Systems[sandbox.RedisSystem]
	through, err := f.driver.Marks(t.Context(), f.Target, estate.Routes[system.Route].Address)
	require.NoError(t, err)
	defer through.Close()
	require.NoError(t, through.Write(t.Context(), "w", 1))
	direct, err := f.driver.Marks(t.Context(), f.Target, system.Members[sandbox.East].Address)
	require.NoError(t, err)
	defer direct.Close()
	want, err := direct.Where(t.Context())
	require.NoError(t, err)
	got, err := through.Where(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
	other, err := f.driver.Marks(t.Context(), f.Target, system.Members[sandbox.West].Address)
	require.NoError(t, err)
	defer other.Close()
	require.Equal(t, activities.ErrRefused, activities.TypeOf(other.Write(t.Context(), "w", 2)), "a standby takes no write")
}

// Clients of Sentinel and Cluster need no route: without an address the master is found.
func TestMarksFindTheMaster(t *testing.T) {
	t.Parallel()
	for _, shape := range []string{runbooks.RedisReplication, runbooks.RedisSentinel, runbooks.RedisCluster} {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, shape)
			marks, err := f.driver.Marks(t.Context(), f.Target, "")
			require.NoError(t, err)
			defer marks.Close()
			for seq := int64(1); seq <= 5; seq++ {
				require.NoError(t, marks.Write(t.Context(), "w", seq))
			}
			require.NoError(t, marks.Forget(t.Context(), "w", 3))
			found, err := marks.Read(t.Context(), "w", 0, 1<<60)
			require.NoError(t, err)
			require.Equal(t, []int64{3, 4, 5}, found)
			last, err := marks.Last(t.Context(), "w")
			require.NoError(t, err)
			require.Equal(t, int64(5), last)
			where, err := marks.Where(t.Context())
			require.NoError(t, err)
			require.Equal(t, "primary", where["role"])
			none, err := marks.Last(t.Context(), "nobody")
			require.NoError(t, err)
			require.Zero(t, none)
		})
	}
}

// No password stands in what people read.
func TestErrorsHoldNoPassword(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisReplication)
	password, err := f.sandbox.Password("redis")
	require.NoError(t, err)
	require.NoError(t, f.sandbox.KillRedis(t.Context(), sandbox.East))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	result, err := f.driver.Preflight(ctx, f.move(true))
	require.NoError(t, err)
	for _, found := range result.Findings {
		require.NotContains(t, found.Message, password)
	}
	_, err = f.driver.Marks(ctx, f.Target, f.Target.System.Members[sandbox.East].Address)
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
	require.NotContains(t, err.Error(), password)
}

// A third server is a sibling: a move re-points it, and goes to it where it holds more than the one that is to be promoted.
func TestSiblings(t *testing.T) {
	t.Parallel()
	f := newFixture(t, runbooks.RedisReplication)
	north := (&f).startSibling(t)
	m := f.move(true)
	require.Eventually(t, func() bool { return len(f.codes(t, m)) == 0 }, 20*time.Second, 20*time.Millisecond)

	f.do(t, west, "CONFIG", "SET", "masterauth", "wrong")
	f.do(t, east, "CLIENT", "KILL", "TYPE", "replica")
	f.writeMarks(t, f.Target.System.Members[sandbox.East].Address, 50)
	awaitMarks(t, north, 50)
	f.awaitCode(t, f.move(false), "sibling-has-more!")
	password, err := f.sandbox.Password("redis")
	require.NoError(t, err)
	f.do(t, west, "CONFIG", "SET", "masterauth", password)
	require.Eventually(t, func() bool { return len(f.codes(t, m)) == 0 }, 20*time.Second, 20*time.Millisecond)

	f.CarryOut(t, m)
	drivertest.Run(t, f.driver.Follow(m))
	role, err := north.Do(t.Context(), "ROLE").Slice()
	require.NoError(t, err)
	require.Equal(t, "slave", role[0])
	require.EqualValues(t, f.sandbox.Port(west), role[2], "it follows the new primary")
}

// startSibling starts a third server, at site north, that follows the primary at east.
func (f *fixture) startSibling(t *testing.T) *goredis.Client {
	t.Helper()
	port := sandbox.PortForTest(t)
	address := fmt.Sprint("127.0.0.1:", port)
	password, err := f.sandbox.Password("redis")
	require.NoError(t, err)
	r, dir := f.Target.System.Redis, t.TempDir()
	config := filepath.Join(dir, "redis.conf")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nreplicaof 127.0.0.1 %d\nmasteruser %s\nmasterauth %s\nuser default off\nuser %s on >%s ~* &* +@all\n",
		port, dir, f.sandbox.Port(east), r.User, password, r.User, password)), 0o600))
	server := exec.Command(f.Target.System.Members[sandbox.East].Redis.Start[0], config)
	require.NoError(t, server.Start())
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	members := maps.Clone(f.Target.System.Members)
	members["north"] = runbooks.Member{Address: address, Host: members[sandbox.West].Host, Redis: &runbooks.RedisMember{ConfigFile: config, Start: server.Args}}
	f.Target.System.Members = members
	client := goredis.NewClient(&goredis.Options{Addr: address, Username: r.User, Password: password})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

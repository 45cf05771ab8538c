package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/runbooks"
)

// openBoth is an estate of two systems, PostgreSQL and Redis, which one runbook moves side by side.
func openBoth(t *testing.T, shape string) *shop {
	t.Helper()
	estate := sandbox.ForTest(t, sandbox.Options{Redis: shape})
	return &shop{worker: startWorker(t, estate.Runbooks()), sandbox: estate}
}

func (s *shop) hasRedis() bool {
	_, has := s.sandbox.Estate().Systems[sandbox.RedisSystem]
	return has
}

// redis is a client of one member, whose caller closes it.
func (s *shop) redis(t *testing.T, site string) *redis.Client {
	t.Helper()
	c, err := s.sandbox.Redis(sandbox.RedisSystem + "/" + site)
	require.NoError(t, err)
	return c
}

func (s *shop) requireRedisSettled(t *testing.T, primary string) {
	t.Helper()
	here, there := s.sitesOf(t, sandbox.RedisSystem)
	require.Equal(t, primary, here, "the Redis primary's site")
	s.awaitRedisReplayed(t, here, there)
}

// awaitRedisReplayed waits until the standby has all that the primary had.
func (s *shop) awaitRedisReplayed(t *testing.T, here, there string) {
	t.Helper()
	offset := func(site, key string) (at int64, up bool) {
		c := s.redis(t, site)
		defer func() { _ = c.Close() }()
		text, err := c.Info(t.Context(), "replication").Result()
		require.NoError(t, err)
		for line := range strings.Lines(text) {
			if value, is := strings.CutPrefix(strings.TrimSpace(line), key+":"); is {
				at, err = strconv.ParseInt(value, 10, 64)
				require.NoError(t, err)
			}
		}
		return at, strings.Contains(text, "master_link_status:up")
	}
	want, _ := offset(here, "master_repl_offset")
	awaited(t, there+" to have applied all that Redis has at "+here, 10*time.Second, func() (int64, bool) {
		at, up := offset(there, "slave_repl_offset")
		return at, up && at >= want
	})
}

func (s *shop) inRedisLog(t *testing.T, site, text string) int {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(s.sandbox.Dir(), "redis", sandbox.RedisSystem, site, "redis.log"))
	require.NoError(t, err)
	return strings.Count(string(log), text)
}

// writeToRedisMembers writes to each Redis server directly, past the route.
func (s *shop) writeToRedisMembers(t *testing.T) *members {
	t.Helper()
	key := func(site string) string { return "past_route:" + site }
	found := func(t *testing.T, site string, from int64) (out []int64) {
		t.Helper()
		here, _ := s.sitesOf(t, sandbox.RedisSystem)
		c := s.redis(t, here)
		defer func() { _ = c.Close() }()
		texts, err := c.ZRangeArgs(t.Context(), redis.ZRangeArgs{Key: key(site), Start: from, Stop: "+inf", ByScore: true}).Result()
		require.NoError(t, err)
		for _, text := range texts {
			seq, err := strconv.ParseInt(text, 10, 64)
			require.NoError(t, err)
			out = append(out, seq)
		}
		return out
	}
	return startMembers(t, found, func(site string) (put, func()) {
		c := s.redis(t, site)
		return func(ctx context.Context, seq int64) error {
			return c.ZAdd(ctx, key(site), redis.Z{Score: float64(seq), Member: seq}).Err()
		}, func() { _ = c.Close() }
	})
}

// TestKillTwoSystems moves PostgreSQL and Redis side by side while clients write past the route too, and kills worker and engine anywhere.
func TestKillTwoSystems(t *testing.T) {
	t.Parallel()
	s := openBoth(t, runbooks.RedisReplication)
	s.killAnywhere(t, number("MUSTER_KILLS", 2), s.writeToMembers(t), s.writeToRedisMembers(t))
}

// TestSentinelNeedsNoRoute moves both systems there and back where Sentinels tell clients who the primary is.
func TestSentinelNeedsNoRoute(t *testing.T) {
	t.Parallel()
	s := openBoth(t, runbooks.RedisSentinel)
	clients := []*members{s.writeToMembers(t), s.writeToRedisMembers(t)}
	for range 2 {
		got := s.disturbed(t, clients, true, nil)
		require.Equal(t, 1, got.effect.Promotions)
		require.Equal(t, 1, got.effect.RedisPromotions)
	}
}

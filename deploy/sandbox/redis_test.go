package sandbox

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/runbooks"
)

// Every shape comes up, is what its files say, and leaves nothing behind.
func TestRedisShapes(t *testing.T) {
	for shape, want := range map[string]int{runbooks.RedisReplication: 2, runbooks.RedisSentinel: 2 + sentinels, runbooks.RedisCluster: 2 * shards} {
		t.Run(shape, func(t *testing.T) {
			s := ForTest(t, Options{Systems: []string{}, Redis: shape, NoRoute: shape != runbooks.RedisReplication})
			t.Logf("up in %s", s.Took())
			loaded, err := runbooks.Load(s.Runbooks())
			require.NoError(t, err)
			require.Equal(t, []runbooks.Estate{s.Estate()}, loaded.Estates())
			status, err := s.Status(t.Context())
			require.NoError(t, err)
			running := 0
			for _, p := range status.Processes {
				if p.Kind == "redis" || p.Kind == "sentinel" {
					require.Equal(t, "running", p.State, p.Name)
					require.Less(t, p.Port, 55535)
					running++
				}
			}
			require.Equal(t, want, running)
			broken, err := s.Break(t.Context(), "primary:"+RedisSystem)
			require.NoError(t, err)
			require.Equal(t, memberName(RedisSystem, East), broken[0].Name)
			for _, n := range s.redisNodes() {
				require.Equal(t, n.site == East, s.RedisPID(n.name) == 0, n.name)
			}
			require.NoError(t, s.Mend(t.Context(), "primary:"+RedisSystem))
			for _, n := range s.redisNodes() {
				require.NotZero(t, s.RedisPID(n.name), n.name)
			}
			require.NoError(t, s.Down(context.Background(), false))
			require.Empty(t, inFolder(s.Dir()))
		})
	}
}

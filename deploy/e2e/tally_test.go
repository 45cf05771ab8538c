package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tally counts, at the systems themselves, what a move did to them.
type tally struct {
	Timeline, Promotions int // of the new primary
	Starts               int // of the old primary's server
	Down, Up             int // the routes' servers

	RedisPromotions, RedisDemotions, RedisStarts int // of the new primary, and of the old one
}

func (s *shop) tally(t *testing.T, here, there string) tally {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(s.sandbox.Dir(), "haproxy", "haproxy.log"))
	require.NoError(t, err)
	counted := tally{
		Promotions: s.inLog(t, there, "received promote request"),
		Starts:     s.inLog(t, here, "starting PostgreSQL"),
		Down:       strings.Count(string(log), "DOWN for maintenance"),
		Up:         strings.Count(string(log), "UP/READY"),
	}
	counted.Timeline = int(s.timeline(t))
	if s.hasRedis() {
		counted.RedisPromotions = s.inRedisLog(t, there, "MASTER MODE enabled")
		counted.RedisDemotions = s.inRedisLog(t, here, "Before turning into a replica")
		counted.RedisStarts = s.inRedisLog(t, here, "Server initialized")
	}
	return counted
}

func (a tally) since(b tally) tally {
	return tally{a.Timeline - b.Timeline, a.Promotions - b.Promotions, a.Starts - b.Starts, a.Down - b.Down, a.Up - b.Up,
		a.RedisPromotions - b.RedisPromotions, a.RedisDemotions - b.RedisDemotions, a.RedisStarts - b.RedisStarts}
}

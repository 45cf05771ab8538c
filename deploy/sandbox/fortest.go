package sandbox

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// ForTest builds a sandbox and takes it away when the test ends. It fails the test where a part is missing. On a test's
// failure the ends of the servers' logs go to the test's log. MUSTER_REDIS_BIN is the RedisBin of all tests.
func ForTest(t testing.TB, options ...Options) *Sandbox {
	t.Helper()
	sweep(t)
	var o Options
	if len(options) > 0 {
		o = options[0]
	}
	if o.RedisBin == "" {
		o.RedisBin = os.Getenv("MUSTER_REDIS_BIN")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s, err := up(ctx, o, procOf(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if t.Failed() {
			for _, n := range s.redisNodes() {
				t.Logf("log of %s: %s", n.name, s.redisTail(n.name))
			}
			for _, name := range s.sentinelNames() {
				t.Logf("log of %s: %s", name, s.redisTail(name))
			}
			for _, system := range s.state.Systems {
				for _, site := range sites {
					t.Logf("log of %s: %s", memberName(system, site), s.tail(system, site))
				}
			}
		}
		if err := s.Down(ctx, true); err != nil {
			t.Error(err)
		}
	})
	return s
}

// PortForTest returns a port of loopback that is the test's own until it ends, also while the test's server is down.
func PortForTest(t testing.TB) int {
	t.Helper()
	ports, sockets, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeSockets(sockets) })
	return ports[0]
}

// sweep takes away the sandboxes of test processes that were killed before their clean-up could run.
func sweep(t testing.TB) {
	own, err := findOwner(context.Background())
	if err != nil {
		return // Up will say it
	}
	found, _ := filepath.Glob(filepath.Join(os.TempDir(), "muster-sandbox-*", stateFile)) // only a bad pattern is an error
	for _, path := range found {
		info, err := os.Stat(path)
		if err != nil {
			continue // somebody else sweeps, too
		}
		// Everybody may write to the temporary folder, and Down kills the processes that the file names: trust only our own.
		file, ok := info.Sys().(*syscall.Stat_t)
		if !ok || (int(file.Uid) != os.Geteuid() && file.Uid != own.UID) {
			continue
		}
		s, err := Open(filepath.Dir(path))
		if err != nil || s.state.Test.PID == 0 || s.state.Test.alive() {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := s.Down(ctx, true); err != nil {
			t.Logf("take away the sandbox that a killed test left in %s: %v", s.state.Dir, err)
		}
		cancel()
	}
}

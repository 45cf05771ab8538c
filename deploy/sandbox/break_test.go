package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestBreakAndMendThePrimary(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]Options{"as initdb lays it out": {}, "as Debian lays it out": {ConfigOutside: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ForTest(t, options)
			postmaster := s.postmaster("orders", East)
			children := descendants(postmaster)
			require.NotEmpty(t, children)
			broken, err := s.Break(t.Context(), "primary")
			require.NoError(t, err)
			require.Len(t, broken, 1)
			require.Equal(t, "orders/east", broken[0].Name)
			require.Equal(t, postmaster.PID, broken[0].PID)
			for _, p := range append(children, postmaster) {
				require.False(t, p.alive(), "%d", p.PID)
			}
			_, by := status(t, s)
			require.Equal(t, "stopped", by["orders/east"].State)
			require.Equal(t, "standby", by["orders/west"].Role)
			_, err = s.Break(t.Context(), "primary")
			require.ErrorContains(t, err, "no primary of orders runs (east is stopped; west is not it)")

			require.NoError(t, s.Mend(t.Context(), "primary"))
			require.NoError(t, s.awaitStreaming(t.Context(), "orders"))
			require.NoError(t, s.Mend(t.Context(), "primary"), "what runs is left alone")
		})
	}
}

func TestMendMakesNoSecondPrimary(t *testing.T) {
	t.Parallel()
	s := ForTest(t)
	_, err := s.Break(t.Context(), "primary:orders")
	require.NoError(t, err)
	west, err := s.Connect(t.Context(), "orders", West)
	require.NoError(t, err)
	defer west.Close(t.Context())
	_, err = west.Exec(t.Context(), "SELECT pg_promote()")
	require.NoError(t, err)
	require.ErrorContains(t, s.Mend(t.Context(), "primary"), "would make two")
	require.Zero(t, s.PID("orders", East))

	broken, err := s.Break(t.Context(), "primary")
	require.NoError(t, err)
	require.Equal(t, "orders/west", broken[0].Name, "the primary is who accepts writes, not who did at the start")
}

func TestBreakAndMendTheRest(t *testing.T) {
	t.Parallel()
	s := ForTest(t, Options{RuntimeTCP: true})
	broken, err := s.Break(t.Context(), "standby")
	require.NoError(t, err)
	require.Equal(t, "orders/west", broken[0].Name)
	require.NoError(t, s.Mend(t.Context(), "standby"))
	require.NoError(t, s.awaitStreaming(t.Context(), "orders"))

	// A restarted proxy sends clients where it sent them before, not where its configuration says.
	for _, open := range []string{West, East} {
		shut := map[string]string{East: West, West: East}[open]
		for server, state := range map[string]string{open: "ready", shut: "maint"} {
			answer, err := s.runtime(t.Context(), "set server orders-db/"+server+" state "+state)
			require.NoError(t, err)
			require.Equal(t, "\n", answer)
		}
		_, err = s.Break(t.Context(), "route")
		require.NoError(t, err)
		st, by := status(t, s)
		require.Equal(t, "stopped", by["haproxy"].State)
		require.NotEmpty(t, st.Routes[0].Error)
		require.NoError(t, s.Mend(t.Context(), "route"))
		st, by = status(t, s)
		require.Equal(t, "running", by["haproxy"].State)
		require.Equal(t, []string{open}, st.Routes[0].Open, "%v", st.Routes[0].Sites)
	}
}

func TestBreakRefuses(t *testing.T) {
	t.Parallel()
	s := &Sandbox{state: state{Systems: []string{"orders"}, NoRoute: true}}
	for what, want := range map[string]string{
		"everything":   "none of primary, standby, route or host",
		"primary:cart": `there is no "cart" here (there is: orders)`,
		"route":        "no route",
		"host":         "--ssh",
	} {
		_, err := s.Break(t.Context(), what)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, s.Mend(t.Context(), what), want)
	}
}

func TestAKilledServerLeavesNoSharedMemory(t *testing.T) {
	t.Parallel()
	s := ForTest(t, Options{NoRoute: true})
	text, err := os.ReadFile(filepath.Join(s.DataDirectory("orders", East), "postmaster.pid"))
	require.NoError(t, err)
	var key, id int
	_, err = fmt.Sscan(strings.Split(string(text), "\n")[6], &key, &id)
	require.NoError(t, err)
	var segment unix.SysvShmDesc
	_, err = s.Break(t.Context(), "primary")
	require.NoError(t, err)
	_, err = unix.SysvShmCtl(id, unix.IPC_STAT, &segment)
	require.NoError(t, err, "it is there after the kill")
	require.NoError(t, s.Down(t.Context(), true))
	_, err = unix.SysvShmCtl(id, unix.IPC_STAT, &segment)
	require.Error(t, err, "it is gone")
}

func TestAZombieIsForgotten(t *testing.T) {
	t.Parallel()
	child := exec.Command("/bin/true")
	require.NoError(t, child.Start())
	require.NoError(t, await(t.Context(), 5*time.Second, func() error {
		if _, _, state, _, _ := stat(child.Process.Pid); state != 'Z' {
			return fmt.Errorf("it is %c", state)
		}
		return nil
	}))
	require.Zero(t, procOf(child.Process.Pid), "a zombie does not live")
	s := &Sandbox{state: state{Dir: t.TempDir()}}
	file := filepath.Join(s.DataDirectory("orders", East), "postmaster.pid")
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, fmt.Appendln(nil, child.Process.Pid), 0o644))
	require.NoError(t, s.forgetZombie(t.Context(), "orders", East))
	require.NoFileExists(t, file, "nobody reaps it: its file goes")

	require.NoError(t, child.Wait())
	require.NoError(t, os.WriteFile(file, fmt.Appendln(nil, child.Process.Pid), 0o644))
	require.NoError(t, s.forgetZombie(t.Context(), "orders", East))
	require.FileExists(t, file, "PostgreSQL handles a pid that is free by itself")
}

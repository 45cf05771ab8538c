package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
)

// TestConfiguredClusterIsUsed: with TEMPORAL_ADDRESS a worker joins that Temporal and starts none.
func TestConfiguredClusterIsUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := startWorker(t, dir)
	b := startWorker(t, dir, "TEMPORAL_ADDRESS="+a.engine.Address)
	require.Equal(t, a.engine.Address, b.engine.Address)
	require.Contains(t, b.ready, "UI (none)")
	awaited(t, "both to ask for work", 10*time.Second, func() (int, bool) {
		d, err := a.temporal.DescribeTaskQueue(t.Context(), "muster", enums.TASK_QUEUE_TYPE_WORKFLOW)
		require.NoError(t, err)
		identities := map[string]bool{}
		for _, p := range d.GetPollers() {
			identities[p.GetIdentity()] = true
		}
		return len(identities), len(identities) == 2
	})
	files, err := os.ReadDir(b.state)
	require.NoError(t, err)
	for _, f := range files {
		require.NotContains(t, []string{"engine.json", "engine.lock"}, f.Name())
		require.NotContains(t, f.Name(), ".db")
		require.NotContains(t, f.Name(), "sqlite")
	}
	require.Empty(t, listening(t, b.cmd.Process.Pid), "ports that the second worker listens on")
	require.NotEmpty(t, listening(t, a.cmd.Process.Pid), "ports that the first worker listens on")

	s := b.ok(t, "list") // the CLI takes TEMPORAL_ADDRESS too
	require.Contains(t, s.out, "no runs")
	a.stop(t)
	require.Equal(t, 1, b.muster(t, "list").code)
}

// listening counts the sockets of a process that listen.
func listening(t *testing.T, pid int) []string {
	t.Helper()
	inodes := map[string]bool{}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	require.NoError(t, err)
	for _, fd := range fds {
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name())) // closed meanwhile
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	var found []string
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile("/proc/net/" + table)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && inodes[f[9]] {
				found = append(found, f[1])
			}
		}
	}
	return found
}

// TestSecondWorkerOnTheSameFolder: two engines on one file would corrupt each other's runs.
func TestSecondWorkerOnTheSameFolder(t *testing.T) {
	t.Parallel()
	w := startWorker(t, t.TempDir())
	said := runWorker(t, w)
	require.Equal(t, 1, said.code, said.String())
	require.Contains(t, said.err, w.state)
	require.Contains(t, said.err, fmt.Sprint(w.cmd.Process.Pid))
	require.Len(t, strings.Split(strings.TrimSpace(said.err), "\n"), 1, "one clear line: %s", said.err)
	require.FileExists(t, filepath.Join(w.state, "engine.json"), "the first one's file stays")
	w.ok(t, "list")
}

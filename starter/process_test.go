package starter

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// script writes an executable shell script that stands for muster-worker.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), workerName)
	syscall.ForkLock.RLock() // a process forked now would have it open for writing, and it could not be run
	defer syscall.ForkLock.RUnlock()
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755)) //nolint:gosec // it must be executable
	return path
}

func TestWorkerIsAwaitedAndStopped(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	path := script(t, fmt.Sprintf(`echo "{\"address\": \"127.0.0.1:1\", \"namespace\": \"$TEMPORAL_ADDRESS$MUSTER_KEY\", \"pid\": $$}" > %[1]s/tmp && mv %[1]s/tmp %[1]s/engine.json
exec sleep 600`, state))
	p, err := startProcess(filepath.Join(t.TempDir(), "log"), path)
	require.NoError(t, err)
	e, err := p.awaitEngine(t.Context(), state)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:1", e.Address)
	require.NoError(t, p.stop())
	require.ErrorIs(t, syscall.Kill(p.cmd.Process.Pid, 0), syscall.ESRCH)
	require.NoError(t, p.stop(), "safe to repeat")
}

func TestWorkerThatEndsEarly(t *testing.T) {
	t.Parallel()
	p, err := startProcess(filepath.Join(t.TempDir(), "log"), script(t, "echo port 7233 is in use >&2; exit 1"))
	require.NoError(t, err)
	_, err = p.awaitEngine(t.Context(), t.TempDir())
	require.EqualError(t, err, "muster-worker ended before it was ready (exit status 1); it said: port 7233 is in use")
}

func TestCleanEnv(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"TEMPORAL_CONFIG_FILE=/dev/null", "PATH=/bin"},
		cleanEnv([]string{"TEMPORAL_ADDRESS=prod:7233", "PATH=/bin", "MUSTER_STATE=/x", "TEMPORAL_API_KEY=k"}))
}

func TestStopWorkersInAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// A script's interpreter would be argv[0]: sleep under the worker's name stands for writers.
	sleep, err := exec.LookPath("sleep")
	require.NoError(t, err)
	start := func(folder string) *exec.Cmd {
		path := filepath.Join(folder, workerName)
		require.NoError(t, os.Symlink(sleep, path)) // a copy could not be run while a process that another test forks still has it open
		cmd := exec.Command(path, "600")
		require.NoError(t, cmd.Start())
		return cmd
	}
	stray, other := start(dir), start(t.TempDir())
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	require.Eventually(t, func() bool { return len(workersIn(dir)) == 1 }, 5*time.Second, 10*time.Millisecond)

	ended := make(chan error, 1)
	go func() { ended <- stray.Wait() }()
	require.NoError(t, stopWorkersIn(t.Context(), dir))
	require.Error(t, <-ended, "it was ended by a signal")
	require.NoError(t, syscall.Kill(other.Process.Pid, 0), "a worker of another folder is left alone")
}

func TestFindWorker(t *testing.T) {
	t.Parallel()
	path := script(t, "")
	found, err := findWorker(path)
	require.NoError(t, err)
	require.Equal(t, path, found)
	_, err = findWorker("/nowhere/muster-worker")
	require.ErrorContains(t, err, "/nowhere/muster-worker")
}

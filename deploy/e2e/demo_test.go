package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/deploy/sandbox"
)

// demo is `muster demo --auto` at work, in a temporary folder of its own.
type demo struct {
	cmd      *exec.Cmd
	dir      string
	out, err lockedBuffer
	exited   chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func startDemo(t *testing.T, args ...string) *demo {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e-") // short: there are sockets below
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o711)) //nolint:gosec // the servers run as another user
	d := &demo{dir: dir, exited: make(chan struct{})}
	d.cmd = exec.Command(filepath.Join(bin, "muster"), append([]string{"demo", "--auto"}, args...)...)
	d.cmd.Env = append(environment(&worker{state: filepath.Join(dir, "home")}, ""), "TMPDIR="+dir)
	d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.err
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, d.cmd.Start())
	go func() {
		_ = d.cmd.Wait() // its exit code tells
		close(d.exited)
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the demo said:\n%s\n%s", d.out.String(), d.err.String())
		}
		_ = d.cmd.Process.Kill()
		for _, p := range inFolder(dir) {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		require.NoError(t, os.RemoveAll(dir))
	})
	return d
}

// requireGone is what "leaves nothing running" means: no process was started from, works in, or names the demo's folder.
func (d *demo) requireGone(t *testing.T) {
	t.Helper()
	require.Empty(t, inFolder(d.dir))
	left, err := filepath.Glob(filepath.Join(d.dir, "muster-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// inFolder lists the processes that work in a folder or name it.
func inFolder(dir string) []process {
	found := processes(dir)
	for _, p := range ps() {
		if cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(p.pid), "cwd")); err == nil && strings.HasPrefix(cwd, dir+"/") {
			found = append(found, p)
		}
	}
	return found
}

func TestDemo(t *testing.T) {
	t.Parallel()
	d := startDemo(t)
	select {
	case <-d.exited:
	case <-time.After(2 * time.Minute):
		require.FailNow(t, "the demo takes longer than two minutes")
	}
	require.Zero(t, d.cmd.ProcessState.ExitCode())
	for _, text := range []string{"OUTAGE", "LOST WRITES", "VERDICT", "0 of ", "passed", "http://127.0.0.1:", ".html", ".json"} {
		require.Contains(t, d.out.String(), text)
	}
	require.Equal(t, 2, strings.Count(d.out.String(), "report of "), "there and back")
	for _, name := range []string{system, sandbox.RedisSystem} {
		require.Len(t, regexp.MustCompile(`(?m)^fail(over|back)-shop +`+name+` +[1-9][0-9.]*m?s +0 of [1-9][0-9]* +passed$`).FindAllString(d.out.String(), -1), 2, "%s moved there and back", name)
	}
	reports, err := filepath.Glob(filepath.Join(d.dir, "home", "demo", "*.html"))
	require.NoError(t, err)
	require.Len(t, reports, 2, "the evidence is kept")
	for _, path := range reports {
		requireCriteria(t, strings.TrimSuffix(path, ".html")+".json")
	}
	d.requireGone(t)
}

// TestDemoInterrupted presses Ctrl-C in the middle: every process of the terminal gets it.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	d := startDemo(t)
	awaited(t, "the failover to start", time.Minute, func() (string, bool) {
		said := d.err.String() + d.out.String()
		return said, strings.Contains(said, "started failover:shop")
	})
	require.NotEmpty(t, inFolder(d.dir))
	require.NoError(t, syscall.Kill(-d.cmd.Process.Pid, syscall.SIGINT))
	select {
	case <-d.exited:
	case <-time.After(time.Minute):
		require.FailNow(t, "the demo did not stop within a minute of Ctrl-C")
	}
	require.Equal(t, 130, d.cmd.ProcessState.ExitCode())
	d.requireGone(t)
}

// runWorker runs a worker that is expected to end by itself.
func runWorker(t *testing.T, w *worker) said {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "muster-worker"), "--state", w.state, "--runbooks", w.runbooks, "--port", "0", "--ui-port", "0")
	cmd.Env = environment(w, "")
	var out, err strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &err
	began := time.Now()
	_ = cmd.Run() // its exit code tells
	return said{cmd.ProcessState.ExitCode(), out.String(), err.String(), time.Since(began), "muster-worker"}
}

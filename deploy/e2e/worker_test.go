package e2e

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"

	"github.com/musterhq/muster/internal/local"
)

// worker is a muster-worker process with a state folder of its own. It can be killed and started again.
type worker struct {
	state    string
	runbooks string
	extra    []string // environment
	flags    []string // of muster-worker, besides those that every one has
	logPath  string
	program  string // the one that was built, where it is empty
	port     string // of its engine; any free one where it is empty
	ready    string // its ready line
	engine   local.Engine
	temporal client.Client

	cmd    *exec.Cmd
	exited chan struct{}

	mu      sync.Mutex
	printed []string // everything that muster printed for this worker
}

// startWorker starts a worker, and stops it with all that it started when the test ends.
func startWorker(t *testing.T, runbooks string, env ...string) *worker {
	t.Helper()
	w := newWorker(t, runbooks, env...)
	w.start(t)
	return w
}

// newWorker is a worker that is not started.
func newWorker(t *testing.T, runbooks string, env ...string) *worker {
	t.Helper()
	dir := t.TempDir()
	w := &worker{state: filepath.Join(dir, "state"), runbooks: runbooks, extra: env, logPath: filepath.Join(dir, "worker.log")}
	require.NoError(t, os.MkdirAll(w.state, 0o700))
	t.Cleanup(func() {
		if w.cmd == nil {
			return // it was never started
		}
		if t.Failed() {
			t.Logf("the worker's log ends with:\n%s", tail(w.log(t), 60))
		}
		w.stop(t)
		for _, p := range processes(dir) { // writers outlive their worker
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		require.Eventually(t, func() bool { return len(processes(dir)) == 0 }, 5*time.Second, 10*time.Millisecond)
	})
	return w
}

// start starts the process on the same state folder and returns when it is ready.
func (w *worker) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(w.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer func() { _ = log.Close() }()
	w.cmd = exec.Command(cmp.Or(w.program, filepath.Join(bin, "muster-worker")), "--state", w.state, "--runbooks", w.runbooks, "--port", cmp.Or(w.port, "0"), "--ui-port", "0")
	w.cmd.Args = append(w.cmd.Args, w.flags...)
	w.cmd.Env = environment(w, "")
	w.cmd.Stderr = log
	stdout, err := w.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, w.cmd.Start())
	lines, exited := make(chan string, 16), make(chan struct{})
	w.exited = exited
	cmd := w.cmd
	go func() {
		for s := bufio.NewScanner(stdout); s.Scan(); {
			select {
			case lines <- s.Text():
			default:
			}
		}
		_ = cmd.Wait() // how it ended is in its log
		close(exited)
	}()
	select {
	case w.ready = <-lines:
	case <-exited:
		require.FailNow(t, "the worker ended at its start", tail(w.log(t), 20))
	case <-time.After(20 * time.Second):
		require.FailNow(t, "the worker is not ready after 20 s", tail(w.log(t), 20))
	}
	require.Contains(t, w.ready, "ready: Temporal ")
	address := strings.TrimSuffix(strings.Fields(strings.TrimPrefix(w.ready, "ready: Temporal "))[0], ",")
	if w.engine, err = local.Read(w.state); err == nil {
		require.Equal(t, address, w.engine.Address)
	} else {
		require.ErrorIs(t, err, os.ErrNotExist)
		w.engine = local.Engine{Address: address, Namespace: "default"}
		for _, variable := range w.extra {
			if name, found := strings.CutPrefix(variable, "TEMPORAL_NAMESPACE="); found {
				w.engine.Namespace = name
			}
		}
	}
	w.temporal, err = client.Dial(client.Options{HostPort: w.engine.Address, Namespace: w.engine.Namespace, Logger: quiet(), Identity: "e2e"})
	require.NoError(t, err)
}

// kill is kill -9 of worker and engine, which are one process.
func (w *worker) kill(t *testing.T) {
	t.Helper()
	w.temporal.Close()
	require.NoError(t, w.cmd.Process.Kill())
	<-w.exited
}

// stop asks the process to stop, and checks that it does so in order.
func (w *worker) stop(t *testing.T) {
	t.Helper()
	select {
	case <-w.exited:
		return
	default:
	}
	w.temporal.Close()
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-w.exited:
		if !t.Failed() {
			require.True(t, w.cmd.ProcessState.Success(), "the worker ended with %s: %s", w.cmd.ProcessState, tail(w.log(t), 20))
		}
	case <-time.After(20 * time.Second):
		_ = w.cmd.Process.Kill()
		<-w.exited
		t.Errorf("the worker did not stop within 20 s: %s", tail(w.log(t), 20))
	}
}

func (w *worker) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(w.logPath)
	require.NoError(t, err)
	return string(text)
}

// said is what a muster command ended with.
type said struct {
	code   int
	out    string
	err    string
	took   time.Duration
	called string
}

func (s said) String() string {
	return fmt.Sprintf("%s: exit code %d after %s\nstdout: %s\nstderr: %s", s.called, s.code, s.took, s.out, s.err)
}

// muster runs the CLI as dana, who is an operator and approver of the sandbox's estate.
func (w *worker) muster(t *testing.T, args ...string) said {
	t.Helper()
	return w.as(t, "dana", args...)
}

func (w *worker) as(t *testing.T, user string, args ...string) said {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "muster"), args...)
	cmd.Env, cmd.Dir = environment(w, user), w.state
	var out, err strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &err
	began := time.Now()
	_ = cmd.Run() // the exit code tells
	s := said{code: cmd.ProcessState.ExitCode(), out: out.String(), err: err.String(), took: time.Since(began), called: "muster " + strings.Join(args, " ")}
	w.mu.Lock()
	w.printed = append(w.printed, s.String())
	w.mu.Unlock()
	return s
}

// ok runs the CLI and fails the test where it does not end with 0.
func (w *worker) ok(t *testing.T, args ...string) said {
	t.Helper()
	s := w.muster(t, args...)
	require.Zero(t, s.code, s.String())
	return s
}

// environment is all that the binaries get: nothing of the machine's own configuration of Temporal or SSH.
func environment(w *worker, user string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.state, "MUSTER_STATE=" + w.state, "TZ=UTC"}
	if user != "" {
		env = append(env, "MUSTER_USER="+user)
	}
	return append(env, w.extra...)
}

func quiet() sdklog.Logger { return sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)) }

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

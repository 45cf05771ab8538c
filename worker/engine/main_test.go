package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
)

// childEnv makes the test binary a process of its own that runs an engine: "try" starts one and
// ends, "run" works with it until it is killed.
const (
	childEnv    = "MUSTER_ENGINE_TEST_CHILD"
	childDirEnv = "MUSTER_ENGINE_TEST_DIR"
)

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "try":
		os.Exit(childTry())
	case "run":
		os.Exit(childRun())
	}
	os.Exit(m.Run())
}

func childTry() int {
	e, err := Start(context.Background(), Options{Dir: os.Getenv(childDirEnv), UIPort: -1})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_ = e.Stop()
	return 0
}

func childRun() int {
	e, err := Start(context.Background(), Options{Dir: os.Getenv(childDirEnv), UIPort: -1})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	c, err := client.Dial(client.Options{HostPort: e.Address(), Logger: quiet()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := newWorker(c).Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(e.Address())
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent, should it forget to kill
	return 0
}

// child re-executes the test binary; it dies with the test.
func child(t *testing.T, mode, dir string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+mode, childDirEnv+"="+dir)
	_, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, out
}

func startEngine(t *testing.T, opts Options) *Engine {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	e, err := Start(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Stop()) })
	return e
}

func dial(t *testing.T, e *Engine) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: e.Address(), Logger: quiet()})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func startWorker(t *testing.T, c client.Client) worker.Worker {
	t.Helper()
	w := newWorker(c)
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)
	return w
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// logged collects what an engine writes to its logger.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// requireClear checks that an error is one line that says all of parts.
func requireClear(t *testing.T, err error, parts ...string) {
	t.Helper()
	require.Error(t, err)
	require.NotContains(t, err.Error(), "\n")
	require.True(t, strings.HasPrefix(err.Error(), "engine: "), err.Error())
	for _, part := range parts {
		require.ErrorContains(t, err, part)
	}
}

func requireClosed(t *testing.T, address string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	require.Error(t, err, "%s still listens", address)
}

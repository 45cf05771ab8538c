package starter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/musterhq/muster/internal/local"
)

const (
	workerName  = "muster-worker"
	readyWithin = 30 * time.Second
	stopWithin  = 15 * time.Second
)

// findWorker returns the worker's binary: the given one, the one beside muster, or the one in PATH.
func findWorker(given string) (string, error) {
	if given != "" {
		if _, err := exec.LookPath(given); err != nil {
			return "", fail("name the muster-worker binary with --worker", "%w", err)
		}
		return filepath.Abs(given)
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), workerName)
		if _, err := exec.LookPath(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(workerName)
	if err != nil {
		return "", fail("build it (make build), or name it with --worker", "%s is neither beside muster nor in PATH", workerName)
	}
	return filepath.Abs(path)
}

// process is a worker that muster started.
type process struct {
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
	err    error // of Wait; read after exited is closed
}

func startProcess(log, path string, args ...string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	defer func() { _ = out.Close() }()
	p := &process{cmd: exec.Command(path, args...), log: log, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = cleanEnv(os.Environ())
	// Ctrl-C is for muster, which stops the worker in its turn.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// cleanEnv leaves out what would send the demo's worker to somebody's cluster or folder.
func cleanEnv(env []string) []string {
	clean := []string{"TEMPORAL_CONFIG_FILE=" + os.DevNull}
	for _, e := range env {
		if !strings.HasPrefix(e, "TEMPORAL_") && !strings.HasPrefix(e, "MUSTER_") {
			clean = append(clean, e)
		}
	}
	return clean
}

// awaitEngine waits until the worker says where its engine is.
func (p *process) awaitEngine(ctx context.Context, state string) (local.Engine, error) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.exited:
			return local.Engine{}, fmt.Errorf("muster-worker ended before it was ready (%w); it said: %s", p.err, p.said())
		case <-ctx.Done():
			return local.Engine{}, fmt.Errorf("wait for muster-worker to be ready: %w; it said: %s", ctx.Err(), p.said())
		case <-tick.C:
			if e, err := local.Read(state); err == nil && e.PID == p.cmd.Process.Pid {
				return e, nil
			}
		}
	}
}

// said returns the end of the worker's log.
func (p *process) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	text = bytes.TrimSpace(text)
	return string(text[max(0, len(text)-2000):])
}

func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails where it has ended: that is what is wanted
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopWithin):
	}
	_ = p.cmd.Process.Kill()
	<-p.exited
	return fmt.Errorf("muster-worker did not stop within %s and was killed; it said: %s", stopWithin, p.said())
}

// stopWorkersIn ends the worker processes whose command line names a file in dir, a folder that is nobody else's.
func stopWorkersIn(ctx context.Context, dir string) error {
	for signal := syscall.SIGTERM; ; signal = syscall.SIGKILL {
		var left []int
		for wait := time.Now().Add(3 * time.Second); time.Now().Before(wait) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			if left = workersIn(dir); len(left) == 0 {
				return nil
			}
			for _, pid := range left {
				if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
					return fmt.Errorf("stop process %d: %w", pid, err)
				}
			}
		}
		if signal == syscall.SIGKILL || ctx.Err() != nil {
			return fmt.Errorf("processes %v of the demo still run", left)
		}
	}
}

func workersIn(dir string) []int {
	var found []int
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // only a bad pattern is an error
	for _, path := range lines {
		line, err := os.ReadFile(path)
		args := strings.Split(string(line), "\x00")
		if err != nil || filepath.Base(args[0]) != workerName || !strings.Contains(string(line), dir+"/") {
			continue // gone meanwhile, or somebody else's
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

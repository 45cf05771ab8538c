package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"

	"github.com/musterhq/muster/activities/writer"
)

// process is a muster-worker with a state folder of its own.
type process struct {
	state    string
	cmd      *exec.Cmd
	exited   chan struct{}
	ready    time.Duration // from its start to its ready line
	address  string
	temporal client.Client
}

// start starts muster-worker with an engine of its own, or with the cluster at address, and returns when it is ready. Flags come last.
func (b *bench) start(ctx context.Context, name, address string, flags ...string) (*process, error) {
	p := &process{state: filepath.Join(b.dir, name), exited: make(chan struct{})}
	if err := os.MkdirAll(p.state, 0o700); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(p.state+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	p.cmd = exec.Command(b.worker, "--state", p.state, "--runbooks", b.estate.Runbooks(), "--port", "0", "--ui-port", "0")
	if address != "" {
		p.cmd.Args = append(p.cmd.Args, "--address", address)
	}
	p.cmd.Args = append(p.cmd.Args, flags...)
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.state, "TZ=UTC"} // nothing of the machine's configuration
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for bench, which stops it in order
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start muster-worker: %w", err)
	}
	lines := make(chan string, 1)
	go func() {
		for s := bufio.NewScanner(stdout); s.Scan(); {
			select {
			case lines <- s.Text():
			default:
			}
		}
		_ = p.cmd.Wait() // how it ended is in its log
		close(p.exited)
	}()
	select {
	case line := <-lines:
		p.ready = time.Since(began)
		p.address = strings.TrimSuffix(strings.Fields(strings.TrimPrefix(line, "ready: Temporal "))[0], ",")
	case <-p.exited:
		err = errors.New("muster-worker ended at its start")
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(30 * time.Second):
		err = errors.New("muster-worker is not ready after 30 s")
	}
	if err == nil {
		p.temporal, err = client.DialContext(ctx, client.Options{HostPort: p.address, Identity: "bench", Logger: quiet()})
	}
	if err != nil {
		return nil, errors.Join(err, p.stop(ctx), p.said())
	}
	return p, nil
}

// stop ends the process in order, and the writers that it left. Safe to repeat.
func (p *process) stop(ctx context.Context) error {
	ctx, cancel := afterwards(ctx)
	defer cancel()
	if p.temporal != nil {
		p.temporal.Close()
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	var err error
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
		err = errors.Join(errors.New("muster-worker did not stop within 20 s and was killed"), p.said())
	}
	return errors.Join(err, writer.NewKeeper(p.state, nil, nil).StopAll(ctx))
}

// said is the end of the process's log, as an error.
func (p *process) said() error {
	text, err := os.ReadFile(p.state + ".log")
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if err != nil || lines[0] == "" {
		return err
	}
	return fmt.Errorf("its log ends with: %s", strings.Join(lines[max(0, len(lines)-10):], "\n"))
}

// resident is the process's memory in MiB: now, and at its highest.
func (p *process) resident() (now, most float64, err error) {
	proc, err := procfs.NewProc(p.cmd.Process.Pid)
	if err != nil {
		return 0, 0, fmt.Errorf("read the worker's memory: %w", err)
	}
	status, err := proc.NewStatus()
	if err != nil {
		return 0, 0, fmt.Errorf("read the worker's memory: %w", err)
	}
	return float64(status.VmRSS) / (1 << 20), float64(status.VmHWM) / (1 << 20), nil
}

// idle waits until the process needs less than a tenth of a core for a second, a minute at most, and returns how long that took:
// what a worker does after many runs came to their gates is not what it does while they wait.
func (p *process) idle(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	before, err := p.busy()
	if err != nil {
		return 0, err
	}
	for time.Since(began) < time.Minute {
		if err := pause(ctx, time.Second); err != nil {
			return 0, err
		}
		now, err := p.busy()
		if err != nil {
			return 0, err
		}
		if now-before < 0.1 {
			break
		}
		before = now
	}
	return time.Since(began), nil
}

// busy is the processor time that the process has used, in seconds.
func (p *process) busy() (float64, error) {
	proc, err := procfs.NewProc(p.cmd.Process.Pid)
	if err != nil {
		return 0, fmt.Errorf("read the worker's processor time: %w", err)
	}
	stat, err := proc.Stat()
	if err != nil {
		return 0, fmt.Errorf("read the worker's processor time: %w", err)
	}
	return stat.CPUTime(), nil
}

// database is the size of the engine's database with its write-ahead log, in KiB.
func (p *process) database() (float64, error) {
	var sum int64
	for _, name := range []string{"temporal.db", "temporal.db-wal"} {
		info, err := os.Stat(filepath.Join(p.state, name))
		if errors.Is(err, os.ErrNotExist) && strings.HasSuffix(name, "-wal") {
			continue
		}
		if err != nil {
			return 0, err
		}
		sum += info.Size()
	}
	return float64(sum) / 1024, nil
}

func quiet() sdklog.Logger { return sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)) }

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const haproxyGlobal = `# muster sandbox: where clients are sent is decided through the runtime API, and by nothing else (no health checks).
global
    stats socket %s mode 600 level admin
%s    stats timeout 1m
    server-state-file %s
    maxconn 2000

defaults
    mode tcp
    load-server-state-from-file global
    timeout connect 1s
    timeout client  1h
    timeout server  1h
    timeout queue   1s
    retries 0
    option tcpka
    default-server on-marked-down shutdown-sessions
`

func (s *Sandbox) haproxyDir() string { return filepath.Join(s.state.Dir, "haproxy") }

// RuntimeSocket returns the path of HAProxy's runtime API.
func (s *Sandbox) RuntimeSocket() string { return filepath.Join(s.runDir(), "haproxy.sock") }

func (s *Sandbox) serverStateFile() string { return filepath.Join(s.haproxyDir(), "servers.state") }

func (s *Sandbox) buildHAProxy(ctx context.Context) error {
	own, dir := s.state.Owner, s.haproxyDir()
	if err := own.mkdir(dir, 0o755); err != nil {
		return err
	}
	tcp := ""
	if s.state.RuntimeTCP {
		tcp = fmt.Sprintf("    stats socket ipv4@%s level admin\n", loopback(s.Port("runtime")))
	}
	var text strings.Builder
	fmt.Fprintf(&text, haproxyGlobal, s.RuntimeSocket(), tcp, s.serverStateFile())
	for _, system := range s.routedNames() {
		fmt.Fprintf(&text, "\nlisten %s\n    bind %s\n    server %s %s\n    server %s %s disabled\n", routeName(system), loopback(s.Port(routeName(system))),
			East, loopback(s.Port(memberName(system, East))), West, loopback(s.Port(memberName(system, West))))
	}
	if err := own.write(filepath.Join(dir, "haproxy.cfg"), text.String(), 0o644); err != nil {
		return err
	}
	// Only the format's version: an empty file is warned about.
	if err := own.write(s.serverStateFile(), "1\n", 0o644); err != nil {
		return err
	}
	return s.startHAProxy(ctx)
}

// startHAProxy starts the proxy with the servers' states as they were saved last.
func (s *Sandbox) startHAProxy(ctx context.Context) error {
	if s.state.Procs["haproxy"].alive() {
		return nil
	}
	config := filepath.Join(s.haproxyDir(), "haproxy.cfg")
	if err := s.daemon("haproxy", filepath.Join(s.haproxyDir(), "haproxy.log"), haproxyProgram, "-db", "-f", config); err != nil {
		return err
	}
	return s.awaitDaemon(ctx, "haproxy", filepath.Join(s.haproxyDir(), "haproxy.log"), func() error {
		_, err := s.runtime(ctx, "show version")
		return err
	})
}

// saveServers writes the servers' states down, so that a restart takes them up again: HAProxy never does that by itself.
func (s *Sandbox) saveServers(ctx context.Context) error {
	text, err := s.runtime(ctx, "show servers state")
	if err != nil {
		return err
	}
	return s.state.Owner.write(s.serverStateFile(), text, 0o644)
}

// runtime sends one command to HAProxy's runtime API and returns its answer.
func (s *Sandbox) runtime(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", s.RuntimeSocket())
	if err != nil {
		return "", fmt.Errorf("HAProxy's runtime API: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		return "", fmt.Errorf("HAProxy's runtime API: %s: %w", command, err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return "", fmt.Errorf("HAProxy's runtime API: %s: %w", command, err)
	}
	return string(answer), nil
}

// daemon starts a program as the owner, detached, writing to a log, and notes its process.
func (s *Sandbox) daemon(name, log string, args ...string) error {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	// Not bound to a context: it outlives the caller. Its folder tells inFolder whose it is.
	cmd := s.state.Owner.command(context.Background(), s.state.Dir, nil, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	p := procOf(cmd.Process.Pid)
	go func() { _ = cmd.Wait() }() // reaps it while this process lives; how it ended stands in its log
	return s.setProc(name, p)
}

// awaitDaemon waits until a daemon answers, and gives up at once when it has ended.
func (s *Sandbox) awaitDaemon(ctx context.Context, name, log string, ask func() error) error {
	var ended error
	err := await(ctx, 10*time.Second, func() error {
		if !s.proc(name).alive() {
			text, _ := os.ReadFile(log)
			ended = fmt.Errorf("%s ended at its start: %s", name, lastLines(string(text), 5))
			return nil
		}
		return ask()
	})
	return errors.Join(ended, err)
}

func (s *Sandbox) proc(name string) proc {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Procs[name]
}

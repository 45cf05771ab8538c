package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"al.essio.dev/pkg/shellescape"
	"golang.org/x/crypto/ssh"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

// maxSessions stays below sshd's MaxSessions, which is 10 by default.
const maxSessions = 8

// sshConn is one connection, shared by all who opened the host.
type sshConn struct {
	client   *ssh.Client
	sessions chan struct{}
	gone     chan struct{} // closed when the connection is
	why      error         // set before gone is closed
}

func newSSHConn(client *ssh.Client, keepAlive time.Duration) *sshConn {
	c := &sshConn{client: client, sessions: make(chan struct{}, maxSessions), gone: make(chan struct{})}
	go func() {
		err := client.Wait()
		if c.why == nil {
			c.why = fmt.Errorf("connection lost: %w", err)
		}
		close(c.gone)
	}()
	go c.keepAlive(keepAlive)
	return c
}

// keepAlive gives the connection up when the other side stays silent, which TCP alone notices after minutes.
func (c *sshConn) keepAlive(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-c.gone:
			return
		case <-tick.C:
		}
		if !c.answers(every) {
			c.close()
		}
	}
}

// answers says whether the other side gives a sign of life in time.
func (c *sshConn) answers(within time.Duration) bool {
	answered := make(chan error, 1)
	go func() {
		// sshd answers a request that it does not know with a failure, which is a sign of life as well.
		_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
		answered <- err
	}()
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	select {
	case err := <-answered:
		return err == nil
	case <-c.gone:
	case <-timeout.C:
	}
	return false
}

// check returns when it is known whether the connection lives on: a session that broke off may have been alone, and whoever opens the
// host next must not be given a connection that is dead.
func (c *sshConn) check() {
	if !c.answers(time.Second) {
		c.close()
		<-c.gone
	}
}

func (c *sshConn) close() { _ = c.client.Close() }

func (c *sshConn) alive() bool {
	select {
	case <-c.gone:
		return false
	default:
		return true
	}
}

// sshHost is one opening of a host.
type sshHost struct {
	name  string
	runAs string
	conn  *sshConn
}

func (hs *Hosts) openSSH(ctx context.Context, name string, h runbooks.Host) (*sshHost, error) {
	key := strings.Join([]string{h.Address, h.User, string(h.Key), h.KnownHosts}, "\x00")
	hs.mu.Lock()
	conn := hs.conns[key]
	hs.mu.Unlock()
	runAs := h.RunAs
	if runAs == h.User {
		runAs = ""
	}
	if conn != nil && conn.alive() {
		return &sshHost{name: name, runAs: runAs, conn: conn}, nil
	}
	client, err := dial(ctx, name, h)
	if err != nil {
		return nil, err
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if other := hs.conns[key]; other != nil && other.alive() { // dialled by somebody else meanwhile
		_ = client.Close()
		return &sshHost{name: name, runAs: runAs, conn: other}, nil
	}
	conn = newSSHConn(client, hs.KeepAlive)
	hs.conns[key] = conn
	return &sshHost{name: name, runAs: runAs, conn: conn}, nil
}

// Run ends the remote command's process group with the context (sshd needs to be 7.9 or newer; a command behind sudo may run on).
func (h *sshHost) Run(ctx context.Context, c activities.Command) (activities.Output, error) {
	if err := check(c); err != nil {
		return activities.Output{}, &activities.Error{Type: activities.ErrConfig, Op: "run on host " + h.name, Err: err}
	}
	op := fmt.Sprintf("run %s on host %s", c.Args[0], h.name)
	select {
	case h.conn.sessions <- struct{}{}:
		defer func() { <-h.conn.sessions }()
	case <-ctx.Done():
		return activities.Output{}, fmt.Errorf("%s: %w", op, ctx.Err())
	}

	var stdout, stderr tail
	ended := make(chan error, 1)
	opened := make(chan *ssh.Session, 1)
	go func() {
		session, err := h.conn.newSession(ctx)
		if err != nil {
			ended <- err
			return
		}
		opened <- session
		ended <- runSession(session, c, h.runAs, &stdout, &stderr)
	}()

	select {
	case err := <-ended:
		out := activities.Output{Stdout: stdout.String(), Stderr: stderr.String()}
		return out, h.explain(c, op, out, err)
	case <-h.conn.gone:
		return activities.Output{}, unreachable(op, h.conn.why)
	case <-ctx.Done():
		select {
		case session := <-opened:
			go func() { // may block on a dead connection
				_ = session.Signal(ssh.SIGKILL)
				_ = session.Close()
			}()
		default:
		}
		return activities.Output{}, fmt.Errorf("%s: %w", op, ctx.Err())
	}
}

// newSession tries again where sshd refuses a session: it counts one that just ended for a moment longer than its client does.
func (c *sshConn) newSession(ctx context.Context) (*ssh.Session, error) {
	for wait := 5 * time.Millisecond; ; wait *= 2 {
		session, err := c.client.NewSession()
		var refused *ssh.OpenChannelError
		if err == nil || !errors.As(err, &refused) || wait > time.Second {
			return session, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

func runSession(session *ssh.Session, c activities.Command, runAs string, stdout, stderr io.Writer) error {
	defer session.Close()
	args, stdin := wrapped(c, runAs)
	session.Stdin, session.Stdout, session.Stderr = strings.NewReader(stdin), stdout, stderr
	// SSH knows no argument vectors: the login shell splits one line. Everything in it is quoted.
	return session.Run(shellescape.QuoteCommand(args))
}

func (h *sshHost) explain(c activities.Command, op string, out activities.Output, err error) error {
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		code := exit.ExitStatus()
		if exit.Signal() != "" {
			code = 128 + signalNumber(exit.Signal())
		}
		return commandError(h.name, h.runAs, c, code, out)
	default:
		h.conn.check()
		return unreachable(op, fmt.Errorf("connection lost, the command may run on: %w", err))
	}
}

func signalNumber(name string) int {
	switch ssh.Signal(name) {
	case ssh.SIGKILL:
		return int(syscall.SIGKILL)
	case ssh.SIGINT:
		return int(syscall.SIGINT)
	default:
		return int(syscall.SIGTERM)
	}
}

func unreachable(op string, err error) error {
	return &activities.Error{Type: activities.ErrUnreachable, Op: op, Err: err}
}

// Close leaves the connection to those who opened the same host; Hosts.Close ends it.
func (h *sshHost) Close() error { return nil }

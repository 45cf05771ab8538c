package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/musterhq/muster/activities"
)

const (
	commandTimeout = time.Second // of one command, connecting included
	answerLimit    = 16 << 20    // no answer about one backend comes near it
)

// process is one HAProxy process, reached by its runtime API.
type process struct {
	name    string // as the estate writes it, for errors
	network string
	address string
}

// parseRuntime reads unix:/path and tcp:host:port.
func parseRuntime(text string) (process, error) {
	p := process{name: text}
	network, address, found := strings.Cut(text, ":")
	switch {
	case found && network == "unix" && strings.HasPrefix(address, "/"):
		p.network, p.address = network, address
	case found && network == "tcp":
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || port == "" {
			return p, fmt.Errorf("%q is not tcp:host:port", text)
		}
		p.network, p.address = network, address
	default:
		return p, fmt.Errorf("%q is neither unix:/path nor tcp:host:port", text)
	}
	return p, nil
}

// ask sends one command and returns the answer without the empty line that ends it. HAProxy closes the connection after
// an answer: an answer that does not end so was cut short and is an error, never half a table.
func (p process) ask(ctx context.Context, command string) (string, error) {
	op := fmt.Sprintf("ask haproxy at %s: %s", p.name, command)
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, p.network, p.address)
	if err != nil {
		return "", p.mapErr(op, "", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		return "", p.mapErr(op, "", errors.Join(err, ctx.Err()))
	}
	answer, err := io.ReadAll(io.LimitReader(conn, answerLimit+1))
	if err != nil {
		return "", p.mapErr(op, "", errors.Join(err, ctx.Err()))
	}
	if len(answer) > answerLimit {
		return "", p.mapErr(op, "", fmt.Errorf("the answer is longer than %d bytes", answerLimit))
	}
	text, whole := strings.CutSuffix(string(answer), "\n")
	if !whole {
		return "", p.mapErr(op, "", fmt.Errorf("the answer was cut short after %d bytes: %w", len(answer), io.ErrUnexpectedEOF))
	}
	return strings.TrimSuffix(text, "\n"), nil
}

// do sends a command whose success is silence.
func (p process) do(ctx context.Context, command string) error {
	answer, err := p.ask(ctx, command)
	if err != nil {
		return err
	}
	if answer = strings.TrimSpace(answer); answer != "" {
		return p.mapErr(fmt.Sprintf("ask haproxy at %s: %s", p.name, command), answer, nil)
	}
	return nil
}

// mapErr is the only place where HAProxy's words and the network's errors become typed errors.
// answer is what HAProxy said, err why it could not be asked; one of them is set.
func (p process) mapErr(op, answer string, err error) error {
	e := &activities.Error{Type: activities.ErrUnreachable, Op: op, Err: err}
	if err != nil {
		switch {
		case errors.Is(err, os.ErrPermission):
			e.Type = activities.ErrAuth
			e.Next = "let the worker's user open the socket: mode, user or group on its `stats socket` line"
		case errors.Is(err, os.ErrNotExist):
			e.Next = "is haproxy running, and is this its `stats socket`?"
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
			e.Err = fmt.Errorf("no answer within %v: %w", commandTimeout, err)
		}
		return e
	}
	e.Err = fmt.Errorf("it says %q", firstLine(answer))
	switch {
	case strings.HasPrefix(answer, "Permission denied"):
		e.Type = activities.ErrAuth
		e.Next = "put `level admin` on this process's `stats socket` line and reload haproxy"
	case strings.HasPrefix(answer, "No such backend"), strings.HasPrefix(answer, "Can't find backend"), strings.HasPrefix(answer, "No such proxy"):
		e.Type = activities.ErrConfig
		e.Next = "correct the route's backend in the estate"
	case strings.HasPrefix(answer, "No such server"):
		e.Type = activities.ErrConfig
		e.Next = "correct the route's servers in the estate"
	case strings.HasPrefix(answer, "Unknown command"):
		e.Type = activities.ErrConfig
		e.Next = "is this the runtime API of a haproxy 2.4 or newer, and not its master socket?"
	default:
		e.Type = activities.ErrRefused
	}
	return e
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if len(line) > 200 {
		line = line[:200] + "..."
	}
	return line
}

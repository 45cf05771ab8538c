package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/musterhq/muster/activities"
)

// mapError is the only place where what Redis, the network or a host said becomes a type of error. op is operation and subject.
// Errors that have a type keep it.
func mapError(op string, err error) error {
	if err == nil {
		return nil
	}
	var typed *activities.Error
	if errors.As(err, &typed) {
		return &activities.Error{Type: typed.Type, Op: op, Err: err}
	}
	var said redis.Error
	if errors.As(err, &said) {
		kind, next := classify(said.Error())
		return &activities.Error{Type: kind, Op: op, Err: err, Next: next}
	}
	var failed *activities.CommandError
	if errors.As(err, &failed) {
		kind, next := classifyCommand(failed)
		return &activities.Error{Type: kind, Op: op, Err: err, Next: next}
	}
	if errors.Is(err, context.Canceled) {
		return &activities.Error{Type: activities.ErrUnknown, Op: op, Err: err}
	}
	// What is left came from the network: refused, reset, timed out, cut off.
	return &activities.Error{Type: activities.ErrUnreachable, Op: op, Err: err}
}

// classify goes by the word that an error of Redis begins with.
func classify(text string) (kind, next string) {
	word, _, _ := strings.Cut(text, " ")
	switch word {
	case "WRONGPASS", "NOAUTH":
		return activities.ErrAuth, "check user and password in the estate, and ACL LIST at the server"
	case "NOPERM":
		return activities.ErrAuth, "ACL SETUSER: the driver's user needs +@all, but may go without the right to flush"
	case "DENIED":
		return activities.ErrAuth, "the server is in protected mode: give it a password and bind, or set protected-mode no"
	case "READONLY", "NOREPLICAS", "MISCONF", "MOVED", "ASK", "CLUSTERDOWN", "EXECABORT":
		return activities.ErrRefused, ""
	case "LOADING", "MASTERDOWN", "BUSY", "TRYAGAIN", "INPROG", "NOGOODSLAVE", "NOMASTERLINK":
		return activities.ErrNotYet, ""
	}
	switch {
	case strings.Contains(text, "invalid password"), strings.Contains(text, "without any password configured"):
		return activities.ErrAuth, "check user and password in the estate"
	case strings.Contains(text, "Rewriting config file"), strings.Contains(text, "without a config file"):
		return activities.ErrConfig, "let the server's user write its configuration file, so that a restart keeps the roles"
	case strings.Contains(text, "max number of clients"):
		return activities.ErrUnreachable, ""
	case strings.Contains(text, "No such master"):
		return activities.ErrConfig, "check master_name in the estate"
	default:
		return activities.ErrUnknown, ""
	}
}

func classifyCommand(e *activities.CommandError) (kind, next string) {
	switch {
	case e.Code == 75: // flock: somebody else holds the lock
		return activities.ErrNotYet, ""
	case e.Code == 126, e.Code == 127:
		return activities.ErrConfig, "check start in the estate"
	case strings.Contains(e.Output.Stderr, "Permission denied"), strings.Contains(e.Output.Stderr, "Operation not permitted"):
		return activities.ErrAuth, "the host's user must own the server's process and its configuration file"
	default:
		return activities.ErrUnknown, ""
	}
}

// conflict says that somebody else accepts writes, or that data would be lost.
func conflict(op string, next, text string, args ...any) error {
	return &activities.Error{Type: activities.ErrConflict, Op: op, Err: fmt.Errorf(text, args...), Next: next}
}

func unreachable(err error) bool {
	return err != nil && activities.TypeOf(err) == activities.ErrUnreachable
}

func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

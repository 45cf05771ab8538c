package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/musterhq/muster/activities"
)

// mapError is the only place where what PostgreSQL, the network or a host said becomes a type of error. op is operation and subject.
// Errors that have a type keep it. No password can be in here: they are handed over apart from connection strings (see dial).
func mapError(op string, err error) error {
	if err == nil {
		return nil
	}
	var typed *activities.Error
	if errors.As(err, &typed) {
		return &activities.Error{Type: typed.Type, Op: op, Err: err}
	}
	var said *pgconn.PgError
	if errors.As(err, &said) {
		kind, next := classify(said)
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
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || errors.Is(err, context.DeadlineExceeded) || pgconn.SafeToRetry(err) || isNetwork(err) {
		return &activities.Error{Type: activities.ErrUnreachable, Op: op, Err: err}
	}
	return &activities.Error{Type: activities.ErrUnknown, Op: op, Err: err}
}

// classify goes by SQLSTATE (PostgreSQL documentation, appendix A).
func classify(e *pgconn.PgError) (kind, next string) {
	switch {
	case e.Code == "28P01", e.Code == "28000":
		return activities.ErrAuth, "check user and password in the estate, and pg_hba.conf"
	case e.Code == "42501":
		return activities.ErrAuth, "the driver's page lists the rights that its user needs"
	case e.Code == "3D000":
		return activities.ErrConfig, "check the database in the estate"
	case e.Code == "25006": // read_only_sql_transaction: a standby, or a fenced primary
		return activities.ErrRefused, ""
	case e.Code == "57P03", e.Code == "57P01", e.Code == "57P02", e.Code == "57P05": // starting up or going down
		return activities.ErrUnreachable, ""
	case strings.HasPrefix(e.Code, "08"), strings.HasPrefix(e.Code, "53"): // connection; out of connections, memory, disk
		return activities.ErrUnreachable, ""
	case e.Code == "55006", e.Code == "40001", e.Code == "40P01": // object in use, serialization
		return activities.ErrNotYet, ""
	case strings.HasPrefix(e.Code, "22"), strings.HasPrefix(e.Code, "42"), e.Code == "55000", e.Code == "0A000":
		return activities.ErrRefused, ""
	default:
		return activities.ErrUnknown, ""
	}
}

func classifyCommand(e *activities.CommandError) (kind, next string) {
	switch {
	case e.Code == 75: // flock: somebody else holds the lock
		return activities.ErrNotYet, ""
	case e.Code == 126, e.Code == 127:
		return activities.ErrConfig, "check bin_directory in the estate"
	case strings.Contains(e.Output.Stderr, "cannot be run as root"):
		return activities.ErrConfig, "set the host's run_as to the owner of the data directory"
	case strings.Contains(e.Output.Stderr, "Permission denied"):
		return activities.ErrAuth, "the host's user must own the data directory and be able to write in its parent"
	default:
		return activities.ErrUnknown, ""
	}
}

func isNetwork(err error) bool {
	var network interface{ Timeout() bool } // net.Error
	return errors.As(err, &network) || strings.Contains(err.Error(), "unexpected EOF") || strings.Contains(err.Error(), "conn closed")
}

// conflict says that somebody else accepts writes, or might.
func conflict(op string, err error, next string) error {
	return &activities.Error{Type: activities.ErrConflict, Op: op, Err: err, Next: next}
}

// commandMissing reports whether the host has no such program.
func commandMissing(err error) bool {
	var failed *activities.CommandError
	return errors.As(err, &failed) && (failed.Code == 127 || failed.Code == 126)
}

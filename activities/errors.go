package activities

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"
)

// Error types of activities, as Temporal's histories name them. Each driver has one mapper onto these.
const (
	ErrUnreachable = "Unreachable" // a member, host or route does not answer; retried
	ErrNotYet      = "NotYet"      // the goal was not reached in time; retried
	ErrRefused     = "Refused"     // the system says no, and would again; held
	ErrAuth        = "Auth"        // wrong or missing credentials; held
	ErrConfig      = "Config"      // the estate or runbook does not fit what is there; held
	ErrConflict    = "Conflict"    // somebody else is at it (lock lost, two primaries); held
	ErrUnknown     = "Unknown"     // anything else; retried
)

// Error is a typed failure: what, where, why, and what next.
type Error struct {
	Type string // one of the Err constants
	Op   string // operation and subject: "promote orders at west"
	Next string // what to do about it; may be empty
	Err  error
}

// Error says operation, cause and what next.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %v", e.Op, e.Err)
	if e.Next != "" {
		text += " (next: " + e.Next + ")"
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Retryable reports whether waiting may help.
func (e *Error) Retryable() bool {
	return e.Type == ErrUnreachable || e.Type == ErrNotYet || e.Type == ErrUnknown
}

// TypeOf returns the type of the first Error in err's chain, ErrUnknown where there is none.
func TypeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Type
	}
	return ErrUnknown
}

// ToTemporal turns err into an application error of its type, so that Temporal retries what can be retried.
func ToTemporal(err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		return temporal.NewApplicationErrorWithOptions(err.Error(), ErrUnknown, temporal.ApplicationErrorOptions{})
	}
	return temporal.NewApplicationErrorWithOptions(err.Error(), e.Type, temporal.ApplicationErrorOptions{NonRetryable: !e.Retryable()})
}

// CommandError is a command that ran on a host and exited other than with 0.
type CommandError struct {
	Args   []string
	Code   int
	Output Output
}

// Error names the command and what it printed last.
func (e *CommandError) Error() string {
	return fmt.Sprintf("%s exited with %d: %s", e.Args[0], e.Code, lastLine(e.Output))
}

func lastLine(o Output) string {
	text := o.Stderr
	if text == "" {
		text = o.Stdout
	}
	end := len(text)
	for end > 0 && (text[end-1] == '\n' || text[end-1] == ' ') {
		end--
	}
	start := end
	for start > 0 && text[start-1] != '\n' {
		start--
	}
	return text[start:end]
}

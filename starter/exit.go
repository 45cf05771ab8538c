package starter

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/internal/journal"
)

// Exit codes; `muster help exit-codes` documents them.
const (
	codeDone        = 0
	codeError       = 1
	codeUsage       = 2
	codeAwaiting    = 3
	codeRejected    = 4
	codeUndone      = 5
	codeSkips       = 6
	codeMissed      = 7
	codeInterrupted = 130
)

const exitCodes = `Exit codes:
    0  done: the run passed, was observed (mode observe), or was started with --detach
    1  error: the run failed, an answer was refused, nothing could be reached, a file is wrong
    2  usage: unknown command or flag, missing argument
    3  awaiting: --no-wait, and the run waits for a decision or an operator
    4  rejected: a gate was rejected or ran out
    5  undone: aborted or cancelled (the verdict says whether all could be undone)
    6  passed with skips
    7  missed objectives: done, but slower or with more loss than promised
  130  interrupted: muster stopped following, the run goes on (the demo stops everything)`

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What muster's exit codes mean", Long: exitCodes}
}

// codeOf returns the exit code of a run that ended with v.
func codeOf(v journal.Verdict) int {
	switch v {
	case journal.Passed, journal.ObservedVerdict:
		return codeDone
	case journal.PassedWithSkips:
		return codeSkips
	case journal.MissedObjective:
		return codeMissed
	case journal.RejectedVerdict:
		return codeRejected
	case journal.Undone, journal.Aborted:
		return codeUndone
	default:
		return codeError
	}
}

// exit ends the program with a code; everything there is to say was printed.
type exit struct{ code int }

func (e *exit) Error() string { return fmt.Sprintf("exit %d", e.code) }

func exitWith(code int) error {
	if code == codeDone {
		return nil
	}
	return &exit{code}
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func usagef(format string, values ...any) error { return &usageError{fmt.Errorf(format, values...)} }

// args makes a usage error of what a cobra validator says.
func args(validate cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if err := validate(cmd, given); err != nil {
			return &usageError{fmt.Errorf("%w; usage: %s", err, cmd.UseLine())}
		}
		return nil
	}
}

// failure is an error that says what to do next.
type failure struct {
	err  error
	next string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(next string, format string, values ...any) error {
	return &failure{fmt.Errorf(format, values...), next}
}

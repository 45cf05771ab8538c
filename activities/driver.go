package activities

import (
	"context"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// System is the driver of one kind of system. It imports no sibling: hosts come to it as Hosts.
//
// Observe never fails because a member is down: that is a state (Role, Unreachable). It fails when it could not look at all.
// The Actions are pairs of a look and an act; package steps runs them: look, act once, look again.
type System interface {
	Observe(ctx context.Context, t Target) (SystemState, error)
	Preflight(ctx context.Context, m Move) (PreflightResult, error)

	// Fence makes sure that the member at m.From accepts no write, durably: it comes back as a standby, if at all.
	// Its last look has Proof and, where the data can be read, Position: the last record.
	Fence(m Move) Action
	// Unfence takes Fence back: the member at m.From is the primary again. Only before Promote.
	Unfence(m Move) Action
	// CatchUp waits until the member at m.To has replayed m.Position.
	CatchUp(m Move) Action
	// Promote makes the member at m.To accept writes.
	Promote(m Move) Action
	// Follow makes the member at m.From a standby of the member at m.To.
	Follow(m Move) Action

	// Marks opens a connection at address (a route's, or a member's own) that writes and reads numbered marks.
	Marks(ctx context.Context, t Target, address string) (Marks, error)
}

// Preparer is a System that can do, while clients still write, what would otherwise be done while they are cut off.
type Preparer interface {
	// Prepare changes no role and needs no undo.
	Prepare(m Move) Action
}

// Marks writes and reads numbered marks in a system, as a client would. Not for concurrent use.
type Marks interface {
	// Write stores mark seq of a writer, and returns when the system has acknowledged it.
	Write(ctx context.Context, writer string, seq int64) error
	// Read returns which marks from first to last (inclusive) are there, ascending.
	Read(ctx context.Context, writer string, first, last int64) ([]int64, error)
	// Last returns the highest mark of the writer, 0 where there is none.
	Last(ctx context.Context, writer string) (int64, error)
	// Forget deletes marks below seq.
	Forget(ctx context.Context, writer string, below int64) error
	// Where says which member answers: a fact that tells members apart (PostgreSQL: port, data directory and role).
	Where(ctx context.Context) (journal.Facts, error)
	Close()
}

// Action is one goal: how to see whether it is met, and how to act towards it.
type Action struct {
	// Look reads the world. It changes nothing and is safe to repeat.
	Look func(ctx context.Context) (Look, error)
	// Act makes one attempt; nil where there is only waiting to do. It may return before the goal is met.
	// requestID is the same for every attempt of one step: a service that knows request IDs acts once.
	// It is called only after a Look that said Met: false.
	Act func(ctx context.Context, requestID string) error
}

// Look is what an Action saw.
type Look struct {
	Met bool
	Why string // while not met: what is missing, one line
	// Busy: an earlier act is still at work (a base backup runs); wait, do not act again.
	Busy     bool
	Facts    journal.Facts
	Position string
	Proof    Proof
}

// Route is the driver of one kind of route.
type Route interface {
	Observe(ctx context.Context, t RouteTarget) (RouteState, error)
	// Point sends clients to site, and to no other site.
	Point(t RouteTarget, site string) Action
	// Close sends no client to site any more and cuts those that are connected.
	Close(t RouteTarget, site string) Action
}

// Hosts opens hosts by what the estate says of them. name is the host's name in the estate, for errors.
type Hosts interface {
	Open(ctx context.Context, name string, h runbooks.Host) (Host, error)
}

// Host runs commands on a member's machine: argument vectors, never shell text.
type Host interface {
	// Run returns the command's output. A command that ran and failed returns a *CommandError;
	// a host that could not be reached returns an error of type ErrUnreachable.
	Run(ctx context.Context, c Command) (Output, error)
	Close() error
}

// Command is an argument vector for a host.
type Command struct {
	Args  []string
	Stdin string            // never logged
	Env   map[string]string // never logged; secrets go here or to Stdin, not to Args
	// Lock is a path on the host: the command runs while holding an exclusive flock(1) on it and fails after two seconds where
	// another command holds it. It outlives the worker: a command that a killed worker left behind is not run twice.
	Lock string
	// Detach starts the command in a session of its own and returns: its end is observed, not awaited.
	Detach bool
}

// Output is what a command printed.
type Output struct {
	Stdout string
	Stderr string
}

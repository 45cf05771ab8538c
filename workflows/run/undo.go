package run

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/internal/journal"
)

type undo struct {
	system string
	title  string
	do     func(ctx workflow.Context) error
}

// Undo registers what takes a risky step back, before the step is started. Abort, rejection, cancellation and failure run
// the undos last-in first-out; passing the point of no return drops those of its system.
func (r *Run) Undo(ctx workflow.Context, system, title string, do func(ctx workflow.Context) error) {
	r.undos = append(r.undos, undo{system: system, title: title, do: do})
	r.Record(ctx, journal.Entry{Kind: journal.UndoAdded, Phase: r.phase, System: system, Title: title})
}

// Finally registers a clean-up that runs at the end of the run, whatever its verdict, after the undos.
func (r *Run) Finally(system, title string, do func(ctx workflow.Context) error) {
	r.finals = append(r.finals, undo{system: system, title: title, do: do})
}

// unwind runs the undos on ctx, which no abort or cancellation reaches. A step of an undo holds like any other; the run is
// undone only if all of them succeeded.
func (r *Run) unwind(ctx workflow.Context) error {
	var failed error
	for i := len(r.undos) - 1; i >= 0; i-- {
		u := r.undos[i]
		if err := u.do(ctx); err != nil && failed == nil {
			failed = fmt.Errorf("undo %q: %w", u.title, err)
		}
	}
	r.undos = nil
	return failed
}

func (r *Run) clean(ctx workflow.Context) {
	for i := len(r.finals) - 1; i >= 0; i-- {
		if err := r.finals[i].do(ctx); err != nil {
			_, why := explain(err)
			r.Note(ctx, r.finals[i].system, fmt.Sprintf("%s failed: %s", r.finals[i].title, why))
		}
	}
	r.finals = nil
}

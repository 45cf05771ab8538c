package run

import (
	"errors"
	"fmt"
	"slices"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/internal/journal"
)

// ErrAborted ends an operation that somebody aborted.
var ErrAborted = errors.New("aborted by an operator")

// hold waits for an operator after a step's retries are spent.
func (r *Run) hold(ctx workflow.Context, st *step, why string) (Intervention, error) {
	st.State, st.Message, st.heldSince, st.answer = stepHeld, why, workflow.Now(ctx).UTC(), nil
	r.Record(ctx, journal.Entry{Kind: journal.Held, Phase: st.spec.Phase, System: st.spec.System, Step: st.ID, Title: st.spec.Title, Message: why})
	r.announceHold(ctx, st.ID, why, "")
	r.settle(ctx)
	err := workflow.Await(ctx, func() bool { return st.answer != nil || r.abort != nil })
	if stopped := r.stopped(ctx, err); stopped != nil {
		return Intervention{}, stopped
	}
	st.State, st.Message = stepRunning, ""
	r.announceHold(ctx, st.ID, why, fmt.Sprintf("%s by %s", st.answer.Action, st.answer.Author))
	r.settle(ctx)
	return *st.answer, nil
}

// Checkpoint is for an operation whose last step is done: it waits while the run is paused, and returns why it was stopped. What was
// asked for while that step was at work counts, although nothing is left that could be stopped.
func (r *Run) Checkpoint(ctx workflow.Context) error { return r.checkpoint(ctx) }

// checkpoint waits while the run is paused. It is where pause, abort and cancel act between steps.
func (r *Run) checkpoint(ctx workflow.Context) error {
	err := workflow.Await(ctx, func() bool { return r.paused == nil || r.abort != nil })
	return r.stopped(ctx, err)
}

// stopped says whether the run was aborted or cancelled, whatever err says of a single call.
func (r *Run) stopped(ctx workflow.Context, err error) error {
	if r.abort != nil {
		return ErrAborted
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && temporal.IsCanceledError(err) {
		return err
	}
	return nil
}

// settle sets the run's state from what it waits for.
func (r *Run) settle(ctx workflow.Context) {
	state := StateRunning
	if r.holds() || r.paused != nil {
		state = StateHeld
	}
	for _, g := range r.gates {
		if !g.closed {
			state = StateAwaiting
		}
	}
	r.setState(ctx, state)
}

// intervene is where retry, skip, abort, pause and resume arrive, by update or signal.
func (r *Run) intervene(ctx workflow.Context, v Intervention) Answer {
	identity, err := r.identify(r.senderOfIntervention(v), r.Document.Runbook.Trust, MayIntervene)
	if err == nil {
		err = r.checkIntervention(v)
	}
	entry := journal.Entry{Kind: journal.Intervened, Phase: r.phase, Step: v.Step, Action: v.Action, Author: v.Author,
		Channel: v.Channel, Identity: identity, Reason: v.Reason}
	if err != nil {
		entry.Kind, entry.Message = journal.Refused, err.Error()
		r.Record(ctx, entry)
		return Answer{Message: err.Error()}
	}
	r.spend(v.Nonce)
	message := r.apply(ctx, v, &entry)
	switch v.Action {
	case ActionPause:
		r.announceHold(ctx, "", r.paused.Why, "")
	case ActionResume:
		r.announceHold(ctx, "", "", "resumed by "+v.Author)
	}
	r.settle(ctx)
	return Answer{Accepted: true, Message: message}
}

func (r *Run) apply(ctx workflow.Context, v Intervention, entry *journal.Entry) string {
	var message string
	switch v.Action {
	case ActionPause:
		r.paused = &HoldStatus{Why: fmt.Sprintf("paused by %s", v.Author), Since: workflow.Now(ctx).UTC()}
		message = "paused: no further step starts; the step at work ends first"
	case ActionResume:
		r.paused = nil
		message = "resumed"
	case ActionAbort:
		abort := v
		r.abort = &abort
		message = "aborting: the step at work is stopped, then what can be undone is undone"
		if len(r.past) > 0 {
			message = fmt.Sprintf("aborting: %v is past the point of no return and stays where it is; failback is the way back, once the same runbook, started again, has finished the move", r.past)
		}
		r.cancel()
	default:
		st := r.heldStep(v.Step)
		answer := v
		st.answer = &answer
		entry.Step, entry.System = st.ID, st.spec.System
		message = fmt.Sprintf("%s of %s", v.Action, st.ID)
		if len(v.Set) > 0 {
			entry.After = journal.Facts(v.Set)
		}
	}
	entry.Message = message
	r.Record(ctx, *entry)
	return message
}

func (r *Run) checkIntervention(v Intervention) error {
	if r.state == StateEnded || r.state == StateUndoing {
		return fmt.Errorf("the run has ended or is undoing: nothing can be changed any more")
	}
	stops := v.Action == ActionPause || v.Action == ActionResume || v.Action == ActionAbort
	if stops && r.ending && !r.holds() {
		return fmt.Errorf("too late for %s: the run's work is done and it is ending", v.Action)
	}
	switch v.Action {
	case ActionPause:
		if r.paused != nil {
			return fmt.Errorf("the run is paused already: %s", r.paused.Why)
		}
		return nil
	case ActionResume:
		if r.paused == nil {
			return fmt.Errorf("the run is not paused")
		}
		return nil
	case ActionAbort:
		if r.abort != nil {
			return fmt.Errorf("the run is being aborted already, by %s", r.abort.Author)
		}
		return nil
	case ActionRetry, ActionSkip:
		return r.checkHeld(v)
	default:
		return fmt.Errorf("unknown action %q: it is one of retry, skip, abort, pause, resume", v.Action)
	}
}

func (r *Run) checkHeld(v Intervention) error {
	st := r.heldStep(v.Step)
	if st == nil {
		return fmt.Errorf("no held step %q: %s", v.Step, r.heldNames())
	}
	if st.answer != nil {
		return fmt.Errorf("step %s was answered already: %s by %s", st.ID, st.answer.Action, st.answer.Author)
	}
	if len(v.Set) == 0 {
		return nil
	}
	if v.Action != ActionRetry {
		return fmt.Errorf("only retry changes a step's input")
	}
	_, err := edited(st.input, v.Set)
	return err
}

// holds says whether a step is held.
func (r *Run) holds() bool {
	return slices.ContainsFunc(r.steps, func(st *step) bool { return st.State == stepHeld })
}

// heldStep returns the held step of that ID, or the only held one where the ID is empty.
func (r *Run) heldStep(id string) *step {
	var found *step
	for _, st := range r.steps {
		if st.State != stepHeld {
			continue
		}
		if st.ID == id {
			return st
		}
		if id == "" {
			if found != nil {
				return nil
			}
			found = st
		}
	}
	return found
}

func (r *Run) heldNames() string {
	names := ""
	for _, st := range r.steps {
		if st.State == stepHeld {
			names += " " + st.ID
		}
	}
	if names == "" {
		return "no step is held"
	}
	return "held are:" + names
}

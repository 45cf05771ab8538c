package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// States of a step.
const (
	stepRunning = "running"
	stepDone    = "done"
	stepHeld    = "held"
	stepSkipped = "skipped"
	stepFailed  = "failed"
)

// Spec describes a step: one activity call.
type Spec struct {
	Phase    string
	System   string
	Title    string
	Activity string
	Intent   Intent
	Input    any
	// Give lists error types for which the step ends with its error rather than holding: the operation has another way.
	Give []string
}

type step struct {
	StepStatus
	spec      Spec
	heldSince time.Time
	input     any                // the spec's, with what operators changed
	answer    *Intervention      // what an operator wants done with a held step
	intent    *activities.Intent // of an attempt before the step was held
}

// Step carries out one activity call: it waits while the run is paused, records start and end, and holds when retries are spent.
// skipped is true where an operator skipped it; the result is then the zero value.
// The error is ErrAborted, a cancellation, or one of the types in Give.
func Step[T any](ctx workflow.Context, r *Run, spec Spec) (result T, skipped bool, err error) {
	if err := r.checkpoint(ctx); err != nil {
		return result, false, err // it never started, and the journal does not say that it did
	}
	st := r.openStep(ctx, spec)
	for {
		var zero T
		result = zero
		err := workflow.ExecuteActivity(spec.Intent.options(ctx, spec.Title), spec.Activity, st.input).Get(ctx, &result)
		if err == nil {
			r.closeStep(ctx, st, stepDone, st.entryOf(result))
			return result, false, nil
		}
		if mine := intentOf(err); mine != nil && st.intent == nil {
			st.intent = mine
		}
		if stopped := r.stopped(ctx, err); stopped != nil {
			r.closeStep(ctx, st, stepFailed, journal.Entry{Outcome: journal.Canceled,
				Message: "stopped while at work: what it had done by then was not observed"})
			return result, false, stopped
		}
		kind, why := explain(err)
		if slices.Contains(spec.Give, kind) {
			r.closeStep(ctx, st, stepFailed, journal.Entry{Outcome: journal.Failed, Message: why})
			return result, false, err
		}
		answer, err := r.hold(ctx, st, why)
		if err != nil {
			r.closeStep(ctx, st, stepFailed, journal.Entry{Outcome: journal.Failed, Message: why})
			return result, false, err
		}
		if answer.Action == ActionSkip {
			r.skips++
			r.closeStep(ctx, st, stepSkipped, journal.Entry{Outcome: journal.Skipped, Message: why, Author: answer.Author, Reason: answer.Reason})
			return result, true, nil
		}
		if len(answer.Set) > 0 {
			if st.input, err = edited(st.input, answer.Set); err != nil {
				panic(err) // checked when the intervention was accepted
			}
		}
		if err := r.checkpoint(ctx); err != nil {
			r.closeStep(ctx, st, stepFailed, journal.Entry{Outcome: journal.Failed, Message: why + "; not tried again: " + err.Error()})
			return result, false, err
		}
	}
}

// Act is Step for the activities that answer with an ActResult.
func Act(ctx workflow.Context, r *Run, spec Spec) (activities.ActResult, bool, error) {
	return Step[activities.ActResult](ctx, r, spec)
}

// RequestID is deterministic for a step of this run, so that a service that knows request IDs acts once.
func (r *Run) RequestID(phase, system string) string {
	return fmt.Sprintf("%s/%s/%s", r.header.RunID, phase, system)
}

func (r *Run) openStep(ctx workflow.Context, spec Spec) *step {
	id := spec.Phase
	if spec.System != "" {
		id += "/" + spec.System
	}
	for n := 2; r.stepByID[id] != nil; n++ {
		base, _, _ := strings.Cut(id, "#")
		id = fmt.Sprintf("%s#%d", base, n)
	}
	st := &step{spec: spec, input: spec.Input, StepStatus: StepStatus{ID: id, Title: spec.Title, State: stepRunning, Started: workflow.Now(ctx).UTC()}}
	r.steps = append(r.steps, st)
	r.stepByID[id] = st
	r.Record(ctx, journal.Entry{Kind: journal.StepStarted, Phase: spec.Phase, System: spec.System, Step: id, Title: spec.Title})
	r.show(ctx)
	return st
}

func (r *Run) closeStep(ctx workflow.Context, st *step, state string, e journal.Entry) {
	st.State, st.Outcome, st.Message, st.Ended = state, e.Outcome, e.Message, workflow.Now(ctx).UTC()
	e.Kind, e.Phase, e.System, e.Step, e.Title = journal.StepEnded, st.spec.Phase, st.spec.System, st.ID, st.spec.Title
	if e.TookMs == 0 {
		e.TookMs = st.Ended.Sub(st.Started).Milliseconds()
	}
	r.Record(ctx, e)
	r.announceStep(ctx, st)
	r.show(ctx)
}

// intentOf returns what the attempts that failed wrote down before one of them acted; nil where none did.
func intentOf(err error) *activities.Intent {
	var mine activities.Intent
	var failed *temporal.ApplicationError
	var timeout *temporal.TimeoutError
	switch {
	case errors.As(err, &failed) && failed.HasDetails():
		err = failed.Details(&mine)
	case errors.As(err, &timeout) && timeout.HasLastHeartbeatDetails():
		err = timeout.LastHeartbeatDetails(&mine)
	}
	if err != nil || mine.RequestID == "" {
		return nil
	}
	return &mine
}

// entryOf turns a step's result into what the journal keeps of it. What an act did before the step was held is this step's doing, too.
func (st *step) entryOf(result any) journal.Entry {
	e := journal.Entry{Outcome: journal.Unchanged, Attempts: 1}
	act, ok := result.(activities.ActResult)
	if !ok {
		return e
	}
	if act.Changed {
		e.Outcome = journal.Changed
	}
	e.Before, e.After, e.Attempts = act.Before, act.After, int(act.Attempt)
	if st.intent != nil {
		e.Outcome, e.Before = journal.Changed, st.intent.Before
	}
	if act.Proof != "" {
		if e.After == nil {
			e.After = journal.Facts{}
		}
		e.After["proof"] = string(act.Proof)
	}
	return e
}

// explain returns the error's type and its text for people, without the SDK's wrapping.
func explain(err error) (kind, why string) {
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		return app.Type(), app.Message()
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		return activities.ErrNotYet, fmt.Sprintf("no answer in time (%s): the worker that ran it was gone, or it took too long", timeout.TimeoutType())
	}
	return activities.ErrUnknown, err.Error()
}

// edited returns input with keys changed; a key is a dotted path of the input's JSON, and must exist or be an optional text.
func edited(input any, set map[string]string) (map[string]any, error) {
	text, err := json.Marshal(input)
	if err != nil {
		return nil, fmt.Errorf("change the step's input: %w", err)
	}
	tree := map[string]any{}
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("change the step's input: %w", err)
	}
	for _, key := range workflow.DeterministicKeys(set) {
		if err := setPath(tree, key, set[key]); err != nil {
			return nil, err
		}
	}
	return tree, nil
}

func setPath(tree map[string]any, path, value string) error {
	parts := strings.Split(path, ".")
	node := tree
	for _, part := range parts[:len(parts)-1] {
		next, ok := node[part].(map[string]any)
		if !ok {
			return fmt.Errorf("the step's input has no %q (in %s); it has: %s", part, path, keysOf(node))
		}
		node = next
	}
	last := parts[len(parts)-1]
	old, ok := node[last]
	if !ok {
		return fmt.Errorf("the step's input has no %q (in %s); it has: %s", last, path, keysOf(node))
	}
	if _, text := old.(string); text {
		node[last] = value
		return nil
	}
	var parsed any
	if err := json.Unmarshal([]byte(value), &parsed); err != nil {
		return fmt.Errorf("%s takes a JSON value like %v, not %q", path, old, value)
	}
	if fmt.Sprintf("%T", parsed) != fmt.Sprintf("%T", old) {
		return fmt.Errorf("%s takes a value like %v, not %q", path, old, value)
	}
	node[last] = parsed
	return nil
}

func keysOf(node map[string]any) string { return strings.Join(workflow.DeterministicKeys(node), ", ") }

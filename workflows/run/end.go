package run

import (
	"cmp"
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

var (
	// ErrRefused ends an operation that preflight speaks against.
	ErrRefused = errors.New("refused by preflight")
	// ErrObserved ends an operation in mode observe: it looked, planned and moved nothing.
	ErrObserved = errors.New("observed")
)

// end undoes, cleans up, frees the locks, writes the evidence and returns what the workflow returns.
func (r *Run) end(ctx workflow.Context, cause error) (Result, error) {
	canceled := ctx.Err() != nil
	detached, _ := workflow.NewDisconnectedContext(ctx)
	r.abort, r.paused = nil, nil // what was asked for has happened: undos are steps that can hold and be retried
	r.ending = true
	if cause != nil && !errors.Is(cause, ErrObserved) && len(r.undos) > 0 {
		r.phase = "undo"
		r.setState(detached, StateUndoing)
		if err := r.unwind(detached); err != nil {
			cause = errors.Join(cause, err, errUndoFailed)
		}
	}
	r.clean(detached)
	r.release(detached)
	r.undelivered(detached)
	r.verdict, r.summary = r.verdictOf(cause)
	r.Record(detached, journal.Entry{Kind: journal.RunEnded, Phase: "end", Verdict: r.verdict, Message: r.summary, Title: string(r.verdict)})
	r.phase = "evidence"
	r.announceEnd(detached)
	r.writeEvidence(detached)
	r.handOver(detached)
	r.phase = "end"
	r.setState(detached, StateEnded)
	if err := workflow.Await(detached, func() bool { return workflow.AllHandlersFinished(detached) }); err != nil {
		return Result{}, err
	}
	result := Result{Verdict: r.verdict, Summary: r.summary, Measures: r.measures, Entries: len(r.entries), Digest: r.digest,
		JSON: r.evidence.JSON, HTML: r.evidence.HTML}
	switch {
	case canceled:
		return result, temporal.NewCanceledError(result)
	case r.verdict == journal.FailedVerdict:
		return result, temporal.NewApplicationErrorWithOptions(r.summary, string(r.verdict),
			temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{result}})
	}
	return result, nil
}

var errUndoFailed = errors.New("not everything could be undone")

func (r *Run) verdictOf(cause error) (journal.Verdict, string) {
	past := ""
	if len(r.past) > 0 {
		past = fmt.Sprintf("; %v had passed the point of no return and was not taken back: start the same runbook again to finish the move; then failback is the way back", r.past)
	}
	switch {
	case cause == nil:
		return r.verdictOfDone()
	case errors.Is(cause, ErrObserved):
		return journal.ObservedVerdict, "looked and planned; nothing was moved"
	case errors.Is(cause, errUndoFailed) || (past != "" && stoppedByPeople(cause)):
		return journal.Aborted, text(cause) + past
	case errors.Is(cause, ErrRejected):
		return journal.RejectedVerdict, text(cause)
	case stoppedByPeople(cause):
		return journal.Undone, text(cause) + "; what had been done was undone"
	default:
		return journal.FailedVerdict, text(cause) + past
	}
}

func stoppedByPeople(cause error) bool {
	return errors.Is(cause, ErrAborted) || errors.Is(cause, ErrRejected) || temporal.IsCanceledError(cause)
}

func text(cause error) string {
	if temporal.IsCanceledError(cause) {
		return "cancelled"
	}
	_, why := explain(cause)
	return why
}

func (r *Run) verdictOfDone() (journal.Verdict, string) {
	summary := ""
	missed := false
	for _, m := range r.measures {
		if summary != "" {
			summary += "; "
		}
		summary += measureLine(m)
		missed = missed || (m.Measured && r.header.RTOMs != nil && m.OutageMs > *r.header.RTOMs)
		missed = missed || (m.Measured && r.header.LostWrites != nil && m.Missing > *r.header.LostWrites)
	}
	switch {
	case missed:
		return journal.MissedObjective, cmp.Or(summary, "done")
	case r.skips > 0:
		return journal.PassedWithSkips, fmt.Sprintf("%d step(s) skipped; %s", r.skips, cmp.Or(summary, "done"))
	default:
		return journal.Passed, cmp.Or(summary, "done")
	}
}

// writeEvidence never fails the run: the journal stays in the history, and muster report writes the evidence again.
func (r *Run) writeEvidence(ctx workflow.Context) {
	r.show(ctx)
	input := activities.EvidenceInput{WorkflowID: r.header.WorkflowID, RunID: r.header.RunID}
	if err := workflow.ExecuteActivity(Probe.options(ctx, "write the evidence"), activities.WriteEvidence, input).Get(ctx, &r.evidence); err != nil {
		_, why := explain(err)
		r.summary += " (the evidence could not be written: " + why + ")"
	}
}

package run

import (
	"cmp"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// Run is one execution of a runbook: what the kernel keeps while an operation is at work.
// It belongs to its workflow's goroutines and is never shared beyond them.
type Run struct {
	Document runbooks.Resolved
	Started  time.Time

	header     journal.Header
	entries    []journal.Entry
	digest     string
	state      State
	phase      string
	verdict    journal.Verdict
	summary    string
	measures   []journal.Measure
	evidence   activities.EvidenceResult
	plan       *journal.Plan
	steps      []*step
	stepByID   map[string]*step
	gates      []*gate
	nonces     map[string]bool
	undos      []undo
	finals     []undo
	leases     map[string]activities.Lease
	grants     map[string]int64
	paused     *HoldStatus
	abort      *Intervention
	ending     bool // the operation is over: what can be undone is, then evidence is written
	cancel     workflow.CancelFunc
	past       []string // systems past the point of no return
	skips      int
	attributes bool
	mailboxes  []*mailbox
}

// Body is an operation: what happens between the start of a run and its end.
// Its error decides the verdict: see verdictOf.
type Body func(ctx workflow.Context, r *Run) error

// Execute runs an operation: it loads the runbook, answers queries, decisions and interventions, runs body, undoes what must be
// undone, frees the locks, and has the evidence written. It fails only where the run could not be carried out at all.
func Execute(ctx workflow.Context, operation string, in Input, body Body) (Result, error) {
	info := workflow.GetInfo(ctx)
	r := &Run{
		Started:  workflow.Now(ctx).UTC(),
		digest:   journal.Genesis,
		state:    StateRunning,
		phase:    "load",
		stepByID: map[string]*step{},
		nonces:   map[string]bool{},
		leases:   map[string]activities.Lease{},
		grants:   map[string]int64{},
		header: journal.Header{
			WorkflowID: info.WorkflowExecution.ID, RunID: info.WorkflowExecution.RunID,
			Operation: operation, Runbook: in.Runbook,
			RequestedBy: cmp.Or(in.RequestedBy, "unknown"), Channel: cmp.Or(in.Channel, "temporal"),
		},
	}
	if err := r.answerQueries(ctx); err != nil {
		return Result{}, err
	}
	if err := r.load(ctx, operation, in); err != nil {
		return Result{}, err
	}
	inner, cancel := workflow.WithCancel(ctx)
	r.cancel = cancel
	if err := r.listen(ctx); err != nil {
		return Result{}, err
	}
	cause := body(inner, r)
	return r.end(ctx, cause)
}

func (r *Run) load(ctx workflow.Context, operation string, in Input) error {
	var loaded activities.LoadRunbookResult
	input := activities.LoadRunbookInput{Runbook: in.Runbook, Mode: in.Mode, From: in.From, To: in.To, Kind: in.Kind}
	if err := workflow.ExecuteActivity(Probe.options(ctx, "read runbook "+in.Runbook), activities.LoadRunbook, input).Get(ctx, &loaded); err != nil {
		return err
	}
	r.Document, r.attributes = loaded.Resolved, loaded.SearchAttributes
	book := r.Document.Runbook
	if book.Operation != operation {
		return temporal.NewNonRetryableApplicationError(
			fmt.Sprintf("runbook %s is for the operation %s, and was started as %s (next: start it as the workflow type its operation names)", book.Name, book.Operation, operation),
			activities.ErrConfig, nil)
	}
	r.header.Estate, r.header.Document = r.Document.Estate.Name, r.Document.SHA256
	if f := book.Failover; f != nil {
		r.header.From, r.header.To, r.header.MoveKind, r.header.Mode = f.From, f.To, f.Kind, f.Mode
	}
	objectives := book.Objectives.Or(r.Document.Estate.Objectives)
	if objectives.RTO != nil {
		ms := objectives.RTO.D().Milliseconds()
		r.header.RTOMs = &ms
	}
	r.header.LostWrites = objectives.LostWrites
	header := r.header
	r.Record(ctx, journal.Entry{Kind: journal.RunStarted, Phase: "load", Header: &header, Author: header.RequestedBy, Channel: header.Channel,
		Title: fmt.Sprintf("%s of %s by runbook %s", operation, header.Estate, header.Runbook)})
	r.setState(ctx, StateRunning)
	return nil
}

// Header returns what the run was asked to do.
func (r *Run) Header() journal.Header { return r.header }

// Phase names the phase that starts now, as status and the Temporal UI show it.
func (r *Run) Phase(ctx workflow.Context, name string) {
	r.phase = name
	r.show(ctx)
}

// Target returns a system of the run's estate with what its driver needs.
func (r *Run) Target(system string) activities.Target {
	estate := r.Document.Estate
	t := activities.Target{Estate: estate.Name, Name: system, System: estate.Systems[system], Hosts: map[string]runbooks.Host{}}
	for _, site := range workflow.DeterministicKeys(t.System.Members) {
		if name := t.System.Members[site].Host; name != "" {
			t.Hosts[name] = estate.Hosts[name]
		}
	}
	return t
}

// Lease returns the run's lease of a system's lock, and the zero lease where it holds none.
func (r *Run) Lease(system string) activities.Lease { return r.leases[system] }

// PassNoReturn records that a system cannot be put back by undoing: its undos are dropped, failback is the way. A run that is
// paused waits here, and one that is stopped ends here: it can still be put back.
func (r *Run) PassNoReturn(ctx workflow.Context, system string) error {
	if err := r.checkpoint(ctx); err != nil {
		return err
	}
	r.past = append(r.past, system)
	kept := r.undos[:0]
	for _, u := range r.undos {
		if u.system != system {
			kept = append(kept, u)
		}
	}
	r.undos = kept
	r.Record(ctx, journal.Entry{Kind: journal.NoReturn, System: system, Phase: r.phase,
		Title: "point of no return of " + system + ": from here failback is the way back"})
	return nil
}

// Measured records what was measured of one system's move, and counts it for the verdict.
func (r *Run) Measured(ctx workflow.Context, m journal.Measure) {
	r.measures = append(r.measures, m)
	r.Record(ctx, journal.Entry{Kind: journal.Measured, System: m.System, Phase: "measure", Measure: &m, Title: measureLine(m)})
}

// MeasureOf turns a writer's report into what the journal keeps. estimated is the loss in bytes that was shown before; -1 unknown.
func MeasureOf(system string, report activities.WriterReport, measured bool, estimated int64) journal.Measure {
	m := journal.Measure{System: system, Measured: measured && report.Acknowledged > 0, Outages: report.Outages, Unwatched: report.Unwatched,
		Acknowledged: report.Acknowledged, FailedWrites: report.Failed, Missing: report.Missing, MissingSeqs: report.MissingSeqs,
		EveryMs: report.Every.Milliseconds(), EstimatedLossBytes: estimated}
	if len(report.Outages) > 0 {
		longest := report.Outages[0]
		m.Outage, m.OutageMs = &longest, longest.Duration().Milliseconds()
	}
	return m
}

func measureLine(m journal.Measure) string {
	if !m.Measured {
		return m.System + ": not measured, no writer ran"
	}
	return fmt.Sprintf("%s: outage %d ms, %d acknowledged writes missing of %d", m.System, m.OutageMs, m.Missing, m.Acknowledged)
}

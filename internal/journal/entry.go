// Package journal is the ordered record of a run: what workflows write, evidence reads and the CLI shows.
package journal

import "time"

// Kind says what an entry records.
type Kind string

// Kinds of entries.
const (
	RunStarted  Kind = "run-started"
	Observed    Kind = "observed" // a system or route as it was seen
	Planned     Kind = "planned"  // a plan was made; Plan holds it
	GateOpened  Kind = "gate-opened"
	Decided     Kind = "decided" // a decision that counts
	Refused     Kind = "refused" // a decision or intervention that changed nothing, with the reason
	GateClosed  Kind = "gate-closed"
	Escalated   Kind = "gate-escalated" // nobody decided in time: more people may, until a new deadline
	Notified    Kind = "notified"       // a notice arrived at the notifier that Channel names, or has not
	StepStarted Kind = "step-started"
	StepEnded   Kind = "step-ended"
	Held        Kind = "held"
	Intervened  Kind = "intervened" // retry, edit, skip, abort, pause, resume
	Locked      Kind = "locked"
	Unlocked    Kind = "unlocked"
	UndoAdded   Kind = "undo-registered"
	NoReturn    Kind = "point-of-no-return"
	Measured    Kind = "measured"
	Noted       Kind = "noted"
	RunEnded    Kind = "run-ended"
)

// Outcome is how a step, gate or run ended.
type Outcome string

// Outcomes.
const (
	Changed   Outcome = "changed"   // the step acted and its goal is met
	Unchanged Outcome = "unchanged" // the goal was met before
	Failed    Outcome = "failed"
	Skipped   Outcome = "skipped"
	Approved  Outcome = "approved"
	Rejected  Outcome = "rejected"
	Expired   Outcome = "expired"
	Canceled  Outcome = "canceled"
)

// Facts are what was seen, for people: short keys, short values.
type Facts map[string]string

// Entry is one record. At is the workflow's clock in UTC. Hash covers all other fields and the hash before (see Chain).
type Entry struct {
	Seq      int       `json:"seq"`
	At       time.Time `json:"at"`
	Kind     Kind      `json:"kind"`
	Phase    string    `json:"phase,omitempty"` // observe, preflight, gate, lock, fence, catch-up, promote, route, verify, re-protect, undo, ...
	Step     string    `json:"step,omitempty"`  // step ID, unique within a run: fence/orders
	System   string    `json:"system,omitempty"`
	Title    string    `json:"title,omitempty"` // one line for people
	Outcome  Outcome   `json:"outcome,omitempty"`
	Message  string    `json:"message,omitempty"` // why, where it failed; what was seen
	Attempts int       `json:"attempts,omitempty"`
	TookMs   int64     `json:"took_ms,omitempty"`
	Before   Facts     `json:"before,omitempty"`
	After    Facts     `json:"after,omitempty"`
	Gate     string    `json:"gate,omitempty"`
	PlanHash string    `json:"plan_hash,omitempty"`
	Author   string    `json:"author,omitempty"`
	Channel  string    `json:"channel,omitempty"`  // cli, temporal, slack, ...
	Identity string    `json:"identity,omitempty"` // signed:<fingerprint> or claimed
	Reason   string    `json:"reason,omitempty"`
	Action   string    `json:"action,omitempty"` // approve, reject, retry, edit, skip, abort, pause, resume
	Deadline time.Time `json:"deadline,omitzero"`
	Plan     *Plan     `json:"plan,omitempty"`
	Header   *Header   `json:"header,omitempty"`  // RunStarted
	Measure  *Measure  `json:"measure,omitempty"` // Measured
	Verdict  Verdict   `json:"verdict,omitempty"` // RunEnded
	Prev     string    `json:"prev"`
	Hash     string    `json:"hash"`
}

// Verdict is how a run ended, as a whole.
type Verdict string

// Verdicts. A skip never reads as success.
const (
	Passed          Verdict = "passed"
	PassedWithSkips Verdict = "passed-with-skips"
	MissedObjective Verdict = "missed-objectives" // done, but slower or with more loss than promised
	RejectedVerdict Verdict = "rejected"          // a gate was rejected or ran out; nothing was moved, or all was undone
	Undone          Verdict = "undone"            // aborted or cancelled before the point of no return; the undos ran
	Aborted         Verdict = "aborted"           // aborted or cancelled after it, or an undo failed: see what is left to do
	FailedVerdict   Verdict = "failed"
	ObservedVerdict Verdict = "observed" // mode observe: looked, planned, moved nothing
)

// Header is what a run was asked to do.
type Header struct {
	WorkflowID  string `json:"workflow_id"`
	RunID       string `json:"run_id"`
	Operation   string `json:"operation"`
	Estate      string `json:"estate"`
	Runbook     string `json:"runbook"`
	Document    string `json:"document_sha256"`
	Mode        string `json:"mode"`
	From        string `json:"from,omitempty"`
	To          string `json:"to,omitempty"`
	MoveKind    string `json:"move_kind,omitempty"`
	RequestedBy string `json:"requested_by"`
	Channel     string `json:"channel"`
	RTOMs       *int64 `json:"rto_objective_ms,omitempty"` // nil: nothing was promised
	LostWrites  *int64 `json:"lost_writes_objective,omitempty"`
}

// Finding is something that preflight or a re-observation says against a move.
type Finding struct {
	Code    string `json:"code"` // stable, e.g. standby-not-streaming
	System  string `json:"system,omitempty"`
	Refuse  bool   `json:"refuse"` // true: the move is refused; false: people should know
	Message string `json:"message"`
	Next    string `json:"next,omitempty"` // what to do about it
}

// Band is an interval of time.
type Band struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Duration returns the length of b.
func (b Band) Duration() time.Duration { return b.To.Sub(b.From) }

// Measure is what was measured of one system's move.
type Measure struct {
	System             string  `json:"system"`
	Measured           bool    `json:"measured"` // false: no writer ran; nothing below is known
	OutageMs           int64   `json:"outage_ms"`
	Outage             *Band   `json:"outage,omitempty"` // the longest interruption, as clients saw it
	Outages            []Band  `json:"outages,omitempty"`
	Unwatched          []Band  `json:"unwatched,omitempty"`
	Acknowledged       int64   `json:"acknowledged"`
	FailedWrites       int64   `json:"failed_writes"`
	Missing            int64   `json:"missing"` // acknowledged writes that are gone
	MissingSeqs        []int64 `json:"missing_seqs,omitempty"`
	EveryMs            int64   `json:"every_ms"`
	EstimatedLossBytes int64   `json:"estimated_loss_bytes"` // shown before the gate; -1 unknown
}

// Holder is a run that holds or wants a lock.
type Holder struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
	Operation  string `json:"operation,omitempty"`
	By         string `json:"by,omitempty"`
}

// Package evidence makes the report of a run from its journal, and from nothing else: one JSON file, and one HTML page drawn from it.
//
// The JSON file (version 1) is the canonical encoding of [Evidence]: everything but journal and digest is derived from the
// journal by [Build], so a reader with the journal can recompute, and [VerifyFile] does recompute, all of it.
// Times are RFC 3339 in UTC, lengths are whole milliseconds (fields that end in _ms).
package evidence

import (
	"time"

	"github.com/musterhq/muster/internal/journal"
)

// Version is the version of the JSON schema; it rises when a field or a derivation changes its meaning.
const Version = 1

// Evidence is all that is known of a run. The field order is the file's.
type Evidence struct {
	Version int             `json:"version"`
	Run     journal.Header  `json:"run"`
	Started time.Time       `json:"started"`
	Ended   time.Time       `json:"ended,omitzero"`    // zero: the journal has no end yet
	Verdict journal.Verdict `json:"verdict,omitempty"` // as the run itself recorded it; empty while it has not ended
	Summary string          `json:"summary,omitempty"`
	// Criteria are the objectives and the rules, in a fixed order, each with what was found.
	Criteria []Criterion `json:"criteria"`
	Times    Times       `json:"times"`
	Systems  []System    `json:"systems,omitempty"` // in the plan's order
	// Plan is the last plan that approvals name by its hash; where there is none, the last that was made.
	Plan         *journal.Plan `json:"plan,omitempty"`
	PlanApproved bool          `json:"plan_approved"`
	Steps        []Step        `json:"steps,omitempty"` // in order of start
	Gates        []Gate        `json:"gates,omitempty"` // in order of opening; a gate that was asked again is there again
	// Refused are decisions and interventions that changed nothing.
	Refused       []Act  `json:"refused,omitempty"`
	Interventions []Act  `json:"interventions,omitempty"`
	Holds         []Hold `json:"holds,omitempty"`
	Undos         []Undo `json:"undos,omitempty"` // in order of registration
	NoReturn      []Note `json:"no_return,omitempty"`
	Notices       []Note `json:"notices,omitempty"`
	// Undelivered are notices that had not arrived at a notifier when the journal says so; Title names it.
	Undelivered []Note          `json:"undelivered,omitempty"`
	Journal     []journal.Entry `json:"journal"`
	Digest      string          `json:"digest"` // last hash of the journal's chain
}

// Result says whether a criterion holds.
type Result string

// Results. Only Met is success: NotMeasured and Weak never read as such.
const (
	Met           Result = "met"
	Weak          Result = "weak"    // holds on weaker proof, or because a person took the risk
	NotMet        Result = "not-met" // does not hold, or was not shown where it must be
	NotMeasured   Result = "not-measured"
	NotApplicable Result = "not-applicable"
)

// Criteria, as Criterion.ID names them.
const (
	CriterionRTO        = "rto"
	CriterionLostWrites = "lost-writes"
	CriterionOneWriter  = "one-writer"
	CriterionVerified   = "verified"
	CriterionApproved   = "approved"
	CriterionReprotect  = "re-protected"
	CriterionSkips      = "no-skips"
)

// Criterion is one objective or rule. Result is the worst of its systems'.
type Criterion struct {
	ID      string         `json:"id"`
	Title   string         `json:"title"`
	Asked   string         `json:"asked"` // the objective or rule, in words
	Found   string         `json:"found"`
	Result  Result         `json:"result"`
	Systems []SystemResult `json:"systems,omitempty"`
}

// SystemResult is a criterion's result for one system.
type SystemResult struct {
	System string `json:"system"`
	Found  string `json:"found"`
	Result Result `json:"result"`
}

// Times splits the worst outage, and totals the run. DetectMs + DecideMs + ExecuteMs + VerifyMs is OutageMs.
type Times struct {
	Measured bool          `json:"measured"`         // false: no writer ran, the outage and its parts are unknown
	System   string        `json:"system,omitempty"` // whose outage was the longest
	Outage   *journal.Band `json:"outage,omitempty"` // nil: none was seen
	OutageMs int64         `json:"outage_ms"`
	// DetectMs is from the outage's start to the run's; 0 where the run came first.
	DetectMs int64 `json:"detect_ms"`
	// DecideMs is the part of the outage in which a gate was open.
	DecideMs int64 `json:"decide_ms"`
	// ExecuteMs is the rest, holds included.
	ExecuteMs int64 `json:"execute_ms"`
	// VerifyMs is from the end of the system's last route step to its first good verification.
	VerifyMs int64 `json:"verify_ms"`
	RunMs    int64 `json:"run_ms"`    // the whole run
	GatesMs  int64 `json:"gates_ms"`  // of it: some gate was open
	HeldMs   int64 `json:"held_ms"`   // of it: something was on hold
	LockedMs int64 `json:"locked_ms"` // of it: locks were held
}

// System is one system before and after, with what was measured of it.
type System struct {
	Name          string           `json:"name"`
	Before        journal.Facts    `json:"before,omitempty"` // first observation
	After         journal.Facts    `json:"after,omitempty"`  // last observation
	ObservedAgain bool             `json:"observed_again"`   // false: After is unknown
	Measure       *journal.Measure `json:"measure,omitempty"`
}

// Step is one step with all its attempts.
type Step struct {
	ID       string          `json:"id"`
	Phase    string          `json:"phase,omitempty"`
	System   string          `json:"system,omitempty"`
	Title    string          `json:"title,omitempty"`
	Outcome  journal.Outcome `json:"outcome,omitempty"` // of the last attempt; empty: it never ended
	Message  string          `json:"message,omitempty"`
	Attempts []Attempt       `json:"attempts,omitempty"` // none: skipped before it began
	Before   journal.Facts   `json:"before,omitempty"`
	After    journal.Facts   `json:"after,omitempty"`
}

// Attempt is one start of a step, by the run or by an operator's retry. Tries counts the automatic ones within.
type Attempt struct {
	From    time.Time       `json:"from"`
	To      time.Time       `json:"to,omitzero"`
	Outcome journal.Outcome `json:"outcome,omitempty"`
	Tries   int             `json:"tries,omitempty"`
	Message string          `json:"message,omitempty"`
}

// Gate is one opening of a gate.
type Gate struct {
	Name      string          `json:"name"`
	System    string          `json:"system,omitempty"`
	Title     string          `json:"title,omitempty"`
	Message   string          `json:"message,omitempty"` // the risk that it asks to accept
	PlanHash  string          `json:"plan_hash,omitempty"`
	Opened    time.Time       `json:"opened"`
	Deadline  time.Time       `json:"deadline,omitzero"`
	Closed    time.Time       `json:"closed,omitzero"`
	Outcome   journal.Outcome `json:"outcome,omitempty"`
	Decisions []Act           `json:"decisions,omitempty"` // those that count
}

// Act is what a person did: a decision or an intervention.
type Act struct {
	Seq      int           `json:"seq"` // number of the journal's entry
	At       time.Time     `json:"at"`
	Action   string        `json:"action,omitempty"`
	Author   string        `json:"author,omitempty"`
	Identity string        `json:"identity,omitempty"` // signed:<fingerprint> or claimed
	Channel  string        `json:"channel,omitempty"`
	Reason   string        `json:"reason,omitempty"` // the author's
	Gate     string        `json:"gate,omitempty"`
	Step     string        `json:"step,omitempty"`
	System   string        `json:"system,omitempty"`
	PlanHash string        `json:"plan_hash,omitempty"`
	Message  string        `json:"message,omitempty"` // the run's answer: why it was refused, what it did
	Set      journal.Facts `json:"set,omitempty"`     // what an edit changed
}

// Hold is an interval in which a step, or the whole run (Step empty), waited for an operator.
type Hold struct {
	Step   string    `json:"step,omitempty"`
	System string    `json:"system,omitempty"`
	Why    string    `json:"why,omitempty"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to,omitzero"`
	Action string    `json:"action,omitempty"` // the intervention that ended it
	Author string    `json:"author,omitempty"`
}

// Undo is a registered undo, and how it went where it ran.
type Undo struct {
	Note
	Ran     bool            `json:"ran"`
	Outcome journal.Outcome `json:"outcome,omitempty"`
}

// Note is something that happened at one moment.
type Note struct {
	Seq     int       `json:"seq"`
	At      time.Time `json:"at"`
	Step    string    `json:"step,omitempty"`
	System  string    `json:"system,omitempty"`
	Title   string    `json:"title,omitempty"`
	Message string    `json:"message,omitempty"`
}

// Done reports whether the step reached its goal.
func (s Step) Done() bool { return s.Outcome == journal.Changed || s.Outcome == journal.Unchanged }

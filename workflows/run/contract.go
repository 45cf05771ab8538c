// Package run is the kernel that every operation is written in: Step, Gate, Hold, Undo, Lock, Journal.
package run

import (
	"time"

	"github.com/musterhq/muster/internal/journal"
)

// TaskQueue is where muster's workers listen.
const TaskQueue = "muster"

// Names that stand in histories and that people type. They are frozen; one golden file holds them.
const (
	UpdateDecide    = "decide"    // Decision -> Answer. Also a signal
	UpdateIntervene = "intervene" // Intervention -> Answer. Also a signal
	QueryStatus     = "status"    // -> Status
	QueryJournal    = "journal"   // JournalPage -> []journal.Entry
	QueryPlan       = "plan"      // -> journal.Plan
	SignalGranted   = "lock-granted"
	SignalAcquire   = "lock-acquire"
	SignalRelease   = "lock-release"
	QueryLock       = "lock" // -> LockStatus

	MemoRunbook     = "runbook" // set by who starts a run, for lists
	MemoRequestedBy = "requested_by"

	AttributeEstate    = "MusterEstate"
	AttributeOperation = "MusterOperation"
	AttributeState     = "MusterState"
	AttributeVerdict   = "MusterVerdict"
	AttributePlanHash  = "MusterPlanHash"
)

// Input starts any operation. Two fields are enough: {"runbook": "failover-shop", "mode": "execute"}.
type Input struct {
	Runbook     string `json:"runbook"`
	Mode        string `json:"mode,omitempty"` // execute or observe; empty: as the runbook says
	From        string `json:"from,omitempty"` // overrides the runbook's
	To          string `json:"to,omitempty"`
	Kind        string `json:"kind,omitempty"`         // planned or unplanned
	RequestedBy string `json:"requested_by,omitempty"` // claimed: Temporal does not tell who started a run
	Channel     string `json:"channel,omitempty"`      // cli, schedule, ...; empty: temporal
}

// State is where a run stands.
type State string

// States of a run.
const (
	StateRunning  State = "running"
	StateAwaiting State = "awaiting-decision" // a gate is open
	StateHeld     State = "held"              // a step failed, or somebody paused the run
	StateWaiting  State = "waiting-for-lock"
	StateWindow   State = "waiting-for-window" // approved, and the runbook's window is not open yet
	StateUndoing  State = "undoing"
	StateEnded    State = "ended"
)

// Actions of an Intervention.
const (
	ActionRetry  = "retry" // with Set: with changed input
	ActionSkip   = "skip"
	ActionAbort  = "abort"
	ActionPause  = "pause"
	ActionResume = "resume"
)

// Decision answers a gate. What is signed is SigningText.
type Decision struct {
	Gate      string    `json:"gate"`      // gate's name; may be empty where one gate is open
	PlanHash  string    `json:"plan_hash"` // of the plan that the approver was shown
	Decision  string    `json:"decision"`  // approve or reject
	Approver  string    `json:"approver"`  // name in the estate's people
	Reason    string    `json:"reason,omitempty"`
	Channel   string    `json:"channel,omitempty"`
	Gateway   string    `json:"gateway,omitempty"` // in the estate's gateways: who vouches, and whose signature this is
	Vouched   string    `json:"vouched,omitempty"` // what the gateway vouches for: slack:T0123/U0456, oidc:<issuer>#<subject>, email:<address>
	Time      time.Time `json:"time,omitzero"`
	Nonce     string    `json:"nonce,omitempty"`
	Signature string    `json:"signature,omitempty"` // SSHSIG, armored, namespace "muster"
}

// Intervention tells a run what to do with a held step, or with itself.
type Intervention struct {
	Step      string            `json:"step,omitempty"` // may be empty where one step is held
	Action    string            `json:"action"`
	Set       map[string]string `json:"set,omitempty"` // retry: changes to the step's input
	Author    string            `json:"author"`
	Reason    string            `json:"reason,omitempty"`
	Channel   string            `json:"channel,omitempty"`
	Gateway   string            `json:"gateway,omitempty"` // as a decision's
	Vouched   string            `json:"vouched,omitempty"`
	Time      time.Time         `json:"time,omitzero"`
	Nonce     string            `json:"nonce,omitempty"`
	Signature string            `json:"signature,omitempty"`
}

// Answer is what the sender of a decision or intervention is told. A refusal is an answer, not an error: it is in the journal too.
type Answer struct {
	Accepted bool   `json:"accepted"`
	Message  string `json:"message"` // why it was refused, or what happens now
}

// Status is the status query's answer: all that a person needs to see where a run stands.
type Status struct {
	Header   journal.Header    `json:"header"`
	State    State             `json:"state"`
	Verdict  journal.Verdict   `json:"verdict,omitempty"` // once ended
	Phase    string            `json:"phase"`
	Started  time.Time         `json:"started"`
	Steps    []StepStatus      `json:"steps"` // in order of start, the running one last
	Gates    []GateStatus      `json:"gates,omitempty"`
	Holds    []HoldStatus      `json:"holds,omitempty"`
	Paused   bool              `json:"paused"`
	Plan     string            `json:"plan_hash,omitempty"`
	NoReturn bool              `json:"past_no_return"`
	Entries  int               `json:"journal_entries"`
	Digest   string            `json:"journal_digest"`
	Summary  string            `json:"summary,omitempty"` // one line, once ended
	Measures []journal.Measure `json:"measures,omitempty"`
	// Operators may answer the holds.
	Operators []string `json:"operators,omitempty"`
	JSON      string   `json:"evidence_json,omitempty"` // paths on the worker, once written
	HTML      string   `json:"evidence_html,omitempty"`
}

// StepStatus is one step as it stands.
type StepStatus struct {
	ID      string          `json:"id"`
	Title   string          `json:"title"`
	State   string          `json:"state"` // running, done, held, skipped, failed
	Outcome journal.Outcome `json:"outcome,omitempty"`
	Started time.Time       `json:"started"`
	Ended   time.Time       `json:"ended,omitzero"`
	Message string          `json:"message,omitempty"`
}

// GateStatus is an open gate.
type GateStatus struct {
	Name     string    `json:"name"`
	Title    string    `json:"title"`
	PlanHash string    `json:"plan_hash"`
	Opened   time.Time `json:"opened"`
	Deadline time.Time `json:"deadline"`
	Need     int       `json:"need"` // distinct approvals
	Have     []string  `json:"have,omitempty"`
	Who      []string  `json:"who,omitempty"`    // people and roles that may answer
	People   []string  `json:"people,omitempty"` // who that is now, less those who have answered and, under four eyes, who asked for the run
	Trust    string    `json:"trust"`
	FourEyes bool      `json:"four_eyes,omitempty"`
	Risk     string    `json:"risk,omitempty"` // the risk that this gate asks to accept
}

// HoldStatus is a held step, or the run itself (Step empty) where somebody paused it.
type HoldStatus struct {
	Step  string    `json:"step,omitempty"`
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
}

// JournalPage asks for entries after number After, at most Limit of them (default 200).
type JournalPage struct {
	After int `json:"after"`
	Limit int `json:"limit,omitempty"`
}

// Result is what a run's workflow returns. It fails only where the run could not be carried out at all.
type Result struct {
	Verdict  journal.Verdict   `json:"verdict"`
	Summary  string            `json:"summary"` // one line: what happened
	Measures []journal.Measure `json:"measures,omitempty"`
	Entries  int               `json:"journal_entries"`
	Digest   string            `json:"journal_digest"` // last hash of the journal's chain: evidence is checked against it
	JSON     string            `json:"evidence_json,omitempty"`
	HTML     string            `json:"evidence_html,omitempty"`
}

// LockStatus is the lock query's answer.
type LockStatus struct {
	Holder *journal.Holder  `json:"holder,omitempty"`
	Token  int64            `json:"token"`
	Queue  []journal.Holder `json:"queue,omitempty"`
}

// Grant is the signal that tells a run that it holds a lock now.
type Grant struct {
	LockWorkflow string `json:"lock_workflow"`
	Token        int64  `json:"token"`
}

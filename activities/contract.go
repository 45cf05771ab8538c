// Package activities is the contract between workflows and drivers: activity names, inputs,
// results, error types and the driver interfaces. It imports no driver.
package activities

import (
	"time"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// Activity names. They are frozen: a name in use stands in the histories of running and closed runs.
const (
	LoadRunbook   = "LoadRunbook"   // LoadRunbookInput -> LoadRunbookResult
	Preflight     = "Preflight"     // Move -> PreflightResult
	Prepare       = "Prepare"       // ActInput -> ActResult: what can be done before clients are cut off
	Fence         = "Fence"         // ActInput -> ActResult
	Unfence       = "Unfence"       // ActInput -> ActResult
	CatchUp       = "CatchUp"       // ActInput -> ActResult
	Promote       = "Promote"       // ActInput -> ActResult
	Follow        = "Follow"        // ActInput -> ActResult
	ObserveRoute  = "ObserveRoute"  // RouteTarget -> RouteState
	CloseRoute    = "CloseRoute"    // RouteInput -> ActResult
	PointRoute    = "PointRoute"    // RouteInput -> ActResult
	VerifyRoute   = "VerifyRoute"   // VerifyInput -> ActResult: a write and a read through the clients' own route
	StartWriter   = "StartWriter"   // WriterInput -> ActResult
	AwaitWriter   = "AwaitWriter"   // WriterInput -> ActResult: until a write is acknowledged after Since
	StopWriter    = "StopWriter"    // WriterInput -> WriterReport
	CheckHolders  = "CheckHolders"  // []journal.Holder -> []journal.Holder that are closed
	AcquireLock   = "AcquireLock"   // LockInput -> LockResult: asks the lock workflow, which answers by signal
	WriteEvidence = "WriteEvidence" // EvidenceInput -> EvidenceResult
)

// LoadRunbookInput names a runbook of the worker's folder, and the parameters that the start overrides.
type LoadRunbookInput struct {
	Runbook string `json:"runbook"`
	Mode    string `json:"mode,omitempty"`
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
	Kind    string `json:"kind,omitempty"`
}

// Target is one system with what a driver needs to reach its members.
type Target struct {
	Estate string                   `json:"estate"`
	Name   string                   `json:"name"`
	System runbooks.System          `json:"system"`
	Hosts  map[string]runbooks.Host `json:"hosts,omitempty"` // those that its members name
}

// Move is a system's way from one site to another.
type Move struct {
	Target
	From       string              `json:"from"`
	To         string              `json:"to"`
	Planned    bool                `json:"planned"`
	Objectives runbooks.Objectives `json:"objectives,omitzero"`
	// Position is the old primary's last record where it is known: what CatchUp waits for. The driver's own notation.
	Position string `json:"position,omitempty"`
	// Discard: a gate, or retry --set, accepted that what only the old primary holds is lost when it follows the new one.
	Discard bool `json:"discard"`
	// Takeover: a gate, or retry --set, accepted a promotion that the system's own quorum did not vote for.
	Takeover bool `json:"takeover"`
}

// Lease is the proof that a run holds a system's lock. Acting activities check it before they act.
type Lease struct {
	LockWorkflow string `json:"lock_workflow"`
	Holder       string `json:"holder"` // run ID of the holder
	Token        int64  `json:"token"`  // rises with every grant of the same lock
}

// ActInput asks for one goal on one system.
type ActInput struct {
	Move
	Lease     Lease             `json:"lease,omitzero"`
	RequestID string            `json:"request_id"`    // deterministic: run, step, attempt of the operator
	Set       map[string]string `json:"set,omitempty"` // an operator's changes to the step's input (retry --set)
}

// Intent is what an attempt writes into Temporal before it acts: so the next attempt, and the run that holds after the last one, know
// that there may have been an act.
type Intent struct {
	RequestID string        `json:"request_id"`
	Before    journal.Facts `json:"before,omitempty"`
}

// ActResult says what a step did. Before and After are the facts seen by the first and the last look.
type ActResult struct {
	Changed  bool          `json:"changed"`
	Before   journal.Facts `json:"before,omitempty"`
	After    journal.Facts `json:"after,omitempty"`
	Position string        `json:"position,omitempty"` // Fence: the old primary's last record; Promote: where the new timeline began
	Proof    Proof         `json:"proof,omitempty"`    // Fence only
	Attempt  int32         `json:"attempt"`
	Took     time.Duration `json:"took_ns"`
}

// Proof says how strongly it is known that an old primary accepts no writes.
type Proof string

// Proofs, the strongest first.
const (
	ProofStopped Proof = "stopped" // the server is down, cleanly, and comes back as a standby only
	ProofCrashed Proof = "crashed" // no server process runs, it did not stop cleanly, and comes back as a standby only
	ProofRefuses Proof = "refuses" // the server runs and refuses every write, a restart included; one was tried
	ProofCutOff  Proof = "cut-off" // the server may run: clients are cut off at the route and it was made read-only. Weaker
	ProofNone    Proof = "none"    // nothing could be proven
)

// Strong says whether a promotion needs no further consent: nothing can write at the old primary.
func (p Proof) Strong() bool { return p == ProofStopped || p == ProofCrashed || p == ProofRefuses }

// Role is what a member is for its system.
type Role string

// Roles of a member.
const (
	RolePrimary Role = "primary"
	RoleStandby Role = "standby"
	RoleStopped Role = "stopped" // its host answers, its server does not run
	RoleUnknown Role = "unknown" // neither server nor host answers
)

// FindingNoVote is the code of preflight's finding that a system's own quorum cannot vote for the move: a promotion then needs
// consent to go without (Move.Takeover).
const FindingNoVote = "no-majority-to-vote"

// FindingMoved is the code of preflight's finding that the system is at To already, and all that is at From follows it. It refuses a run
// that has nothing else to do; a run of several systems, or one whose clients have yet to be sent there, finishes what an abort left.
const FindingMoved = "already-moved"

// MemberState is what a driver saw of one member, in words that hold for every kind of system.
type MemberState struct {
	Site          string        `json:"site"`
	Role          Role          `json:"role"`
	AcceptsWrites bool          `json:"accepts_writes"`
	Unreachable   string        `json:"unreachable,omitempty"` // why the server could not be asked; empty where it answered
	HostReachable bool          `json:"host_reachable"`
	Identity      string        `json:"identity,omitempty"`  // what members of one system share (PostgreSQL: system identifier)
	Lineage       string        `json:"lineage,omitempty"`   // which history it is on (PostgreSQL: timeline)
	Position      string        `json:"position,omitempty"`  // primary: write position; standby: replay position
	LagBytes      int64         `json:"lag_bytes"`           // standby: behind its primary; -1 where unknown
	LagSeconds    float64       `json:"lag_seconds"`         // standby; -1 where unknown
	Following     string        `json:"following,omitempty"` // standby: host:port it streams from; empty where it streams from nobody
	Facts         journal.Facts `json:"facts,omitempty"`     // what the driver adds for people
}

// SystemState is a system as it was observed.
type SystemState struct {
	System  string                 `json:"system"`
	Kind    string                 `json:"kind"`
	At      time.Time              `json:"at"`
	Members map[string]MemberState `json:"members"` // by site
}

// PreflightResult is what was observed and what speaks against the move.
type PreflightResult struct {
	State    SystemState       `json:"state"`
	Findings []journal.Finding `json:"findings,omitempty"`
	// LossBytes is what would be lost were the old primary gone now: 0 when planned, -1 where unknown.
	LossBytes int64 `json:"loss_bytes"`
}

// RouteTarget is one route by name.
type RouteTarget struct {
	Name  string         `json:"name"`
	Route runbooks.Route `json:"route"`
}

// RouteState is where a route sends clients.
type RouteState struct {
	Route string               `json:"route"`
	Sites map[string]RouteSite `json:"sites"`
}

// RouteSite is a route's view of one site.
type RouteSite struct {
	Open     bool   `json:"open"`     // new clients are sent here
	Sessions int    `json:"sessions"` // clients connected through the route now
	Health   string `json:"health,omitempty"`
	Raw      string `json:"raw,omitempty"` // the route's own words
}

// RouteInput asks to send clients to a site, or to close the route to that site.
type RouteInput struct {
	RouteTarget
	Site      string `json:"site"`
	Lease     Lease  `json:"lease,omitzero"`
	RequestID string `json:"request_id"`
}

// VerifyInput asks for a write and a read through the route.
type VerifyInput struct {
	Target
	Route     RouteTarget `json:"route"`
	Site      string      `json:"site"` // where the write must land
	RequestID string      `json:"request_id"`
}

// WriterInput names the numbered writer of a system; one writer runs for each system of an estate.
type WriterInput struct {
	Target
	Route  RouteTarget     `json:"route"`
	Writer runbooks.Writer `json:"writer,omitzero"`
	Run    string          `json:"run"`            // run ID that wants it; a writer stops when nobody wants it
	Since  time.Time       `json:"since,omitzero"` // Await: a write acknowledged after; Measure, Stop: from when on
	Until  time.Time       `json:"until,omitzero"` // Measure, Stop: to when
	Gone   bool            `json:"gone,omitempty"` // the run is over without a move: stop without counting
}

// FactStartedBy is the fact of StartWriter that names the run which the writer's process was started for, whichever attempt did it.
const FactStartedBy = "started by"

// WriterReport is what the numbered writer measured, all of it read from its log and from the data.
type WriterReport struct {
	System       string         `json:"system"`
	Acknowledged int64          `json:"acknowledged"`           // writes in the window that the clients' route acknowledged
	Failed       int64          `json:"failed"`                 // writes in the window that were refused or timed out
	Missing      int64          `json:"missing"`                // acknowledged and not found afterwards
	MissingSeqs  []int64        `json:"missing_seqs,omitempty"` // the first hundred of them
	Outages      []journal.Band `json:"outages,omitempty"`      // every interruption longer than the threshold, longest first
	Unwatched    []journal.Band `json:"unwatched,omitempty"`    // intervals in which no writer ran: nothing is known of them
	Every        time.Duration  `json:"every_ns"`
	First        time.Time      `json:"first"`
	Last         time.Time      `json:"last"`
}

// LoadRunbookResult is the document that the run executes; it stands in the run's history.
type LoadRunbookResult struct {
	Resolved runbooks.Resolved `json:"resolved"`
	// SearchAttributes says whether this cluster knows muster's search attributes: a run that sets unknown ones would hang.
	SearchAttributes bool `json:"search_attributes"`
}

// LockInput asks the lock workflow of a system for the lock, on behalf of a run.
type LockInput struct {
	LockWorkflow string         `json:"lock_workflow"`
	Holder       journal.Holder `json:"holder"`
}

// LockResult says who held the lock when it was asked for; nobody, or the asking run, where it was free.
type LockResult struct {
	HeldBy *journal.Holder `json:"held_by,omitempty"`
}

// EvidenceInput names the run whose evidence is written; the journal is read by query, page by page.
type EvidenceInput struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
}

// EvidenceResult says where the evidence is.
type EvidenceResult struct {
	JSON   string `json:"json"` // path on the worker
	HTML   string `json:"html"`
	Digest string `json:"digest"` // of the JSON file, SHA-256
}

package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Plan is what a run would do, from what was observed. Its hash covers everything that a person approves,
// and nothing that changes by itself from second to second (positions, lag, times).
type Plan struct {
	Operation string       `json:"operation"`
	Estate    string       `json:"estate"`
	Runbook   string       `json:"runbook"`
	Document  string       `json:"document_sha256"`
	From      string       `json:"from,omitempty"`
	To        string       `json:"to,omitempty"`
	MoveKind  string       `json:"move_kind,omitempty"`
	Systems   []PlanSystem `json:"systems"`
	Steps     []PlanStep   `json:"steps"`
	Findings  []Finding    `json:"findings,omitempty"`
	// ExpectedLoss says in words what may be lost; its class, not its bytes, is in the hash.
	ExpectedLoss string `json:"expected_loss"`
	LossClass    string `json:"loss_class"` // none, possible, unknown
	Hash         string `json:"hash"`
}

// PlanSystem is one system of a plan, as it was observed.
type PlanSystem struct {
	Name     string            `json:"name"`
	Kind     string            `json:"kind"`
	Group    int               `json:"group"` // from 1
	Route    string            `json:"route,omitempty"`
	Members  map[string]Facts  `json:"members"`  // by site, for people; not in the hash
	Identity map[string]string `json:"identity"` // by site: role, identity and lineage; in the hash
}

// PlanStep is one step that the run would take.
type PlanStep struct {
	ID       string `json:"id"`
	Phase    string `json:"phase"`
	System   string `json:"system,omitempty"`
	Title    string `json:"title"`
	Undo     string `json:"undo,omitempty"`      // what would undo it
	NoReturn bool   `json:"no_return,omitempty"` // the point of no return: after this, failback is the way back
	Gate     bool   `json:"gate,omitempty"`
}

// Seal sets the plan's hash. It is a pure function of the plan: the same plan has the same hash anywhere.
func (p Plan) Seal() (Plan, error) {
	approved := p
	approved.Hash = ""
	approved.ExpectedLoss = ""
	approved.Systems = make([]PlanSystem, len(p.Systems))
	for i, s := range p.Systems {
		s.Members = nil
		approved.Systems[i] = s
	}
	approved.Findings = make([]Finding, len(p.Findings))
	for i, f := range p.Findings {
		f.Message, f.Next = "", ""
		approved.Findings[i] = f
	}
	_, text, err := settle(approved)
	if err != nil {
		return Plan{}, fmt.Errorf("hash the plan of %s: %w", p.Runbook, err)
	}
	sum := sha256.Sum256(text)
	p.Hash = hex.EncodeToString(sum[:])
	return p, nil
}

package run

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// ErrRejected ends an operation whose gate was rejected or ran out.
var ErrRejected = errors.New("rejected at a gate")

const defaultDeadline = time.Hour

// GateSpec is a question to people: do you approve this plan, and this risk?
type GateSpec struct {
	Name   string // one of the gates that package runbooks names
	System string // empty: the whole run
	Title  string
	Risk   string // the risk that is asked to be accepted; empty for the plan as a whole
}

type gate struct {
	GateStatus
	spec      GateSpec
	config    runbooks.Gate
	closed    bool
	outcome   journal.Outcome
	rejecter  string
	decisions []activities.NoticeDecision // that counted
}

// SetPlan records the plan that the next gates are bound to.
func (r *Run) SetPlan(ctx workflow.Context, p journal.Plan) {
	r.plan = &p
	r.Record(ctx, journal.Entry{Kind: journal.Planned, Phase: r.phase, Plan: &p, PlanHash: p.Hash, Title: fmt.Sprintf("plan %.12s", p.Hash)})
	if r.attributes {
		if err := workflow.UpsertTypedSearchAttributes(ctx, keyPlanHash.ValueSet(p.Hash)); err != nil {
			panic(err)
		}
	}
}

// Plan returns the plan that gates are bound to now, nil before SetPlan.
func (r *Run) Plan() *journal.Plan { return r.plan }

// Gate asks people to approve the current plan and waits for as many decisions as the runbook wants, until the deadline.
// The error is ErrRejected, ErrAborted or a cancellation.
func (r *Run) Gate(ctx workflow.Context, spec GateSpec) error {
	config := r.Document.Runbook.Gates[spec.Name]
	if config.Skip && spec.Name == runbooks.GateApprove {
		r.Note(ctx, spec.System, "gate "+spec.Name+" is left out by the runbook")
		return nil
	}
	g := r.openGate(ctx, spec, config)
	answered, err := r.awaitDecision(ctx, g)
	if err == nil && !answered && r.escalate(ctx, g) {
		answered, err = r.awaitDecision(ctx, g)
	}
	if stopped := r.stopped(ctx, err); stopped != nil {
		r.closeGate(ctx, g, journal.Canceled, "the run was stopped")
		return stopped
	}
	if !answered {
		r.closeGate(ctx, g, journal.Expired, "nobody decided before the deadline")
		return fmt.Errorf("%w: %s ran out at %s, which counts as rejection", ErrRejected, g.Name, g.Deadline.Format(time.RFC3339))
	}
	if g.outcome == journal.Rejected {
		r.closeGate(ctx, g, journal.Rejected, "rejected by "+g.rejecter)
		return fmt.Errorf("%w: %s, by %s", ErrRejected, g.Name, g.rejecter)
	}
	r.closeGate(ctx, g, journal.Approved, fmt.Sprintf("approved by %v", g.Have))
	return nil
}

func (r *Run) openGate(ctx workflow.Context, spec GateSpec, config runbooks.Gate) *gate {
	now := workflow.Now(ctx).UTC()
	g := &gate{spec: spec, config: config, GateStatus: GateStatus{
		Name: spec.Name, Title: spec.Title, Risk: spec.Risk, Opened: now,
		Deadline: now.Add(config.Deadline.Or(defaultDeadline)), Need: max(config.Count, 1),
		Who: slices.Concat(config.Approvers, config.Roles), Trust: r.trustOf(config), FourEyes: config.FourEyes,
	}}
	if r.plan != nil {
		g.PlanHash = r.plan.Hash
	}
	if spec.System != "" {
		g.Name = spec.Name + "/" + spec.System
	}
	for n, base := 2, g.Name; r.gateNamed(g.Name) != nil; n++ {
		g.Name = fmt.Sprintf("%s#%d", base, n)
	}
	r.gates = append(r.gates, g)
	r.Record(ctx, journal.Entry{Kind: journal.GateOpened, Phase: r.phase, System: spec.System, Gate: g.Name, PlanHash: g.PlanHash,
		Title: spec.Title, Message: spec.Risk, Deadline: g.Deadline})
	r.announceGate(ctx, g, activities.EventGateOpened, g.severity(), fmt.Sprintf("%s of %s waits for approval: %s", r.header.Operation, r.header.Estate, g.Title))
	r.settle(ctx)
	return g
}

func (r *Run) closeGate(ctx workflow.Context, g *gate, outcome journal.Outcome, message string) {
	g.closed, g.outcome = true, outcome
	r.Record(ctx, journal.Entry{Kind: journal.GateClosed, Phase: r.phase, System: g.spec.System, Gate: g.Name, PlanHash: g.PlanHash,
		Outcome: outcome, Message: message})
	event, severity := activities.EventGateClosed, runbooks.Info
	switch outcome {
	case journal.Expired:
		event, severity = activities.EventGateExpired, runbooks.Critical
	case journal.Rejected, journal.Canceled:
		severity = runbooks.Warning
	}
	r.announceGate(ctx, g, event, severity, fmt.Sprintf("%s of %s, gate %s: %s", r.header.Operation, r.header.Estate, g.Name, message))
	r.settle(ctx)
}

// decide is where every decision arrives, by update or signal.
func (r *Run) decide(ctx workflow.Context, d Decision) Answer {
	g, identity, err := r.checkDecision(d)
	entry := journal.Entry{Kind: journal.Decided, Phase: r.phase, Gate: d.Gate, PlanHash: d.PlanHash, Action: d.Decision,
		Author: d.Approver, Channel: d.Channel, Identity: identity, Reason: d.Reason}
	if g != nil {
		entry.Gate, entry.System = g.Name, g.spec.System
	}
	if err != nil {
		entry.Kind, entry.Message = journal.Refused, err.Error()
		r.Record(ctx, entry)
		return Answer{Message: err.Error()}
	}
	r.spend(d.Nonce)
	g.decisions = append(g.decisions, activities.NoticeDecision{Approver: d.Approver, Decision: d.Decision, Reason: d.Reason, Channel: d.Channel, At: workflow.Now(ctx).UTC()})
	if d.Decision == "reject" {
		g.outcome, g.rejecter = journal.Rejected, d.Approver
		r.Record(ctx, entry)
		return Answer{Accepted: true, Message: "rejected: " + g.Name}
	}
	g.Have = append(g.Have, d.Approver)
	r.Record(ctx, entry)
	if len(g.Have) < g.Need {
		r.announceGate(ctx, g, activities.EventGateDecided, runbooks.Info, fmt.Sprintf("%s approved gate %s: %d of %d", d.Approver, g.Name, len(g.Have), g.Need))
		r.show(ctx)
		return Answer{Accepted: true, Message: fmt.Sprintf("counted: %d of %d approvals of %s", len(g.Have), g.Need, g.Name)}
	}
	g.outcome = journal.Approved
	return Answer{Accepted: true, Message: "approved: " + g.Name}
}

func (r *Run) checkDecision(d Decision) (*gate, string, error) {
	if r.state == StateEnded {
		return nil, "", fmt.Errorf("the run has ended with %s: nothing is left to decide", r.verdict)
	}
	g, err := r.openGateFor(d.Gate)
	if err != nil {
		return nil, "", err
	}
	if d.Decision != "approve" && d.Decision != "reject" {
		return g, "", fmt.Errorf("unknown decision %q: it is approve or reject", d.Decision)
	}
	if d.PlanHash != g.PlanHash {
		return g, "", fmt.Errorf("the decision is for plan %.12s, and the gate asks for plan %.12s: look at the plan again", cmp.Or(d.PlanHash, "(none)"), g.PlanHash)
	}
	if g.config.Reason && d.Reason == "" {
		return g, "", fmt.Errorf("gate %s wants a reason", g.Name)
	}
	identity, err := r.identify(r.senderOfDecision(d), g.Trust, MayDecide)
	if err != nil {
		return g, "", err
	}
	return g, identity, r.mayDecide(g, d)
}

func (r *Run) mayDecide(g *gate, d Decision) error {
	who := g.config
	if len(who.Approvers) > 0 || len(who.Roles) > 0 {
		named := slices.Contains(who.Approvers, d.Approver)
		for _, role := range r.Document.Estate.People[d.Approver].Roles {
			named = named || slices.Contains(who.Roles, role)
		}
		if !named {
			return fmt.Errorf("%s may not decide gate %s: it is for %v", d.Approver, g.Name, g.Who)
		}
	}
	if who.FourEyes && d.Decision == "approve" && d.Approver == r.header.RequestedBy {
		return fmt.Errorf("%s asked for this run, and gate %s wants other eyes", d.Approver, g.Name)
	}
	if slices.Contains(g.Have, d.Approver) {
		return fmt.Errorf("%s has approved gate %s already: it wants %d different people", d.Approver, g.Name, g.Need)
	}
	return nil
}

// mayAnswer lists the people whose approval a gate still waits for.
func (r *Run) mayAnswer(g *gate) []string {
	return slices.DeleteFunc(g.config.Who(r.Document.Estate.People), func(name string) bool {
		return slices.Contains(g.Have, name) || g.config.FourEyes && name == r.header.RequestedBy
	})
}

// openGateFor returns the open gate of that name, or the only open one where the name is empty.
func (r *Run) openGateFor(name string) (*gate, error) {
	var open []*gate
	for _, g := range r.gates {
		if !g.closed && g.outcome == "" {
			open = append(open, g)
		}
	}
	if name == "" && len(open) == 1 {
		return open[0], nil
	}
	names := make([]string, 0, len(open))
	for _, g := range open {
		if g.Name == name {
			return g, nil
		}
		names = append(names, g.Name)
	}
	if g := r.gateNamed(name); g != nil {
		return nil, fmt.Errorf("gate %s is closed: %s", name, g.outcome)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no gate is open")
	}
	return nil, fmt.Errorf("no open gate %q; open are %v", name, names)
}

func (r *Run) gateNamed(name string) *gate {
	for _, g := range r.gates {
		if g.Name == name {
			return g
		}
	}
	return nil
}

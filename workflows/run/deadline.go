package run

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// severity: a risk, or an outage that goes on while people decide, is for whoever is on call.
func (g *gate) severity() runbooks.Severity {
	if g.Risk != "" {
		return runbooks.Critical
	}
	return runbooks.Warning
}

// awaitDecision waits until a gate is decided or its deadline is over, and reminds people between.
func (r *Run) awaitDecision(ctx workflow.Context, g *gate) (bool, error) {
	decided := func() bool { return g.outcome != "" || r.abort != nil }
	opened := workflow.Now(ctx)
	left := g.Deadline.Sub(opened)
	remind := g.config.Remind.Or(left / 2)
	if remind < left && len(r.Document.Estate.NotifiersFor(string(activities.EventGateReminded), g.severity())) > 0 {
		answered, err := workflow.AwaitWithTimeout(ctx, remind, decided)
		if answered || err != nil {
			return answered, err
		}
		left = g.Deadline.Sub(workflow.Now(ctx))
		r.announceGate(ctx, g, activities.EventGateReminded, g.severity(),
			fmt.Sprintf("%s of %s still waits for approval, until %s: %s", r.header.Operation, r.header.Estate, g.Deadline.Format(time.RFC3339), g.Title))
	}
	return workflow.AwaitWithTimeout(ctx, left, decided)
}

// escalate asks more people, where the runbook names them. The gate calls it once.
func (r *Run) escalate(ctx workflow.Context, g *gate) bool {
	more := g.config.Escalate
	if more == nil {
		return false
	}
	if len(g.config.Approvers) > 0 || len(g.config.Roles) > 0 { // else everybody may decide already
		g.config.Approvers = slices.Concat(g.config.Approvers, more.Approvers)
		g.config.Roles = slices.Concat(g.config.Roles, more.Roles)
		g.Who = slices.Concat(g.config.Approvers, g.config.Roles)
	}
	g.Deadline = workflow.Now(ctx).UTC().Add(more.Deadline.D())
	r.Record(ctx, journal.Entry{Kind: journal.Escalated, Phase: r.phase, System: g.spec.System, Gate: g.Name, PlanHash: g.PlanHash, Deadline: g.Deadline,
		Title: g.Title, Message: fmt.Sprintf("nobody decided in time: %v may decide now, until %s", g.Who, g.Deadline.Format(time.RFC3339))})
	r.announceGate(ctx, g, activities.EventGateEscalated, runbooks.Critical,
		fmt.Sprintf("%s of %s: nobody decided gate %s in time, you are asked now", r.header.Operation, r.header.Estate, g.Name), more.To...)
	r.show(ctx)
	return true
}

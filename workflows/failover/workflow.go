package failover

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/workflows/run"
)

// Failover is the workflow.
func Failover(ctx workflow.Context, in run.Input) (run.Result, error) {
	return run.Execute(ctx, Operation, in, func(ctx workflow.Context, r *run.Run) error {
		o := operation{Run: r, Failover: *r.Document.Runbook.Failover, counted: map[string]bool{}, losses: map[string]int64{},
			discard: map[string]bool{}, takeover: map[string]bool{}}
		return o.carryOut(ctx)
	})
}

// operation is one failover at work.
type operation struct {
	*run.Run
	runbooks.Failover
	counted map[string]bool  // systems whose writer was counted and stopped
	losses  map[string]int64 // bytes that were not replicated when the old primary was fenced; -1 unknown
	// What people accepted, by system: that what only the old primary holds is lost; a promotion without a vote.
	discard, takeover map[string]bool
}

func (o *operation) carryOut(ctx workflow.Context) error {
	// 1. Look at everything, and say what would be done and what speaks against it.
	if err := o.lookAndPlan(ctx); err != nil {
		return err
	}
	if o.Mode == "observe" {
		return run.ErrObserved
	}
	// 2. People approve exactly that. Then nobody else moves these systems, and the world is looked at again: people and
	// locks are waited for, and meanwhile it may have changed.
	if err := o.approve(ctx); err != nil {
		return err
	}
	// However the run ends, evidence shows the world as it is then.
	o.Finally("", "look at everything once more", func(ctx workflow.Context) error {
		o.Phase(ctx, phaseObserve)
		_, err := o.look(ctx, giveUp...)
		return err
	})
	// 3. The numbered writers measure what clients see.
	if err := o.startWriters(ctx); err != nil {
		return err
	}
	// 4. Move the systems, group by group.
	for _, group := range o.Order {
		if err := o.each(ctx, group, o.move); err != nil {
			return err
		}
	}
	// 5. The old primaries follow the new ones.
	if o.Reprotect == nil || *o.Reprotect {
		o.Phase(ctx, phaseReprotect)
		if err := o.each(ctx, o.systems(), o.reprotect); err != nil {
			return err
		}
	}
	// 6. Count what clients saw.
	o.Phase(ctx, phaseMeasure)
	if err := o.each(ctx, o.systems(), o.measure); err != nil {
		return err
	}
	return o.Checkpoint(ctx)
}

func (o *operation) systems() []string { return slices.Concat(o.Order...) }

// atOnce is how many systems are at work at the same time. Each waiting one costs a little in every workflow task: all of a
// thousand at once take minutes where this many take seconds.
const atOnce = 100

// each runs do for every system, as many as atOnce at the same time, and returns the first error in the order of the runbook.
func (o *operation) each(ctx workflow.Context, systems []string, do func(workflow.Context, string) error) error {
	errs := make([]error, len(systems))
	group := workflow.NewWaitGroup(ctx)
	next := min(len(systems), atOnce)
	for i, name := range systems[:next] {
		group.Add(1)
		workflow.GoNamed(ctx, name, func(ctx workflow.Context) {
			defer group.Done()
			for i < len(systems) {
				errs[i] = do(ctx, systems[i])
				i, next = next, next+1
			}
		})
	}
	// Not on ctx: a stopped run waits until each of its steps has said what it did.
	detached, _ := workflow.NewDisconnectedContext(ctx)
	group.Wait(detached)
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *operation) lookAndPlan(ctx workflow.Context) error {
	o.Phase(ctx, phaseObserve)
	saw, err := o.look(ctx)
	if err != nil {
		return err
	}
	plan, err := planOf(o.Document, saw)
	if err != nil {
		return err
	}
	o.Phase(ctx, phasePreflight)
	o.SetPlan(ctx, plan)
	return refusal(plan.Findings)
}

// look observes every system and route. give lists the error types for which it goes on without holding.
func (o *operation) look(ctx workflow.Context, give ...string) (seen, error) {
	saw := seen{systems: map[string]activities.PreflightResult{}, routes: map[string]activities.RouteState{}}
	err := o.each(ctx, o.systems(), func(ctx workflow.Context, name string) error {
		result, _, err := run.Step[activities.PreflightResult](ctx, o.Run, run.Spec{Phase: phaseObserve, System: name,
			Title: "look at " + name, Activity: activities.Preflight, Intent: run.Probe, Input: o.moveOf(name), Give: give})
		if err != nil {
			return err
		}
		saw.systems[name] = result
		o.Record(ctx, journal.Entry{Kind: journal.Observed, Phase: phaseObserve, System: name, Title: name + " as it is", After: flat(result.State)})
		return o.lookAtRoute(ctx, name, &saw, give)
	})
	return saw, err
}

func (o *operation) lookAtRoute(ctx workflow.Context, name string, saw *seen, give []string) error {
	target, ok := o.route(name)
	if !ok {
		return nil
	}
	state, _, err := run.Step[activities.RouteState](ctx, o.Run, run.Spec{Phase: phaseObserve + "-route", System: name,
		Title: "look at the route " + target.Name, Activity: activities.ObserveRoute, Intent: run.Probe, Input: target, Give: give})
	saw.routes[name] = state
	return err
}

// refusal is nil where nothing speaks against the move.
func refusal(findings []journal.Finding) error {
	var reasons []string
	for _, f := range findings {
		if f.Refuse {
			reason := fmt.Sprintf("%s: %s", f.Code, f.Message)
			if f.Next != "" {
				reason += " (next: " + f.Next + ")"
			}
			reasons = append(reasons, reason)
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", run.ErrRefused, strings.Join(reasons, "; "))
}

// approve opens the gate and takes the locks, and opens the gate again as long as the world changes meanwhile.
func (o *operation) approve(ctx workflow.Context) error {
	for locked := false; ; locked = true {
		o.Phase(ctx, phaseGate)
		shown := o.Plan()
		title := fmt.Sprintf("%s %s from %s to %s", o.Kind, Operation, o.From, o.To)
		if err := o.Gate(ctx, run.GateSpec{Name: runbooks.GateApprove, Title: title, Risk: riskOf(*shown)}); err != nil {
			return err
		}
		if err := o.AwaitWindow(ctx); err != nil {
			return err
		}
		if !locked {
			o.Phase(ctx, phaseLock)
			if err := o.Lock(ctx, o.systems()); err != nil {
				return err
			}
		}
		if err := o.lookAndPlan(ctx); err != nil {
			return err
		}
		if o.Plan().Hash == shown.Hash {
			return nil
		}
		o.Note(ctx, "", fmt.Sprintf("the plan changed while people decided: %.12s was approved, %.12s is what would be done now; asking again", shown.Hash, o.Plan().Hash))
	}
}

func riskOf(p journal.Plan) string {
	if p.LossClass == lossNone {
		return ""
	}
	return "acknowledged writes may be lost: " + p.ExpectedLoss
}

func (o *operation) reprotect(ctx workflow.Context, name string) error {
	_, _, err := run.Act(ctx, o.Run, run.Spec{Phase: phaseReprotect, System: name, Activity: activities.Follow, Intent: run.Long,
		Title: fmt.Sprintf("%s at %s follows %s", name, o.From, o.To), Input: o.actInput(phaseReprotect, name, "")})
	return err
}

func (o *operation) moveOf(name string) activities.Move {
	objectives := o.Document.Runbook.Objectives.Or(o.Document.Estate.Systems[name].Objectives).Or(o.Document.Estate.Objectives)
	return activities.Move{Target: o.Target(name), From: o.From, To: o.To, Planned: o.Kind == "planned", Objectives: objectives}
}

func (o *operation) actInput(phase, name, position string) activities.ActInput {
	m := o.moveOf(name)
	m.Position, m.Discard, m.Takeover = position, o.discard[name], o.takeover[name]
	return activities.ActInput{Move: m, Lease: o.Lease(name), RequestID: o.RequestID(phase, name)}
}

func (o *operation) route(name string) (activities.RouteTarget, bool) {
	route := o.Document.Estate.Systems[name].Route
	return activities.RouteTarget{Name: route, Route: o.Document.Estate.Routes[route]}, route != ""
}

// flat shows a whole system as facts: "west.role": "standby".
func flat(s activities.SystemState) journal.Facts {
	facts := journal.Facts{}
	//workflowcheck:ignore fills a map, order has no effect
	for site, m := range s.Members {
		//workflowcheck:ignore fills a map, order has no effect
		for key, value := range factsOf(m) {
			facts[site+"."+key] = value
		}
	}
	return facts
}

var errUnproven = errors.New("no proof that the old primary is fenced")

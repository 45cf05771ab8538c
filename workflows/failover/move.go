package failover

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/workflows/run"
)

// move takes one system from one site to the other. Never are two members writable: the old primary is fenced first,
// and the new one is promoted last.
func (o *operation) move(ctx workflow.Context, name string) error {
	if err := o.prepare(ctx, name); err != nil {
		return err
	}
	if err := o.closeRoute(ctx, name); err != nil {
		return err
	}
	position, err := o.fence(ctx, name)
	if err != nil {
		return err
	}
	if err := o.catchUp(ctx, name, position); err != nil {
		return err
	}
	if err := o.acceptTakeover(ctx, name); err != nil {
		return err
	}
	if err := o.promote(ctx, name); err != nil {
		return err
	}
	if err := o.pointRoute(ctx, phaseRoute, name, o.To); err != nil {
		return err
	}
	return o.verify(ctx, name)
}

// prepare shortens what follows while clients still write. In an unplanned move nobody waits for it.
func (o *operation) prepare(ctx workflow.Context, name string) error {
	if o.Kind != "planned" {
		return nil
	}
	o.Phase(ctx, phasePrepare)
	_, _, err := run.Act(ctx, o.Run, run.Spec{Phase: phasePrepare, System: name, Activity: activities.Prepare, Intent: run.Long,
		Title: fmt.Sprintf("prepare %s at %s, while clients still write", name, o.From), Input: o.actInput(phasePrepare, name, "")})
	return err
}

func (o *operation) closeRoute(ctx workflow.Context, name string) error {
	target, ok := o.route(name)
	if !ok {
		return nil
	}
	o.Undo(ctx, name, fmt.Sprintf("send clients of %s to %s again", target.Name, o.From), func(ctx workflow.Context) error {
		return o.pointRoute(ctx, phaseUndo+"-route", name, o.From)
	})
	_, _, err := run.Act(ctx, o.Run, run.Spec{Phase: phaseFence + "-route", System: name, Activity: activities.CloseRoute, Intent: run.Mutate,
		Title: fmt.Sprintf("close %s to clients of %s", target.Name, o.From),
		Input: activities.RouteInput{RouteTarget: target, Site: o.From, Lease: o.Lease(name), RequestID: o.RequestID(phaseFence+"-route", name)}})
	return err
}

// fence returns the old primary's last record, where it could be read. Without the strong proof, people are asked to accept exactly that.
func (o *operation) fence(ctx workflow.Context, name string) (position string, err error) {
	o.Phase(ctx, phaseFence)
	o.Undo(ctx, name, fmt.Sprintf("%s at %s is primary again", name, o.From), func(ctx workflow.Context) error {
		_, _, err := run.Act(ctx, o.Run, run.Spec{Phase: phaseUndo + "-fence", System: name, Activity: activities.Unfence, Intent: run.Mutate,
			Title: fmt.Sprintf("%s at %s is primary again", name, o.From), Input: o.actInput(phaseUndo+"-fence", name, "")})
		return err
	})
	spec := run.Spec{Phase: phaseFence, System: name, Activity: activities.Fence, Intent: run.Mutate,
		Title: fmt.Sprintf("fence %s at %s, with proof", name, o.From), Input: o.actInput(phaseFence, name, "")}
	if o.Kind != "planned" {
		spec.Give = []string{activities.ErrUnreachable} // the old site may be gone: that is what the gate below is for
	}
	fenced, skipped, err := run.Act(ctx, o.Run, spec)
	switch {
	case gaveUp(err):
		return "", o.acceptUnproven(ctx, name, errors.Join(errUnproven, err).Error())
	case err != nil:
		return "", err
	case skipped:
		return "", o.acceptUnproven(ctx, name, "the fence step was skipped by an operator")
	case fenced.Proof.Strong():
		return fenced.Position, nil
	default:
		return fenced.Position, o.acceptUnproven(ctx, name, fmt.Sprintf("the proof is weak (%s): the server at %s may still run", fenced.Proof, o.From))
	}
}

func gaveUp(err error) bool {
	var app *temporal.ApplicationError
	return errors.As(err, &app) && app.Type() == activities.ErrUnreachable
}

func (o *operation) acceptUnproven(ctx workflow.Context, name, why string) error {
	return o.Gate(ctx, run.GateSpec{Name: runbooks.GateNoFenceProof, System: name,
		Title: fmt.Sprintf("promote %s at %s without proof that %s is fenced", name, o.To, o.From),
		Risk:  fmt.Sprintf("two members of %s may accept writes at the same time: %s", name, strings.ReplaceAll(why, "\n", ": "))})
}

// catchUp waits for the old primary's last record when planned. Unplanned, it waits for all that was received, then has
// people accept a loss that is proven by now.
func (o *operation) catchUp(ctx workflow.Context, name, position string) error {
	o.Phase(ctx, phaseCatchUp)
	planned := o.Kind == "planned"
	if !planned {
		position = ""
	}
	_, _, err := run.Act(ctx, o.Run, run.Spec{Phase: phaseCatchUp, System: name, Activity: activities.CatchUp, Intent: run.Mutate,
		Title: fmt.Sprintf("%s at %s replays what there is", name, o.To), Input: o.actInput(phaseCatchUp, name, position)})
	if err != nil || planned {
		return err
	}
	result, _, err := run.Step[activities.PreflightResult](ctx, o.Run, run.Spec{Phase: phaseCatchUp + "-recheck", System: name,
		Title: "how much is lost for certain?", Activity: activities.Preflight, Intent: run.Probe, Input: o.moveOf(name)})
	if err != nil {
		return err
	}
	o.losses[name] = result.LossBytes
	risk := fmt.Sprintf("%d bytes that the old primary of %s wrote never reached %s and will be lost", result.LossBytes, name, o.To)
	switch {
	case result.LossBytes == 0:
		return nil
	case result.LossBytes < 0 && o.Plan().LossClass == lossUnknown:
		o.discard[name] = true
		return nil // that is what the plan said when it was approved
	case result.LossBytes < 0:
		risk = fmt.Sprintf("it cannot be told how much of what the old primary of %s wrote never reached %s", name, o.To)
	}
	err = o.Gate(ctx, run.GateSpec{Name: runbooks.GateDataLoss, System: name,
		Title: fmt.Sprintf("promote %s at %s although writes are lost", name, o.To), Risk: risk})
	o.discard[name] = err == nil
	return err
}

// acceptTakeover asks people where the system's own quorum cannot vote for the promotion.
func (o *operation) acceptTakeover(ctx workflow.Context, name string) error {
	unable := slices.ContainsFunc(o.Plan().Findings, func(f journal.Finding) bool { return f.Code == activities.FindingNoVote && f.System == name })
	if !unable {
		return nil
	}
	err := o.Gate(ctx, run.GateSpec{Name: runbooks.GateTakeover, System: name,
		Title: fmt.Sprintf("promote %s at %s without a vote of its cluster", name, o.To),
		Risk:  fmt.Sprintf("no majority of %s is left to vote: members that come back may hold other slots for theirs", name)})
	o.takeover[name] = err == nil
	return err
}

func (o *operation) promote(ctx workflow.Context, name string) error {
	o.Phase(ctx, phasePromote)
	if err := o.PassNoReturn(ctx, name); err != nil {
		return err
	}
	_, _, err := run.Act(ctx, o.Run, run.Spec{Phase: phasePromote, System: name, Activity: activities.Promote, Intent: run.Mutate,
		Title: fmt.Sprintf("promote %s at %s", name, o.To), Input: o.actInput(phasePromote, name, "")})
	return err
}

func (o *operation) pointRoute(ctx workflow.Context, phase, name, site string) error {
	target, ok := o.route(name)
	if !ok {
		return nil
	}
	_, _, err := run.Act(ctx, o.Run, run.Spec{Phase: phase, System: name, Activity: activities.PointRoute, Intent: run.Mutate,
		Title: fmt.Sprintf("send clients of %s to %s", target.Name, site),
		Input: activities.RouteInput{RouteTarget: target, Site: site, Lease: o.Lease(name), RequestID: o.RequestID(phase, name)}})
	return err
}

func (o *operation) verify(ctx workflow.Context, name string) error {
	o.Phase(ctx, phaseVerify)
	target, routed := o.route(name)
	if system := o.Document.Estate.Systems[name]; !routed {
		target.Name = "none"
		if !system.FindsPrimary() { // its clients connect to the member itself
			target.Route.Address = system.Members[o.To].Address
		}
	}
	_, _, err := run.Act(ctx, o.Run, run.Spec{Phase: phaseVerify, System: name, Activity: activities.VerifyRoute, Intent: run.Mutate,
		Title: fmt.Sprintf("write to and read from %s as clients do", name),
		Input: activities.VerifyInput{Target: o.Target(name), Route: target, Site: o.To, RequestID: o.RequestID(phaseVerify, name)}})
	if err != nil || !o.measures(name) {
		return err
	}
	_, _, err = run.Act(ctx, o.Run, run.Spec{Phase: phaseVerify + "-clients", System: name, Activity: activities.AwaitWriter, Intent: run.Mutate,
		Title: "clients' writes to " + name + " are acknowledged again", Input: o.writerInput(name, time.Time{}, time.Time{})}) // no time: Temporal's clock may not be that of the writer
	return err
}

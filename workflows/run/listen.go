package run

import (
	"fmt"

	"go.temporal.io/sdk/workflow"
)

const maxText = 4096 // bytes of any field that people send: it is kept in the journal

// listen takes decisions and interventions by update, which answers the sender, and by signal of the same name, which cannot.
func (r *Run) listen(ctx workflow.Context) error {
	err := workflow.SetUpdateHandlerWithOptions(ctx, UpdateDecide,
		func(ctx workflow.Context, d Decision) (Answer, error) { return r.decide(ctx, d), nil },
		workflow.UpdateHandlerOptions{
			Description: "approve or reject the plan that an open gate shows",
			Validator: func(_ workflow.Context, d Decision) error {
				return wellFormed(d.Gate, d.Approver, d.Reason, d.Signature)
			},
		})
	if err != nil {
		return err
	}
	err = workflow.SetUpdateHandlerWithOptions(ctx, UpdateIntervene,
		func(ctx workflow.Context, v Intervention) (Answer, error) { return r.intervene(ctx, v), nil },
		workflow.UpdateHandlerOptions{
			Description: "retry, skip, abort, pause or resume",
			Validator: func(_ workflow.Context, v Intervention) error {
				return wellFormed(v.Step, v.Author, v.Reason, v.Signature)
			},
		})
	if err != nil {
		return err
	}
	decisions := workflow.GetSignalChannel(ctx, UpdateDecide)
	workflow.Go(ctx, func(ctx workflow.Context) {
		var d Decision
		for decisions.Receive(ctx, &d) {
			if wellFormed(d.Gate, d.Approver, d.Reason, d.Signature) == nil {
				r.decide(ctx, d)
			}
			d = Decision{}
		}
	})
	interventions := workflow.GetSignalChannel(ctx, UpdateIntervene)
	workflow.Go(ctx, func(ctx workflow.Context) {
		var v Intervention
		for interventions.Receive(ctx, &v) {
			if wellFormed(v.Step, v.Author, v.Reason, v.Signature) == nil {
				r.intervene(ctx, v)
			}
			v = Intervention{}
		}
	})
	grants := workflow.GetSignalChannel(ctx, SignalGranted)
	workflow.Go(ctx, func(ctx workflow.Context) {
		var g Grant
		for grants.Receive(ctx, &g) {
			r.grants[g.LockWorkflow] = g.Token
		}
	})
	return nil
}

func wellFormed(texts ...string) error {
	for _, text := range texts {
		if len(text) > maxText {
			return fmt.Errorf("a field of the payload has %d bytes; at most %d are kept", len(text), maxText)
		}
	}
	return nil
}

package starter

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/workflows/run"
)

type decideOptions struct {
	identity
	run      string
	decision string // approve or reject
	gate     string
	plan     string
	reason   string
	yes      bool
	signal   bool
}

// answered is what the JSON output of decisions and interventions says.
type answered struct {
	execution
	run.Answer
	Signed bool `json:"signed"`
}

func newDecisions(a *app) []*cobra.Command {
	return []*cobra.Command{
		newDecision(a, "approve", "Approve the plan that an open gate shows"),
		newDecision(a, "reject", "Reject it: what was done is undone, and the run ends"),
	}
}

func newDecision(a *app, decision, short string) *cobra.Command {
	o := decideOptions{decision: decision}
	c := &cobra.Command{
		Use:   decision + " [RUN]",
		Short: short,
		Long: short + ".\n\n" + runArgument + `

A decision is bound to a plan by its hash. Without --plan, the plan is shown and you are asked; --yes takes it as shown.
It is signed with your SSH key: see muster help signing.

` + exitCodes,
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: completeRuns(a, true),
		RunE: func(cmd *cobra.Command, given []string) error {
			o.run = optional(given)
			return a.with(cmd.Context(), func(e *engine) error { return a.runDecide(cmd.Context(), e, o) })
		},
	}
	o.flags(c)
	c.Flags().StringVar(&o.gate, "gate", "", "gate's name (default: the open one)")
	c.Flags().StringVar(&o.plan, "plan", "", "hash of the plan that you decide on, or its first 8 characters or more")
	c.Flags().StringVarP(&o.reason, "reason", "m", "", "why; some gates require it")
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "decide on the plan as it is now, without being asked")
	c.Flags().BoolVar(&o.signal, "signal", false, "send by signal, which waits for a worker and gets no answer; needs --gate and --plan")
	return c
}

func (a *app) runDecide(ctx context.Context, e *engine, o decideOptions) error {
	x, err := e.find(ctx, o.run)
	if err != nil {
		return err
	}
	gate := run.GateStatus{Name: o.gate, PlanHash: o.plan}
	if o.signal {
		if o.gate == "" || len(o.plan) < 64 {
			return usagef("--signal needs --gate and the whole hash as --plan: there is no answer to correct a mistake")
		}
	} else if gate, err = a.chooseGate(ctx, e, x, &o); err != nil {
		return err
	}
	answer, signed, err := a.decide(ctx, e, x, gate, o)
	if err != nil {
		return err
	}
	return a.printAnswer(x, answer, signed)
}

// chooseGate finds the gate that is meant, and makes sure that somebody saw its plan.
func (a *app) chooseGate(ctx context.Context, e *engine, x execution, o *decideOptions) (run.GateStatus, error) {
	s, err := e.status(ctx, x)
	if err != nil {
		return run.GateStatus{}, err
	}
	gate, err := openGate(s, o.gate)
	if err != nil {
		return gate, err
	}
	if o.plan != "" {
		// A hash that is not this gate's is sent as it is: the run refuses it, with the reason, in its journal.
		if len(o.plan) < 8 || !strings.HasPrefix(gate.PlanHash, o.plan) {
			gate.PlanHash = o.plan
		}
		return gate, nil
	}
	if o.decision == "reject" {
		return gate, nil
	}
	plan, err := e.plan(ctx, x)
	if err != nil {
		return gate, err
	}
	if plan.Hash != gate.PlanHash {
		return gate, fail("look at it again: muster show "+x.WorkflowID, "the plan changed while it was shown: the gate asks for %.12s, the plan is %.12s", gate.PlanHash, plan.Hash)
	}
	a.showPlan(a.people(), plan)
	a.showGate(a.people(), gate)
	if o.yes {
		return gate, nil
	}
	if !isTerminal(a.in) {
		return gate, usagef("nobody is there to ask: name the plan with --plan %.12s, or take it as shown with --yes", gate.PlanHash)
	}
	answer, _ := a.ask(ctx, fmt.Sprintf("Type yes to approve plan %.12s:", gate.PlanHash))
	if answer != "yes" {
		return gate, fail("", "not approved: nothing was sent")
	}
	return gate, nil
}

func openGate(s run.Status, name string) (run.GateStatus, error) {
	var open []string
	for _, g := range s.Gates {
		if g.Name == name || (name == "" && len(s.Gates) == 1) {
			return g, nil
		}
		open = append(open, g.Name)
	}
	where := s.Header.WorkflowID
	switch {
	case len(open) == 0:
		return run.GateStatus{}, fail("muster show "+where, "no gate of run %s is open: it is %s, phase %s", where, s.State, s.Phase)
	case name == "":
		return run.GateStatus{}, usagef("%d gates of run %s are open, name one with --gate: %s", len(open), where, strings.Join(open, ", "))
	}
	return run.GateStatus{}, usagef("no gate %q of run %s is open; open are: %s", name, where, strings.Join(open, ", "))
}

// decide signs and sends a decision.
func (a *app) decide(ctx context.Context, e *engine, x execution, gate run.GateStatus, o decideOptions) (run.Answer, bool, error) {
	d := run.Decision{
		Gate: gate.Name, PlanHash: gate.PlanHash, Decision: o.decision, Approver: o.name(a), Reason: strings.ToValidUTF8(o.reason, "?"),
		Channel: "cli", Time: time.Now().UTC().Truncate(time.Millisecond), Nonce: newNonce(),
	}
	var err error
	d.Signature, err = o.sign(a, d.SigningText(x.WorkflowID, x.RunID), gate.Trust != "unsigned")
	if err != nil {
		return run.Answer{}, false, fmt.Errorf("sign the decision: %w", err)
	}
	answer, err := e.send(ctx, x, run.UpdateDecide, d, d.Nonce, o.signal)
	return answer, d.Signature != "", err
}

// printAnswer prints what the run answered; a refusal is exit code 1.
func (a *app) printAnswer(x execution, answer run.Answer, signed bool) error {
	err := a.print(answered{x, answer, signed}, func(w io.Writer) {
		word := a.paint(green, "accepted")
		if !answer.Accepted {
			word = a.paint(red, "refused")
		}
		how := ""
		if answer.Accepted && !signed {
			how = " (unsigned: evidence calls you \"claimed\")"
		}
		fmt.Fprintf(w, "%s: %s%s\n", word, printable(answer.Message), how)
	})
	if err == nil && !answer.Accepted {
		return exitWith(codeError)
	}
	return err
}

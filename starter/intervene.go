package starter

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/workflows/run"
)

type interveneOptions struct {
	identity
	run    string
	step   string
	action string
	set    map[string]string
	reason string
	signal bool
}

func newInterventions(a *app) []*cobra.Command {
	pause := newIntervention(a, run.ActionPause, "Hold a run before its next step", false)
	resume := newIntervention(a, run.ActionResume, "Let a paused run go on", false)
	retry := newIntervention(a, run.ActionRetry, "Try a held step again, with --set by a changed input", true)
	skip := newIntervention(a, run.ActionSkip, "Leave a held step out; the verdict is passed-with-skips at best", true)
	abort := newIntervention(a, run.ActionAbort, "Stop a run: what can be undone is undone, the last first", false)
	return []*cobra.Command{pause, resume, retry, skip, abort}
}

func newIntervention(a *app, action, short string, step bool) *cobra.Command {
	o := interveneOptions{action: action}
	use, most := action+" [RUN]", 1
	about := runArgument
	if step {
		use, most = action+" [RUN [STEP]]", 2
		about += "\nSTEP is a held step's ID (fence/orders); left out, it is the only held one."
	}
	c := &cobra.Command{
		Use:               use,
		Short:             short,
		Long:              short + ".\n\n" + about + "\n\nIt is signed with your SSH key where there is one: see muster help signing.\n\n" + exitCodes,
		Args:              args(cobra.MaximumNArgs(most)),
		ValidArgsFunction: completeRuns(a, true),
		RunE: func(cmd *cobra.Command, given []string) error {
			o.run = optional(given)
			if len(given) == 2 {
				o.step = given[1]
			}
			return a.with(cmd.Context(), func(e *engine) error { return a.runIntervene(cmd.Context(), e, o) })
		},
	}
	o.flags(c)
	c.Flags().StringVarP(&o.reason, "reason", "m", "", "why")
	c.Flags().BoolVar(&o.signal, "signal", false, "send by signal, which waits for a worker and gets no answer")
	if action == run.ActionRetry {
		c.Flags().StringToStringVar(&o.set, "set", nil, "change the step's input: key=value, may be repeated")
	}
	return c
}

func (a *app) runIntervene(ctx context.Context, e *engine, o interveneOptions) error {
	x, err := e.find(ctx, o.run)
	if err != nil {
		return err
	}
	v := run.Intervention{
		Step: o.step, Action: o.action, Set: maps.Clone(o.set), Author: o.name(a), Reason: strings.ToValidUTF8(o.reason, "?"),
		Channel: "cli", Time: time.Now().UTC().Truncate(time.Millisecond), Nonce: newNonce(),
	}
	// Whether this runbook wants a signature is not known here: without a key it is sent bare, and the run answers.
	v.Signature, err = o.sign(a, v.SigningText(x.WorkflowID, x.RunID), false)
	if err != nil {
		return fmt.Errorf("sign the intervention: %w", err)
	}
	answer, err := e.send(ctx, x, run.UpdateIntervene, v, v.Nonce, o.signal)
	if err != nil {
		return err
	}
	return a.printAnswer(x, answer, v.Signature != "")
}

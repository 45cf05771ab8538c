package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/sshsig"
	"github.com/musterhq/muster/workflows/run"
)

const maxNonce = 200 // it is the update's ID too, which Temporal limits

// Hear is the activities.Hear of all channels: it finds who this is among the people of the run's estate, signs what they said with
// the gateway's key, and sends it to the run. Somebody unknown is refused by the run, so that the journal has it.
func (g *Gateway) Hear(ctx context.Context, w activities.Word) (answer string, accepted bool, err error) {
	started := g.now()
	defer func() {
		outcome := "refused"
		switch {
		case err != nil:
			outcome = "unknown"
		case accepted:
			outcome = "accepted"
		}
		g.metrics.heard(w.Channel, outcome, g.now().Sub(started))
		g.log.Info("heard", "channel", w.Channel, "workflow", w.WorkflowID, "gate", w.Gate, "step", w.Step,
			"said", w.Decision+w.Action, "who", w.Who, "outcome", outcome, "answer", answer)
	}()
	if why := malformed(w); why != "" {
		return why, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, g.opts.AnswerTimeout)
	defer cancel()
	result, err := g.hear(ctx, w)
	switch {
	case errors.Is(err, ErrNoRun):
		return fmt.Sprintf("run %s has ended or is unknown: nothing was changed", w.WorkflowID), false, nil
	case err != nil:
		return "", false, fmt.Errorf("take a word of %s to run %s: %w", w.Channel, w.WorkflowID, err)
	}
	return result.Message, result.Accepted, nil
}

// malformed says what is wrong with a Word that no run could answer sensibly.
func malformed(w activities.Word) string {
	switch {
	case w.WorkflowID == "":
		return "this names no run"
	case len(w.Who) == 0 || w.Channel == "":
		return "nobody vouches for who says this"
	case w.Nonce == "" || len(w.Nonce) > maxNonce:
		return "this has no nonce of a sensible length"
	case (w.Decision == "") == (w.Action == ""):
		return "this is neither a decision nor an action"
	}
	return ""
}

func (g *Gateway) hear(ctx context.Context, w activities.Word) (run.Answer, error) {
	status, err := g.opts.Runs.Status(ctx, w.WorkflowID, w.RunID)
	if err != nil {
		return run.Answer{}, err
	}
	estate, err := g.opts.Estate(status.Header.Estate)
	if err != nil {
		return run.Answer{}, fmt.Errorf("look who is in estate %s: %w", status.Header.Estate, err)
	}
	person, unknown := findPerson(estate, w.Who)
	if unknown != nil {
		// Sent all the same, under a name that no person of an estate has: the run refuses it, and its journal keeps that.
		person = found{name: nobodys(estate, w.Who[0]), vouched: w.Who[0]}
	}
	if status.Header.RunID != "" {
		w.RunID = status.Header.RunID
	}
	answer, err := g.send(ctx, w, person)
	if unknown != nil {
		if err != nil {
			g.log.Warn("a refusal could not be recorded", "workflow", w.WorkflowID, "who", w.Who, "why", err.Error())
		}
		if !answer.Accepted {
			return run.Answer{Message: unknown.Error()}, nil
		}
	}
	return answer, err
}

func (g *Gateway) send(ctx context.Context, w activities.Word, p found) (run.Answer, error) {
	at := g.now().UTC().Truncate(time.Millisecond)
	nonce, reason := w.Channel+":"+w.Nonce, strings.ToValidUTF8(w.Reason, "?")
	if w.Decision != "" {
		d := run.Decision{Gate: w.Gate, PlanHash: w.PlanHash, Decision: w.Decision, Approver: p.name, Reason: reason,
			Channel: w.Channel, Gateway: g.opts.Name, Vouched: p.vouched, Time: at, Nonce: nonce}
		var err error
		if d.Signature, err = sshsig.Sign(g.signer, sshsig.Namespace, d.SigningText(w.WorkflowID, w.RunID)); err != nil {
			return run.Answer{}, err
		}
		return g.opts.Runs.Decide(ctx, w.WorkflowID, w.RunID, d)
	}
	v := run.Intervention{Step: w.Step, Action: w.Action, Set: w.Set, Author: p.name, Reason: reason,
		Channel: w.Channel, Gateway: g.opts.Name, Vouched: p.vouched, Time: at, Nonce: nonce}
	var err error
	if v.Signature, err = sshsig.Sign(g.signer, sshsig.Namespace, v.SigningText(w.WorkflowID, w.RunID)); err != nil {
		return run.Answer{}, err
	}
	return g.opts.Runs.Intervene(ctx, w.WorkflowID, w.RunID, v)
}

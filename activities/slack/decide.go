package slack

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	api "github.com/slack-go/slack"

	"github.com/musterhq/muster/activities"
)

// open answers a button with the modal that asks for a reason.
func (i *Incoming) open(ctx context.Context, c click) {
	if why := i.foreign(c); why != "" {
		i.tell(ctx, c, false, why)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, triggerLife)
	defer cancel()
	// A guest learns here already that it is in vain. Where Slack does not say in time, the submission is checked all the same.
	asked, stop := context.WithTimeout(ctx, time.Second)
	why, err := i.guest(asked, c)
	stop()
	if err == nil && why != "" {
		i.tell(i.ctx, c, false, why)
		return
	}
	view, err := modal(c)
	if err == nil && time.Since(c.at) > triggerLife {
		err = errors.New("the click waited too long")
	}
	if err == nil {
		var slack *workspace
		if slack, err = i.client(ctx); err == nil {
			_, err = slack.OpenViewContext(ctx, c.trigger, view)
		}
	}
	if err != nil {
		i.Log.Warn("slack: the form could not be opened", "run", c.Button.Workflow, "user", c.user, "error", mapErr("open the form", err))
		i.tell(i.ctx, c, false, "Slack did not say in time that the form is open. Nothing is counted yet: where you see no form, press the button again.")
	}
}

// decide takes a modal's submission to its run, and the run's answer to that person.
func (i *Incoming) decide(ctx context.Context, c click) {
	if why := i.foreign(c); why != "" {
		i.tell(ctx, c, false, why)
		return
	}
	var why string
	err := i.persist(ctx, func(ctx context.Context) (err error) {
		why, err = i.guest(ctx, c)
		return err
	})
	if err != nil {
		i.Log.Warn("slack: a person could not be looked up", "run", c.Button.Workflow, "user", c.user, "error", mapErr("look up a person", err))
		why = "Slack does not say who you are, so nothing was counted. Try again, or answer by the muster command."
	}
	if why != "" {
		i.tell(ctx, c, false, why)
		return
	}
	var answer string
	var accepted bool
	err = i.persist(ctx, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, hearTimeout)
		defer cancel()
		answer, accepted, err = i.Hear(ctx, c.word())
		return err
	})
	if err != nil {
		i.Log.Error("slack: a decision did not reach its run", "run", c.Button.Workflow, "gate", c.Button.Gate, "step", c.Button.Step, "user", c.user, "error", err)
		answer, accepted = "The run could not be asked, so it is not known whether this counted. Look at the message above, and try again where it did not.", false
	}
	i.tell(ctx, c, accepted, answer)
}

func (c click) word() activities.Word {
	b := c.Button
	w := activities.Word{
		WorkflowID: b.Workflow, RunID: b.Run, Gate: b.Gate, PlanHash: b.Hash, Step: b.Step, Set: c.set,
		Reason: c.reason, Channel: "slack", Who: []string{"slack:" + c.team + "/" + c.user}, Nonce: c.nonce,
	}
	if slices.Contains(decisions, b.Do) {
		w.Decision = b.Do
	} else {
		w.Action = b.Do
	}
	return w
}

// persist calls f until it succeeds, for as long as patience lasts: a click that was acknowledged is not given up at the first failure.
func (i *Incoming) persist(ctx context.Context, f func(context.Context) error) error {
	deadline := time.Now().Add(i.patience)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := f(ctx)
		if err == nil {
			return nil
		}
		var typed *activities.Error
		if errors.As(mapErr("", err), &typed) && !typed.Retryable() {
			return err
		}
		pause := waitFor(err, wait)
		if time.Now().Add(pause).After(deadline) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(err, ctx.Err())
		}
	}
}

// tell answers the person who clicked, and nobody else: in the channel, or where Slack will not show it there, in a message
// of their own. response_url is not used: it would end after 30 minutes.
func (i *Incoming) tell(ctx context.Context, c click, accepted bool, answer string) {
	sign := ":no_entry: "
	if accepted {
		sign = ":white_check_mark: "
	}
	text := api.MsgOptionText(cut(sign+cmp.Or(lines(answer), "done"), limitSection), false)
	err := i.persist(ctx, func(ctx context.Context) error {
		slack, err := i.client(ctx)
		if err != nil {
			return err
		}
		options := []api.MsgOption{text}
		if c.Thread != "" {
			options = append(options, api.MsgOptionTS(c.Thread))
		}
		_, err = slack.PostEphemeralContext(ctx, c.Channel, c.user, options...)
		var said api.SlackErrorResponse
		if errors.As(err, &said) && slices.Contains([]string{"user_not_in_channel", "not_in_channel", "channel_not_found", "is_archived"}, said.Err) {
			_, _, err = slack.PostMessageContext(ctx, c.user, text)
		}
		return err
	})
	if err != nil {
		i.Log.Warn("slack: a person could not be answered", "run", c.Button.Workflow, "user", c.user, "error", mapErr("answer a person", err))
	}
}

func (i *Incoming) client(ctx context.Context) (*workspace, error) {
	return client(ctx, i.BotToken, i.API)
}

// words are the modal's for each action: title (24 characters at most) and what it does.
var words = map[string]struct{ title, button, text string }{
	approve: {"Approve", "Approve", "You approve *exactly this plan*. If it changes, the gate is asked again."},
	reject:  {"Reject", "Reject", "You reject this plan. What was done so far is undone."},
	retry:   {"Retry the step", "Retry", "The step is tried again."},
	skip:    {"Skip the step", "Skip", "The run goes on without this step. It never reads as passed."},
	abort:   {"Abort the run", "Abort", "The run stops. Before the point of no return, what was done is undone."},
	resume:  {"Resume the run", "Resume", "The run goes on."},
}

func modal(c click) (api.ModalViewRequest, error) {
	w := words[c.Button.Do]
	metadata, err := json.Marshal(c.modalContext)
	if err != nil {
		return api.ModalViewRequest{}, fmt.Errorf("make the form: %w", err)
	}
	what := "*" + cmp.Or(esc(c.Button.Label), esc(c.Button.Workflow)) + "*\n" + w.text
	facts := "Run " + code(c.Button.Workflow)
	if c.Button.Hash != "" {
		facts += " · Plan " + code(short(c.Button.Hash))
	}
	if c.Button.Step != "" {
		facts += " · Step " + code(c.Button.Step)
	}
	reason := input(reasonBlock, "Reason", "Why? It stands in the evidence.", limitReason)
	reason.Optional = !c.Button.Reason
	blocks := []api.Block{section(what), api.NewContextBlock("", mrkdwn(cut(facts, limitField))), reason}
	if c.Button.Do == retry {
		set := input(setBlock, "Changes to the step's input", "key=value, one on each line", limitSection)
		set.Optional = true
		blocks = append(blocks, set)
	}
	return api.ModalViewRequest{
		Type: api.VTModal, CallbackID: modalCallback, PrivateMetadata: string(metadata),
		Title: plainText(w.title), Submit: plainText(w.button), Close: plainText("Cancel"),
		Blocks: api.Blocks{BlockSet: blocks},
	}, nil
}

func input(block, label, placeholder string, limit int) *api.InputBlock {
	element := api.NewPlainTextInputBlockElement(plainText(placeholder), inputAction)
	element.Multiline = true
	element.MaxLength = limit
	return api.NewInputBlock(block, plainText(label), nil, element)
}

package slack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Actions that a button stands for: what activities.Word calls Decision and Action.
const (
	approve = "approve"
	reject  = "reject"
	retry   = "retry"
	skip    = "skip"
	abort   = "abort"
	resume  = "resume"
)

var (
	decisions = []string{approve, reject}
	actions   = []string{retry, skip, abort, resume}
)

// button is what a button's value carries. Slack hands it back as it was, and vouches that this app made it.
type button struct {
	Workflow string `json:"w"`
	Run      string `json:"r"`
	Gate     string `json:"g,omitempty"`
	Hash     string `json:"h,omitempty"`
	Step     string `json:"s,omitempty"`
	Do       string `json:"d"`
	Reason   bool   `json:"q,omitempty"` // a reason is required
	Label    string `json:"l,omitempty"` // what it is about, for the modal
}

// encode returns the button's value; ok is false where it does not fit into one.
func (b button) encode() (value string, ok bool) {
	b.Label = cut(b.Label, 120)
	text, err := json.Marshal(b)
	if err == nil && len(text) > limitValue {
		b.Label = ""
		text, err = json.Marshal(b)
	}
	return string(text), err == nil && len(text) <= limitValue
}

// decodeButton reads what encode wrote, and nothing else.
func decodeButton(value string) (button, error) {
	var b button
	if len(value) > limitValue {
		return b, errors.New("the button's value is too long")
	}
	if err := strict(value, &b); err != nil {
		return b, fmt.Errorf("the button's value: %w", err)
	}
	return b, b.check()
}

func (b button) check() error {
	switch {
	case b.Workflow == "" || b.Run == "":
		return errors.New("the button's value names no run")
	case slices.Contains(decisions, b.Do):
		if b.Gate == "" || b.Hash == "" || b.Step != "" {
			return errors.New("the button's value names no gate and plan")
		}
	case slices.Contains(actions, b.Do):
		if b.Gate != "" || b.Hash != "" {
			return errors.New("the button's value names a gate that its action has nothing to do with")
		}
	default:
		return errors.New("the button's value names no action")
	}
	return nil
}

// context is what a modal carries from the click to its submission: Slack's private_metadata, 3,000 characters.
type modalContext struct {
	Button  button `json:"b"`
	Channel string `json:"c"`
	Message string `json:"m"`
	Thread  string `json:"t,omitempty"`
}

func decodeContext(text string) (modalContext, error) {
	var c modalContext
	if len(text) > 3000 {
		return c, errors.New("the modal's metadata is too long")
	}
	if err := strict(text, &c); err != nil {
		return c, fmt.Errorf("the modal's metadata: %w", err)
	}
	if !channelID.MatchString(c.Channel) {
		return c, errors.New("the modal's metadata names no channel")
	}
	return c, c.Button.check()
}

// strict reads one JSON value that has no fields but those of v.
func strict(text string, v any) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its end")
	}
	return nil
}

package slack

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/musterhq/muster/activities"
)

// Names of what a modal holds.
const (
	modalCallback = "muster_decide"
	reasonBlock   = "reason"
	setBlock      = "set"
	inputAction   = "text"
)

// Kinds of interactions that matter here; Slack sends others, which are acknowledged and no more.
const (
	blockActions   = "block_actions"
	viewSubmission = "view_submission"
)

var (
	userID = regexp.MustCompile(`^[UW][A-Z0-9]{2,30}$`)
	teamID = regexp.MustCompile(`^[TE][A-Z0-9]{2,30}$`)
)

// payload is the part of Slack's interaction payloads that is read
// (https://docs.slack.dev/reference/interaction-payloads). The message it came from, which may be large, is not.
type payload struct {
	Type      string `json:"type"`
	TriggerID string `json:"trigger_id"`
	Team      *struct {
		ID string `json:"id"`
	} `json:"team"` // null where the app is installed for an organization
	User struct {
		ID     string `json:"id"`
		TeamID string `json:"team_id"`
	} `json:"user"`
	Channel struct {
		ID string `json:"id"`
	} `json:"channel"`
	Container struct {
		ChannelID string `json:"channel_id"`
		MessageTS string `json:"message_ts"`
		ThreadTS  string `json:"thread_ts"`
	} `json:"container"`
	Actions []struct {
		ActionID string `json:"action_id"`
		Value    string `json:"value"`
		ActionTS string `json:"action_ts"`
	} `json:"actions"`
	View struct {
		ID              string `json:"id"`
		Hash            string `json:"hash"`
		CallbackID      string `json:"callback_id"`
		PrivateMetadata string `json:"private_metadata"`
		State           struct {
			Values map[string]map[string]struct {
				Value *string `json:"value"`
			} `json:"values"`
		} `json:"state"`
	} `json:"view"`
}

// click is what somebody did: pressed a button (trigger set), or sent the modal (submitted).
type click struct {
	modalContext
	user, team string // team: the person's own workspace
	seenTeam   string // where it was clicked
	trigger    string
	submitted  bool
	reason     string
	set        map[string]string
	nonce      string
	at         time.Time
}

// errIgnore: a payload that is none of muster's: acknowledged, and no more.
var errIgnore = errors.New("not one of muster's buttons")

// fieldError is what a modal's field says to whoever filled it in.
type fieldError struct{ block, text string }

func (e fieldError) Error() string { return e.block + ": " + e.text }

// parse reads an interaction. Its errors are errIgnore, a fieldError, or say what is malformed, without repeating it.
func parse(body []byte) (click, error) {
	var p payload
	if err := json.Unmarshal(body, &p); err != nil {
		return click{}, fmt.Errorf("the payload is not an interaction: %w", err)
	}
	switch p.Type {
	case blockActions:
		return p.pressed()
	case viewSubmission:
		return p.sent()
	case "":
		return click{}, errors.New("the payload has no type")
	default:
		return click{}, errIgnore
	}
}

func (p payload) who() (click, error) {
	c := click{user: p.User.ID, team: p.User.TeamID}
	if p.Team != nil {
		c.seenTeam = p.Team.ID
	}
	if c.team == "" {
		c.team = c.seenTeam
	}
	if !userID.MatchString(c.user) {
		return c, errors.New("the payload names no user")
	}
	if !teamID.MatchString(c.team) || c.seenTeam != "" && !teamID.MatchString(c.seenTeam) {
		return c, errors.New("the payload names no team")
	}
	return c, nil
}

func (p payload) pressed() (click, error) {
	for _, a := range p.Actions {
		if !strings.HasPrefix(a.ActionID, actionPrefix) {
			continue
		}
		c, err := p.who()
		if err != nil {
			return c, err
		}
		c.Button, err = decodeButton(a.Value)
		if err != nil {
			return c, err
		}
		if a.ActionID != actionPrefix+c.Button.Do {
			return c, errors.New("the button's value is not that of its action")
		}
		c.Channel, c.Message, c.Thread = p.Container.ChannelID, p.Container.MessageTS, p.Container.ThreadTS
		if c.Channel == "" {
			c.Channel = p.Channel.ID
		}
		if !channelID.MatchString(c.Channel) {
			return c, errors.New("the payload names no channel")
		}
		if p.TriggerID == "" || a.ActionTS == "" || len(p.TriggerID)+len(a.ActionTS)+len(c.Message) > 500 {
			return c, errors.New("the payload has no trigger or action time")
		}
		c.trigger = p.TriggerID
		c.nonce = "click:" + c.team + "/" + c.user + ":" + c.Message + ":" + a.ActionTS + ":" + a.ActionID
		return c, nil
	}
	return click{}, errIgnore
}

func (p payload) sent() (click, error) {
	if p.View.CallbackID != modalCallback {
		return click{}, errIgnore
	}
	c, err := p.who()
	if err != nil {
		return c, err
	}
	if c.modalContext, err = decodeContext(p.View.PrivateMetadata); err != nil {
		return c, err
	}
	if p.View.ID == "" || len(p.View.ID)+len(p.View.Hash) > 500 {
		return c, errors.New("the payload names no view")
	}
	c.submitted = true
	c.nonce = "slack:" + c.team + "/" + c.user + ":" + p.View.ID + ":" + p.View.Hash
	c.reason = strings.TrimSpace(p.input(reasonBlock))
	if len([]rune(c.reason)) > limitReason {
		return c, fieldError{reasonBlock, fmt.Sprintf("Please be shorter: %d characters at most.", limitReason)}
	}
	if c.Button.Reason && c.reason == "" {
		return c, fieldError{reasonBlock, "This gate asks for a reason."}
	}
	if c.Button.Do == retry {
		if c.set, err = activities.ParseSet(p.input(setBlock)); err != nil {
			return c, fieldError{setBlock, err.Error()}
		}
	}
	return c, nil
}

func (p payload) input(block string) string {
	if value := p.View.State.Values[block][inputAction].Value; value != nil {
		return *value
	}
	return ""
}

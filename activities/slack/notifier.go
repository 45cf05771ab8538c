package slack

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"time"

	api "github.com/slack-go/slack"

	"github.com/musterhq/muster/activities"
)

const actionPrefix = "muster_"

var channelID = regexp.MustCompile(`^[CGD][A-Z0-9]{2,30}$`)

var errNoChannel = errors.New("the notifier names no channel")

// Notifier posts notices into one channel: a message for each gate, all else in the thread of the run's first message.
type Notifier struct{}

var _ activities.Notifier = Notifier{}

// Announce posts the notice, or edits the message that its subject has. It asks Slack first which of both is done already: safe to repeat.
func (Notifier) Announce(ctx context.Context, in activities.AnnounceInput) (activities.Receipt, error) {
	op := "tell Slack by " + in.Name
	settings := in.Notifier.Slack
	if settings == nil || !channelID.MatchString(settings.Channel) {
		return activities.Receipt{}, &activities.Error{Type: activities.ErrConfig, Op: op, Err: errNoChannel, Next: "set slack.channel to the channel's ID, such as C0123ABCD"}
	}
	c, err := client(ctx, settings.Token, settings.API)
	if err != nil {
		return activities.Receipt{}, mapErr(op, err)
	}
	receipt, err := announce(ctx, c, settings.Channel, in)
	if edited := receipt.Message != "" && receipt.Message == in.Earlier.Message; err == nil && edited && in.Notice.Event == activities.EventGateEscalated {
		err = ring(ctx, c, settings.Channel, in)
	}
	return receipt, mapErr(op, err)
}

// edits are the events that change their subject's message where there is one. The others are messages of their own.
var edits = []activities.Event{activities.EventGateOpened, activities.EventGateDecided, activities.EventGateClosed,
	activities.EventGateExpired, activities.EventGateEscalated, activities.EventHeld, activities.EventReleased}

// opens are the events that begin something: a message that shows its end is left as it is, and people are told anew.
var opens = []activities.Event{activities.EventGateOpened, activities.EventHeld}

func announce(ctx context.Context, c *workspace, channel string, in activities.AnnounceInput) (activities.Receipt, error) {
	n := in.Notice
	message := render(n)
	if in.Earlier.Channel != "" && in.Earlier.Channel != channel { // the estate names another channel by now
		in.Earlier = activities.Receipt{}
	}
	if in.Thread.Channel != channel {
		in.Thread = activities.Receipt{}
	}
	edit := slices.Contains(edits, n.Event)
	if edit && in.Earlier.Message != "" {
		was, err := fetch(ctx, c, channel, in.Earlier.Message, in.Thread.Message)
		if err != nil {
			return activities.Receipt{}, err
		}
		if was != nil && !was.closed() {
			receipt, err := update(ctx, c, channel, *was, message, n)
			if !errors.Is(err, errGone) {
				return receipt, err
			}
		}
	}
	thread := in.Thread.Message
	if n.Event == activities.EventGateReminded {
		thread = cmp.Or(in.Earlier.Message, thread)
	}
	if gate := n.Gate != nil && n.Event != activities.EventGateReminded; gate {
		thread = "" // each gate stands in the channel, where everybody sees it
	}
	found, err := search(ctx, c, channel, thread, since(n), n)
	if err != nil {
		return activities.Receipt{}, err
	}
	if found.same != nil {
		return activities.Receipt{Channel: channel, Message: found.same.ts, Known: true}, nil
	}
	anew := slices.Contains(opens, n.Event) && found.subject != nil && found.subject.closed() && !found.subject.overtakes(n)
	if edit && found.subject != nil && !anew {
		receipt, err := update(ctx, c, channel, *found.subject, message, n)
		if !errors.Is(err, errGone) {
			return receipt, err
		}
	}
	if n.Gate == nil || n.Event == activities.EventGateReminded {
		thread = cmp.Or(thread, found.root)
	}
	return post(ctx, c, channel, thread, message)
}

// ring tells the people who are asked now, in the gate's thread: an edit of its message tells nobody.
func ring(ctx context.Context, c *workspace, channel string, in activities.AnnounceInput) error {
	in.Notice.ID += "/ring" // the gate's own message shows the notice already
	in.Notice.Subject += "/ring"
	in.Notice.Event = activities.EventGateReminded
	_, err := announce(ctx, c, channel, in)
	return err
}

// since is when the first message about n's subject can have been posted.
func since(n activities.Notice) time.Time {
	at := n.At
	if n.Gate != nil && !n.Gate.Opened.IsZero() && n.Gate.Opened.Before(at) {
		at = n.Gate.Opened
	}
	if n.Hold != nil && !n.Hold.Since.IsZero() && n.Hold.Since.Before(at) {
		at = n.Hold.Since
	}
	return at
}

// errGone: the message cannot be edited, so people are told by a new one.
var errGone = errors.New("the message cannot be edited any more")

func update(ctx context.Context, c *workspace, channel string, was posted, m message, n activities.Notice) (activities.Receipt, error) {
	receipt := activities.Receipt{Channel: channel, Message: was.ts}
	if was.overtakes(n) {
		receipt.Known = true
		return receipt, nil
	}
	_, _, _, err := c.UpdateMessageContext(ctx, channel, was.ts, m.options()...)
	if gone(err) {
		return activities.Receipt{}, errGone
	}
	return receipt, err
}

func post(ctx context.Context, c *workspace, channel, thread string, m message) (activities.Receipt, error) {
	options := m.options()
	if thread != "" {
		options = append(options, api.MsgOptionTS(thread))
		if m.broadcast {
			options = append(options, api.MsgOptionBroadcast())
		}
	}
	at, ts, err := c.PostMessageContext(ctx, channel, options...)
	if err != nil {
		return activities.Receipt{}, err
	}
	return activities.Receipt{Channel: at, Message: ts}, nil
}

func (m message) options() []api.MsgOption {
	return []api.MsgOption{
		api.MsgOptionText(m.text, false), api.MsgOptionBlocks(m.blocks...), api.MsgOptionMetadata(m.metadata),
		api.MsgOptionDisableLinkUnfurl(), api.MsgOptionDisableMediaUnfurl(),
	}
}

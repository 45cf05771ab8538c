package slack

import (
	"context"
	"errors"
	"time"

	api "github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/secret"
)

// Socket hears clicks over Socket Mode until ctx ends, and connects again whenever the connection is lost. It returns an
// error where Slack refuses the app token, and nil when ctx ended.
func (i *Incoming) Socket(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // Drain ends it too
		select {
		case <-i.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		began := time.Now()
		err := i.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		err = mapErr("hear Slack over Socket Mode", err)
		var typed *activities.Error
		if errors.As(err, &typed) && !typed.Retryable() {
			return err
		}
		if time.Since(began) > time.Minute {
			wait = time.Second
		}
		i.Log.Warn("slack: the Socket Mode session ended; it is opened again", "after", wait, "error", err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// session runs until the library gives up. It reconnects by itself where Slack asks for it.
func (i *Incoming) session(ctx context.Context) error {
	token, err := secret.Resolve(ctx, i.AppToken)
	if err != nil {
		return &activities.Error{Type: activities.ErrConfig, Op: "hear Slack over Socket Mode", Err: err}
	}
	slack, err := client(ctx, i.BotToken, i.API, api.OptionAppLevelToken(token))
	if err != nil {
		return err
	}
	session := socketmode.New(slack.Client, socketmode.OptionReadLimit(maxBody))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	var refused error
	go func() {
		defer close(done)
		for {
			select {
			case event := <-session.Events:
				if refused = i.hear(ctx, session, event); refused != nil {
					cancel()
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	err = session.RunContext(ctx)
	cancel()
	<-done
	if refused != nil {
		return refused
	}
	return err
}

// hear acknowledges an envelope as soon as what it holds was taken: an acknowledgement that is lost makes Slack deliver the
// same again, which is taken once. It returns an error where Slack will not let this app in, however often it is asked.
func (i *Incoming) hear(ctx context.Context, session *socketmode.Client, event socketmode.Event) error {
	switch event.Type {
	case socketmode.EventTypeConnected:
		i.Log.Info("slack: Socket Mode is connected")
	case socketmode.EventTypeConnectionError:
		// What is not Slack's own word may hold the connection's URL, and that a ticket.
		var said api.SlackErrorResponse
		failed, ok := event.Data.(*api.ConnectionErrorEvent)
		if ok && errors.As(failed.ErrorObj, &said) {
			err := mapErr("connect to Slack by Socket Mode", said)
			var typed *activities.Error
			if errors.As(err, &typed) && !typed.Retryable() {
				return err
			}
		}
		i.Log.Warn("slack: Socket Mode could not connect; it is tried again", "error", said.Err)
	case socketmode.EventTypeInteractive:
		reply, err := i.take(event.Request.Payload, time.Now())
		if err != nil {
			i.Log.Warn("slack: a click was not acknowledged", "error", err)
			return nil
		}
		if err := session.AckCtx(ctx, event.Request.EnvelopeID, reply); err != nil {
			i.Log.Warn("slack: an acknowledgement could not be sent", "error", err)
		}
	}
	return nil
}

package slack_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/slack"
	"github.com/musterhq/muster/activities/slack/slacktest"
)

// deliver sends an interaction by one of the two transports.
type deliver func(i slacktest.Interaction) (slacktest.Ack, error)

// transports runs a test over HTTP and over Socket Mode.
func transports(t *testing.T, test func(t *testing.T, s *slacktest.Server, g gateway, e *ear, send deliver)) {
	t.Run("http", func(t *testing.T) {
		t.Parallel()
		s, e := slacktest.New(t), &ear{}
		g := listen(t, s, e.hear)
		test(t, s, g, e, func(i slacktest.Interaction) (slacktest.Ack, error) { return s.Deliver(g.url, i) })
	})
	t.Run("socket", func(t *testing.T) {
		t.Parallel()
		s, e := slacktest.New(t), &ear{}
		g := listen(t, s, e.hear)
		connect(t, s, g)
		test(t, s, g, e, s.Send)
	})
}

// connect opens Socket Mode until the test ends.
func connect(t *testing.T, s *slacktest.Server, g gateway) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Socket(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	require.True(t, s.Await(limit, func() bool { return s.Connections() == 1 }), "Socket Mode did not connect: %s", g.log)
}

func TestAClickBecomesADecision(t *testing.T) {
	t.Parallel()
	transports(t, func(t *testing.T, s *slacktest.Server, g gateway, e *ear, send deliver) {
		to := notifier(t, s)
		r := must(t, s, to, gate(activities.EventGateOpened, 3))
		ack, err := send(s.Click(ada, channel, r.Message, "muster_approve"))
		require.NoError(t, err)
		require.Empty(t, ack.Body)
		require.True(t, s.Await(limit, func() bool { return len(s.Views(ada)) == 1 }))
		submission := s.Submit(ada, s.Views(ada)[0].ID, map[string]string{"reason": "  agreed in the call "})
		ack, err = send(submission)
		require.NoError(t, err)
		require.Empty(t, ack.Body, "an empty answer closes the modal")
		answer := told(t, s, 1)
		require.Equal(t, slacktest.Ephemeral{Channel: channel, User: ada, Text: ":white_check_mark: counted: approve"}, answer)
		require.Empty(t, s.Views(ada))

		words := e.heard()
		require.Len(t, words, 1)
		nonce := words[0].Nonce
		require.NotEmpty(t, nonce)
		require.Equal(t, activities.Word{
			WorkflowID: "failover:shop", RunID: run, Gate: "approve", PlanHash: hash, Decision: "approve", Reason: "agreed in the call",
			Channel: "slack", Who: []string{"slack:T00MUSTER/U0ADA"}, Nonce: nonce,
		}, words[0])

		for range 3 { // delivered again, as Slack does where an acknowledgement was lost
			_, err = send(submission)
			require.NoError(t, err)
		}
		require.Zero(t, s.Calls("response_url"))
		drained(t, g)
		require.Len(t, e.heard(), 1)
		require.Len(t, s.Ephemerals(), 1)
	})
}

// drained waits until nothing is being worked on, without stopping g.
func drained(t *testing.T, g gateway) {
	t.Helper()
	require.Eventually(t, func() bool { return g.Pending() == 0 }, limit, time.Millisecond)
}

func TestHoldsAreAnswered(t *testing.T) {
	t.Parallel()
	s, e := slacktest.New(t), &ear{}
	g := listen(t, s, e.hear)
	to := notifier(t, s)
	root := must(t, s, to, gate(activities.EventGateOpened, 3))
	r := must(t, s, to, held(activities.EventHeld, 7), activities.Receipt{}, root)

	view := press(t, s, g, ada, r.Message, "muster_retry")
	ack, err := s.Deliver(g.url, s.Submit(ada, view.ID, map[string]string{"set": "timeout"}))
	require.NoError(t, err)
	require.JSONEq(t, `{"response_action":"errors","errors":{"set":"\"timeout\" is not key=value"}}`, string(ack.Body))
	require.Len(t, s.Views(ada), 1, "it stays open")
	_, err = s.Deliver(g.url, s.Submit(ada, view.ID, map[string]string{"set": "timeout = 90s\n\ndiscard=true"}))
	require.NoError(t, err)
	require.Equal(t, root.Message, told(t, s, 1).Thread, "answered where it was clicked")
	w := e.heard()[0]
	require.Equal(t, "retry", w.Action)
	require.Equal(t, "promote/orders", w.Step)
	require.Equal(t, map[string]string{"timeout": "90s", "discard": "true"}, w.Set)
	require.Empty(t, w.Decision)

	for i, action := range []string{"skip", "abort"} {
		view := press(t, s, g, ada, r.Message, "muster_"+action)
		_, err = s.Deliver(g.url, s.Submit(ada, view.ID, nil))
		require.NoError(t, err)
		told(t, s, i+2)
		require.Equal(t, action, e.heard()[i+1].Action)
	}
	paused := held(activities.EventHeld, 30)
	paused.Subject, paused.Hold.Step = run+"/pause", ""
	r = must(t, s, to, paused, activities.Receipt{}, root)
	view = press(t, s, g, ada, r.Message, "muster_resume")
	_, err = s.Deliver(g.url, s.Submit(ada, view.ID, nil))
	require.NoError(t, err)
	told(t, s, 4)
	require.Equal(t, "resume", e.heard()[3].Action)
}

func TestAReasonIsAskedForWhereTheGateSaysSo(t *testing.T) {
	t.Parallel()
	s, e := slacktest.New(t), &ear{}
	g := listen(t, s, e.hear)
	n := gate(activities.EventGateOpened, 3)
	n.Gate.Reason = true
	r := must(t, s, notifier(t, s), n)
	view := press(t, s, g, ada, r.Message, "muster_reject")
	ack, err := s.Deliver(g.url, s.Submit(ada, view.ID, map[string]string{"reason": "   "})) // Slack's client lets blanks pass
	require.NoError(t, err)
	require.Contains(t, string(ack.Body), "asks for a reason")
	require.Contains(t, s.Views(ada)[0].Errors["reason"], "asks for a reason")
	_, err = s.Deliver(g.url, s.Submit(ada, view.ID, map[string]string{"reason": "not today"}))
	require.NoError(t, err)
	told(t, s, 1)
	require.Equal(t, "reject", e.heard()[0].Decision)
}

func TestAModalThatDoesNotOpenIsSaid(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]slacktest.Fault{
		"500": {Status: 500}, "429": {Status: 429, RetryAfter: time.Minute}, "expired": {Error: "expired_trigger_id"}, "dropped": {Drop: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, e := slacktest.New(t), &ear{}
			g := listen(t, s, e.hear)
			r := must(t, s, notifier(t, s), gate(activities.EventGateOpened, 3))
			s.Fail("views.open", fault)
			_, err := s.Deliver(g.url, s.Click(ada, channel, r.Message, "muster_approve"))
			require.NoError(t, err)
			require.Contains(t, told(t, s, 1).Text, "press the button again")
		})
	}
}

func TestWhoIsNotInTheChannelIsAnsweredDirectly(t *testing.T) {
	t.Parallel()
	s, e := slacktest.New(t), &ear{}
	g := listen(t, s, e.hear)
	r := must(t, s, notifier(t, s), gate(activities.EventGateOpened, 3))
	view := press(t, s, g, ada, r.Message, "muster_approve")
	s.Only(channel, "U0BO")
	s.Fail("chat.postEphemeral", slacktest.Fault{Status: 429, RetryAfter: time.Second})
	_, err := s.Deliver(g.url, s.Submit(ada, view.ID, nil))
	require.NoError(t, err)
	require.True(t, s.Await(limit, func() bool { return len(s.Messages("D"+ada)) == 1 }))
	require.Contains(t, s.Messages("D" + ada)[0].Text, "counted: approve")
}

// A click that was acknowledged is taken to its run however long that takes, within patience, and with the same nonce.
func TestAnUnreachableRunIsAskedAgain(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	tries, nonces := 0, map[string]bool{}
	e := &ear{answer: func(w activities.Word) (string, bool, error) {
		nonces[w.Nonce] = true
		if tries++; tries < 4 {
			return "", false, errors.New("temporal does not answer")
		}
		return "", true, nil
	}}
	g := listen(t, s, e.hear)
	r := must(t, s, notifier(t, s), gate(activities.EventGateOpened, 3))
	view := press(t, s, g, ada, r.Message, "muster_approve")
	_, err := s.Deliver(g.url, s.Submit(ada, view.ID, nil))
	require.NoError(t, err)
	require.Contains(t, told(t, s, 1).Text, "counted")
	require.Len(t, e.heard(), 1)
	require.Len(t, nonces, 1)

	e = &ear{answer: func(activities.Word) (string, bool, error) { return "", false, errors.New("temporal is gone") }}
	g = listen(t, s, e.hear)
	g.Impatient(time.Millisecond)
	view = press(t, s, g, ada, r.Message, "muster_approve")
	_, err = s.Deliver(g.url, s.Submit(ada, view.ID, nil))
	require.NoError(t, err)
	require.Contains(t, told(t, s, 2).Text, "not known whether this counted")
}

func TestSocketComesBack(t *testing.T) {
	t.Parallel()
	s, e := slacktest.New(t), &ear{}
	g := listen(t, s, e.hear)
	connect(t, s, g)
	r := must(t, s, notifier(t, s), gate(activities.EventGateOpened, 3))
	s.Fail("apps.connections.open", slacktest.Fault{Status: 500})
	opened := s.Calls("apps.connections.open")
	s.Refresh()
	require.True(t, s.Await(limit, func() bool { return s.Calls("apps.connections.open") == opened+2 && s.Connections() == 1 }), "%s", g.log)
	_, err := s.Send(s.Click(ada, channel, r.Message, "muster_approve"))
	require.NoError(t, err)
	require.True(t, s.Await(limit, func() bool { return len(s.Views(ada)) == 1 }))

	s.Down()
	s.Up()
	require.True(t, s.Await(limit, func() bool { return s.Connections() == 1 }), "%s", g.log)
	_, err = s.Send(s.Submit(ada, s.Views(ada)[0].ID, nil))
	require.NoError(t, err)
	// Where the cut took Slack's answer that the form is open, ada was told first to press again.
	require.True(t, s.Await(limit, func() bool {
		return slices.ContainsFunc(s.Ephemerals(), func(e slacktest.Ephemeral) bool { return strings.Contains(e.Text, "counted: approve") })
	}), "%v", s.Ephemerals())
	require.Len(t, e.heard(), 1)
}

func TestSocketSaysWhatItCannotUse(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	for name, c := range map[string]struct {
		token string
		want  string
	}{
		"unknown": {"xapp-wrong", activities.ErrAuth}, "bot's token": {s.BotToken, activities.ErrAuth}, "missing": {"", activities.ErrConfig},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := slack.New(slack.Config{AppToken: secret(t, c.token), BotToken: secret(t, s.BotToken), Teams: []string{s.Team}, API: s.API, Hear: (&ear{}).hear})
			require.NoError(t, err)
			err = in.Socket(t.Context())
			require.Equal(t, c.want, activities.TypeOf(err), "%v", err)
		})
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	reached, release := make(chan struct{}), make(chan struct{})
	hear := func(ctx context.Context, _ activities.Word) (string, bool, error) {
		close(reached)
		<-release
		return "counted", true, ctx.Err()
	}
	in, err := slack.New(slack.Config{SigningSecret: secret(t, s.SigningSecret), BotToken: secret(t, s.BotToken), Teams: []string{s.Team}, API: s.API, Hear: hear})
	require.NoError(t, err)
	server := serve(t, in)
	r := must(t, s, notifier(t, s), gate(activities.EventGateOpened, 3))
	g := gateway{in, server, &syncBuffer{}}
	view := press(t, s, g, ada, r.Message, "muster_approve")
	late := s.Click(ada, channel, r.Message, "muster_approve")
	_, err = s.Deliver(server, s.Submit(ada, view.ID, nil))
	require.NoError(t, err)
	<-reached
	done := make(chan error, 1)
	go func() { done <- in.Drain(t.Context()) }()
	require.Eventually(t, func() bool {
		ack, err := s.Deliver(server, late)
		return err == nil && ack.Status == http.StatusServiceUnavailable
	}, limit, time.Millisecond, "a gateway that stops acknowledges nothing")
	close(release)
	require.NoError(t, <-done)
	require.Contains(t, s.Ephemerals()[len(s.Ephemerals())-1].Text, "counted", "what was acknowledged is done")
}

func TestDrainSaysWhatItGivesUp(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	hear := func(ctx context.Context, _ activities.Word) (string, bool, error) {
		<-ctx.Done()
		return "", false, ctx.Err()
	}
	in, err := slack.New(slack.Config{SigningSecret: secret(t, s.SigningSecret), BotToken: secret(t, s.BotToken), Teams: []string{s.Team}, API: s.API, Hear: hear})
	require.NoError(t, err)
	server := serve(t, in)
	r := must(t, s, notifier(t, s), gate(activities.EventGateOpened, 3))
	view := press(t, s, gateway{in, server, &syncBuffer{}}, ada, r.Message, "muster_approve")
	_, err = s.Deliver(server, s.Submit(ada, view.ID, nil))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, in.Drain(ctx), "1 clicks were acknowledged and are not done")
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	good := slack.Config{BotToken: "env:SLACK_TOKEN", Teams: []string{"T00MUSTER"}, Hear: (&ear{}).hear}
	_, err := slack.New(good)
	require.NoError(t, err)
	for want, change := range map[string]func(c *slack.Config){
		"Hear":      func(c *slack.Config) { c.Hear = nil },
		"no team":   func(c *slack.Config) { c.Teams = nil },
		`"acme"`:    func(c *slack.Config) { c.Teams = []string{"acme"} },
		"bot token": func(c *slack.Config) { c.BotToken = "xoxb-planted" },
		"https":     func(c *slack.Config) { c.API = "http://example.org" },
	} {
		c := good
		change(&c)
		_, err := slack.New(c)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "xoxb-planted")
	}
}

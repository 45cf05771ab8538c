package slack_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/slack/slacktest"
)

// The run's refusals (stale, double, unauthorized, late) reach the person who clicked, and nobody else.
func TestRefusalsReachThatPersonAlone(t *testing.T) {
	t.Parallel()
	for _, why := range []string{
		"the plan has changed since: 5f2b is not 77aa", "you have approved already", "you are not an approver", "the gate has closed",
	} {
		s, e := slacktest.New(t), &ear{answer: func(activities.Word) (string, bool, error) { return why, false, nil }}
		g := listen(t, s, e.hear)
		r := must(t, s, notifier(t, s), gate(activities.EventGateOpened, 3))
		view := press(t, s, g, ada, r.Message, "muster_approve")
		_, err := s.Deliver(g.url, s.Submit(ada, view.ID, nil))
		require.NoError(t, err)
		require.Equal(t, slacktest.Ephemeral{Channel: channel, User: ada, Text: ":no_entry: " + why}, told(t, s, 1))
		require.Len(t, s.Messages(channel), 1, "nobody else sees it")
	}
}

func TestRefusedPeople(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		user slacktest.User
		want string
	}{
		"wrong team":           {slacktest.User{ID: "U0EVE", Team: "T0OTHER"}, "workspace"},
		"multi-channel guest":  {slacktest.User{ID: "U0EVE", Restricted: true}, "Guests"},
		"single-channel guest": {slacktest.User{ID: "U0EVE", UltraRestricted: true}, "Guests"},
		"stranger":             {slacktest.User{ID: "U0EVE", Stranger: true}, "other workspaces"},
		"deactivated":          {slacktest.User{ID: "U0EVE", Deleted: true}, "deactivated"},
		"bot":                  {slacktest.User{ID: "U0EVE", Bot: true}, "Bots"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transports(t, func(t *testing.T, s *slacktest.Server, g gateway, e *ear, send deliver) {
				s.AddUser(c.user)
				r := must(t, s, notifier(t, s), gate(activities.EventGateOpened, 3))
				_, err := send(s.Click("U0EVE", channel, r.Message, "muster_approve"))
				require.NoError(t, err)
				answer := told(t, s, 1)
				require.Equal(t, "U0EVE", answer.User)
				require.Contains(t, answer.Text, c.want)
				require.Empty(t, s.Views("U0EVE"))
				require.Empty(t, e.heard())
			})
		})
	}
}

// The workspace counts by what Slack signed, before anybody is looked up: both where it was clicked and the person's own.
func TestAnotherWorkspaceIsRefusedUnseen(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][2]string{
		"clicked elsewhere": {`"id":"T00MUSTER"}`, `"id":"T0OTHER"}`},
		"person's own":      {`"team_id":"T00MUSTER"`, `"team_id":"T0OTHER"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transports(t, func(t *testing.T, s *slacktest.Server, g gateway, e *ear, send deliver) {
				r := must(t, s, notifier(t, s), gate(activities.EventGateOpened, 3))
				click := s.Click(ada, channel, r.Message, "muster_approve")
				require.Contains(t, string(click.Payload), change[0])
				click.Payload = []byte(strings.Replace(string(click.Payload), change[0], change[1], 1))
				_, err := send(click)
				require.NoError(t, err)
				require.Contains(t, told(t, s, 1).Text, "workspace")
				require.Zero(t, s.Calls("users.info"))
				require.Empty(t, s.Views(ada))

				view := press(t, s, g, ada, r.Message, "muster_approve")
				submission := s.Submit(ada, view.ID, nil)
				submission.Payload = []byte(strings.ReplaceAll(string(submission.Payload), change[0], change[1]))
				_, err = send(submission)
				require.NoError(t, err)
				require.Contains(t, told(t, s, 2).Text, "workspace")
				require.Empty(t, e.heard())
			})
		})
	}
}

// Somebody who became a guest with the modal open is refused at its submission: the first look is not the one that counts.
func TestAGuestWithAModalIsRefused(t *testing.T) {
	t.Parallel()
	s, e := slacktest.New(t), &ear{}
	g := listen(t, s, e.hear)
	r := must(t, s, notifier(t, s), gate(activities.EventGateOpened, 3))
	s.Fail("users.info", slacktest.Fault{Status: 500}) // the first look fails, the modal opens all the same
	view := press(t, s, g, ada, r.Message, "muster_approve")
	s.AddUser(slacktest.User{ID: ada, Restricted: true})
	_, err := s.Deliver(g.url, s.Submit(ada, view.ID, nil))
	require.NoError(t, err)
	require.Contains(t, told(t, s, 1).Text, "Guests")
	require.Empty(t, e.heard())
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	s, e := slacktest.New(t), &ear{}
	g := listen(t, s, e.hear)
	r := must(t, s, notifier(t, s), gate(activities.EventGateOpened, 3))
	click := s.Click(ada, channel, r.Message, "muster_approve")
	signed := func(kind, body string) *http.Request {
		q, err := http.NewRequest(http.MethodPost, g.url, strings.NewReader(body))
		require.NoError(t, err)
		q.Header.Set("Content-Type", kind)
		s.Sign(q, []byte(body), time.Now())
		return q
	}
	const form = "application/x-www-form-urlencoded"
	payload := func(text string) *http.Request { return signed(form, url.Values{"payload": {text}}.Encode()) }
	with := func(change func(q *http.Request)) *http.Request {
		q := s.Request(g.url, click, time.Now())
		change(q)
		return q
	}
	malformed := func(old, new string) *http.Request {
		require.Contains(t, string(click.Payload), old)
		return payload(strings.Replace(string(click.Payload), old, new, 1))
	}
	for name, c := range map[string]struct {
		request *http.Request
		status  int
	}{
		"unsigned":             {with(func(q *http.Request) { q.Header.Del("X-Slack-Signature") }), 401},
		"no timestamp":         {with(func(q *http.Request) { q.Header.Del("X-Slack-Request-Timestamp") }), 401},
		"wrong signature":      {with(func(q *http.Request) { q.Header.Set("X-Slack-Signature", "v0="+strings.Repeat("ab", 32)) }), 401},
		"short signature":      {with(func(q *http.Request) { q.Header.Set("X-Slack-Signature", "v0=ab") }), 401},
		"wrong version":        {with(func(q *http.Request) { q.Header.Set("X-Slack-Signature", "v1="+q.Header.Get("X-Slack-Signature")[3:]) }), 401},
		"another timestamp":    {with(func(q *http.Request) { q.Header.Set("X-Slack-Request-Timestamp", fmt.Sprint(time.Now().Unix()-1)) }), 401},
		"no number":            {with(func(q *http.Request) { q.Header.Set("X-Slack-Request-Timestamp", "now") }), 401},
		"six minutes old":      {s.Request(g.url, click, time.Now().Add(-6*time.Minute)), 401},
		"from the future":      {s.Request(g.url, click, time.Now().Add(6*time.Minute)), 401},
		"GET":                  {with(func(q *http.Request) { q.Method = http.MethodGet }), 405},
		"JSON":                 {signed("application/json", string(click.Payload)), 415},
		"too large":            {payload(strings.Repeat("x", 2<<20)), 413},
		"no payload":           {signed(form, "x=y"), 400},
		"not a form":           {signed(form, "payload=%zz"), 400},
		"not JSON":             {payload("{"), 400},
		"no type":              {payload("{}"), 400},
		"a list":               {payload("[]"), 400},
		"no user":              {malformed(`"id":"U0ADA"`, `"id":""`), 400},
		"user with a path":     {malformed(`"id":"U0ADA"`, `"id":"U0ADA/../X"`), 400},
		"no team":              {malformed(`"team_id":"T00MUSTER"`, `"team_id":"#"`), 400},
		"no trigger":           {malformed(`"trigger_id":"`, `"trigger":"`), 400},
		"button of another":    {malformed(`"action_id":"muster_approve","action_ts"`, `"action_id":"muster_reject","action_ts"`), 400},
		"value is not ours":    {malformed(`{\"w\":`, `{\"x\":`), 400},
		"value without a hash": {malformed(hash+`\",\"d\"`, `\",\"d\"`), 400},
		"none of ours":         {malformed(`"action_id":"muster_approve","action_ts"`, `"action_id":"other","action_ts"`), 200},
		"another type":         {malformed(`"type":"block_actions"`, `"type":"message_action"`), 200},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := http.DefaultClient.Do(c.request)
			require.NoError(t, err)
			defer answer.Body.Close()
			require.Equal(t, c.status, answer.StatusCode)
		})
	}
	drained(t, g)
	require.Empty(t, e.heard())
	require.Zero(t, s.Calls("views.open"), "nothing was acted upon")
	require.Zero(t, s.Calls("chat.postEphemeral"))
}

func TestAReplayedClickOpensOneModal(t *testing.T) {
	t.Parallel()
	s, e := slacktest.New(t), &ear{}
	g := listen(t, s, e.hear)
	r := must(t, s, notifier(t, s), gate(activities.EventGateOpened, 3))
	click := s.Click(ada, channel, r.Message, "muster_approve")
	for range 5 {
		ack, err := s.Deliver(g.url, click)
		require.NoError(t, err)
		require.Equal(t, 200, ack.Status)
	}
	drained(t, g)
	require.Equal(t, 1, s.Calls("views.open"))
}

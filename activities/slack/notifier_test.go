package slack_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/slack"
	"github.com/musterhq/muster/activities/slack/slacktest"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

func TestAGateIsOneMessageEditedInPlace(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	to := notifier(t, s)
	first := must(t, s, to, gate(activities.EventGateOpened, 3))
	require.Equal(t, channel, first.Channel)
	require.False(t, first.Known)
	golden(t, "gate-opened", s.Messages(channel)[0])

	second := must(t, s, to, decided(gate(activities.EventGateDecided, 4), "", "Ada"), first, first)
	require.Equal(t, first, second)
	golden(t, "gate-decided", s.Messages(channel)[0])

	must(t, s, to, decided(gate(activities.EventGateClosed, 5), journal.Approved, "Ada", "Bo"), first, first)
	golden(t, "gate-approved", s.Messages(channel)[0])
	require.Len(t, s.Messages(channel), 1)
	require.NotContains(t, string(s.Messages(channel)[0].Blocks), `"actions"`)
	require.Equal(t, 1, s.Calls("chat.postMessage"))
}

func TestGateExpires(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	to := notifier(t, s)
	first := must(t, s, to, gate(activities.EventGateOpened, 3))
	reminded := must(t, s, to, gate(activities.EventGateReminded, 4), first, first)
	require.NotEqual(t, first.Message, reminded.Message)
	must(t, s, to, gate(activities.EventGateExpired, 5), first, first)
	all := s.Messages(channel)
	require.Len(t, all, 2)
	golden(t, "gate-expired", all[0])
	golden(t, "gate-reminded", all[1])
	require.Equal(t, first.Message, all[1].Thread, "the reminder stands in the gate's thread")
}

// An escalation changes the gate's message, and tells the people who are asked now by a reply: once, whatever gets lost.
func TestGateEscalates(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	to := notifier(t, s)
	first := must(t, s, to, gate(activities.EventGateOpened, 3))
	n := gate(activities.EventGateEscalated, 5)
	n.Gate.Deadline = n.Gate.Deadline.Add(time.Hour)
	s.Fail("chat.update", slacktest.Fault{Lose: true})
	s.Fail("chat.postMessage", slacktest.Fault{Lose: true})
	for range 2 {
		_, err := announce(t, s, to, n, first, first)
		require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
	}
	require.Equal(t, first.Message, must(t, s, to, n, first, first).Message)
	all := s.Messages(channel)
	require.Len(t, all, 2)
	require.Equal(t, first.Message, all[1].Thread)
	require.Contains(t, string(all[1].Blocks), "@U0ADA")
	require.Equal(t, 1, all[0].Edits)
	require.Contains(t, string(all[0].Blocks), `"muster_approve"`)

	elsewhere := to
	elsewhere.Slack = &runbooks.SlackNotifier{Token: to.Slack.Token, Channel: "C0CHIEFS", API: s.API}
	s.AddChannel("C0CHIEFS", "chiefs")
	must(t, s, elsewhere, n)
	require.True(t, must(t, s, elsewhere, n).Known)
	require.Len(t, s.Messages("C0CHIEFS"), 1, "another channel gets the gate itself")
}

func TestTheRestGoesIntoTheRunsThread(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	to := notifier(t, s)
	first := must(t, s, to, gate(activities.EventGateOpened, 3))
	none := activities.Receipt{}
	must(t, s, to, other(activities.EventProgress, 6, "fence orders at east: done in 412 ms"), none, first)
	hold := must(t, s, to, held(activities.EventHeld, 7), none, first)
	golden(t, "held", s.Messages(channel)[2])
	released := held(activities.EventReleased, 8)
	released.Hold.Released = "retry by dana"
	require.Equal(t, hold, must(t, s, to, released, hold, first))
	golden(t, "released", s.Messages(channel)[2])

	again := must(t, s, to, held(activities.EventHeld, 9), hold, first)
	require.NotEqual(t, hold.Message, again.Message, "held anew: people are told anew")
	released = held(activities.EventReleased, 10)
	require.Equal(t, again.Message, must(t, s, to, released, hold, first).Message, "the newest message of the step is the one that ends")

	finished := other(activities.EventFinished, 11, "failover of shop to west: passed")
	finished.Verdict = journal.Passed
	finished.Measures = []journal.Measure{
		{System: "orders", Measured: true, OutageMs: 251, Acknowledged: 4210}, {System: "sessions"},
	}
	finished.Page = "https://muster.example.org/runs/failover:shop"
	must(t, s, to, finished, none, first)
	all := s.Messages(channel)
	require.Len(t, all, 5)
	golden(t, "progress", all[1])
	golden(t, "finished", all[4])
	for _, m := range all[1:] {
		require.Equal(t, first.Message, m.Thread)
	}
	require.True(t, all[2].Broadcast, "who must act sees it in the channel")
	require.True(t, all[4].Broadcast)
}

// What a crash or a lost answer leaves unknown is looked up: the emulator applies the post and cuts the connection.
func TestPostedOnceUnderLostAnswers(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]activities.Notice{
		"gate": gate(activities.EventGateOpened, 3), "held": held(activities.EventHeld, 7),
		"progress": other(activities.EventProgress, 6, "done"), "finished": other(activities.EventFinished, 9, "passed"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := slacktest.New(t)
			to := notifier(t, s)
			s.Say(channel, "another app", `[{"type":"section","text":7},{"type":"context","elements":[{"type":8}]}]`) // in blocks of tomorrow
			s.Fail("chat.postMessage", slacktest.Fault{Lose: true})
			_, err := announce(t, s, to, n)
			require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
			require.Len(t, s.Messages(channel), 2)
			for range 3 {
				receipt := must(t, s, to, n)
				require.True(t, receipt.Known)
				require.Equal(t, s.Messages(channel)[1].TS, receipt.Message)
			}
			require.Len(t, s.Messages(channel), 2)
			require.Equal(t, 1, s.Calls("chat.postMessage"))
		})
	}
}

func TestPostedOnceInTheThreadAndAmongMany(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	to := notifier(t, s)
	root := must(t, s, to, gate(activities.EventGateOpened, 3))
	n := other(activities.EventProgress, 6, "done")
	s.Fail("chat.postMessage", slacktest.Fault{Lose: true})
	_, err := announce(t, s, to, n, activities.Receipt{}, root)
	require.Error(t, err)
	for range 450 { // more than two pages
		s.Say(channel, "people talk here")
	}
	require.True(t, must(t, s, to, n, activities.Receipt{}, root).Known)
	require.True(t, must(t, s, to, gate(activities.EventGateOpened, 3)).Known)
	require.Len(t, s.Messages(channel), 452)
}

// A receipt that was lost with its attempt is found again by subject and run.
func TestReceiptsAreFoundAgain(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	to := notifier(t, s)
	first := must(t, s, to, gate(activities.EventGateOpened, 3))
	closed := must(t, s, to, decided(gate(activities.EventGateClosed, 5), journal.Rejected))
	require.Equal(t, first.Message, closed.Message)
	must(t, s, to, other(activities.EventProgress, 6, "done"))
	all := s.Messages(channel)
	require.Len(t, all, 2)
	require.Equal(t, first.Message, all[1].Thread)

	late := must(t, s, to, gate(activities.EventGateOpened, 3), first)
	require.True(t, late.Known, "an opening that arrives after the end brings no buttons back")
	require.NotContains(t, string(s.Messages(channel)[0].Blocks), `"actions"`)
	early := must(t, s, to, decided(gate(activities.EventGateDecided, 4), "", "Ada"), first)
	require.True(t, early.Known)
	require.Len(t, s.Messages(channel), 2)
}

func TestAMessageThatIsGoneIsPostedAnew(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	to := notifier(t, s)
	first := must(t, s, to, gate(activities.EventGateOpened, 3))
	s.Delete(channel, first.Message)
	second := must(t, s, to, decided(gate(activities.EventGateClosed, 5), journal.Approved, "Ada"), first, first)
	require.NotEqual(t, first.Message, second.Message)
	require.Len(t, s.Messages(channel), 1)

	third := must(t, s, to, gate(activities.EventGateOpened, 20), activities.Receipt{}, second)
	s.Fail("chat.update", slacktest.Fault{Error: "edit_window_closed"}, slacktest.Fault{Error: "edit_window_closed"})
	fourth := must(t, s, to, decided(gate(activities.EventGateClosed, 21), journal.Approved, "Ada"), third, second)
	require.NotEqual(t, third.Message, fourth.Message)
}

func TestFailuresAreTyped(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm func(s *slacktest.Server, to *runbooks.Notifier)
		want string
		text string
	}{
		"429": {func(s *slacktest.Server, _ *runbooks.Notifier) {
			s.Fail("*", slacktest.Fault{Status: 429, RetryAfter: 30 * time.Second})
		}, activities.ErrNotYet, "wait 30s"},
		"rate limit of post": {func(s *slacktest.Server, _ *runbooks.Notifier) { s.Limit("chat.postMessage", 0, time.Minute) }, activities.ErrNotYet, "wait"},
		"500": {func(s *slacktest.Server, _ *runbooks.Notifier) {
			s.Fail("*", slacktest.Fault{Status: http.StatusInternalServerError})
		}, activities.ErrUnreachable, "500"},
		"dropped": {func(s *slacktest.Server, _ *runbooks.Notifier) { s.Fail("*", slacktest.Fault{Drop: true}) }, activities.ErrUnreachable, "EOF"},
		"refused": {func(s *slacktest.Server, _ *runbooks.Notifier) { s.Down() }, activities.ErrUnreachable, "refused"},
		"internal error": {func(s *slacktest.Server, _ *runbooks.Notifier) {
			s.Fail("chat.postMessage", slacktest.Fault{Error: "internal_error"})
		}, activities.ErrUnreachable, "internal_error"},
		"404": {func(s *slacktest.Server, to *runbooks.Notifier) {
			to.Slack.API = strings.Replace(s.API, "/api/", "/nothing/", 1)
		}, activities.ErrConfig, "Web API"},
		"wrong token":     {func(_ *slacktest.Server, to *runbooks.Notifier) { to.Slack.Token = secret(t, "xoxb-wrong") }, activities.ErrAuth, "invalid_auth"},
		"app token":       {func(s *slacktest.Server, to *runbooks.Notifier) { to.Slack.Token = secret(t, s.AppToken) }, activities.ErrAuth, "not_allowed_token_type"},
		"no secret":       {func(_ *slacktest.Server, to *runbooks.Notifier) { to.Slack.Token = "file:/nowhere/token" }, activities.ErrConfig, "/nowhere/token"},
		"unknown channel": {func(_ *slacktest.Server, to *runbooks.Notifier) { to.Slack.Channel = "C0NOWHERE" }, activities.ErrConfig, "channel_not_found"},
		"channel by name": {func(_ *slacktest.Server, to *runbooks.Notifier) { to.Slack.Channel = "#general" }, activities.ErrConfig, "C0123ABCD"},
		"not a member":    {func(s *slacktest.Server, _ *runbooks.Notifier) { s.Leave(channel) }, activities.ErrConfig, "invite"},
		"archived":        {func(s *slacktest.Server, _ *runbooks.Notifier) { s.Archive(channel) }, activities.ErrConfig, "is_archived"},
		"in the clear":    {func(_ *slacktest.Server, to *runbooks.Notifier) { to.Slack.API = "http://slack.example.org/api/" }, activities.ErrConfig, "https"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := slacktest.New(t)
			to := notifier(t, s)
			c.harm(s, &to)
			_, err := announce(t, s, to, gate(activities.EventGateOpened, 3))
			require.Equal(t, c.want, activities.TypeOf(err), "%v", err)
			require.ErrorContains(t, err, c.text)
			require.NotContains(t, err.Error(), s.BotToken)
			require.Empty(t, s.Messages(channel))
		})
	}
}

func TestASlowSlackIsGivenUpAndToldOnceItIsBack(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	to := notifier(t, s)
	s.Fail("*", slacktest.Fault{Delay: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	in := activities.AnnounceInput{Name: "ops", Notifier: to, Notice: gate(activities.EventGateOpened, 3)}
	_, err := slack.Notifier{}.Announce(ctx, in)
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
	s.Down()
	_, err = slack.Notifier{}.Announce(t.Context(), in)
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
	s.Up()
	must(t, s, to, in.Notice)
	require.Len(t, s.Messages(channel), 1)
}

// The emulator refuses what is over Slack's limits, so that a message arrived says that it is within them.
func TestAPlanOfAThousandSystemsFits(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	n := gate(activities.EventGateOpened, 3)
	n.Gate.Plan = plan(1000)
	n.Gate.Plan.Steps[0].NoReturn, n.Gate.Plan.Steps[2].NoReturn = false, false
	n.Gate.Plan.Steps[2000].NoReturn = true
	n.Gate.Risk = strings.Repeat("much may go wrong, ", 500)
	n.Title = strings.Repeat("failover of everything ", 50)
	n.Text = strings.Repeat("<text> & more\n", 1000)
	for range 1000 {
		n.Gate.Who = append(n.Gate.Who, "somebody")
		n.Gate.Mention = append(n.Gate.Mention, runbooks.Person{Slack: "T00MUSTER/U0ADA"})
		n.Gate.Plan.Findings = append(n.Gate.Plan.Findings, journal.Finding{Code: "lag", System: "orders", Message: "lags behind"})
		n.Gate.Decisions = append(n.Gate.Decisions, activities.NoticeDecision{Approver: "ada", Decision: "approve", Reason: strings.Repeat("x", 3000)})
	}
	must(t, s, notifier(t, s), n)
	text := string(s.Messages(channel)[0].Blocks)
	require.Contains(t, text, "more steps")
	require.Contains(t, text, "step 2001 of 3000")
	require.Contains(t, text, "and 988 more")
	require.Less(t, len(text), 40_000)
}

func TestNamesTooLongForButtonsSayHowToAnswer(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	n := gate(activities.EventGateOpened, 3)
	n.Header.WorkflowID = strings.Repeat("w", 1000)
	n.Gate.Name = strings.Repeat("g", 1000)
	must(t, s, notifier(t, s), n)
	text := string(s.Messages(channel)[0].Blocks)
	require.NotContains(t, text, `"actions"`)
	require.Contains(t, text, "muster inbox")
}

// Names come from files and machines: they mention nobody, link nowhere and pass for nothing else.
func TestHostileNamesStayText(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	n := gate(activities.EventGateOpened, 3)
	hostile := "<!channel> <https://evil.example|click> `x` \u202egnitset *b*\n\x00& done"
	n.Title, n.Text, n.Gate.Title, n.Gate.Risk, n.Header.Estate = hostile, hostile, hostile, hostile, hostile
	n.Gate.Plan.Steps[0].Title, n.Gate.Who[0], n.Page = hostile, hostile, "javascript:alert(1)"
	must(t, s, notifier(t, s), n)
	m := s.Messages(channel)[0]
	var blocks []struct {
		Type string `json:"type"`
		Text struct {
			Text string `json:"text"`
		} `json:"text"`
		Fields []struct{ Text string } `json:"fields"`
	}
	require.NoError(t, json.Unmarshal(m.Blocks, &blocks))
	require.NotEmpty(t, blocks)
	texts := []string{m.Text}
	for _, b := range blocks[1:] { // the first is a header: plain text, shown as it is
		texts = append(texts, b.Text.Text)
		for _, f := range b.Fields {
			texts = append(texts, f.Text)
		}
	}
	require.True(t, slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, "&lt;!channel&gt;") }))
	for _, text := range texts {
		require.NotContains(t, text, "<!channel>")
		require.NotContains(t, text, "<https://evil")
		require.NotContains(t, text, "\u202e")
		require.NotContains(t, text, "javascript")
	}
}

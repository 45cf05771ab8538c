package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/musterhq/muster/activities/slack/slacktest"
	"github.com/musterhq/muster/internal/journal"
)

// TestChannels decides through every channel, from outside to the run's verdict, on one shop.
func TestChannels(t *testing.T) {
	t.Parallel()
	p := &pager{}
	mail := startSink(t)
	g := openGated(t, withIncidents(t, p, mail))
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a signed click of Slack over HTTP", func(t *testing.T) { bySlack(t, g, g.overHTTP) }},
		{"a click of Slack over Socket Mode", func(t *testing.T) {
			require.True(t, g.slack.Await(20*time.Second, func() bool { return g.slack.Connections() == 1 }))
			bySlack(t, g, g.slack.Send)
		}},
		{"a browser on the gateway's page", func(t *testing.T) { onThePage(t, g) }},
		{"muster approve, which asks", func(t *testing.T) { byPrompt(t, g) }},
		{"an incident, an e-mail and ssh-keygen", func(t *testing.T) { incident(t, g, p, mail) }},
		{"no secret is told", func(t *testing.T) { noChannelsSecret(t, g) }},
	} {
		if !t.Run(test.name, test.run) {
			return // the estate may be anyhow now
		}
	}
}

// bySlack approves by a click on the gate's message, and looks at what becomes of the message and its thread.
func bySlack(t *testing.T, g *gated, to carry) {
	here, there := g.sites(t)
	x := g.begin(t, runbook(here, ""))
	gate := g.gate(t, x, "approve")
	m := g.message(t, x, "gate/approve")
	for _, shown := range []string{"point of no return", gate.PlanHash, "promote " + system + " at " + there, "muster_approve", "muster_reject", g.engine.Gateway + "/runs/"} {
		require.Contains(t, string(m.Blocks), shown)
	}
	require.Contains(t, g.click(t, to, "U000000KIM", m, "approve", "agreed in the call"), ":white_check_mark: approved: approve")

	_, entries := g.ended(t, x, journal.Passed)
	require.Len(t, decided(entries), 1)
	d := decided(entries)[0]
	require.Equal(t, []string{"approve", "kim", "slack", "agreed in the call", "vouched:slack:" + g.slack.Team + "/U000000KIM by main", gate.PlanHash},
		[]string{d.Action, d.Author, d.Channel, d.Reason, d.Identity, d.PlanHash})
	var closed slacktest.Message
	require.True(t, g.slack.Await(time.Minute, func() bool {
		closed = g.message(t, x, "gate/approve")
		return strings.Contains(string(closed.Blocks), "*APPROVED*")
	}), "%s", closed.Blocks)
	require.Equal(t, m.TS, closed.TS, "the message is edited in place")
	require.NotContains(t, string(closed.Blocks), "muster_approve", "nothing is left to press")
	require.Contains(t, string(closed.Blocks), "by kim (slack)")
	verdict := g.message(t, x, "run")
	require.Equal(t, m.TS, verdict.Thread)
	require.Contains(t, verdict.Text, "passed")
	g.requireSettled(t, there)
}

// noChannelsSecret looks for what the channels prove themselves with, where people and machines could read it.
func noChannelsSecret(t *testing.T, g *gated) {
	places := map[string]string{"the worker's log": g.log(t), "what muster printed": strings.Join(g.printed, "\n")}
	for _, x := range g.all(t) {
		text, err := proto.Marshal(g.history(t, x.WorkflowID, x.RunID))
		require.NoError(t, err)
		require.Contains(t, string(text), "shop")
		places["history of "+x.WorkflowID+" "+x.RunID] = string(text)
	}
	for i, m := range g.slack.Messages(chat) {
		places[fmt.Sprintf("message %d in Slack", i)] = m.Text + string(m.Blocks) + string(m.Metadata)
	}
	for place, text := range places {
		for _, secret := range []string{g.slack.BotToken, g.slack.AppToken, g.slack.SigningSecret, g.issuer.Secret, routingKey, hookSecret, mailPassword} {
			if strings.Contains(text, secret) { // shown, it would be told once more
				t.Errorf("%s tells a secret", place)
			}
		}
	}
}

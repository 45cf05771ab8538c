package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/musterhq/muster/activities/slack/slacktest"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/internal/sshsig"
	"github.com/musterhq/muster/workflows/run"
)

// TestGatesRefuse is about decisions that do not count, and about gates that nobody answers in time. A run that waits for its
// window waits beside them.
func TestGatesRefuse(t *testing.T) {
	t.Parallel()
	g := openGated(t, nil)
	x, opens := windowed(t, g)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *gated)
	}{
		{"refusals are answered, recorded, and change nothing", refusals},
		{"nobody decided in time", expired},
		{"an approved run waits for its window", func(t *testing.T, g *gated) { windowOpened(t, g, x, opens) }},
		{"others are asked when nobody decided", escalated},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, g) }) {
			return
		}
	}
}

// signed is a decision as a program of somebody's own sends it: signed with the key of by, and good for one time.
func (g *gated) signed(t *testing.T, x execution, by string, d run.Decision) map[string]string {
	t.Helper()
	text, err := os.ReadFile(g.keys[by])
	require.NoError(t, err)
	signer, err := ssh.ParsePrivateKey(text)
	require.NoError(t, err)
	d.Channel, d.Time = "temporal", time.Now().UTC().Truncate(time.Second)
	d.Signature, err = sshsig.Sign(signer, run.SignatureNamespace, d.SigningText(x.WorkflowID, x.RunID))
	require.NoError(t, err)
	text, err = json.Marshal(d)
	require.NoError(t, err)
	return decode[map[string]string](t, string(text))
}

// refusals has one run, whose gate wants two people and not the one who asked for it, refuse all that is not that.
func refusals(t *testing.T, g *gated) {
	here, _ := g.sites(t)
	timeline := g.timeline(t)
	x := g.begin(t, g.book(t, "refusing", "{roles: [approver], count: 2, four_eyes: true}", ""))
	gate := g.gate(t, x, "approve")
	m := g.message(t, x, "gate/approve")
	decision := func(approver, nonce string) run.Decision {
		return run.Decision{Gate: "approve", PlanHash: gate.PlanHash, Decision: "approve", Approver: approver, Nonce: nonce}
	}
	kims := g.signed(t, x, "kim", decision("kim", "once"))
	require.Equal(t, run.Answer{Accepted: true, Message: "counted: 1 of 2 approvals of approve"}, g.update(t, x, kims))

	byTemporal := func(d map[string]string) func(*testing.T) string {
		return func(t *testing.T) string {
			answer := g.update(t, x, d)
			require.False(t, answer.Accepted)
			return answer.Message
		}
	}
	byClick := func(user string) func(*testing.T) string {
		return func(t *testing.T) string {
			answer := g.click(t, g.overHTTP, user, m, "approve", "")
			require.Contains(t, answer, ":no_entry:")
			return answer
		}
	}
	byCLI := func(name, key string, args ...string) func(*testing.T) string {
		return func(t *testing.T) string {
			said := g.as(t, name, append([]string{"approve", x.WorkflowID, "--key", g.keys[key]}, args...)...)
			require.Equal(t, 1, said.code, said.String())
			return said.out + said.err
		}
	}
	unknown, vouched := decision("lou", "unknown"), decision("lou", "vouched")
	unknown.Gate = "approval"
	vouched.Gateway, vouched.Vouched = "main", "slack:"+g.slack.Team+"/U000000LOU"
	bare := g.signed(t, x, "lou", decision("lou", "bare"))
	delete(bare, "signature")
	for _, refused := range []struct {
		name   string
		say    func(*testing.T) string
		answer string
		author string // in the journal; empty: it never reaches the run
	}{
		{"wrong hash", byCLI("lou", "lou", "--plan", strings.Repeat("0123abcd", 8)), "look at the plan again", "lou"},
		{"forged signature", byCLI("lou", "vic", "--plan", gate.PlanHash), "the signature is not one of lou", "lou"},
		{"forged gateway", byTemporal(g.signed(t, x, "lou", vouched)), "the signature is not one of gateway main", "lou"},
		{"not signed", byTemporal(bare), "the payload is not signed", "lou"},
		{"replayed nonce", byTemporal(kims), "was used before: a signed payload counts once", "kim"},
		{"signed for another run", byTemporal(g.signed(t, execution{x.WorkflowID, "another"}, "lou", decision("lou", "other"))), "the signature is not one of lou", "lou"},
		{"unknown gate", byTemporal(g.signed(t, x, "lou", unknown)), `no open gate "approval"; open are [approve]`, "lou"},
		{"the same person twice, by another channel", byClick("U000000KIM"), "kim has approved gate approve already: it wants 2 different people", "kim"},
		{"requester under four eyes", byClick("U000000DANA"), "dana asked for this run, and gate approve wants other eyes", "dana"},
		{"a viewer", byClick("U000000VIC"), "vic has the roles [viewer]", "vic"},
		{"nobody of the estate", byClick("U000000NEW"), "is nobody of estate shop", "slack:" + g.slack.Team + "/U000000NEW"},
		// The gateway refuses these itself: nobody vouches for whom they would be in the run's journal.
		{"wrong team", byClick("U000000FAY"), "takes no decisions from your workspace. Nothing was counted", ""},
		{"guest", byClick("U000000GUS"), "Guests cannot decide. Nothing was counted", ""},
		{"not Slack's signature", func(t *testing.T) string { return g.forged(t, m) }, "401", ""},
	} {
		before := len(refusedOf(g.journal(t, x)))
		require.Contains(t, refused.say(t), refused.answer, refused.name)
		after := refusedOf(g.journal(t, x))
		if refused.author == "" {
			require.Len(t, after, before, refused.name)
		} else {
			require.Len(t, after, before+1, refused.name)
			last := after[before]
			require.Equal(t, refused.author, last.Author, refused.name)
			require.NotEmpty(t, last.Channel)
			if !strings.HasPrefix(last.Author, "slack:") { // the run says it in its own words
				require.Contains(t, last.Message, refused.answer, refused.name)
			}
		}
		require.Equal(t, []string{"kim"}, g.gate(t, x, "approve").Have, refused.name)
	}

	// The audit has each of them, and nothing else.
	audit := g.ok(t, "audit", "--refused", "--run", x.RunID, "-o", "json")
	var listed []string
	for line := range strings.Lines(audit.out) {
		listed = append(listed, decode[struct{ Message string }](t, line).Message)
	}
	var recorded []string
	for _, e := range refusedOf(g.journal(t, x)) {
		recorded = append(recorded, e.Message)
	}
	require.Len(t, recorded, 11)
	require.Equal(t, recorded, listed)

	// A form that is sent after its run has ended. The same submission is delivered twice, and answered once.
	late, answer := g.form(t, g.overHTTP, "U000000DANA", m, "approve")
	require.Empty(t, answer)
	form, answer := g.form(t, g.overHTTP, "U000000LOU", m, "reject")
	require.Empty(t, answer)
	before := len(g.told("U000000LOU"))
	rejection := g.slack.Submit("U000000LOU", form.ID, map[string]string{"reason": "too many knocked"})
	for range 2 {
		ack, err := g.overHTTP(rejection)
		require.NoError(t, err)
		require.Equal(t, 200, ack.Status)
	}
	_, entries := g.ended(t, x, journal.RejectedVerdict)
	require.Contains(t, g.submit(t, g.overHTTP, "U000000DANA", late, ""), "has ended or is unknown: nothing was changed")
	require.Len(t, g.told("U000000LOU"), before+1)
	require.Equal(t, []string{"kim approve", "lou reject"}, []string{decided(entries)[0].Author + " " + decided(entries)[0].Action, decided(entries)[1].Author + " " + decided(entries)[1].Action})
	require.Len(t, decided(entries), 2)
	closed := byCLI("lou", "lou", "--plan", gate.PlanHash)(t)
	require.Contains(t, closed, "no gate of run "+x.WorkflowID+" is open")
	require.Equal(t, entries, g.journal(t, x), "a journal that is closed stays as it is")
	require.Equal(t, timeline, g.timeline(t))
	g.requireSettled(t, here)
}

func refusedOf(entries []journal.Entry) []journal.Entry {
	var found []journal.Entry
	for _, e := range entries {
		if e.Kind == journal.Refused {
			found = append(found, e)
		}
	}
	return found
}

// forged presses a button with a signature that is not Slack's.
func (g *gated) forged(t *testing.T, m slacktest.Message) string {
	t.Helper()
	click := g.slack.Click("U000000LOU", chat, m.TS, "muster_approve")
	click.Payload = bytes.ReplaceAll(click.Payload, []byte("U000000LOU"), []byte("U000000KIM"))
	to := g.engine.Gateway + "/slack"
	r := g.slack.Request(to, click, time.Now())
	r.Header.Set("X-Slack-Signature", "v0="+strings.Repeat("00", 32))
	status, err := statusOf(r)
	require.NoError(t, err)
	old, err := statusOf(g.slack.Request(to, click, time.Now().Add(-6*time.Minute)))
	require.NoError(t, err)
	return fmt.Sprint(status, old)
}

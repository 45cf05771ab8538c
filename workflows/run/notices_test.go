package run

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
	"golang.org/x/crypto/ssh"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/internal/sshsig"
	"github.com/musterhq/muster/runbooks"
)

// told is a notifier of the tests: it keeps what arrives, and is down as long as down says so.
type told struct {
	mu   sync.Mutex
	got  []activities.AnnounceInput
	down func() error
}

func (b *bench) listenIn(rules ...runbooks.NoticeRule) *told {
	n := &told{down: func() error { return nil }}
	b.estate = func(e *runbooks.Estate) {
		e.Notifiers = map[string]runbooks.Notifier{"chat": {Kind: "slack"}, "pager": {Kind: "pagerduty"}}
		e.Notices = rules
		e.Gateways = map[string]runbooks.Gateway{"main": {URL: "https://muster.example.org"}}
	}
	b.register(activities.Announce, func(_ context.Context, in activities.AnnounceInput) (activities.Receipt, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if err := n.down(); err != nil {
			return activities.Receipt{}, activities.ToTemporal(err)
		}
		// As every notifier: a notice that is being sent when the run ends is sent again by who takes over, and known by its ID.
		if !slices.ContainsFunc(n.got, func(earlier activities.AnnounceInput) bool {
			return earlier.Name == in.Name && earlier.Notice.ID == in.Notice.ID
		}) {
			n.got = append(n.got, in)
		}
		return activities.Receipt{Channel: in.Name, Message: in.Notice.ID}, nil
	})
	b.env.RegisterWorkflowWithOptions(Notices, workflow.RegisterOptions{Name: NoticesName})
	return n
}

func (n *told) events(name string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var events []string
	for _, in := range n.got {
		if in.Name == name {
			events = append(events, string(in.Notice.Event))
		}
	}
	return events
}

func TestNoticesFollowTheRules(t *testing.T) {
	book := withGate(runbooks.Gate{Trust: "unsigned", Count: 2})
	book.Trust = "unsigned"
	b := newBench(t, book, gated)
	n := b.listenIn(runbooks.NoticeRule{To: []string{"chat"}}, runbooks.NoticeRule{To: []string{"chat", "pager"}, Severities: []runbooks.Severity{runbooks.Critical}})
	b.after(time.Minute, UpdateDecide, approve("kim"), accepted(t))
	b.after(40*time.Minute, UpdateDecide, approve("dana"), accepted(t))
	result, err := b.run(Input{})
	require.NoError(t, err)
	require.Equal(t, journal.Passed, result.Verdict)
	require.Equal(t, []string{"gate-opened", "gate-decided", "gate-reminded", "gate-closed", "finished"}, n.events("chat"))
	require.Empty(t, n.events("pager"))
	opened, decided := n.got[0], n.got[1]
	require.Equal(t, hash, opened.Notice.Gate.PlanHash)
	require.Zero(t, opened.Earlier)
	require.Equal(t, activities.Receipt{Channel: "chat", Message: opened.Notice.ID}, decided.Earlier, "the gate's message is changed, not posted anew")
	require.Equal(t, opened.Notice.Subject, decided.Notice.Subject)
	require.Equal(t, "kim", decided.Notice.Gate.Decisions[0].Approver)
	require.Contains(t, opened.Notice.Page, "https://muster.example.org/runs/")
	ids := map[string]bool{}
	for _, in := range n.got {
		require.False(t, ids[in.Notice.ID], "each notice has an ID of its own")
		ids[in.Notice.ID] = true
	}
	require.Len(t, kinds(b.journal(), journal.Notified), 3, "what arrived before the end stands in the journal; the rest went to Notices")
}

func TestANotifierThatIsDownHoldsUpNothing(t *testing.T) {
	b := newBench(t, withGate(runbooks.Gate{Trust: "unsigned"}), gated)
	n := b.listenIn(runbooks.NoticeRule{To: []string{"chat"}})
	n.down = func() error {
		return &activities.Error{Type: activities.ErrUnreachable, Op: "tell chat", Err: fmt.Errorf("connection refused")}
	}
	var left NoticesInput
	b.env.OnWorkflow(NoticesName, mock.Anything, mock.Anything).Return(func(_ workflow.Context, in NoticesInput) (NoticesResult, error) {
		left = in
		return NoticesResult{}, nil
	})
	b.after(30*time.Minute, UpdateDecide, approve("kim"), accepted(t))
	result, err := b.run(Input{})
	require.NoError(t, err)
	require.Equal(t, journal.Passed, result.Verdict)
	entries := b.journal()
	told := kinds(entries, journal.Notified)
	require.Len(t, told, 2, "said once when it failed, and once for what has not arrived at the end")
	require.Equal(t, journal.Failed, told[0].Outcome)
	require.Contains(t, told[0].Message, "connection refused")
	require.Contains(t, told[1].Title, "have not arrived at chat")
	require.Equal(t, journal.RunEnded, entries[len(entries)-1].Kind)
	require.Len(t, left.Mailboxes, 1)
	var events []string
	for _, w := range left.Mailboxes[0].Waiting {
		events = append(events, string(w.Event))
	}
	require.Equal(t, []string{"gate-opened", "gate-reminded", "gate-closed", "finished"}, events, "all of it is handed over, in order")
}

func TestARefusedNoticeIsDroppedAndSaid(t *testing.T) {
	b := newBench(t, withGate(runbooks.Gate{Trust: "unsigned"}), gated)
	n := b.listenIn(runbooks.NoticeRule{To: []string{"chat"}, Events: []string{"gate-opened", "gate-closed"}})
	first := true
	n.down = func() error {
		if first {
			first = false
			return &activities.Error{Type: activities.ErrConfig, Op: "tell chat", Err: fmt.Errorf("channel_not_found")}
		}
		return nil
	}
	b.after(30*time.Minute, UpdateDecide, approve("kim"), accepted(t))
	_, err := b.run(Input{})
	require.NoError(t, err)
	require.Equal(t, []string{"gate-closed"}, n.events("chat"))
	require.Contains(t, kinds(b.journal(), journal.Notified)[0].Message, "channel_not_found")
}

// What a run left is told when the notifier is back, within a day; then it is given up.
func TestNoticesWorkflow(t *testing.T) {
	for _, test := range []struct {
		name    string
		away    time.Duration
		arrived int
		lost    []string
	}{{"back after an hour", time.Hour, 2, nil}, {"never back", 48 * time.Hour, 0, []string{"one", "two"}}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var suite testsuite.WorkflowTestSuite
			b := &bench{t: t, env: suite.NewTestWorkflowEnvironment()}
			n := b.listenIn()
			began := b.env.Now()
			n.down = func() error {
				if b.env.Now().Sub(began) < test.away {
					return &activities.Error{Type: activities.ErrNotYet, Op: "tell chat", Err: fmt.Errorf("429")}
				}
				return nil
			}
			b.env.ExecuteWorkflow(NoticesName, NoticesInput{After: true, Mailboxes: []Mailbox{{Name: "chat", Waiting: []activities.Notice{
				{ID: "r/1", Subject: "r/run", Title: "one"}, {ID: "r/2", Subject: "r/run", Title: "two"}}}}})
			require.NoError(t, b.env.GetWorkflowError())
			var result NoticesResult
			require.NoError(t, b.env.GetWorkflowResult(&result))
			require.Equal(t, test.arrived, result.Arrived)
			require.Equal(t, test.lost, result.Lost["chat"])
		})
	}
}

func TestEscalation(t *testing.T) {
	gate := runbooks.Gate{Trust: "unsigned", Approvers: []string{"kim"}, Deadline: runbooks.Duration(10 * time.Minute),
		Escalate: &runbooks.Escalation{Approvers: []string{"dana"}, To: []string{"pager"}, Deadline: runbooks.Duration(5 * time.Minute)}}
	for _, test := range []struct {
		name    string
		at      time.Duration
		verdict journal.Verdict
	}{{"too early for her", 9 * time.Minute, journal.RejectedVerdict}, {"asked and answered", 12 * time.Minute, journal.Passed}, {"nobody", 0, journal.RejectedVerdict}} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, withGate(gate), gated)
			n := b.listenIn(runbooks.NoticeRule{To: []string{"chat"}})
			switch {
			case test.verdict == journal.Passed:
				b.after(test.at, UpdateDecide, approve("dana"), accepted(t))
			case test.at != 0:
				b.after(test.at, UpdateDecide, approve("dana"), refused(t, "may not decide"))
			}
			result, err := b.run(Input{})
			require.NoError(t, err)
			require.Equal(t, test.verdict, result.Verdict, result.Summary)
			require.Len(t, kinds(b.journal(), journal.Escalated), 1)
			require.Equal(t, []string{"gate-escalated"}, n.events("pager"))
			require.Contains(t, n.events("chat"), "gate-escalated")
		})
	}
}

func TestWindow(t *testing.T) {
	body := func(ctx workflow.Context, r *Run) error {
		if err := gated(ctx, r); err != nil {
			return err
		}
		if err := r.AwaitWindow(ctx); err != nil {
			return err
		}
		r.Note(ctx, "", "moved")
		return nil
	}
	book := withGate(runbooks.Gate{Trust: "unsigned"})
	book.Trust = "unsigned"
	book.Window = &runbooks.Window{Cron: "0 22 * * *", For: runbooks.Duration(4 * time.Hour), TimeZone: "Europe/Berlin"}
	at := func(hour int) time.Time {
		berlin, err := time.LoadLocation("Europe/Berlin")
		require.NoError(t, err)
		return time.Date(2026, 3, 14, hour, 0, 0, 0, berlin)
	}
	for _, test := range []struct {
		name  string
		start time.Time
		abort bool
		moved time.Time
	}{
		{"waits for the evening", at(9), false, at(22)},
		{"is open", at(23), false, at(23).Add(time.Minute)},
		{"still open after midnight", at(1), false, at(1).Add(time.Minute)},
		{"aborted while it waits", at(9), true, time.Time{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, book, body)
			b.env.SetStartTime(test.start)
			b.after(time.Minute, UpdateDecide, approve("kim"), accepted(t))
			if test.abort {
				b.env.RegisterDelayedCallback(func() { require.Equal(t, StateWindow, b.status().State) }, time.Hour)
				b.after(2*time.Hour, UpdateIntervene, Intervention{Action: ActionAbort, Author: "dana"}, accepted(t))
			}
			result, err := b.run(Input{})
			require.NoError(t, err)
			moved := slices.IndexFunc(b.journal(), func(e journal.Entry) bool { return e.Title == "moved" })
			if test.abort {
				require.Equal(t, journal.Undone, result.Verdict)
				require.Negative(t, moved)
				return
			}
			require.Equal(t, journal.Passed, result.Verdict)
			require.WithinDuration(t, test.moved, b.journal()[moved].At, time.Minute)
		})
	}
}

// A gateway's word counts for the person that goes by that name, and only with the gateway's own signature.
func TestVouchedDecision(t *testing.T) {
	signer := func() (ssh.Signer, string) {
		_, private, err := ed25519.GenerateKey(nil)
		require.NoError(t, err)
		s, err := ssh.NewSignerFromKey(private)
		require.NoError(t, err)
		return s, string(ssh.MarshalAuthorizedKey(s.PublicKey()))
	}
	ours, key := signer()
	forger, _ := signer()
	for _, test := range []struct {
		name     string
		approver string
		gateway  string
		vouched  string
		by       ssh.Signer
		refused  string
	}{
		{"slack", "kim", "main", "slack:T00000001/U00000001", ours, ""},
		{"e-mail in capitals", "kim", "main", "email:KIM@shop.example", ours, ""},
		{"another's name", "dana", "main", "slack:T00000001/U00000001", ours, "which is not what estate"},
		{"another team", "kim", "main", "slack:T00000002/U00000001", ours, "which is not what estate"},
		{"forged", "kim", "main", "slack:T00000001/U00000001", forger, "not one of gateway main"},
		{"unknown gateway", "kim", "other", "slack:T00000001/U00000001", ours, "no gateway called"},
		{"stranger", "slack:T00000001/U99999999", "main", "slack:T00000001/U99999999", ours, "lists nobody"},
		{"nothing vouched for", "kim", "main", "", ours, "which is not what estate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, withGate(runbooks.Gate{}), gated)
			b.estate = func(e *runbooks.Estate) {
				e.Gateways = map[string]runbooks.Gateway{"main": {Key: key}}
				p := e.People["kim"]
				p.Slack, p.Email = "T00000001/U00000001", "kim@shop.example"
				e.People["kim"] = p
			}
			d := approve(test.approver)
			d.Gateway, d.Vouched, d.Channel, d.Nonce = test.gateway, test.vouched, "slack", "n1"
			signature, err := sshsig.Sign(test.by, SignatureNamespace, d.SigningText("default-test-workflow-id", "default-test-run-id"))
			require.NoError(t, err)
			d.Signature = signature
			then := accepted(t)
			if test.refused != "" {
				then = refused(t, test.refused)
			}
			b.after(time.Minute, UpdateDecide, d, then)
			_, err = b.run(Input{})
			require.NoError(t, err)
			if test.refused == "" {
				require.Equal(t, "vouched:"+test.vouched+" by main", kinds(b.journal(), journal.Decided)[0].Identity)
			}
		})
	}
}

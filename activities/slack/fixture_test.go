package slack_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/slack"
	"github.com/musterhq/muster/activities/slack/slacktest"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// All tests of this package talk to package slacktest, an emulator of Slack: no test here has seen Slack itself.

var update = flag.Bool("update", false, "write the golden files anew")

const (
	channel = "C0GENERAL"
	ada     = "U0ADA"
	hash    = "5f2b1c0d9e8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c"
	run     = "0199c1f4-7c55-7a1c-9d7e-3a4b5c6d7e8f"
	limit   = 20 * time.Second // for what a test waits for; longer is broken
)

// opened is in the past of the emulator's messages, as a gate's opening is.
var opened = time.Now().Add(-time.Minute).UTC()

// secret returns a reference to value.
func secret(t testing.TB, value string) runbooks.Secret {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(value+"\n"), 0o600))
	return runbooks.Secret("file:" + path)
}

func notifier(t testing.TB, s *slacktest.Server) runbooks.Notifier {
	return runbooks.Notifier{Kind: "slack", Slack: &runbooks.SlackNotifier{Token: secret(t, s.BotToken), Channel: channel, API: s.API}}
}

func header() journal.Header {
	return journal.Header{
		WorkflowID: "failover:shop", RunID: run, Operation: "Failover", Estate: "shop", Runbook: "failover-shop",
		Mode: "execute", From: "east", To: "west", MoveKind: "planned", RequestedBy: "dana",
	}
}

func plan(systems int) *journal.Plan {
	p := &journal.Plan{
		Operation: "Failover", Estate: "shop", Runbook: "failover-shop", From: "east", To: "west", MoveKind: "planned",
		ExpectedLoss: "nothing: the standby replays all before it is promoted", LossClass: "none", Hash: hash,
	}
	for i := range systems {
		name := "orders"
		if i > 0 {
			name = fmt.Sprintf("orders-%d", i)
		}
		p.Systems = append(p.Systems, journal.PlanSystem{Name: name, Kind: "postgresql", Group: 1})
		p.Steps = append(p.Steps,
			journal.PlanStep{ID: "fence/" + name, Phase: "fence", System: name, Title: "fence " + name + " at east", Undo: "unfence it"},
			journal.PlanStep{ID: "catch-up/" + name, Phase: "catch-up", System: name, Title: "catch " + name + " up at west"},
			journal.PlanStep{ID: "promote/" + name, Phase: "promote", System: name, Title: "promote " + name + " at west", NoReturn: i == 0})
	}
	return p
}

func gate(event activities.Event, seq int) activities.Notice {
	return activities.Notice{
		ID: fmt.Sprintf("%s/%d", run, seq), Subject: run + "/gate/approve", Event: event, Severity: runbooks.Warning,
		At: opened.Add(time.Duration(seq) * time.Millisecond), Header: header(), Title: "Approve the failover of shop from east to west?",
		Gate: &activities.NoticeGate{
			Name: "approve", Title: "Approve the failover", PlanHash: hash, Plan: plan(1), Opened: opened, Deadline: opened.Add(time.Hour),
			Need: 2, Who: []string{"approver"}, FourEyes: true,
			Mention: []runbooks.Person{{Name: "Ada", Slack: "T00MUSTER/U0ADA"}, {Name: "Bo"}, {Name: "Eve", Slack: "<!channel>"}},
		},
	}
}

func decided(n activities.Notice, outcome journal.Outcome, who ...string) activities.Notice {
	for i, name := range who {
		n.Gate.Decisions = append(n.Gate.Decisions, activities.NoticeDecision{
			Approver: name, Decision: "approve", Reason: "agreed in the call", Channel: "slack", At: opened.Add(time.Duration(i+1) * time.Second),
		})
	}
	n.Gate.Outcome = outcome
	return n
}

func held(event activities.Event, seq int) activities.Notice {
	return activities.Notice{
		ID: fmt.Sprintf("%s/%d", run, seq), Subject: run + "/step/promote/orders", Event: event, Severity: runbooks.Critical,
		At: opened.Add(time.Duration(seq) * time.Millisecond), Header: header(), Title: "Held: promote orders at west",
		Hold: &activities.NoticeHold{Step: "promote/orders", Why: "promote orders at west: the server does not answer", Since: opened},
	}
}

func other(event activities.Event, seq int, title string) activities.Notice {
	return activities.Notice{
		ID: fmt.Sprintf("%s/%d", run, seq), Subject: run, Event: event, Severity: runbooks.Info,
		At: opened.Add(time.Duration(seq) * time.Millisecond), Header: header(), Title: title,
	}
}

// announce sends a notice as the kernel does.
func announce(t testing.TB, s *slacktest.Server, to runbooks.Notifier, n activities.Notice, receipts ...activities.Receipt) (activities.Receipt, error) {
	t.Helper()
	in := activities.AnnounceInput{Name: "ops", Notifier: to, Notice: n}
	if len(receipts) > 0 {
		in.Earlier = receipts[0]
	}
	if len(receipts) > 1 {
		in.Thread = receipts[1]
	}
	return slack.Notifier{}.Announce(t.Context(), in)
}

func must(t testing.TB, s *slacktest.Server, to runbooks.Notifier, n activities.Notice, receipts ...activities.Receipt) activities.Receipt {
	t.Helper()
	receipt, err := announce(t, s, to, n, receipts...)
	require.NoError(t, err)
	return receipt
}

// golden compares a message's blocks, as Slack got them, with testdata/name.json.
func golden(t *testing.T, name string, m slacktest.Message) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"text": m.Text, "blocks": m.Blocks, "metadata": m.Metadata, "broadcast": m.Broadcast})
	require.NoError(t, err)
	// Times are as old as the test is young.
	for name, at := range map[string]time.Time{"OPENED": opened, "DEADLINE": opened.Add(time.Hour), "FIRST": opened.Add(time.Second), "SECOND": opened.Add(2 * time.Second)} {
		text = bytes.ReplaceAll(text, []byte(fmt.Sprintf("date^%d^", at.Unix())), []byte("date^"+name+"^"))
		text = bytes.ReplaceAll(text, []byte(at.Format("2006-01-02 15:04:05 UTC")), []byte(name))
	}
	for seq := range 100 {
		stamp := opened.Add(time.Duration(seq) * time.Millisecond).Format(time.RFC3339Nano)
		text = bytes.ReplaceAll(text, []byte(`"`+stamp+`"`), fmt.Appendf(nil, `"AT+%dms"`, seq))
	}
	var pretty bytes.Buffer
	require.NoError(t, json.Indent(&pretty, text, "", "  "))
	pretty.WriteByte('\n')
	path := filepath.Join("testdata", name+".json")
	if *update {
		require.NoError(t, os.WriteFile(path, pretty.Bytes(), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), pretty.String())
}

// ear is a fake activities.Hear that counts, as a run does: a nonce once.
type ear struct {
	mu     sync.Mutex
	words  []activities.Word
	nonces map[string]int
	answer func(w activities.Word) (string, bool, error)
}

func (e *ear) hear(_ context.Context, w activities.Word) (string, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.answer != nil {
		if text, ok, err := e.answer(w); err != nil || !ok {
			return text, ok, err
		}
	}
	if e.nonces == nil {
		e.nonces = map[string]int{}
	}
	e.nonces[w.Nonce]++
	e.words = append(e.words, w)
	return "counted: " + w.Decision + w.Action, true, nil
}

func (e *ear) heard() []activities.Word {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]activities.Word(nil), e.words...)
}

// gateway is an Incoming behind a real HTTP server.
type gateway struct {
	*slack.Incoming
	url string
	log *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func listen(t testing.TB, s *slacktest.Server, hear activities.Hear) gateway {
	t.Helper()
	log := &syncBuffer{}
	in, err := slack.New(slack.Config{
		SigningSecret: secret(t, s.SigningSecret), AppToken: secret(t, s.AppToken), BotToken: secret(t, s.BotToken),
		Teams: []string{s.Team}, API: s.API, Hear: hear, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	require.NoError(t, err)
	server := httptest.NewServer(in.Handler())
	t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		require.NoError(t, in.Drain(ctx))
		for _, planted := range []string{s.BotToken, s.AppToken, s.SigningSecret} {
			require.NotContains(t, log.String(), planted)
		}
	})
	return gateway{in, server.URL, log}
}

// press clicks a button and waits for the modal.
func press(t testing.TB, s *slacktest.Server, g gateway, user, ts, action string) slacktest.View {
	t.Helper()
	ack, err := s.Deliver(g.url, s.Click(user, channel, ts, action))
	require.NoError(t, err)
	require.Equal(t, 200, ack.Status)
	require.Empty(t, ack.Body)
	require.True(t, s.Await(limit, func() bool { return len(s.Views(user)) > 0 }), "no modal came; log: %s", g.log)
	return s.Views(user)[0]
}

// told waits for the nth answer to one person, and returns it.
func told(t testing.TB, s *slacktest.Server, n int) slacktest.Ephemeral {
	t.Helper()
	require.True(t, s.Await(limit, func() bool { return len(s.Ephemerals()) >= n }), "nobody was told")
	return s.Ephemerals()[n-1]
}

func serve(t testing.TB, in *slack.Incoming) string {
	server := httptest.NewServer(in.Handler())
	t.Cleanup(server.Close)
	return server.URL
}

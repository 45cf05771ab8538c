package pagerduty

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

var update = flag.Bool("update", false, "write the golden files")

var at = time.Date(2026, 11, 22, 19, 30, 0, 0, time.UTC)

const run = "0199c1f4-5c1e-7000-8000-000000000001"

// notice is the one of an event, with what the kernel tells about it.
func notice(event activities.Event) activities.Notice {
	n := activities.Notice{ID: run + "/17", Subject: run + "/gate/failover", Event: event, Severity: runbooks.Warning, At: at, Text: "Planned. Nothing is lost.",
		Title: "failover-shop: east to west", Page: "https://muster.example.org/runs/failover:shop",
		Header: journal.Header{WorkflowID: "failover:shop", RunID: run, Operation: "Failover", Estate: "shop", Runbook: "failover-shop", From: "east",
			To: "west", RequestedBy: "dana"}}
	switch event {
	case activities.EventHeld, activities.EventReleased:
		n.Subject, n.Severity = run+"/hold/promote/orders", runbooks.Critical
		n.Text = "promote orders at west: connection refused"
		n.Hold = &activities.NoticeHold{Step: "promote/orders", Why: n.Text, Since: at}
		if event == activities.EventReleased {
			n.ID, n.Hold.Released = run+"/21", "retry by dana"
		}
	case activities.EventFinished:
		n.ID, n.Subject, n.Severity, n.Verdict = run+"/40", run+"/run", runbooks.Info, journal.Passed
		n.Measures = []journal.Measure{{System: "orders", Measured: true, OutageMs: 251, Acknowledged: 900}, {System: "cache"}}
	case activities.EventProgress:
		n.ID, n.Subject, n.Step = run+"/20", run+"/step/fence/orders", "fence/orders"
	default:
		n.Gate = &activities.NoticeGate{Name: "failover", Title: "Fail over", Risk: "clients are cut off", PlanHash: "8c1f0b6a", Opened: at, Deadline: at.Add(time.Hour),
			Need: 2, Who: []string{"approver", "dana"}, Plan: &journal.Plan{ExpectedLoss: "none: planned", Steps: []journal.PlanStep{
				{ID: "fence/orders", Title: "stop orders at east"}, {ID: "promote/orders", Title: "promote orders at west", NoReturn: true}}}}
		if event != activities.EventGateOpened {
			n.ID = run + "/18"
			n.Gate.Decisions = []activities.NoticeDecision{{Approver: "ada", Decision: "approve", Reason: "go\nnow", Channel: "cli", At: at}}
		}
	}
	return n
}

// input asks the emulator to announce. With a token, notes are written.
func input(t *testing.T, e *emulator, n activities.Notice, token bool) activities.AnnounceInput {
	t.Helper()
	p := &runbooks.PagerDutyNotifier{RoutingKey: planted(t, routingKey), Events: e.URL, API: e.URL}
	if token {
		p.Token, p.From = planted(t, restToken), writer
	}
	return activities.AnnounceInput{Name: "oncall", Notice: n, Notifier: runbooks.Notifier{Kind: "pagerduty", PagerDuty: p}}
}

func planted(t *testing.T, value string) runbooks.Secret {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(value+"\n"), 0o600))
	return runbooks.Secret("file:" + file)
}

// later is a notifier for which PagerDuty had its time to make incidents of the events.
func later() *Notifier {
	n := New()
	n.now = func() time.Time { return at.Add(settle) }
	return n
}

func announce(t *testing.T, e *emulator, n activities.Notice, token bool) activities.Receipt {
	t.Helper()
	receipt, err := later().Announce(t.Context(), input(t, e, n, token))
	require.NoError(t, err)
	require.Empty(t, e.seen().refused)
	return receipt
}

func TestBodies(t *testing.T) {
	t.Parallel()
	for _, event := range []activities.Event{activities.EventGateOpened, activities.EventGateReminded, activities.EventGateEscalated, activities.EventGateDecided, activities.EventGateClosed,
		activities.EventGateExpired, activities.EventHeld, activities.EventReleased, activities.EventFinished, activities.EventProgress} {
		t.Run(string(event), func(t *testing.T) {
			t.Parallel()
			e := emulate(t)
			receipt := announce(t, e, notice(event), false)
			require.Equal(t, activities.Receipt{Channel: dedupKey(notice(event))}, receipt)
			golden(t, string(event)+".golden.json", pretty(t, e.seen().raw))
		})
	}
}

func pretty(t *testing.T, bodies [][]byte) []byte {
	t.Helper()
	var all bytes.Buffer
	for _, raw := range bodies {
		require.NoError(t, json.Indent(&all, bytes.ReplaceAll(raw, []byte(routingKey), []byte("ROUTING-KEY")), "", "  "))
		all.WriteByte('\n')
	}
	return all.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

// A gate's way from its page to its end is one incident, whatever is sent twice.
func TestAGateIsOneIncident(t *testing.T) {
	t.Parallel()
	e := emulate(t)
	for _, step := range []struct {
		event  activities.Event
		status string
	}{
		{activities.EventGateOpened, "triggered"}, {activities.EventGateReminded, "triggered"}, {activities.EventGateEscalated, "triggered"},
		{activities.EventGateDecided, "acknowledged"}, {activities.EventGateClosed, "resolved"},
	} {
		for range 2 {
			announce(t, e, notice(step.event), false)
			require.Len(t, e.seen().incidents, 1)
			require.Equal(t, step.status, e.seen().incidents[0].status)
		}
	}
	another := notice(activities.EventGateOpened)
	another.Header.RunID = "another"
	announce(t, e, another, false)
	require.Len(t, e.seen().incidents, 2, "another run's gate of the same name is another incident")
	announce(t, e, notice(activities.EventHeld), false)
	require.Len(t, e.seen().incidents, 3, "a hold is another incident")
}

// Each stage's answer is lost once; then all is asked again. Events may be repeated, their key makes them one; notes are written once.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for _, lost := range []string{"/v2/enqueue", "/incidents", "/incidents/Q00001/notes"} {
		t.Run(lost, func(t *testing.T) {
			t.Parallel()
			e := emulate(t)
			announce(t, e, notice(activities.EventGateOpened), true)
			e.fail(lost, lostAnswer)
			if strings.HasSuffix(lost, "/notes") {
				e.faults = nil
				e.fail(lost, func(_ *emulator, w http.ResponseWriter, r *http.Request, serve http.HandlerFunc) { serve(w, r) }) // the look goes through
				e.fail(lost, lostAnswer)                                                                                        // the note's answer does not
			}
			closed := notice(activities.EventGateClosed)
			_, err := later().Announce(t.Context(), input(t, e, closed, true))
			require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
			require.Equal(t, "resolved", e.seen().incidents[0].status, "the event went out before, or beside, the note")
			receipt := announce(t, e, closed, true)
			require.Equal(t, strings.HasSuffix(lost, "/notes"), receipt.Known)
			require.True(t, announce(t, e, closed, true).Known, "now it is known")
			require.Len(t, e.seen().incidents, 1)
			require.Len(t, e.seen().incidents[0].notes, 1)
		})
	}
}

// What cannot be asked for may be there twice, and the documentation says so.
func TestAChangeWhoseAnswerIsLostMayBeThereTwice(t *testing.T) {
	t.Parallel()
	e := emulate(t)
	e.fail("/v2/change/enqueue", lostAnswer)
	_, err := later().Announce(t.Context(), input(t, e, notice(activities.EventFinished), false))
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
	announce(t, e, notice(activities.EventFinished), false)
	require.Len(t, e.seen().changes, 2)
}

func TestNotes(t *testing.T) {
	t.Parallel()
	e := emulate(t)
	announce(t, e, notice(activities.EventGateOpened), true)
	require.Empty(t, e.seen().incidents[0].notes, "the first notice is the incident itself")
	one, seventeen := notice(activities.EventGateDecided), notice(activities.EventGateClosed)
	seventeen.ID, one.ID = run+"/171", run+"/17"
	announce(t, e, seventeen, true)
	announce(t, e, one, true) // its ID is a part of the other's
	require.Len(t, e.seen().incidents[0].notes, 2)
	golden(t, "note.golden.txt", []byte(e.seen().incidents[0].notes[0]["content"].(string)+"\n"))
	events := len(e.seen().events)
	require.True(t, announce(t, e, one, true).Known)
	require.Len(t, e.seen().events, events, "nothing was sent again")
}

// PagerDuty makes incidents of events behind its answer: a note that follows at once waits for it, and an event without an
// incident (suppressed, merged by rules) is let go after a while.
func TestNotesWaitForTheirIncident(t *testing.T) {
	t.Parallel()
	e := emulate(t)
	e.lag = 1
	announce(t, e, notice(activities.EventGateOpened), true)
	n := New()
	n.now = func() time.Time { return at.Add(time.Second) }
	decided := input(t, e, notice(activities.EventGateDecided), true)
	_, err := n.Announce(t.Context(), decided)
	require.Equal(t, activities.ErrNotYet, activities.TypeOf(err))
	_, err = n.Announce(t.Context(), decided)
	require.NoError(t, err)
	require.Len(t, e.seen().incidents[0].notes, 1)

	suppressed := notice(activities.EventGateDecided)
	suppressed.Subject = "gate/suppressed"
	_, err = n.Announce(t.Context(), input(t, e, suppressed, true))
	require.Equal(t, activities.ErrNotYet, activities.TypeOf(err))
	n.now = func() time.Time { return at.Add(settle) }
	_, err = n.Announce(t.Context(), input(t, e, suppressed, true))
	require.NoError(t, err)
}

func open(e *emulator) (n int) {
	for _, i := range e.seen().incidents {
		if i.status != "resolved" {
			n++
		}
	}
	return n
}

// A page goes out while the REST API is down.
func TestEventsDoNotWaitForNotes(t *testing.T) {
	t.Parallel()
	e := emulate(t)
	for _, fault := range []func(*emulator, http.ResponseWriter, *http.Request, http.HandlerFunc){status(503), silence} {
		announce(t, e, notice(activities.EventGateOpened), true)
		require.Equal(t, 1, open(e))
		e.fail("/incidents", fault)
		n := later()
		n.patience = 50 * time.Millisecond
		_, err := n.Announce(t.Context(), input(t, e, notice(activities.EventGateClosed), true))
		require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
		require.Zero(t, open(e))
	}
}

// A run that failed is for whoever is on call, though nothing of it is open any more.
func TestACriticalEndPages(t *testing.T) {
	t.Parallel()
	e := emulate(t)
	n := notice(activities.EventFinished)
	n.Severity, n.Verdict = runbooks.Critical, journal.FailedVerdict
	for range 2 {
		announce(t, e, n, true)
	}
	require.Len(t, e.seen().incidents, 1)
	require.Equal(t, "triggered", e.seen().incidents[0].status)
	golden(t, "finished-critical.golden.json", pretty(t, e.seen().raw[:2]))
	announce(t, e, notice(activities.EventProgress), true)
	require.Len(t, e.seen().events, 2, "steps are nobody's page")
}

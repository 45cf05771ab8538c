package email

import (
	"bytes"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
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

func notice(event activities.Event, entry string) activities.Notice {
	return activities.Notice{ID: run + "/" + entry, Subject: "gate/failover", Event: event, Severity: runbooks.Warning, At: at, Title: "Approve failover-shop: east to west",
		Text: "Planned.\nNothing is lost.", Page: "https://muster.example.org/runs/failover:shop",
		Header: journal.Header{WorkflowID: "failover:shop", RunID: run, Operation: "Failover", Estate: "shop", Runbook: "failover-shop", From: "east", To: "west",
			MoveKind: "planned", RequestedBy: "dana"}}
}

func gateOpened() activities.Notice {
	n := notice(activities.EventGateOpened, "17")
	n.Gate = &activities.NoticeGate{Name: "failover", Title: "Fail over from east to west", Risk: "clients are cut off for about a second", PlanHash: "8c1f0b6a",
		Opened: at, Deadline: at.Add(time.Hour), Need: 2, Who: []string{"approver", "ada"}, FourEyes: true,
		Plan: &journal.Plan{ExpectedLoss: "none: planned", Hash: "8c1f0b6a", Steps: []journal.PlanStep{{ID: "fence/orders", Title: "stop orders at east"},
			{ID: "promote/orders", Title: "promote orders at west", NoReturn: true}}}}
	return n
}

func gateClosed() activities.Notice {
	n := gateOpened()
	n.ID, n.Event, n.Title, n.Severity = run+"/19", activities.EventGateClosed, "Approved: failover-shop", runbooks.Info
	n.Gate.Outcome = journal.Approved
	n.Gate.Decisions = []activities.NoticeDecision{{Approver: "ada", Decision: "approve", Reason: "window\nagreed", Channel: "cli", At: at}}
	return n
}

func held() activities.Notice {
	n := notice(activities.EventHeld, "21")
	n.Severity, n.Title, n.Text = runbooks.Critical, "promote orders at west is held", "promote orders at west: connection refused"
	n.Hold = &activities.NoticeHold{Step: "promote/orders", Why: n.Text, Since: at}
	return n
}

func released() activities.Notice {
	n := held()
	n.ID, n.Event, n.Severity, n.Hold.Released = run+"/23", activities.EventReleased, runbooks.Info, "retry by dana"
	return n
}

func paused() activities.Notice {
	n := held()
	n.Text = "dana paused the run"
	n.Hold = &activities.NoticeHold{Why: n.Text, Since: at}
	return n
}

func finished() activities.Notice {
	n := notice(activities.EventFinished, "40")
	n.Severity, n.Verdict, n.Title, n.Text, n.Page = runbooks.Info, journal.Passed, "failover-shop passed", "", ""
	n.Measures = []journal.Measure{{System: "orders", Measured: true, OutageMs: 251}, {System: "cache"}}
	return n
}

func settings(t *testing.T) *session {
	t.Helper()
	s, err := open(t.Context(), "test", &runbooks.EmailNotifier{Server: "127.0.0.1:25", From: "Müster <muster@example.org>", To: []string{"Ada <ada@example.org>", "dana@example.org"}})
	require.NoError(t, err)
	return s
}

func composed(t *testing.T, in activities.AnnounceInput) (raw []byte, m *mail.Message) {
	t.Helper()
	s := settings(t)
	raw, err := compose(s, messageID(in.Notice.ID, s.from.Address), in)
	require.NoError(t, err)
	m, err = mail.ReadMessage(bytes.NewReader(raw))
	require.NoError(t, err)
	return raw, m
}

// parts are the decoded text and HTML.
func parts(t testing.TB, m *mail.Message) (text, html string) {
	t.Helper()
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "multipart/alternative", kind)
	reader := multipart.NewReader(m.Body, params["boundary"])
	var got []string
	for _, want := range []string{"text/plain", "text/html"} {
		part, err := reader.NextRawPart()
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(part.Header.Get("Content-Type"), want))
		body, err := io.ReadAll(quotedprintable.NewReader(part))
		require.NoError(t, err)
		got = append(got, strings.ReplaceAll(string(body), "\r\n", "\n"))
	}
	_, err = reader.NextPart()
	require.ErrorIs(t, err, io.EOF, "two parts, no more")
	return got[0], got[1]
}

func TestMessages(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]activities.Notice{"gate-opened": gateOpened(), "gate-closed": gateClosed(), "held": held(), "released": released(),
		"paused": paused(), "finished": finished()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, m := composed(t, activities.AnnounceInput{Notice: n})
			_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(params["boundary"]), 30, "nobody guesses it")
			head, _, _ := strings.Cut(string(raw), "\r\n\r\n")
			head = strings.ReplaceAll(strings.ReplaceAll(head, params["boundary"], "BOUNDARY"), "\r\n", "\n")
			text, html := parts(t, m)
			golden(t, name+".golden.txt", head+"\n\n"+text)
			golden(t, name+".golden.html", html)
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func TestLaterMessagesAnswerTheFirst(t *testing.T) {
	t.Parallel()
	first := messageID(gateOpened().ID, "muster@example.org")
	root := messageID(run+"/2", "muster@example.org")
	for name, test := range map[string]struct {
		in                activities.AnnounceInput
		inReplyTo, ranges string
	}{
		"nothing before": {activities.AnnounceInput{}, "", ""},
		"a subject":      {activities.AnnounceInput{Earlier: activities.Receipt{Channel: first}}, "<" + first + ">", "<" + first + ">"},
		"a run":          {activities.AnnounceInput{Thread: activities.Receipt{Channel: root}}, "<" + root + ">", "<" + root + ">"},
		"both":           {activities.AnnounceInput{Earlier: activities.Receipt{Channel: first}, Thread: activities.Receipt{Channel: root}}, "<" + first + ">", "<" + root + "> <" + first + ">"},
		"the same":       {activities.AnnounceInput{Earlier: activities.Receipt{Channel: first}, Thread: activities.Receipt{Channel: first}}, "<" + first + ">", "<" + first + ">"},
		"itself":         {activities.AnnounceInput{Earlier: activities.Receipt{Channel: messageID(gateClosed().ID, "muster@example.org")}}, "", ""},
		"not a receipt":  {activities.AnnounceInput{Earlier: activities.Receipt{Channel: first + ">\r\nBcc: eve@example.org"}}, "", ""},
	} {
		test.in.Notice = gateClosed()
		_, m := composed(t, test.in)
		require.Equal(t, test.inReplyTo, m.Header.Get("In-Reply-To"), name)
		require.Equal(t, test.ranges, strings.Join(strings.Fields(m.Header.Get("References")), " "), name)
		require.Empty(t, m.Header.Get("Bcc"))
	}
}

// hostile is text that would be headers, parts, markup or commands.
const hostile = "x\r\nBcc: eve@example.org\r\n\r\n--BOUNDARY\r\n.\r\nDATA\r\n<script>alert(1)</script>\x00\x1b[2J\u2028Subject: y 'quoted' \xff"

func everythingIs(text string) activities.AnnounceInput {
	n := gateOpened()
	n.ID, n.Title, n.Text, n.Severity, n.Event, n.Page, n.Verdict = text, text, text, runbooks.Severity(text), activities.Event(text), "javascript:"+text, journal.Verdict(text)
	n.Header = journal.Header{WorkflowID: text, RunID: text, Operation: text, Estate: text, Runbook: text, From: text, To: text, MoveKind: text, RequestedBy: text}
	n.Gate.Name, n.Gate.Title, n.Gate.Risk, n.Gate.PlanHash, n.Gate.Who = text, text, text, text, []string{text}
	n.Gate.Plan.ExpectedLoss, n.Gate.Plan.Steps[0].Title = text, text
	n.Gate.Decisions = []activities.NoticeDecision{{Approver: text, Decision: text, Reason: text, Channel: text}}
	n.Hold = &activities.NoticeHold{Step: text, Why: text, Released: text}
	n.Measures = []journal.Measure{{System: text, Measured: true}}
	r := activities.Receipt{Channel: text}
	return activities.AnnounceInput{Notice: n, Earlier: r, Thread: r}
}

// only are the headers that a message has, whatever its notice says.
var only = []string{"Auto-Submitted", "Content-Type", "Date", "From", "Importance", "Message-Id", "Mime-Version", "Priority", "Subject", "To",
	"X-Auto-Response-Suppress", "X-Msmail-Priority", "X-Muster-Event", "X-Muster-Severity", "X-Priority"}

func requireHarmless(t testing.TB, raw []byte) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	require.NoError(t, err)
	for name := range m.Header {
		require.Contains(t, only, name)
		require.Len(t, m.Header[name], 1, name)
	}
	text, html := parts(t, m)
	require.NotContains(t, html, "<script")
	require.NotContains(t, html, `href="javascript`)
	for _, part := range []string{text, html} {
		require.NotContains(t, part, "\x1b")
		require.NotContains(t, part, "\x00")
	}
}

func TestHeadersCannotBeInjected(t *testing.T) {
	t.Parallel()
	s := settings(t)
	in := everythingIs(hostile)
	raw, err := compose(s, messageID(in.Notice.ID, s.from.Address), in)
	require.NoError(t, err)
	requireHarmless(t, raw)
	require.Contains(t, string(raw), "Subject: ")

	real := startSink(t, options{})
	_, err = New().Announce(t.Context(), plain(t, real, in.Notice))
	require.NoError(t, err)
	got := real.got(t, 1)[0]
	require.Equal(t, []string{"ada@example.org", "dana@example.org"}, got.To)
	requireHarmless(t, got.Message)
}

func FuzzCompose(f *testing.F) {
	f.Add(hostile)
	f.Add("")
	f.Add("=?utf-8?q?=0D=0ABcc:_eve?=")
	f.Add(strings.Repeat("ü", 3000))
	s, err := open(f.Context(), "fuzz", &runbooks.EmailNotifier{Server: "127.0.0.1:25", From: "muster@example.org", To: []string{"ada@example.org"}})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text string) {
		in := everythingIs(text)
		raw, err := compose(s, messageID(in.Notice.ID, s.from.Address), in)
		require.NoError(t, err)
		requireHarmless(t, raw)
		for _, line := range strings.Split(string(raw), "\r\n") {
			require.LessOrEqual(t, len(line), 998, "RFC 5322")
		}
	})
}

func TestMessageID(t *testing.T) {
	t.Parallel()
	require.Equal(t, messageID("a/1", "x@example.org"), messageID("a/1", "y@example.org"))
	require.NotEqual(t, messageID("a/1", "x@example.org"), messageID("a/11", "x@example.org"))
	for _, from := range []string{"x@example.org", "x@exämple.org", "x@[127.0.0.1]", "x", "", "x@example.org>\r\nBcc: y"} {
		require.Regexp(t, knownID, messageID("a/1\r\n>", from), from)
	}
}

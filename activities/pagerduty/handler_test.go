package pagerduty

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
)

const hookSecret = "hunter2planted/webhook+secret"

// triggered is what PagerDuty's reference shows for incident.triggered, with changes.
func triggered(t testing.TB, change func(event, data map[string]any)) []byte {
	t.Helper()
	data := map[string]any{"id": "PGR0VU2", "type": "incident", "self": "https://api.pagerduty.com/incidents/PGR0VU2",
		"html_url": "https://acme.pagerduty.com/incidents/PGR0VU2", "number": 2, "status": "triggered", "incident_key": "d3640fbd41094207a1c11e58e46b1662",
		"created_at": at, "title": "orders at east\r\ndo not answer", "urgency": "high",
		"service":   map[string]any{"id": "PF9KMXH", "type": "service_reference", "summary": "orders"},
		"assignees": []any{map[string]any{"id": "PTUXL6G", "type": "user_reference"}}, "priority": nil, "resolve_reason": nil}
	event := map[string]any{"id": "5ac64822-4adc-4fda-ade0-410becf0de4f", "event_type": "incident.triggered", "resource_type": "incident",
		"occurred_at": at, "agent": nil, "client": nil, "data": data}
	if change != nil {
		change(event, data)
	}
	body, err := json.Marshal(map[string]any{"event": event})
	require.NoError(t, err)
	return body
}

func signature(key string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

// starts is a Start that remembers keys as a workflow's ID does, and fails with the errors it is given first.
type starts struct {
	requests []Request
	running  map[string]bool
	errs     []error
}

func (s *starts) start(_ context.Context, r Request) error {
	s.requests = append(s.requests, r)
	if len(s.errs) > 0 {
		err := s.errs[0]
		s.errs = s.errs[1:]
		return err
	}
	if s.running == nil {
		s.running = map[string]bool{}
	}
	s.running[r.Key] = true
	return nil
}

func hook(t testing.TB, s *starts, log io.Writer) *Handler {
	t.Helper()
	h := &Handler{Runbooks: map[string]string{"PF9KMXH": "failover-shop"}, Start: s.start, Log: slog.New(slog.NewTextHandler(log, nil)),
		now: func() time.Time { return at.Add(time.Minute) }}
	if t, ok := t.(*testing.T); ok {
		h.Secret = planted(t, hookSecret)
	}
	return h
}

func deliver(h http.Handler, body []byte, header string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/hooks/pagerduty", bytes.NewReader(body))
	if header != "" {
		r.Header.Set("X-PagerDuty-Signature", header)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAnIncidentStartsItsRunbookOnce(t *testing.T) {
	t.Parallel()
	s := &starts{}
	h := hook(t, s, io.Discard)
	body := triggered(t, nil)
	for range 2 { // PagerDuty delivers at least once
		w := deliver(h, body, "v1="+strings.Repeat("00", 32)+","+signature(hookSecret, body))
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, "started\n", w.Body.String())
	}
	require.Equal(t, map[string]bool{"pagerduty-PGR0VU2": true}, s.running)
	require.Equal(t, Request{Runbook: "failover-shop", Service: "PF9KMXH", Incident: "PGR0VU2", Title: "orders at east do not answer",
		URL: "https://acme.pagerduty.com/incidents/PGR0VU2", Key: "pagerduty-PGR0VU2"}, s.requests[0])
	require.Equal(t, s.requests[0], s.requests[1])
}

func TestStartThatFails(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := &starts{errs: []error{errors.New("temporal is away"), &activities.Error{Type: activities.ErrUnreachable, Op: "start", Err: errors.New("away")},
		&activities.Error{Type: activities.ErrConfig, Op: "start", Err: errors.New("no such runbook")}}}
	h := hook(t, s, &log)
	body := triggered(t, nil)
	for _, want := range []int{503, 503, 200, 200} {
		w := deliver(h, body, signature(hookSecret, body))
		require.Equal(t, want, w.Code)
		require.NotContains(t, w.Body.String(), "runbook", "the answer stands in PagerDuty's log")
	}
	require.Contains(t, log.String(), "no such runbook")
	require.Len(t, s.requests, 4)
}

func TestASlowStartIsCutOff(t *testing.T) {
	t.Parallel()
	h := hook(t, &starts{}, io.Discard)
	var left time.Duration
	h.Start = func(ctx context.Context, _ Request) error {
		deadline, set := ctx.Deadline()
		require.True(t, set)
		left = time.Until(deadline)
		return context.DeadlineExceeded
	}
	body := triggered(t, nil)
	require.Equal(t, http.StatusServiceUnavailable, deliver(h, body, signature(hookSecret, body)).Code)
	require.LessOrEqual(t, left, answerWithin)
}

func TestWhatStartsNothing(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(event, data map[string]any)
		code   int
		says   string
	}{
		"acknowledged": {func(e, _ map[string]any) { e["event_type"] = "incident.acknowledged" }, 200, "only incident.triggered"},
		"resolved":     {func(e, _ map[string]any) { e["event_type"] = "incident.resolved" }, 200, "only incident.triggered"},
		"a test of the hook": {func(e, _ map[string]any) {
			e["event_type"], e["data"] = "pagey.ping", map[string]any{"message": "Hello"}
		}, 200, "only incident.triggered"},
		"no runbook":          {func(_, d map[string]any) { d["service"] = map[string]any{"id": "POTHER"} }, 200, "no runbook is mapped"},
		"muster's own":        {func(_, d map[string]any) { d["incident_key"] = "muster/0199/gate/failover" }, 200, "muster opened"},
		"muster's own client": {func(e, _ map[string]any) { e["client"] = map[string]any{"name": "muster"} }, 200, "muster opened"},
		"of yesterday":        {func(e, _ map[string]any) { e["occurred_at"] = at.Add(-24 * time.Hour) }, 200, "more than an hour old"},
		"of tomorrow":         {func(e, _ map[string]any) { e["occurred_at"] = at.Add(24 * time.Hour) }, 200, "more than an hour old"},
		"no time":             {func(e, _ map[string]any) { delete(e, "occurred_at") }, 400, "not a webhook"},
		"no type":             {func(e, _ map[string]any) { delete(e, "event_type") }, 400, "not a webhook"},
		"no data":             {func(e, _ map[string]any) { delete(e, "data") }, 400, "not a webhook"},
		"no incident's ID":    {func(_, d map[string]any) { delete(d, "id") }, 400, "not a webhook"},
		"an ID with a path":   {func(_, d map[string]any) { d["id"] = "../x" }, 400, "not a webhook"},
		"an endless ID":       {func(_, d map[string]any) { d["id"] = strings.Repeat("P", 65) }, 400, "not a webhook"},
		"not an incident":     {func(_, d map[string]any) { d["type"] = "service" }, 400, "not a webhook"},
		"no service":          {func(_, d map[string]any) { delete(d, "service") }, 400, "not a webhook"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &starts{}
			body := triggered(t, test.change)
			w := deliver(hook(t, s, io.Discard), body, signature(hookSecret, body))
			require.Equal(t, test.code, w.Code)
			require.Contains(t, w.Body.String(), test.says)
			require.Empty(t, s.requests)
		})
	}
}

func TestOnlyPagerDutyIsHeard(t *testing.T) {
	t.Parallel()
	body := triggered(t, nil)
	good := signature(hookSecret, body)
	for name, header := range map[string]string{
		"none": "", "another key": signature("other", body), "another body": signature(hookSecret, []byte("{}")), "no version": good[3:], "v0": "v0=" + good[3:],
		"half": good[:20], "not hex": "v1=" + strings.Repeat("zz", 32), "empty": "v1=", "empty key": signature("", body),
		"after too many": strings.Repeat("v1="+strings.Repeat("00", 32)+",", maxSignatures) + good,
	} {
		s := &starts{}
		w := deliver(hook(t, s, io.Discard), body, header)
		require.Equal(t, http.StatusUnauthorized, w.Code, name)
		require.Empty(t, s.requests, name)
		require.NotContains(t, w.Body.String(), "hunter2")
	}
	for name, header := range map[string]string{"blanks": "v1=00, " + good, "capitals": "v1=" + strings.ToUpper(good[3:]), "twice": good + "," + good} {
		s := &starts{}
		require.Equal(t, http.StatusOK, deliver(hook(t, s, io.Discard), body, header).Code, name)
		require.Len(t, s.requests, 1, name)
	}
}

func TestRequestsThatAreNoDelivery(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := &starts{}
	h := hook(t, s, &log)
	huge := bytes.Repeat([]byte("x"), maxBody+1)
	require.Equal(t, http.StatusRequestEntityTooLarge, deliver(h, huge, signature(hookSecret, huge)).Code)
	require.Equal(t, http.StatusBadRequest, deliver(h, []byte("{"), signature(hookSecret, []byte("{"))).Code)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	h.Secret = "env:MUSTER_PAGERDUTY_SECRET_THAT_IS_NOT_SET"
	body := triggered(t, nil)
	require.Equal(t, http.StatusServiceUnavailable, deliver(h, body, signature(hookSecret, body)).Code, "delivered again once the secret is there")
	require.Empty(t, s.requests)
	require.NotContains(t, log.String(), "hunter2")
}

// Whatever is understood is safe to make an ID, a title and a link of.
func FuzzParse(f *testing.F) {
	f.Add(triggered(f, nil))
	f.Add(triggered(f, func(_, d map[string]any) { d["html_url"] = "javascript:alert(1)" }))
	f.Add([]byte(`{"event":{"event_type":"pagey.ping"}}`))
	f.Add([]byte(`{"event":{"event_type":"incident.triggered","data":null}}`))
	f.Add([]byte(strings.Repeat(`{"event":`, 100)))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := parse(body)
		if err != nil {
			return
		}
		require.NotEmpty(t, d.eventType)
		require.NotContains(t, d.title+d.eventType+d.url, "\n")
		require.LessOrEqual(t, len([]rune(d.title)), 255)
		require.True(t, d.url == "" || strings.HasPrefix(d.url, "https://"), d.url)
		if d.eventType == "incident.triggered" {
			require.Regexp(t, `^[A-Za-z0-9_-]{1,64}$`, d.incident)
			require.Regexp(t, `^[A-Za-z0-9_-]{1,64}$`, d.service)
			require.False(t, d.at.IsZero())
		}
	})
}

// What is believed holds the one signature that fits.
func FuzzVerify(f *testing.F) {
	good := signature(hookSecret, []byte("{}"))
	f.Add(good, []byte("{}"))
	f.Add("v1=00,"+good, []byte("{}"))
	f.Add(",v1=,=v1", []byte(nil))
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		if verify(hookSecret, []string{header}, body) {
			require.Contains(t, strings.ToLower(header), signature(hookSecret, body))
		}
		require.True(t, verify(hookSecret, []string{signature(hookSecret, body)}, body))
		require.False(t, verify("", []string{signature("", body)}, body))
	})
}

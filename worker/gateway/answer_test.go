package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/workflows/run"
)

func TestApproveOnThePage(t *testing.T) {
	t.Parallel()
	w := started(t, nil)
	b := w.browser(t)
	v := b.signInAs("ada-1", w).hidden(t, "decision", "approve")
	require.Equal(t, planHash, v.Get("plan"), "the form is for the plan that is shown")
	v.Set("reason", "change 4711\r\nagreed")
	answer := b.post(run.PagePath(shopID, shopIn), v)
	require.Equal(t, http.StatusOK, answer.code, answer.body)
	require.Contains(t, answer.body, "approve counted")
	d := w.runs.decided[0]
	require.Equal(t, "ada", d.Approver)
	require.Equal(t, "page", d.Channel)
	require.Equal(t, "oidc:"+w.issuer.URL+"#ada-1", d.Vouched)
	require.Equal(t, "change 4711\nagreed", d.Reason)

	require.Contains(t, b.post(run.PagePath(shopID, shopIn), v).body, "approve counted", "sent again, it is the same decision")
	require.Equal(t, w.runs.decided[0].Nonce, w.runs.decided[1].Nonce)
	v.Del("decision")
	v.Set("decision", "reject")
	require.Contains(t, b.post(run.PagePath(shopID, shopIn), v).body, "no gate is open", "and never the answer to another one")
}

func TestOperateOnThePage(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"retry", "skip", "abort", "pause"} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			w := started(t, nil)
			b := w.browser(t)
			b.signInAs("ada-1", w)
			shown := b.get("/runs/failover:stock/0199c1f4-0000-7cc1-b2a8-3a1a3d0e5a32")
			require.Equal(t, http.StatusOK, shown.code)
			v := shown.hidden(t, "action", action)
			v.Set("reason", "host is back")
			if action == "retry" {
				v.Set("set", "timeout = 2m\n")
			}
			answer := b.post("/runs/failover:stock/0199c1f4-0000-7cc1-b2a8-3a1a3d0e5a32", v)
			require.Equal(t, http.StatusOK, answer.code, answer.body)
			require.Contains(t, answer.body, action+" counted")
			told := w.runs.told[0]
			require.Equal(t, action, told.Action)
			require.Equal(t, action == "retry", told.Set["timeout"] == "2m")
		})
	}
}

func TestAnswersThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		subject string // default ada-1
		change  func(url.Values)
		header  []string
		breaks  func(*world)
		code    int
		want    string
		sent    int // to the run
	}{
		"from another site":       {header: []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example.org"}, code: 403, want: "came from another site"},
		"from another origin":     {header: []string{"Sec-Fetch-Site", "", "Origin", "https://evil.example.org"}, code: 403, want: "came from another site"},
		"no CSRF token":           {change: func(v url.Values) { v.Del("csrf") }, code: 403, want: "not made for this sign-in"},
		"another's CSRF token":    {change: func(v url.Values) { v.Set("csrf", "AAAAAAAAAAAAAAAAAAAAAAAAAA") }, code: 403, want: "not made for this sign-in"},
		"no session any more":     {breaks: func(w *world) { w.clock.pass(w.opts.Session) }, code: 401, want: "Nothing was done"},
		"too big":                 {change: func(v url.Values) { v.Set("reason", strings.Repeat("a", maxForm)) }, code: 413, want: "bytes"},
		"a long reason":           {change: func(v url.Values) { v.Set("reason", strings.Repeat("a", maxReason+1)) }, code: 422, want: "longer than"},
		"reject without a reason": {change: func(v url.Values) { v.Set("decision", "reject") }, code: 422, want: "say why you reject"},
		"no button":               {change: func(v url.Values) { v.Del("decision") }, code: 422, want: "not complete"},
		"a plan that changed":     {breaks: func(w *world) { w.replan("shop") }, code: 409, want: "for another plan", sent: 1},
		"a viewer":                {subject: "bo-2", code: 409, want: "may not decide", sent: 1},
		"a stranger":              {subject: "mal-4", code: 409, want: "is nobody of estate shop", sent: 1},
		"nobody knows":            {breaks: func(w *world) { w.runs.late = errors.New("deadline exceeded") }, code: 502, want: "Nobody knows whether it counts", sent: 1},
		"an unknown run":          {breaks: func(w *world) { delete(w.runs.status, shopID) }, code: 409, want: "has ended or is unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := started(t, nil)
			b := w.browser(t)
			subject := "ada-1"
			if tt.subject != "" {
				subject = tt.subject
			}
			shown := b.signInAs(subject, w)
			v := url.Values{"csrf": {csrfOf(t, shown)}, "nonce": {"n1"}, "gate": {"approve"}, "plan": {planHash}, "decision": {"approve"}}
			if tt.change != nil {
				tt.change(v)
			}
			if tt.breaks != nil {
				tt.breaks(w)
			}
			answer := b.post(run.PagePath(shopID, shopIn), v, tt.header...)
			require.Equal(t, tt.code, answer.code, answer.body)
			require.Contains(t, answer.body, tt.want)
			require.Len(t, w.runs.decided, tt.sent)
			if status, there := w.runs.status[shopID]; there {
				require.Len(t, status.Gates, 1, "nothing changed")
			}
		})
	}
}

// replan gives a run a new plan between the page and the button.
func (w *world) replan(estate string) {
	w.runs.mu.Lock()
	defer w.runs.mu.Unlock()
	s := w.runs.status["failover:"+estate]
	s.Gates[0].PlanHash = strings.Repeat("0000", 16)
}

func TestFormsAreForThoseWhoMay(t *testing.T) {
	t.Parallel()
	w := started(t, nil)
	viewer := w.browser(t)
	shown := viewer.signInAs("bo-2", w)
	require.NotContains(t, shown.body, `name="decision"`)
	require.NotContains(t, shown.body, `name="action"`)
	require.Contains(t, shown.body, "deciding takes the role approver")
	w.replan("shop")
	ada := w.browser(t)
	shown = ada.signInAs("ada-1", w)
	require.NotContains(t, shown.body, `name="decision"`, "a plan that is not shown cannot be decided on")
	require.Contains(t, shown.body, "cannot be decided on")
	require.Contains(t, shown.body, `name="action"`)
}

func TestRunsThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	w := started(t, nil)
	b := w.browser(t)
	b.signInAs("ada-1", w)
	list := b.get("/")
	require.Less(t, strings.Index(list.body, "Move the shop"), strings.Index(list.body, "follow/orders"))
	require.Contains(t, list.body, "failover:quiet")
	require.Equal(t, 1+2, w.runs.statuses, "the run's page, and the two that wait: neither the quiet one nor another estate's")
	w.runs.mu.Lock()
	w.runs.down = errors.New("connection refused to 10.0.0.9:7233")
	w.runs.mu.Unlock()
	for _, path := range []string{"/", run.PagePath(shopID, shopIn), "/runs/" + shopID} {
		answer := b.get(path)
		require.Equal(t, http.StatusBadGateway, answer.code)
		require.NotContains(t, answer.body, "10.0.0.9", "what is inside stays inside")
	}
	require.Contains(t, w.log.String(), "10.0.0.9")
}

func TestClustersWithoutOurAttributesAreListed(t *testing.T) {
	t.Parallel()
	w := started(t, nil)
	for i := range w.runs.open {
		w.runs.open[i].State, w.runs.open[i].Estate = "", "whatever the ID says"
	}
	b := w.browser(t)
	b.signInAs("ada-1", w)
	list := b.get("/")
	require.Contains(t, list.body, "Move the shop")
	require.Contains(t, list.body, "failover:quiet")
	require.NotContains(t, list.body, "vault")
}

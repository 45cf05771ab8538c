package gateway

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

func click(change func(*activities.Word)) activities.Word {
	w := activities.Word{WorkflowID: shopID, RunID: shopIn, Gate: "approve", PlanHash: planHash, Decision: "approve", Reason: "change 4711",
		Channel: "slack", Who: []string{"slack:T0SHOP/U0ADA"}, Nonce: "n1"}
	if change != nil {
		change(&w)
	}
	return w
}

func TestADecisionIsSignedAndSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	answer, accepted, err := w.Hear(t.Context(), click(nil))
	require.NoError(t, err)
	require.True(t, accepted, answer) // the fake run checks the signature
	require.Equal(t, "approve counted", answer)
	d := w.runs.decided[0]
	require.Equal(t, "ada", d.Approver)
	require.Equal(t, "door", d.Gateway)
	require.Equal(t, "slack:T0SHOP/U0ADA", d.Vouched)
	require.Equal(t, "slack:n1", d.Nonce)
	require.Equal(t, noon, d.Time)

	again, accepted, err := w.Hear(t.Context(), click(nil))
	require.NoError(t, err)
	require.True(t, accepted)
	require.Equal(t, answer, again, "a click that is delivered twice is one")
}

func TestAnInterventionIsSignedAndSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	answer, accepted, err := w.Hear(t.Context(), activities.Word{WorkflowID: "failover:stock", Step: "follow/orders", Action: "retry",
		Set: map[string]string{"timeout": "2m"}, Reason: "host is back", Channel: "slack", Who: []string{"slack:T0SHOP/U0CLEO"}, Nonce: "n1"})
	require.NoError(t, err)
	require.True(t, accepted, answer)
	v := w.runs.told[0]
	require.Equal(t, "cleo", v.Author)
	require.Equal(t, map[string]string{"timeout": "2m"}, v.Set)
	require.Equal(t, "door", v.Gateway)
}

func TestHearRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change   func(*activities.Word)
		want     string
		approver string // as the run was sent it; empty: nothing was sent
	}{
		"a stranger":         {func(w *activities.Word) { w.Who = []string{"slack:T0SHOP/U0MAL"} }, "slack:T0SHOP/U0MAL is nobody of estate shop", "slack:T0SHOP/U0MAL"},
		"another team":       {func(w *activities.Word) { w.Who = []string{"slack:T0EVIL/U0ADA"} }, "is nobody of estate shop", "slack:T0EVIL/U0ADA"},
		"two people":         {func(w *activities.Word) { w.Who = []string{"email:twin@example.com"} }, "is several people of estate shop: twig, twin", "email:twin@example.com"},
		"a person's name":    {func(w *activities.Word) { w.Who = []string{"ada"} }, "is nobody", "unknown:ada"},
		"an empty address":   {func(w *activities.Word) { w.Who = []string{"email:"} }, "is nobody", "email:"},
		"the wrong plan":     {func(w *activities.Word) { w.PlanHash = "0" }, "for another plan", "ada"},
		"a viewer":           {func(w *activities.Word) { w.Who = []string{"email:bo@example.com"} }, "may not decide", "bo"},
		"nobody":             {func(w *activities.Word) { w.Who = nil }, "nobody vouches", ""},
		"no nonce":           {func(w *activities.Word) { w.Nonce = "" }, "nonce", ""},
		"both":               {func(w *activities.Word) { w.Action = "abort" }, "neither", ""},
		"neither":            {func(w *activities.Word) { w.Decision = "" }, "neither", ""},
		"an unknown run":     {func(w *activities.Word) { w.WorkflowID = "failover:none" }, "has ended or is unknown", ""},
		"no run":             {func(w *activities.Word) { w.WorkflowID = "" }, "names no run", ""},
		"somebody's old run": {func(w *activities.Word) { w.RunID = "0199c1f4-0000-0000-0000-000000000000" }, "has ended or is unknown", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			answer, accepted, err := w.Hear(t.Context(), click(tt.change))
			require.NoError(t, err)
			require.False(t, accepted)
			require.Contains(t, answer, tt.want)
			if tt.approver == "" {
				require.Empty(t, w.runs.decided)
				return
			}
			require.Len(t, w.runs.decided, 1, "the refusal is recorded by the run")
			require.Equal(t, tt.approver, w.runs.decided[0].Approver)
			require.Len(t, w.runs.status[shopID].Gates, 1, "and nothing changed")
		})
	}
}

func TestNobodyKnows(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]func(*fakeRuns){
		"the run does not answer":    func(f *fakeRuns) { f.down = errors.New("deadline exceeded") },
		"the update is not answered": func(f *fakeRuns) { f.late = errors.New("deadline exceeded") },
		"the estate cannot be read":  func(f *fakeRuns) { delete(f.estates, "shop") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			breaks(w.runs)
			_, accepted, err := w.Hear(t.Context(), click(nil))
			require.Error(t, err)
			require.False(t, accepted)
		})
	}
}

func TestWhoMatches(t *testing.T) {
	t.Parallel()
	ada := runbooks.Person{OIDC: "https://login.example.org#Ab1", Slack: "T0/U0", Email: "Ada@Example.com"}
	for name, tt := range map[string]struct {
		person runbooks.Person
		who    []string
		want   string
	}{
		"slack":                             {ada, []string{"slack:T0/U0"}, "slack:T0/U0"},
		"slack in other letters":            {ada, []string{"slack:t0/u0"}, ""},
		"oidc":                              {ada, []string{"email:x@y", "oidc:https://login.example.org#Ab1"}, "oidc:https://login.example.org#Ab1"},
		"a subject is case-sensitive":       {ada, []string{"oidc:https://login.example.org#ab1"}, ""},
		"another issuer":                    {ada, []string{"oidc:https://evil.example.org#Ab1"}, ""},
		"email":                             {ada, []string{"email:ada@example.COM"}, "email:ada@example.COM"},
		"email where oidc is not listed":    {runbooks.Person{Email: "a@b"}, []string{"oidc:i#s", "email:a@b"}, "email:a@b"},
		"email of somebody else's subject":  {ada, []string{"oidc:https://login.example.org#new", "email:ada@example.com"}, ""},
		"email of somebody else's slack":    {ada, []string{"slack:T0/U9", "email:ada@example.com"}, ""},
		"email that only folds to the same": {runbooks.Person{Email: "kim@example.com"}, []string{"email:\u212aim@example.com"}, ""},
		"nothing listed, nothing said":      {runbooks.Person{}, []string{"email:", "slack:", "oidc:"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, matches(tt.person, tt.who))
		})
	}
}

func TestAnswersAreMeasured(t *testing.T) {
	t.Parallel()
	w := started(t, nil)
	for _, change := range []func(*activities.Word){nil, func(c *activities.Word) { c.Who = []string{"slack:T0/U0"}; c.Nonce = "n2" }} {
		_, _, err := w.Hear(t.Context(), click(change))
		require.NoError(t, err)
	}
	w.clock.pass(time.Second)
	metrics := w.browser(t).get("/metrics")
	require.Contains(t, metrics.body, `muster_gateway_decisions_total{channel="slack",outcome="accepted"} 1`)
	require.Contains(t, metrics.body, `muster_gateway_decisions_total{channel="slack",outcome="refused"} 1`)
	require.Contains(t, metrics.body, `muster_gateway_answer_seconds_count{channel="slack"} 2`)
}

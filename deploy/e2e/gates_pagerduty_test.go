package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

const (
	routingKey  = "r0utingkey0fthe5hop0000000000000" // 32 characters
	hookSecret  = "the secret of the webhook subscription"
	theIncident = "PINCIDENT1"
	theBook     = "incident-shop"
)

// pager is not PagerDuty: it counts what the Events API v2 would take. The strict emulator is activities/pagerduty's own.
type pager struct {
	mu     sync.Mutex
	events []string // action and dedup key, in order
	status int      // it answers; 0: 202
	slow   chan struct{}
}

func (p *pager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slow := p.slow; slow != nil {
		p.mu.Unlock()
		<-slow
		p.mu.Lock()
	}
	if p.status != 0 {
		w.WriteHeader(p.status)
		return
	}
	var e struct {
		RoutingKey string `json:"routing_key"`
		Action     string `json:"event_action"`
		Key        string `json:"dedup_key"`
	}
	change := r.URL.Path == "/v2/change/enqueue"
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil || e.RoutingKey != routingKey || !change && (r.URL.Path != "/v2/enqueue" || e.Key == "") {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if !change {
		p.events = append(p.events, e.Action+" "+e.Key)
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"status": "success", "dedup_key": %q}`, e.Key)
}

func (p *pager) answer(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = status
}

// hang has nothing answered until resume.
func (p *pager) hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow = make(chan struct{})
}

func (p *pager) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.slow != nil {
		close(p.slow)
		p.slow = nil
	}
}

// of lists the actions that were taken with a key.
func (p *pager) of(key string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var actions []string
	for _, e := range p.events {
		if action, about, _ := strings.Cut(e, " "); about == key {
			actions = append(actions, action)
		}
	}
	return actions
}

// notify is the pager as a notifier.
func (p *pager) notify(t *testing.T, g *gated) runbooks.Notifier {
	server := httptest.NewServer(p)
	t.Cleanup(func() { p.resume(); server.Close() })
	return runbooks.Notifier{Kind: "pagerduty", PagerDuty: &runbooks.PagerDutyNotifier{RoutingKey: g.secret(t, routingKey), Events: server.URL}}
}

// withIncidents has the gateway hear PagerDuty, and tells of gates by PagerDuty and by e-mail too.
func withIncidents(t *testing.T, p *pager, mail *sink) func(*gated, *runbooks.Estate) {
	return func(g *gated, e *runbooks.Estate) {
		e.Gateways["main"].Serve.PagerDuty = &runbooks.GatewayPagerDuty{Secret: g.secret(t, hookSecret), Services: map[string]string{"PSHOP": theBook}}
		e.Notifiers["pager"] = p.notify(t, g)
		e.Notifiers["mail"] = mail.notify(t, g)
		e.Notices = append(e.Notices, runbooks.NoticeRule{To: []string{"pager"}}, runbooks.NoticeRule{Events: []string{"gate-opened"}, To: []string{"mail"}})
	}
}

// hear delivers a webhook of version 3, signed as PagerDuty signs it.
func (g *gated) hear(t *testing.T, service, key string) int {
	t.Helper()
	body, err := json.Marshal(map[string]any{"event": map[string]any{"id": "01", "event_type": "incident.triggered", "resource_type": "incident",
		"occurred_at": time.Now().UTC(), "data": map[string]any{"id": theIncident, "type": "incident", "title": "orders do not answer", "incident_key": "other-monitoring",
			"html_url": "https://acme.pagerduty.com/incidents/" + theIncident, "service": map[string]any{"id": service, "type": "service_reference"}}}})
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.engine.Gateway+"/pagerduty", strings.NewReader(string(body)))
	require.NoError(t, err)
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = mac.Write(body) // a hash takes all
	r.Header.Set("X-PagerDuty-Signature", "v1="+hex.EncodeToString(mac.Sum(nil)))
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	return answer.StatusCode
}

// incident is a night: PagerDuty starts a runbook, which waits at its gate. Kim types the line that came by e-mail, lou signs with
// ssh-keygen and sends by what the temporal CLI calls, and PagerDuty's incident of the gate is resolved.
func incident(t *testing.T, g *gated, p *pager, mail *sink) {
	_, there := g.sites(t)
	g.book(t, theBook, "{roles: [approver], count: 2}", "")
	letters := len(mail.got())
	require.Equal(t, 401, g.hear(t, "PSHOP", "another secret"))
	require.Equal(t, 200, g.hear(t, "PSHOP", hookSecret))
	require.Equal(t, 200, g.hear(t, "PSHOP", hookSecret), "delivered again")
	x := execution{WorkflowID: "failover:shop:pagerduty-" + theIncident}
	d, err := g.temporal.DescribeWorkflowExecution(t.Context(), x.WorkflowID, "")
	require.NoError(t, err)
	x.RunID = d.GetWorkflowExecutionInfo().GetExecution().GetRunId()
	g.follow(t, x)
	gate := g.gate(t, x, "approve")
	key := "muster/" + x.RunID + "/gate/approve"
	awaited(t, "PagerDuty to be told", 20*time.Second, func() (any, bool) { got := p.of(key); return got, slices.Equal(got, []string{"trigger"}) })

	line := mail.line(t, letters, "muster approve ")
	require.Equal(t, fmt.Sprintf("muster approve %s --gate approve --plan %s", x.WorkflowID, gate.PlanHash), line)
	cmd := exec.Command("sh", "-c", line)
	cmd.Env = append(environment(g.worker, "kim"), "PATH="+bin+":"+os.Getenv("PATH"), "MUSTER_KEY="+g.keys["kim"])
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "counted: 1 of 2")
	awaited(t, "PagerDuty to be told", 20*time.Second, func() (any, bool) {
		got := p.of(key)
		return got, slices.Equal(got, []string{"trigger", "acknowledge"})
	})

	require.Equal(t, "approved: approve", g.byHand(t, x, "lou", gate.PlanHash))
	_, entries := g.ended(t, x, journal.Passed)
	require.Equal(t, "pagerduty https://acme.pagerduty.com/incidents/"+theIncident, entries[0].Channel)
	var who []string
	for _, e := range decided(entries) {
		require.Contains(t, e.Identity, "signed:SHA256:")
		who = append(who, e.Author+" "+e.Channel)
	}
	require.Equal(t, []string{"kim cli", "lou temporal"}, who)
	awaited(t, "PagerDuty to be told", time.Minute, func() (any, bool) {
		got := p.of(key)
		return got, slices.Equal(got, []string{"trigger", "acknowledge", "resolve"})
	})
	g.requireSettled(t, there)

	require.Equal(t, 200, g.hear(t, "PSHOP", hookSecret), "delivered once more")
	require.Equal(t, 200, g.hear(t, "PNOBODYS", hookSecret), "a service without a runbook")
	runs, err := g.temporal.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Query: fmt.Sprintf("WorkflowId STARTS_WITH '%s'", "failover:shop:pagerduty")})
	require.NoError(t, err)
	require.EqualValues(t, 1, runs.GetCount())
}

// byHand approves without muster, as `muster help signing` says: ssh-keygen signs a text that was written by hand, and what the
// temporal CLI calls sends it. It returns the run's answer.
func (g *gated) byHand(t *testing.T, x execution, name, plan string) string {
	t.Helper()
	at := time.Now().UTC().Format("2006-01-02T15:04:05Z")
	file := filepath.Join(t.TempDir(), "decision.txt")
	text := fmt.Sprintf("muster decision v1\nworkflow %q\nrun %q\ngate \"approve\"\nplan %q\ndecision \"approve\"\napprover %q\nreason \"by hand\"\nchannel \"temporal\"\ntime %q\nnonce \"b1946ac92492d234\"\n",
		x.WorkflowID, x.RunID, plan, name, at)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	out, err := exec.Command("ssh-keygen", "-Y", "sign", "-n", "muster", "-f", g.keys[name], file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	signature, err := os.ReadFile(file + ".sig")
	require.NoError(t, err)
	return g.update(t, x, map[string]string{"gate": "approve", "plan_hash": plan, "decision": "approve", "approver": name, "reason": "by hand",
		"channel": "temporal", "time": at, "nonce": "b1946ac92492d234", "signature": string(signature)}).Message
}

package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

const hookKey = "the key of the hook's signature"

// hook is a receiver of webhooks as a team would write one: it checks the signature with nothing of muster's, and knows by the
// idempotency key what it had before.
type hook struct {
	url string

	mu     sync.Mutex
	events []string // of notices that came for the first time, in order
	seen   map[string]int
	answer func(event string) int // its status
}

func openHook(t *testing.T) *hook {
	h := &hook{seen: map[string]int{}, answer: answering(http.StatusNoContent)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		at, signature, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Muster-Signature"), "t="), ",v1=")
		mac := hmac.New(sha256.New, []byte(hookKey))
		_, _ = mac.Write([]byte(at + "." + string(body))) // a hash takes all
		if hex.EncodeToString(mac.Sum(nil)) != signature {
			t.Errorf("a webhook with a wrong signature: %q", r.Header.Get("Muster-Signature"))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var n struct{ ID, Event, Verdict string }
		if err := json.Unmarshal(body, &n); err != nil || n.ID != r.Header.Get("Idempotency-Key") {
			t.Errorf("a webhook that cannot be read: %v: %s", err, body)
		}
		h.mu.Lock()
		answer := h.answer
		h.mu.Unlock()
		status := answer(n.Event)
		h.mu.Lock()
		defer h.mu.Unlock()
		if status < 300 {
			if h.seen[n.ID]++; h.seen[n.ID] == 1 {
				h.events = append(h.events, strings.TrimSpace(n.Event+" "+n.Verdict))
			}
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

func answering(status int) func(string) int { return func(string) int { return status } }

func (h *hook) set(answer func(event string) int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

func (h *hook) heard() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// notify adds the hook to the shop's estate, for all that happens but progress.
func (s *shop) notify(t *testing.T, h *hook) {
	t.Helper()
	key := filepath.Join(s.state, "hook.key")
	require.NoError(t, os.WriteFile(key, []byte(hookKey+"\n"), 0o600))
	s.addToEstate(t, fmt.Sprintf("notifiers:\n  hook:\n    kind: webhook\n    webhook: {url: %s, key: 'file:%s'}\nnotices:\n  - to: [hook]\n", h.url, key))
}

func (s *shop) addToEstate(t *testing.T, text string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(s.sandbox.Runbooks(), "shop.estate.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString("\n" + text)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	s.ok(t, "validate", s.sandbox.Runbooks())
}

// TestNotices is about a notifier that is there, is down, is slow, and about a worker that is killed while it tells.
func TestNotices(t *testing.T) {
	t.Parallel()
	s, h := openShop(t), openHook(t)
	s.notify(t, h)
	told := []string{"gate-opened", "gate-closed", "finished passed"}
	heard := func() {
		require.Equal(t, told, awaited(t, "all notices", time.Minute, func() ([]string, bool) { got := h.heard(); return got, len(got) >= len(told) }))
		h.mu.Lock()
		h.events = nil
		h.mu.Unlock()
	}
	moved := func(t *testing.T) (execution, []journal.Entry, int64) {
		here, there := s.sites(t)
		x := s.begin(t, runbook(here, ""))
		s.approve(t, x, "approve")
		r, entries := s.ended(t, x, journal.Passed)
		s.requireSettled(t, there)
		return x, entries, r.Measures[0].OutageMs
	}
	missing := func(entries []journal.Entry) (found []string) {
		for _, e := range entries {
			if e.Kind == journal.Notified && e.Outcome == journal.Failed {
				found = append(found, e.Message)
			}
		}
		return found
	}
	_, entries, usual := moved(t)
	heard()
	require.Empty(t, missing(entries))

	// Down. The run goes on, says what did not arrive, and it arrives when the receiver is back.
	h.set(answering(http.StatusInternalServerError))
	x, entries, outage := moved(t)
	require.NotEmpty(t, missing(entries))
	require.Contains(t, missing(entries)[0], "500")
	require.Empty(t, h.heard())
	h.set(answering(http.StatusNoContent))
	heard()
	t.Logf("outage %d ms with a notifier, %d ms with one that is down", usual, outage)
	left := "notices:" + x.WorkflowID + ":" + x.RunID
	awaited(t, "the notices' workflow to end", time.Minute, func() (any, bool) {
		d, err := s.temporal.DescribeWorkflowExecution(t.Context(), left, "")
		return err, err == nil && d.GetWorkflowExecutionInfo().GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_COMPLETED
	})
	s.save(t, left, "", "notices-down-and-back")
	s.save(t, x.WorkflowID, x.RunID, "failover-notices")

	// Slow: no answer comes before the move is over.
	release := make(chan struct{})
	h.set(func(string) int { <-release; return http.StatusNoContent })
	_, _, outage = moved(t)
	t.Logf("outage %d ms with a notifier that is slow", outage)
	close(release)
	heard()

	// The worker dies while it tells, and nobody hears the same twice.
	var once sync.Once
	h.set(func(event string) int {
		if event == "gate-closed" {
			once.Do(func() { _ = s.cmd.Process.Kill(); <-s.exited })
		}
		return http.StatusNoContent
	})
	here, there := s.sites(t)
	x = s.begin(t, runbook(here, ""))
	g := s.gate(t, x, "approve")
	require.NoError(t, s.temporal.SignalWorkflow(t.Context(), x.WorkflowID, x.RunID, run.UpdateDecide, // an update's answer would die with the worker
		run.Decision{Gate: g.Name, PlanHash: g.PlanHash, Decision: "approve", Approver: "kim"}))
	<-s.exited
	s.temporal.Close()
	s.start(t)
	s.ended(t, x, journal.Passed)
	s.requireSettled(t, there)
	heard()
	h.mu.Lock()
	defer h.mu.Unlock()
	again := 0
	for _, times := range h.seen {
		again += times - 1
	}
	require.Positive(t, again, "it was sent again, under the same key")
}

package pagerduty

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"

	"al.essio.dev/pkg/shellescape"
	"github.com/PagerDuty/go-pagerduty"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// Limits of the Events API v2, and of what people read.
const (
	maxKey     = 255
	maxSummary = 1024
	maxText    = 4000
	maxSteps   = 50
	ownPrefix  = "muster/" // of dedup keys: the Handler knows muster's own incidents by it
	ownClient  = "muster"
)

// dedupKey is the same for all notices of one run about one thing.
func dedupKey(n activities.Notice) string {
	key := ownPrefix + n.Header.RunID + "/" + about(n)
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		key = ownPrefix + hex.EncodeToString(sum[:])
	}
	return key
}

// about is the subject without the run's ID, which it may begin with.
func about(n activities.Notice) string { return strings.TrimPrefix(n.Subject, n.Header.RunID+"/") }

// actionOf is the event_action of a notice; empty: none is sent.
func actionOf(n activities.Notice) string {
	switch n.Event {
	case activities.EventGateOpened, activities.EventGateReminded, activities.EventGateEscalated, activities.EventHeld:
		return "trigger" // of a known key: adds to the alert, and pages anew only where somebody resolved it by hand
	case activities.EventGateDecided:
		return "acknowledge"
	case activities.EventGateClosed, activities.EventGateExpired, activities.EventReleased:
		return "resolve"
	case activities.EventFinished:
		if n.Severity == runbooks.Critical { // failed, or aborted halfway: resolved, nobody would hear of it
			return "trigger"
		}
		return "resolve"
	}
	return ""
}

func severity(s runbooks.Severity) string {
	switch s {
	case runbooks.Critical, runbooks.Warning, runbooks.Info:
		return string(s)
	}
	return "error"
}

// details are what a person who is paged reads first; in the order of importance.
type details struct {
	Text         string   `json:"text,omitempty"`
	Risk         string   `json:"risk,omitempty"`
	ExpectedLoss string   `json:"expected_loss,omitempty"`
	Deadline     string   `json:"deadline,omitempty"`
	Who          []string `json:"who_may_decide,omitempty"`
	Approve      string   `json:"approve,omitempty"` // exact commands
	Reject       string   `json:"reject,omitempty"`
	Step         string   `json:"step,omitempty"`
	Why          string   `json:"why,omitempty"`
	Retry        string   `json:"go_on,omitempty"`
	Steps        []string `json:"steps,omitempty"`
	PlanHash     string   `json:"plan_hash,omitempty"`
	Runbook      string   `json:"runbook,omitempty"`
	From         string   `json:"from,omitempty"`
	To           string   `json:"to,omitempty"`
	RequestedBy  string   `json:"requested_by,omitempty"`
	Run          string   `json:"run"`
	Notice       string   `json:"notice"`
}

func event(n activities.Notice, action, routing string) *pagerduty.V2Event {
	e := &pagerduty.V2Event{RoutingKey: routing, Action: action, DedupKey: dedupKey(n)}
	if action != "trigger" {
		return e // the API takes no more for these
	}
	e.Client, e.ClientURL = ownClient, n.Page
	if n.Page != "" {
		e.Links = []any{pagerduty.ChangeEventLink{Href: n.Page, Text: "The run in muster"}}
	}
	e.Payload = &pagerduty.V2Payload{Summary: summary(n), Source: source(n), Severity: severity(n.Severity), Timestamp: n.At.UTC().Format(time.RFC3339Nano),
		Component: about(n), Group: n.Header.Runbook, Class: string(n.Event), Details: detailsOf(n)}
	return e
}

func detailsOf(n activities.Notice) details {
	h := n.Header
	d := details{Text: cut(n.Text, maxText), Runbook: h.Runbook, From: h.From, To: h.To, RequestedBy: h.RequestedBy, Run: h.WorkflowID, Notice: n.ID}
	if g := n.Gate; g != nil {
		d.Risk, d.Who, d.PlanHash = cut(g.Risk, maxText), g.Who, g.PlanHash
		if !g.Deadline.IsZero() {
			d.Deadline = g.Deadline.UTC().Format(time.RFC3339)
		}
		d.Approve, d.Reject = decide("approve", n), decide("reject", n)
		if g.Plan != nil {
			d.ExpectedLoss = cut(g.Plan.ExpectedLoss, maxText)
			d.Steps = steps(g.Plan.Steps)
		}
	}
	if hold := n.Hold; hold != nil {
		d.Step, d.Why = hold.Step, cut(hold.Why, maxText)
		if hold.Step != "" {
			d.Retry = shellescape.QuoteCommand([]string{"muster", "retry", h.WorkflowID, hold.Step})
		} else {
			d.Retry = shellescape.QuoteCommand([]string{"muster", "resume", h.WorkflowID})
		}
	}
	if d.Text == d.Risk || d.Text == d.Why {
		d.Text = ""
	}
	return d
}

func decide(decision string, n activities.Notice) string {
	return shellescape.QuoteCommand([]string{"muster", decision, n.Header.WorkflowID, "--gate", n.Gate.Name, "--plan", n.Gate.PlanHash})
}

func steps(all []journal.PlanStep) []string {
	var lines []string
	for i, step := range all {
		if i == maxSteps {
			return append(lines, fmt.Sprintf("and %d more", len(all)-maxSteps))
		}
		line := fmt.Sprintf("%d. %s", i+1, step.Title)
		if step.NoReturn {
			line += " (point of no return)"
		}
		lines = append(lines, oneLine(line, 300))
	}
	return lines
}

func change(n activities.Notice, routing string) pagerduty.ChangeEvent {
	custom := map[string]any{"run": n.Header.WorkflowID, "run_id": n.Header.RunID, "runbook": n.Header.Runbook, "operation": n.Header.Operation,
		"verdict": string(n.Verdict), "requested_by": n.Header.RequestedBy, "notice": n.ID}
	if n.Header.From != "" {
		custom["from"], custom["to"] = n.Header.From, n.Header.To
	}
	if n.Text != "" {
		custom["text"] = cut(n.Text, maxText)
	}
	for _, m := range n.Measures {
		if m.Measured {
			custom["measured "+m.System] = fmt.Sprintf("outage %d ms, %d acknowledged writes missing", m.OutageMs, m.Missing)
		}
	}
	e := pagerduty.ChangeEvent{RoutingKey: routing, Payload: pagerduty.ChangeEventPayload{Summary: summary(n), Source: source(n),
		Timestamp: n.At.UTC().Format(time.RFC3339Nano), CustomDetails: custom}}
	if n.Page != "" {
		e.Links = []pagerduty.ChangeEventLink{{Href: n.Page, Text: "The run in muster"}}
	}
	return e
}

// noteText is plain text: PagerDuty renders nothing in notes.
func noteText(n activities.Notice) string {
	lines := []string{summary(n)}
	if n.Text != "" {
		lines = append(lines, cut(n.Text, maxText))
	}
	if n.Gate != nil {
		for _, d := range n.Gate.Decisions {
			line := fmt.Sprintf("%s: %s (by %s, %s)", d.Approver, d.Decision, d.Channel, d.At.UTC().Format(time.RFC3339))
			if d.Reason != "" {
				line += ": " + d.Reason
			}
			lines = append(lines, oneLine(line, 1000))
		}
	}
	if n.Hold != nil && n.Hold.Released != "" {
		lines = append(lines, oneLine(n.Hold.Released, 1000))
	}
	if n.Page != "" {
		lines = append(lines, n.Page)
	}
	return strings.Join(append(lines, mark(n)), "\n")
}

func summary(n activities.Notice) string {
	if text := oneLine(n.Title, maxSummary); text != "" {
		return text
	}
	return oneLine(string(n.Event)+" "+n.Header.WorkflowID, maxSummary) // the API refuses an empty one
}

func source(n activities.Notice) string {
	if n.Header.Estate != "" {
		return n.Header.Estate
	}
	return ownClient
}

// oneLine makes one line of text, of at most limit characters.
func oneLine(text string, limit int) string {
	return cut(strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " "), limit)
}

func cut(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit-1]) + "…"
}

package activities

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// Announce is the activity that tells people something: AnnounceInput -> Receipt.
const Announce = "Announce"

// Event is what a notice is about.
type Event string

// Events that people are told of.
const (
	EventGateOpened    Event = "gate-opened"
	EventGateReminded  Event = "gate-reminded" // half of the time to the deadline is over
	EventGateDecided   Event = "gate-decided"  // a decision counted, and the gate wants more
	EventGateClosed    Event = "gate-closed"   // approved, rejected or canceled
	EventGateExpired   Event = "gate-expired"
	EventGateEscalated Event = "gate-escalated" // nobody decided in time: other people are asked now
	EventHeld          Event = "held"           // a step's retries are spent, or somebody paused the run
	EventReleased      Event = "released"       // what was held goes on
	EventProgress      Event = "progress"       // a step ended
	EventFinished      Event = "finished"       // with a verdict
)

// Notice is one message to people. The same notice may be sent more than once and must arrive once.
type Notice struct {
	// ID is the same for every attempt: the idempotency key. Of the run and the journal's entry: "0199c1f4.../17".
	ID string `json:"id"`
	// Subject is shared by the notices about one thing: a gate, a held step, the run. Where a channel can, a later notice
	// of a subject changes the message of the first one.
	Subject  string            `json:"subject"`
	Event    Event             `json:"event"`
	Severity runbooks.Severity `json:"severity"`
	At       time.Time         `json:"at"`
	Header   journal.Header    `json:"header"`
	Title    string            `json:"title"`          // one line
	Text     string            `json:"text,omitempty"` // more, for people; plain text
	Gate     *NoticeGate       `json:"gate,omitempty"`
	Hold     *NoticeHold       `json:"hold,omitempty"`
	Verdict  journal.Verdict   `json:"verdict,omitempty"`
	Measures []journal.Measure `json:"measures,omitempty"`
	Step     string            `json:"step,omitempty"` // progress: its ID
	Page     string            `json:"page,omitempty"` // the gateway's page of this run; empty where no gateway is configured
}

// NoticeGate is a gate as it stands when the notice is made.
type NoticeGate struct {
	Name      string            `json:"name"`
	Title     string            `json:"title"`
	Risk      string            `json:"risk,omitempty"`
	PlanHash  string            `json:"plan_hash"`
	Plan      *journal.Plan     `json:"plan,omitempty"`
	Opened    time.Time         `json:"opened"`
	Deadline  time.Time         `json:"deadline"`
	Need      int               `json:"need"`
	Who       []string          `json:"who,omitempty"` // people and roles that may answer
	FourEyes  bool              `json:"four_eyes,omitempty"`
	Reason    bool              `json:"reason_required,omitempty"`
	Decisions []NoticeDecision  `json:"decisions,omitempty"` // that counted
	Outcome   journal.Outcome   `json:"outcome,omitempty"`   // once closed
	Mention   []runbooks.Person `json:"mention,omitempty"`   // people who may answer, with their addresses
}

// NoticeDecision is a decision that counted.
type NoticeDecision struct {
	Approver string    `json:"approver"`
	Decision string    `json:"decision"` // approve or reject
	Reason   string    `json:"reason,omitempty"`
	Channel  string    `json:"channel,omitempty"`
	At       time.Time `json:"at"`
}

// NoticeHold is what waits for an operator.
type NoticeHold struct {
	Step  string    `json:"step,omitempty"` // empty: the whole run was paused
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
	// Released says what was done about it, once it goes on: "retry by dana".
	Released string `json:"released,omitempty"`
}

// AnnounceInput asks to send a notice through one notifier of the estate.
type AnnounceInput struct {
	Name     string            `json:"name"` // in the estate's notifiers
	Notifier runbooks.Notifier `json:"notifier"`
	Notice   Notice            `json:"notice"`
	// Earlier is what the first notice of this subject left behind, Thread what the first notice of the run did;
	// the zero Receipt where there was none or it is not known.
	Earlier Receipt `json:"earlier,omitzero"`
	Thread  Receipt `json:"thread,omitzero"`
}

// Receipt is where a notice arrived, in the channel's own words: what a later notice needs to change it or to answer it.
type Receipt struct {
	Channel string `json:"channel,omitempty"` // Slack: channel ID; PagerDuty: the dedup key; e-mail: the Message-ID
	Message string `json:"message,omitempty"` // Slack: ts
	Known   bool   `json:"known,omitempty"`   // it had arrived before: nothing was sent
}

// Notifier is the driver of one kind of channel to people.
//
// Announce sends the notice, or finds that it arrived already, and returns where. Errors are of type *Error: ErrUnreachable and
// ErrNotYet are tried again (429 and 5xx with what Retry-After says), ErrConfig and ErrRefused are not.
type Notifier interface {
	Announce(ctx context.Context, in AnnounceInput) (Receipt, error)
}

// Word is what somebody said through a channel that vouches for who they are: a Slack click, a form of the gateway's page.
// Either Gate and Decision are set, or Action (with Step).
type Word struct {
	WorkflowID string
	RunID      string
	Gate       string
	PlanHash   string
	Decision   string // approve or reject
	Step       string
	Action     string            // retry, skip, abort, pause, resume
	Set        map[string]string // retry: changes to the step's input
	Reason     string
	Channel    string // slack, page
	// Who is the channel's own name of the person: "slack:T0123ABCD/U0456EFGH", "oidc:<issuer>#<subject>", "email:ada@example.com".
	// All that hold; the estate's people are looked up by any of them.
	Who []string
	// Nonce is the same for a click that is delivered twice: it counts once.
	Nonce string
}

// Hear takes a Word to its run. The answer is for that person alone; accepted is false where it was refused. An error means
// that nobody knows: the run could not be asked.
type Hear func(ctx context.Context, w Word) (answer string, accepted bool, err error)

// ParseSet reads a Word's Set as people write it into forms: key=value, one on each line.
func ParseSet(text string) (map[string]string, error) {
	var set map[string]string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !found || key == "" {
			return nil, fmt.Errorf("%.60q is not key=value", line)
		}
		if _, twice := set[key]; twice {
			return nil, fmt.Errorf("%.60q is set twice", key)
		}
		if set == nil {
			set = map[string]string{}
		}
		set[key] = value
	}
	return set, nil
}

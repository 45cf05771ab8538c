package run

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// Between two tries to reach a notifier that is down.
const (
	noticePauseFirst = 5 * time.Second
	noticePauseMost  = 2 * time.Minute
	// A notice that has no answer for so long is said not to have arrived, when the run ends.
	noticeSlow = 5 * time.Second
)

// mailbox is one notifier's queue: notices arrive in the order in which things happened.
type mailbox struct {
	name     string
	notifier runbooks.Notifier
	waiting  []activities.Notice
	busy     bool
	failed   string                        // why the first of waiting has not arrived; empty before its first failure
	receipts map[string]activities.Receipt // by subject
	thread   activities.Receipt            // of the run's first notice
	cancel   workflow.CancelFunc
}

// announce tells people, through every notifier that the estate's rules name for this event and severity, and through also.
// It returns at once: a notifier that is slow or down holds up nothing.
func (r *Run) announce(ctx workflow.Context, n activities.Notice, also ...string) {
	names := slices.Concat(r.Document.Estate.NotifiersFor(string(n.Event), n.Severity), also)
	if len(names) == 0 {
		return
	}
	n.ID = fmt.Sprintf("%s/%d", r.header.RunID, len(r.entries))
	n.At, n.Header, n.Page = workflow.Now(ctx).UTC(), r.header, r.page()
	for i, name := range names {
		if !slices.Contains(names[:i], name) {
			box := r.mailbox(ctx, name)
			box.waiting = append(box.waiting, n)
		}
	}
}

// mailbox returns the notifier's queue, and starts what empties it where it is new.
func (r *Run) mailbox(ctx workflow.Context, name string) *mailbox {
	for _, box := range r.mailboxes {
		if box.name == name {
			return box
		}
	}
	detached, cancel := workflow.NewDisconnectedContext(ctx) // who is told that a run was cancelled must hear of it
	box := &mailbox{name: name, notifier: r.Document.Estate.Notifiers[name], receipts: map[string]activities.Receipt{}, cancel: cancel}
	r.mailboxes = append(r.mailboxes, box)
	workflow.GoNamed(detached, "notices-"+name, func(ctx workflow.Context) {
		box.deliver(ctx, func(n activities.Notice, why string) { r.notified(ctx, box, n, why) })
	})
	return box
}

// deliver sends what waits, one notice after the other, until it is cancelled. told is called when a notice has arrived (why is
// empty), and once when it has not at the first try.
func (b *mailbox) deliver(ctx workflow.Context, told func(n activities.Notice, why string)) {
	pause := noticePauseFirst
	for workflow.Await(ctx, func() bool { return len(b.waiting) > 0 }) == nil {
		n := b.waiting[0]
		b.busy = true
		receipt, err := b.send(ctx, n)
		b.busy = false
		kind, why := "", ""
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			kind, why = explain(err)
		}
		if err == nil || b.failed == "" {
			told(n, why)
		}
		switch {
		case err == nil:
			if b.thread == (activities.Receipt{}) {
				b.thread = receipt
			}
			if _, known := b.receipts[n.Subject]; !known {
				b.receipts[n.Subject] = receipt
			}
			b.waiting, b.failed, pause = b.waiting[1:], "", noticePauseFirst
		case kind == activities.ErrConfig || kind == activities.ErrAuth || kind == activities.ErrRefused:
			b.waiting, b.failed = b.waiting[1:], "" // it would be refused again
		default:
			b.failed = why
			if workflow.Sleep(ctx, pause) != nil {
				return
			}
			pause = min(2*pause, noticePauseMost)
		}
	}
}

func (b *mailbox) send(ctx workflow.Context, n activities.Notice) (receipt activities.Receipt, err error) {
	in := activities.AnnounceInput{Name: b.name, Notifier: b.notifier, Notice: n, Earlier: b.receipts[n.Subject], Thread: b.thread}
	err = workflow.ExecuteActivity(Notify.options(ctx, fmt.Sprintf("tell %s: %s", b.name, n.Title)), activities.Announce, in).Get(ctx, &receipt)
	return receipt, err
}

// late says why the notices that wait have not arrived; empty where none does, or only since a moment ago.
func (b *mailbox) late(now time.Time) string {
	if b.failed == "" && len(b.waiting) > 0 && now.Sub(b.waiting[0].At) > noticeSlow {
		return "no answer yet"
	}
	return b.failed
}

func (r *Run) notified(ctx workflow.Context, b *mailbox, n activities.Notice, why string) {
	e := journal.Entry{Kind: journal.Notified, Phase: r.phase, Channel: b.name, Title: n.Title, Action: string(n.Event), Outcome: journal.Changed}
	if why != "" {
		e.Outcome, e.Message = journal.Failed, "has not arrived: "+why
	}
	r.Record(ctx, e)
}

// undelivered records, before the journal is closed, which notifiers have not got what they should have.
func (r *Run) undelivered(ctx workflow.Context) {
	for _, b := range r.mailboxes {
		if why := b.late(workflow.Now(ctx)); why != "" {
			r.Record(ctx, journal.Entry{Kind: journal.Notified, Phase: r.phase, Channel: b.name, Outcome: journal.Failed,
				Title:   fmt.Sprintf("%d notice(s) have not arrived at %s when the run ended", len(b.waiting), b.name),
				Message: why + "; they are tried for a day"})
		}
	}
}

// handOver leaves what is still to be told to a workflow of its own: a run ends when it has ended, not when the last notifier is back.
func (r *Run) handOver(ctx workflow.Context) {
	left := NoticesInput{}
	for _, b := range r.mailboxes {
		if len(b.waiting) > 0 {
			left.Mailboxes = append(left.Mailboxes, Mailbox{Name: b.name, Notifier: b.notifier, Waiting: b.waiting, Receipts: b.receipts, Thread: b.thread})
		}
		left.After = left.After || b.busy
		b.cancel()
	}
	if len(left.Mailboxes) == 0 {
		return
	}
	child := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, noticesOptions(r.header)), NoticesName, left)
	_ = child.GetChildWorkflowExecution().Get(ctx, nil) // it is started, or there is nobody to tell
}

// PagePath is the path of a run's page, below its gateway's URL.
func PagePath(workflowID, runID string) string {
	return "/runs/" + url.PathEscape(workflowID) + "/" + url.PathEscape(runID)
}

// page is where the gateway shows this run; empty where the estate has no gateway with pages.
func (r *Run) page() string {
	for _, name := range workflow.DeterministicKeys(r.Document.Estate.Gateways) {
		if at := r.Document.Estate.Gateways[name].URL; at != "" {
			return at + PagePath(r.header.WorkflowID, r.header.RunID)
		}
	}
	return ""
}

// severityOf says how much the end of a run matters to people.
func severityOf(v journal.Verdict) runbooks.Severity {
	switch v {
	case journal.Passed, journal.ObservedVerdict:
		return runbooks.Info
	case journal.Aborted, journal.FailedVerdict:
		return runbooks.Critical
	default:
		return runbooks.Warning
	}
}

func (r *Run) announceEnd(ctx workflow.Context) {
	r.announce(ctx, activities.Notice{Event: activities.EventFinished, Severity: severityOf(r.verdict), Subject: r.subject("run"),
		Title: fmt.Sprintf("%s of %s: %s", r.header.Operation, r.header.Estate, r.verdict), Text: r.summary, Verdict: r.verdict, Measures: r.measures})
}

func (r *Run) announceHold(ctx workflow.Context, step, why, released string) {
	n := activities.Notice{Event: activities.EventHeld, Severity: runbooks.Critical, Subject: r.subject("hold/" + cmp.Or(step, "run")), Step: step,
		Title: fmt.Sprintf("%s of %s is held at %s", r.header.Operation, r.header.Estate, cmp.Or(step, "the next step")), Text: why,
		Hold: &activities.NoticeHold{Step: step, Why: why, Since: workflow.Now(ctx).UTC(), Released: released}}
	if released != "" {
		n.Event, n.Severity = activities.EventReleased, runbooks.Info
		n.Title = fmt.Sprintf("%s of %s goes on: %s", r.header.Operation, r.header.Estate, released)
	}
	r.announce(ctx, n)
}

func (r *Run) announceStep(ctx workflow.Context, st *step) {
	r.announce(ctx, activities.Notice{Event: activities.EventProgress, Severity: runbooks.Info, Subject: r.subject("step/" + st.ID), Step: st.ID,
		Title: fmt.Sprintf("%s: %s", st.Title, cmp.Or(string(st.Outcome), st.State)), Text: st.Message})
}

func (r *Run) announceGate(ctx workflow.Context, g *gate, event activities.Event, severity runbooks.Severity, title string, also ...string) {
	told := &activities.NoticeGate{Name: g.Name, Title: g.Title, Risk: g.Risk, PlanHash: g.PlanHash, Plan: r.plan, Opened: g.Opened, Deadline: g.Deadline,
		Need: g.Need, Who: g.Who, FourEyes: g.FourEyes, Reason: g.config.Reason, Decisions: slices.Clone(g.decisions)}
	if g.closed {
		told.Outcome = g.outcome
	}
	for _, name := range g.config.Who(r.Document.Estate.People) {
		told.Mention = append(told.Mention, r.Document.Estate.People[name])
	}
	r.announce(ctx, activities.Notice{Event: event, Severity: severity, Subject: r.subject("gate/" + g.Name), Title: title, Text: g.Risk, Gate: told}, also...)
}

func (r *Run) subject(what string) string { return r.header.RunID + "/" + what }

package run

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/internal/journal"
)

const (
	pageLimit = 200     // entries of one answer
	pageBytes = 1 << 20 // of one answer, and at least one entry: Temporal takes 2 MiB
	tableRows = 30      // steps shown in the Temporal UI's live details
)

// cell keeps a text within its cell of a markdown table.
var cell = strings.NewReplacer("|", "\\|", "\n", " ")

// Record appends an entry to the journal; number, time and hashes are set here.
func (r *Run) Record(ctx workflow.Context, e journal.Entry) {
	if n := len(r.entries); n > 0 && r.entries[n-1].Kind == journal.RunEnded {
		return // evidence was made of what is there: who comes now is answered, and that is all
	}
	e.Seq, e.At = len(r.entries)+1, workflow.Now(ctx).UTC()
	linked, err := journal.Link(e, r.digest)
	if err != nil {
		panic(err) // an Entry is plain data: this is a defect, and Temporal retries the task after it is mended
	}
	r.entries = append(r.entries, linked)
	r.digest = linked.Hash
}

// Note records one line for people.
func (r *Run) Note(ctx workflow.Context, system, text string) {
	r.Record(ctx, journal.Entry{Kind: journal.Noted, Phase: r.phase, System: system, Title: text})
}

func (r *Run) answerQueries(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, QueryStatus, func() (Status, error) { return r.status(), nil }); err != nil {
		return err
	}
	if err := workflow.SetQueryHandler(ctx, QueryPlan, func() (*journal.Plan, error) { return r.plan, nil }); err != nil {
		return err
	}
	return workflow.SetQueryHandler(ctx, QueryJournal, func(page JournalPage) ([]journal.Entry, error) {
		return pageOf(r.entries, page), nil
	})
}

func pageOf(entries []journal.Entry, page JournalPage) []journal.Entry {
	limit := page.Limit
	if limit <= 0 || limit > pageLimit {
		limit = pageLimit
	}
	from := min(max(page.After, 0), len(entries))
	to, bytes := from, 0
	for to < min(from+limit, len(entries)) {
		text, err := json.Marshal(entries[to])
		if bytes += len(text); err != nil || bytes > pageBytes && to > from {
			break
		}
		to++
	}
	return entries[from:to]
}

func (r *Run) status() Status {
	s := Status{
		Header: r.header, State: r.state, Verdict: r.verdict, Phase: r.phase, Started: r.Started,
		NoReturn: len(r.past) > 0, Paused: r.paused != nil, Entries: len(r.entries), Digest: r.digest, Summary: r.summary,
		Measures: r.measures, JSON: r.evidence.JSON, HTML: r.evidence.HTML,
	}
	if r.plan != nil {
		s.Plan = r.plan.Hash
	}
	for _, st := range r.steps {
		s.Steps = append(s.Steps, st.StepStatus)
		if st.State == stepHeld {
			s.Holds = append(s.Holds, HoldStatus{Step: st.ID, Why: st.Message, Since: st.heldSince})
		}
	}
	if r.paused != nil {
		s.Holds = append(s.Holds, *r.paused)
	}
	if len(s.Holds) > 0 {
		for _, name := range workflow.DeterministicKeys(r.Document.Estate.People) {
			if MayIntervene.To(r.Document.Estate.People[name].Roles) {
				s.Operators = append(s.Operators, name)
			}
		}
	}
	for _, g := range r.gates {
		if !g.closed {
			open := g.GateStatus
			open.People = r.mayAnswer(g)
			s.Gates = append(s.Gates, open)
		}
	}
	return s
}

// show sets the live details of the Temporal UI: where the run stands and its last steps, as markdown.
func (r *Run) show(ctx workflow.Context) {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s** of **%s** (%s), phase **%s**, %s\n\n", r.header.Operation, r.header.Estate, r.header.Runbook, r.phase, r.state)
	for _, g := range r.gates {
		if !g.closed {
			fmt.Fprintf(&b, "Gate **%s** waits until %s for %d approval(s), plan `%.12s`\n\n", g.Name, g.Deadline.Format("15:04:05"), g.Need, g.PlanHash)
		}
	}
	if r.paused != nil {
		fmt.Fprintf(&b, "Paused: %s\n\n", r.paused.Why)
	}
	b.WriteString("| step | state | what |\n|---|---|---|\n")
	for _, st := range r.steps[max(0, len(r.steps)-tableRows):] {
		what := cmp.Or(st.Message, st.Title)
		fmt.Fprintf(&b, "| %s | %s | %s |\n", st.ID, st.State, cell.Replace(what))
	}
	if r.summary != "" {
		fmt.Fprintf(&b, "\n**%s**: %s\n", r.verdict, r.summary)
	}
	workflow.SetCurrentDetails(ctx, b.String())
}

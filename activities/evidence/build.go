package evidence

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/internal/journal"
)

// Build makes the evidence of a journal. It is a pure function: no clock, no file, no map order.
// The error names the first journal entry that does not fit the chain, or what a report cannot do without.
func Build(entries []journal.Entry) (Evidence, error) {
	if len(entries) == 0 {
		return Evidence{}, errors.New("build evidence: the journal is empty")
	}
	digest, err := journal.Verify(entries)
	if err != nil {
		return Evidence{}, fmt.Errorf("build evidence: %w", err)
	}
	first := entries[0]
	if first.Kind != journal.RunStarted || first.Header == nil {
		return Evidence{}, fmt.Errorf("build evidence: the journal begins with %q, not with %q and the run's header", first.Kind, journal.RunStarted)
	}
	ev := Evidence{Version: Version, Run: *first.Header, Started: first.At, Journal: entries, Digest: digest}
	r := reader{ev: &ev, steps: map[string]int{}, systems: map[string]int{}, acted: map[string]bool{}}
	for _, e := range entries {
		r.read(e)
	}
	r.choosePlan()
	r.forgetStale()
	r.orderSystems()
	r.matchUndos()
	ev.Times = times(ev, entries)
	ev.Criteria = criteria(ev)
	return ev, nil
}

// reader walks a journal once and fills ev.
type reader struct {
	ev      *Evidence
	steps   map[string]int  // step ID -> index in ev.Steps
	systems map[string]int  // name -> index in ev.Systems
	acted   map[string]bool // systems on which an acting step began since they were last observed
	plans   []*journal.Plan
}

func (r *reader) read(e journal.Entry) {
	ev := r.ev
	switch e.Kind {
	case journal.Observed:
		r.observe(e)
	case journal.Planned:
		if e.Plan != nil {
			r.plans = append(r.plans, e.Plan)
		}
	case journal.GateOpened:
		ev.Gates = append(ev.Gates, Gate{Name: e.Gate, System: e.System, Title: e.Title, Message: e.Message,
			PlanHash: e.PlanHash, Opened: e.At, Deadline: e.Deadline})
	case journal.Decided:
		if g := r.gate(e); g != nil {
			g.Decisions = append(g.Decisions, act(e))
		}
	case journal.GateClosed:
		if g := r.gate(e); g != nil {
			g.Closed, g.Outcome = e.At, e.Outcome
		}
	case journal.Refused:
		ev.Refused = append(ev.Refused, act(e))
	case journal.Intervened:
		ev.Interventions = append(ev.Interventions, act(e))
		r.release(e)
	case journal.StepStarted, journal.StepEnded:
		r.step(e)
	case journal.Held:
		r.hold(e)
	case journal.UndoAdded:
		ev.Undos = append(ev.Undos, Undo{Note: note(e)})
	case journal.NoReturn:
		ev.NoReturn = append(ev.NoReturn, note(e))
	case journal.Notified:
		if e.Outcome == journal.Failed {
			n := note(e)
			n.Title = e.Channel + ": " + e.Title
			ev.Undelivered = append(ev.Undelivered, n)
		}
	case journal.Escalated:
		if g := r.gate(e); g != nil {
			g.Deadline = e.Deadline
		}
		ev.Notices = append(ev.Notices, note(e))
	case journal.Noted:
		ev.Notices = append(ev.Notices, note(e))
	case journal.Measured:
		if e.Measure != nil {
			r.system(first(e.Measure.System, e.System)).Measure = e.Measure
		}
	case journal.RunEnded:
		ev.Ended, ev.Verdict, ev.Summary = e.At, e.Verdict, e.Message
	}
}

func act(e journal.Entry) Act {
	return Act{Seq: e.Seq, At: e.At, Action: e.Action, Author: e.Author, Identity: e.Identity, Channel: e.Channel, Reason: e.Reason,
		Gate: e.Gate, Step: e.Step, System: e.System, PlanHash: e.PlanHash, Message: e.Message, Set: e.After}
}

func note(e journal.Entry) Note {
	return Note{Seq: e.Seq, At: e.At, Step: e.Step, System: e.System, Title: e.Title, Message: e.Message}
}

// phaseOf returns an entry's phase; a step's ID begins with it where the entry does not say.
func phaseOf(e journal.Entry) string {
	if e.Phase != "" {
		return e.Phase
	}
	phase, _, _ := strings.Cut(e.Step, "/")
	return phase
}

func (r *reader) system(name string) *System {
	i, known := r.systems[name]
	if !known {
		i = len(r.ev.Systems)
		r.systems[name] = i
		r.ev.Systems = append(r.ev.Systems, System{Name: name})
	}
	return &r.ev.Systems[i]
}

func (r *reader) observe(e journal.Entry) {
	if len(e.Before) == 0 && len(e.After) == 0 {
		return
	}
	s := r.system(first(e.System, e.Step, e.Title))
	if s.Before == nil {
		s.Before = e.Before
		if len(s.Before) == 0 {
			s.Before = e.After
			return
		}
	}
	if len(e.After) > 0 {
		s.After = e.After
	} else {
		s.After = e.Before
	}
	s.ObservedAgain = true
	delete(r.acted, s.Name)
}

// forgetStale drops what was seen last where something was done to the system afterwards: it says nothing of the end.
func (r *reader) forgetStale() {
	for i := range r.ev.Systems {
		if s := &r.ev.Systems[i]; r.acted[s.Name] {
			s.After, s.ObservedAgain = nil, false
		}
	}
}

// acts reports whether steps of a phase change what an observation of the system shows.
func acts(phase string) bool {
	family, _, _ := strings.Cut(phase, "-")
	switch family {
	case "fence", "promote", "route", "undo", "re":
		return true
	}
	return false
}

// gate returns the opening that e answers: the last of that name, and of that system where e names one.
func (r *reader) gate(e journal.Entry) *Gate {
	for i := len(r.ev.Gates) - 1; i >= 0; i-- {
		g := &r.ev.Gates[i]
		if g.Name == e.Gate && (e.System == "" || g.System == e.System) {
			return g
		}
	}
	return nil
}

func (r *reader) step(e journal.Entry) {
	i, known := r.steps[e.Step]
	if !known {
		i = len(r.ev.Steps)
		r.steps[e.Step] = i
		r.ev.Steps = append(r.ev.Steps, Step{ID: e.Step, Phase: phaseOf(e), System: e.System, Title: e.Title})
	}
	s := &r.ev.Steps[i]
	s.Title = first(s.Title, e.Title)
	s.System = first(s.System, e.System)
	if e.Kind == journal.StepStarted {
		r.endHolds(e.At, "", "", func(h Hold) bool { return h.Step == e.Step && h.Step != "" })
		if n := len(s.Attempts); n == 0 || !s.Attempts[n-1].To.IsZero() {
			s.Attempts = append(s.Attempts, Attempt{From: e.At})
		}
		s.Outcome, s.Message = "", ""
		if acts(s.Phase) {
			r.acted[s.System] = true
		}
		return
	}
	s.Outcome, s.Message = e.Outcome, e.Message
	if len(e.Before) > 0 {
		s.Before = e.Before
	}
	if len(e.After) > 0 {
		s.After = e.After
	}
	r.endAttempt(s, e, e.Outcome)
}

func (r *reader) endAttempt(s *Step, e journal.Entry, outcome journal.Outcome) {
	if n := len(s.Attempts); n > 0 && s.Attempts[n-1].To.IsZero() {
		a := &s.Attempts[n-1]
		a.To, a.Outcome, a.Tries, a.Message = e.At, outcome, e.Attempts, e.Message
	}
}

// hold ends the attempt that failed, and waits.
func (r *reader) hold(e journal.Entry) {
	if i, known := r.steps[e.Step]; known {
		r.endAttempt(&r.ev.Steps[i], e, journal.Failed)
	}
	r.ev.Holds = append(r.ev.Holds, Hold{Step: e.Step, System: e.System, Why: first(e.Message, e.Title), From: e.At})
}

// release ends the holds that an intervention answers.
func (r *reader) release(e journal.Entry) {
	if e.Action == "pause" {
		waits := slices.ContainsFunc(r.ev.Holds, func(h Hold) bool { return h.Step == "" && h.To.IsZero() })
		if !waits {
			r.ev.Holds = append(r.ev.Holds, Hold{Why: first(e.Reason, e.Message, "paused"), From: e.At})
		}
		return
	}
	r.endHolds(e.At, e.Action, e.Author, func(h Hold) bool {
		switch e.Action {
		case "abort":
			return true
		case "resume":
			return h.Step == ""
		default:
			return e.Step == "" && h.Step != "" || e.Step == h.Step
		}
	})
	i, known := r.steps[e.Step]
	if !known {
		return
	}
	s := &r.ev.Steps[i]
	n := len(s.Attempts)
	switch {
	case e.Action == "skip" && !s.Done():
		s.Outcome = journal.Skipped
	case (e.Action == "retry" || e.Action == "edit") && n > 0 && !s.Attempts[n-1].To.IsZero():
		s.Attempts = append(s.Attempts, Attempt{From: e.At})
	}
}

func (r *reader) endHolds(at time.Time, action, author string, which func(Hold) bool) {
	for i := range r.ev.Holds {
		if h := &r.ev.Holds[i]; h.To.IsZero() && which(*h) {
			h.To, h.Action, h.Author = at, action, author
		}
	}
}

// choosePlan takes the last plan that an approval names; where there is none, the last one.
func (r *reader) choosePlan() {
	approved := map[string]bool{}
	for _, g := range r.ev.Gates {
		for _, d := range g.Decisions {
			if g.Outcome == journal.Approved && d.Action == "approve" && d.PlanHash != "" {
				approved[d.PlanHash] = true
			}
		}
	}
	for _, p := range slices.Backward(r.plans) {
		if approved[p.Hash] {
			r.ev.Plan, r.ev.PlanApproved = p, true
			return
		}
	}
	if n := len(r.plans); n > 0 {
		r.ev.Plan = r.plans[n-1]
	}
}

// orderSystems puts the plan's systems first, in the plan's order; the others keep the journal's.
func (r *reader) orderSystems() {
	if r.ev.Plan == nil {
		return
	}
	rank := map[string]int{}
	for i, s := range r.ev.Plan.Systems {
		rank[s.Name] = i - len(r.ev.Plan.Systems)
	}
	slices.SortStableFunc(r.ev.Systems, func(a, b System) int { return rank[a.Name] - rank[b.Name] })
}

// matchUndos finds the step that ran a registered undo: by its ID, or by its title in the undo phase.
func (r *reader) matchUndos() {
	byTitle := map[string]int{}
	for i, s := range r.ev.Steps {
		if isUndo(s.Phase) && s.Title != "" {
			byTitle[s.System+"\x00"+s.Title] = i
		}
	}
	for i := range r.ev.Undos {
		u := &r.ev.Undos[i]
		at, found := r.steps["undo/"+u.Step]
		if !found {
			at, found = r.steps[u.Step]
			found = found && isUndo(r.ev.Steps[at].Phase)
		}
		if !found {
			at, found = byTitle[u.System+"\x00"+u.Title]
		}
		if found && len(r.ev.Steps[at].Attempts) > 0 {
			u.Ran, u.Outcome = true, r.ev.Steps[at].Outcome
		}
	}
}

func isUndo(phase string) bool { return phase == "undo" || strings.HasPrefix(phase, "undo-") }

// first returns the first of its arguments that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

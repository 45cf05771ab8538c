package starter

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

// showPlan writes what a run would do, for the people who decide.
func (a *app) showPlan(w io.Writer, p journal.Plan) {
	fmt.Fprintf(w, "%s %s of %s by %s\n", a.paint(bold, "Plan "+short(p.Hash)), p.Operation, p.Estate, p.Runbook)
	if p.From != "" {
		fmt.Fprintf(w, "  %s, from %s to %s\n", p.MoveKind, p.From, p.To)
	}
	for _, s := range p.Systems {
		fmt.Fprintf(w, "\n  %s (%s), group %d", a.paint(bold, printable(s.Name)), s.Kind, s.Group)
		if s.Route != "" {
			fmt.Fprintf(w, ", route %s", printable(s.Route))
		}
		fmt.Fprintln(w)
		for _, site := range slices.Sorted(maps.Keys(s.Members)) {
			fmt.Fprintf(w, "    %s: %s\n", printable(site), facts(s.Members[site]))
		}
	}
	fmt.Fprintln(w, "\n  Steps")
	for i, s := range p.Steps {
		mark := ""
		switch {
		case s.NoReturn:
			mark = a.paint(yellow, "  <- point of no return")
		case s.Gate:
			mark = a.paint(yellow, "  <- people decide")
		case s.Undo != "":
			mark = a.paint(faint, "  (undo: "+printable(s.Undo)+")")
		}
		fmt.Fprintf(w, "  %3d. %-11s %s%s\n", i+1, printable(s.Phase), printable(s.Title), mark)
	}
	if len(p.Findings) > 0 {
		fmt.Fprintln(w, "\n  Findings")
		for _, f := range p.Findings {
			word := a.paint(yellow, "note")
			if f.Refuse {
				word = a.paint(red, "refused")
			}
			fmt.Fprintf(w, "    %s %s %s: %s\n", word, printable(f.Code), printable(f.System), printable(f.Message))
			if f.Next != "" {
				fmt.Fprintf(w, "      next: %s\n", printable(f.Next))
			}
		}
	}
	fmt.Fprintf(w, "\n  Expected loss: %s\n  Hash: %s\n", printable(cmp.Or(p.ExpectedLoss, p.LossClass, "unknown")), p.Hash)
}

func facts(f journal.Facts) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(f)) {
		parts = append(parts, key+"="+f[key])
	}
	return printable(strings.Join(parts, " "))
}

func short(hash string) string { return fmt.Sprintf("%.12s", hash) }

// showGate writes what an open gate asks and who may answer.
func (a *app) showGate(w io.Writer, g run.GateStatus) {
	fmt.Fprintf(w, "%s %s: %s\n", a.paint(yellow, "Gate"), printable(g.Name), printable(g.Title))
	if g.Risk != "" {
		fmt.Fprintf(w, "  %s %s\n", a.paint(red, "Risk:"), printable(g.Risk))
	}
	fmt.Fprintf(w, "  plan %s, %d of %d approvals, until %s (%s)", short(g.PlanHash), len(g.Have), g.Need, g.Deadline.Local().Format(time.TimeOnly), g.Trust)
	if len(g.Who) > 0 {
		fmt.Fprintf(w, ", by %s", printable(strings.Join(g.Who, ", ")))
	}
	if g.FourEyes {
		fmt.Fprint(w, ", not by the requester")
	}
	fmt.Fprintln(w)
}

// gateHint says what to type.
func gateHint(workflowID string, g run.GateStatus) string {
	return fmt.Sprintf("muster approve %s --gate %s --plan %s   # or: muster reject %s --gate %s", workflowID, g.Name, short(g.PlanHash), workflowID, g.Name)
}

func holdHint(workflowID string, h run.HoldStatus) string {
	if h.Step == "" {
		return fmt.Sprintf("muster resume %s   # or: muster abort %s", workflowID, workflowID)
	}
	return fmt.Sprintf("muster retry %s %s   # or with --set key=value, or: muster skip %s %s, muster abort %s", workflowID, h.Step, workflowID, h.Step, workflowID)
}

// showStatus writes where a run stands.
func (a *app) showStatus(w io.Writer, s run.Status, now time.Time) {
	h := s.Header
	fmt.Fprintf(w, "%s  %s\n", a.paint(bold, printable(h.WorkflowID)), a.state(s))
	fmt.Fprintf(w, "  %s of %s by %s", h.Operation, printable(h.Estate), printable(h.Runbook))
	if h.From != "" {
		fmt.Fprintf(w, ", %s from %s to %s", h.MoveKind, printable(h.From), printable(h.To))
	}
	if h.Mode != "" {
		fmt.Fprintf(w, ", mode %s", h.Mode)
	}
	fmt.Fprintf(w, "\n  run ID %s\n  requested by %s via %s at %s\n", h.RunID, printable(h.RequestedBy), printable(h.Channel), s.Started.Local().Format(time.DateTime))
	if s.Plan != "" {
		fmt.Fprintf(w, "  plan %s%s\n", short(s.Plan), map[bool]string{true: ", past the point of no return"}[s.NoReturn])
	}
	if len(s.Steps) > 0 {
		fmt.Fprintln(w)
	}
	for _, step := range s.Steps {
		fmt.Fprintf(w, "  %s\n", a.stepLine(step, now))
	}
	for _, g := range s.Gates {
		fmt.Fprintln(w)
		a.showGate(w, g)
		fmt.Fprintf(w, "  next: %s\n", printable(gateHint(h.WorkflowID, g)))
	}
	for _, hold := range s.Holds {
		fmt.Fprintf(w, "\n%s %s: %s\n  next: %s\n", a.paint(red, "Held"), printable(cmp.Or(hold.Step, "run")), printable(hold.Why), printable(holdHint(h.WorkflowID, hold)))
	}
}

func (a *app) state(s run.Status) string {
	switch {
	case s.Verdict != "":
		return a.verdict(s.Verdict)
	case s.State == run.StateHeld:
		return a.paint(red, string(s.State))
	case s.State == run.StateAwaiting:
		return a.paint(yellow, string(s.State))
	}
	return fmt.Sprintf("%s, phase %s", s.State, printable(s.Phase))
}

func (a *app) verdict(v journal.Verdict) string {
	switch codeOf(v) {
	case codeDone:
		return a.paint(green, string(v))
	case codeSkips, codeMissed:
		return a.paint(yellow, string(v))
	}
	return a.paint(red, string(v))
}

func (a *app) stepLine(s run.StepStatus, now time.Time) string {
	mark, took := a.paint(green, "✓"), s.Ended.Sub(s.Started)
	switch s.State {
	case "running":
		mark, took = a.paint(yellow, "…"), now.Sub(s.Started)
	case "held", "failed":
		mark = a.paint(red, "✗")
	case "skipped":
		mark = a.paint(yellow, "-")
	}
	if s.Ended.IsZero() {
		took = now.Sub(s.Started)
	}
	text := fmt.Sprintf("%s %-28s %-10s %7s  %s", mark, printable(s.ID), cmp.Or(string(s.Outcome), s.State), round(took), printable(s.Title))
	if s.Message != "" && s.State != "done" {
		text += ": " + printable(s.Message)
	}
	return text
}

func round(d time.Duration) time.Duration {
	switch {
	case d < time.Second:
		return max(d, 0).Round(time.Millisecond)
	case d < time.Minute:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}

// showResult writes how a run ended.
func (a *app) showResult(w io.Writer, r run.Result) {
	fmt.Fprintf(w, "%s %s\n", a.paint(bold, "Verdict:"), a.verdict(r.Verdict))
	if r.Summary != "" && (len(r.Measures) == 0 || r.Verdict != journal.Passed) { // of a run that passed, it says what the measures say
		fmt.Fprintf(w, "  %s\n", printable(r.Summary))
	}
	for _, m := range r.Measures {
		fmt.Fprintf(w, "  %s\n", measureLine(m))
	}
	if r.HTML != "" {
		fmt.Fprintf(w, "  report   %s\n  evidence %s\n", printable(r.HTML), printable(r.JSON))
	}
}

func measureLine(m journal.Measure) string {
	if !m.Measured {
		return printable(m.System) + ": outage and loss were not measured (no writer ran)"
	}
	return fmt.Sprintf("%s: outage %s as clients saw it, %d of %d acknowledged writes lost, %d writes refused meanwhile",
		printable(m.System), time.Duration(m.OutageMs)*time.Millisecond, m.Missing, m.Acknowledged, m.FailedWrites)
}

// entryLine is a journal entry on one line; "" for entries that say nothing to people who follow.
func (a *app) entryLine(e journal.Entry) string {
	what := cmp.Or(e.Step, e.System, e.Gate)
	text := ""
	switch e.Kind {
	case journal.StepStarted, journal.UndoAdded:
		return ""
	case journal.Notified:
		if e.Outcome != journal.Failed {
			return ""
		}
		text = fmt.Sprintf("%s: %s: %s", e.Channel, e.Title, e.Message)
	case journal.StepEnded:
		text = fmt.Sprintf("%s in %s", e.Outcome, round(time.Duration(e.TookMs)*time.Millisecond))
		if e.Attempts > 1 {
			text += fmt.Sprintf(", %d attempts", e.Attempts)
		}
		if e.Outcome == journal.Failed {
			text += ": " + e.Message
		}
	case journal.GateOpened:
		text = fmt.Sprintf("%s; until %s", e.Title, e.Deadline.Local().Format(time.TimeOnly))
	case journal.Decided, journal.Refused, journal.Intervened:
		text = fmt.Sprintf("%s by %s via %s (%s)", e.Action, e.Author, e.Channel, cmp.Or(e.Identity, "not accepted"))
		if e.Reason != "" {
			text += ": " + e.Reason
		}
		if e.Kind == journal.Refused {
			text += "; refused: " + e.Message
		}
	default:
		text = cmp.Or(e.Message, e.Title, string(e.Outcome))
	}
	return strings.TrimRight(fmt.Sprintf("%s  %-18s %-26s %s", e.At.Local().Format(time.TimeOnly), e.Kind, printable(what), printable(text)), " ")
}

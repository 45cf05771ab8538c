package evidence

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/musterhq/muster/internal/journal"
)

var verdicts = map[journal.Verdict]badge{
	journal.Passed:          {"good", "✓", "Passed"},
	journal.PassedWithSkips: {"warn", "!", "Passed with skips"},
	journal.MissedObjective: {"warn", "!", "Done, objectives missed"},
	journal.RejectedVerdict: {"calm", "⊘", "Rejected"},
	journal.Undone:          {"calm", "↶", "Undone"},
	journal.Aborted:         {"bad", "✕", "Aborted"},
	journal.FailedVerdict:   {"bad", "✕", "Failed"},
	journal.ObservedVerdict: {"calm", "◎", "Observed only"},
}

func verdictBadge(v journal.Verdict) badge {
	if b, known := verdicts[v]; known {
		return b
	}
	if v == "" {
		return badge{"warn", "…", "Not ended"}
	}
	return badge{"warn", "?", string(v)}
}

var results = map[Result]badge{
	Met:           {"good", "✓", "met"},
	Weak:          {"warn", "!", "weak"},
	NotMet:        {"bad", "✕", "not met"},
	NotMeasured:   {"warn", "?", "not measured"},
	NotApplicable: {"calm", "–", "does not apply"},
}

func criterionViewOf(c Criterion) criterionView {
	v := criterionView{Criterion: c, Badge: results[c.Result]}
	const shown, folded = 8, 1200
	var notable, rest []systemResultView
	for _, s := range c.Systems {
		sv := systemResultView{SystemResult: s, Badge: results[s.Result]}
		if len(c.Systems) > shown && (s.Result == Met || s.Result == NotApplicable) {
			rest = append(rest, sv)
		} else {
			notable = append(notable, sv)
		}
	}
	if len(c.Systems) < 2 && c.Result == NotApplicable {
		return v
	}
	v.Shown = notable[:min(len(notable), shown)]
	rest = slices.Concat(notable[len(v.Shown):], rest)
	v.Folded = rest[:min(len(rest), folded)]
	v.Left = len(rest) - len(v.Folded)
	return v
}

func doubtsOf(ev Evidence) string {
	var parts []string
	for _, r := range []Result{NotMet, NotMeasured, Weak} {
		n := 0
		for _, c := range ev.Criteria {
			if c.Result == r {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, results[r].Word))
		}
	}
	return strings.Join(parts, ", ")
}

func tilesOf(ev Evidence) []tile {
	by := map[string]Criterion{}
	for _, c := range ev.Criteria {
		by[c.ID] = c
	}
	rto, lost, approved := by[CriterionRTO], by[CriterionLostWrites], by[CriterionApproved]
	out := tile{Title: "Outage", Value: "not measured", Note: "objective: " + rto.Asked, Badge: results[rto.Result]}
	loss := tile{Title: "Lost writes", Value: "not measured", Note: "objective: " + lost.Asked, Badge: results[lost.Result]}
	if rto.Result == NotApplicable && !ev.Times.Measured {
		out.Value, loss.Value = "none", "none"
		out.Note, loss.Note = rto.Found, lost.Found
	}
	var missing, acknowledged int64
	for _, s := range ev.Systems {
		if s.Measure != nil && s.Measure.Measured {
			missing += s.Measure.Missing
			acknowledged += s.Measure.Acknowledged
		}
	}
	if ev.Times.Measured {
		out.Value, loss.Value = duration(ev.Times.OutageMs), count(missing)
		if len(ev.Systems) > 1 && ev.Times.OutageMs > 0 {
			out.Note = "worst: " + ev.Times.System + " · " + out.Note
		}
		loss.Note = fmt.Sprintf("of %s acknowledged · %s", count(acknowledged), loss.Note)
	}
	who := tile{Title: "Approved by", Value: approversOf(ev), Badge: results[approved.Result], Note: "nobody was asked"}
	if n := len(ev.Gates); n > 0 {
		who.Note = fmt.Sprintf("%s open for %s", plural(n, "gate"), duration(ev.Times.GatesMs))
	}
	return []tile{out, loss, who}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func approversOf(ev Evidence) string {
	var names []string
	for _, g := range ev.Gates {
		for _, d := range g.Decisions {
			if name := first(d.Author, "(nobody named)"); d.Action == "approve" && g.Outcome == journal.Approved && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

func partsOf(t Times) []part {
	if t.OutageMs <= 0 {
		return nil
	}
	parts := []part{
		{Class: "detect", Name: "Detect", What: "from the outage's start to the run's", Ms: t.DetectMs},
		{Class: "decide", Name: "Decide", What: "a gate was open", Ms: t.DecideMs},
		{Class: "execute", Name: "Execute", What: "the rest: steps and holds", Ms: t.ExecuteMs},
		{Class: "verify", Name: "Verify", What: "from the route's turn to a good write and read", Ms: t.VerifyMs},
	}
	x := 0.0
	for i := range parts {
		share := float64(parts[i].Ms) / float64(t.OutageMs)
		parts[i].Percent = fmt.Sprintf("%.0f %%", share*100)
		parts[i].X, parts[i].W = f1(x*1000), f1(share*1000)
		x += share
	}
	return parts
}

func systemViewOf(s System, wide bool) systemView {
	v := systemView{System: s}
	keys := slices.Sorted(maps.Keys(s.Before))
	for _, k := range slices.Sorted(maps.Keys(s.After)) {
		if _, both := s.Before[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		f := factView{Key: k, Before: s.Before[k], After: s.After[k], Changed: s.ObservedAgain && s.Before[k] != s.After[k]}
		if (wide && !f.Changed) || len(v.Facts) >= 60 {
			v.Same++
			continue
		}
		v.Facts = append(v.Facts, f)
	}
	return v
}

func stepViewOf(ev Evidence, s Step) stepView {
	v := stepView{Step: s, Badge: stepBadge(s.Outcome), Changes: changes(s.Before, s.After)}
	for _, a := range s.Attempts {
		if !a.To.IsZero() {
			v.Took += max(0, ms(a.To.Sub(a.From)))
		}
	}
	for _, h := range ev.Holds {
		if h.Step == s.ID && s.ID != "" && !h.To.IsZero() {
			v.Held += max(0, ms(h.To.Sub(h.From)))
		}
	}
	return v
}

func stepBadge(o journal.Outcome) badge {
	switch o {
	case journal.Changed:
		return badge{"good", "✓", "changed"}
	case journal.Unchanged:
		return badge{"good", "✓", "unchanged"}
	case journal.Skipped:
		return badge{"warn", "»", "skipped"}
	case journal.Canceled:
		return badge{"calm", "⊘", "canceled"}
	case "":
		return badge{"warn", "…", "did not end"}
	default:
		return badge{"bad", "✕", string(o)}
	}
}

// changes writes what the first and the last look of a step saw differently.
func changes(before, after journal.Facts) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(after)) {
		switch b, had := before[k]; {
		case !had:
			parts = append(parts, k+": "+after[k])
		case b != after[k]:
			parts = append(parts, k+": "+b+" → "+after[k])
		}
	}
	return clipped(strings.Join(parts, "; "), mostRunes)
}

// entryText says in one cell what an entry recorded.
func entryText(e journal.Entry) string {
	var parts []string
	add := func(label, text string) {
		if text != "" {
			parts = append(parts, label+text)
		}
	}
	add("", e.Title)
	if e.Message != e.Title {
		add("", e.Message)
	}
	add("action: ", e.Action)
	add("by ", e.Author)
	add("identity: ", e.Identity)
	add("via ", e.Channel)
	add("reason: ", e.Reason)
	if e.PlanHash != "" {
		add("plan ", short(e.PlanHash))
	}
	if e.Attempts > 1 {
		add("", fmt.Sprintf("%d tries", e.Attempts))
	}
	if e.TookMs > 0 {
		add("took ", duration(e.TookMs))
	}
	if !e.Deadline.IsZero() {
		add("deadline ", stamp(e.Deadline))
	}
	add("", changes(e.Before, e.After))
	return clipped(strings.Join(parts, " · "), mostRunes)
}

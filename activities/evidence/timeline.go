package evidence

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/internal/journal"
)

// maxRows is how many rows the picture draws one by one; beyond it, steps share a row per phase, and notable systems get one.
const (
	maxRows        = 60
	notableSystems = 40
)

// bar is one interval of a row.
type bar struct {
	from, to time.Time
	class    string // ok, failed, skipped, canceled, running, hold, gate, many
	title    string
}

// mark is one moment of a row.
type mark struct {
	at    time.Time
	class string // approve, reject, refused, act
	title string
}

// row is one line of the picture.
type row struct {
	group string // phase; shown where it changes
	label string
	title string
	bars  []bar
	marks []mark
	note  string // after the last bar
}

// rows returns the picture's rows, and whether steps were put together.
func rows(ev Evidence, end time.Time) ([]row, bool) {
	top := gateRows(ev, end)
	if r, paused := pauseRow(ev, end); paused {
		top = append(top, r)
	}
	if len(ev.Steps)+len(top) <= maxRows {
		var all []row
		for _, s := range groupSteps(ev.Steps) {
			all = append(all, stepRow(ev, s, end))
		}
		return append(top, all...), false
	}
	if len(top) > notableSystems {
		top = top[:notableSystems]
	}
	return slices.Concat(top, phaseRows(ev, end), systemRows(ev, end)), true
}

// groupSteps orders steps by the first start of their family of phases (fence and fence-route are one), then as they began.
func groupSteps(steps []Step) []Step {
	rank := map[string]int{}
	for _, s := range steps {
		if _, known := rank[family(s.Phase)]; !known {
			rank[family(s.Phase)] = len(rank)
		}
	}
	sorted := slices.Clone(steps)
	slices.SortStableFunc(sorted, func(a, b Step) int { return rank[family(a.Phase)] - rank[family(b.Phase)] })
	return sorted
}

// family is the phase that a phase belongs to: fence-route is the fence's, undo-fence the undo's.
func family(phase string) string {
	for _, f := range []string{"observe", "preflight", "gate", "lock", "fence", "catch-up", "promote", "route", "verify", "re-protect", "measure", "undo"} {
		if phase == f || strings.HasPrefix(phase, f+"-") {
			return f
		}
	}
	return phase
}

func gateRows(ev Evidence, end time.Time) []row {
	var out []row
	for _, g := range ev.Gates {
		r := row{group: "gate", label: gateName(g), title: first(g.Title, g.Name)}
		state := first(string(g.Outcome), "open")
		to := orEnd(g.Closed, end)
		r.bars = []bar{{from: g.Opened, to: to, class: "gate", title: fmt.Sprintf("gate %s: %s after %s", gateName(g), state, duration(ms(to.Sub(g.Opened))))}}
		r.note = state
		for _, d := range g.Decisions {
			class := "approve"
			if d.Action != "approve" {
				class = "reject"
			}
			r.marks = append(r.marks, mark{at: d.At, class: class, title: fmt.Sprintf("%s by %s at %s", d.Action, who(d), clock(d.At))})
		}
		for _, d := range ev.Refused {
			if d.Gate == g.Name && !d.At.Before(g.Opened) && !d.At.After(to) {
				r.marks = append(r.marks, mark{at: d.At, class: "refused", title: fmt.Sprintf("refused: %s by %s at %s", first(d.Action, "decision"), who(d), clock(d.At))})
			}
		}
		out = append(out, r)
	}
	return out
}

func pauseRow(ev Evidence, end time.Time) (row, bool) {
	r := row{group: "run", label: "paused", title: "the whole run waited for an operator"}
	for _, h := range ev.Holds {
		if h.Step == "" {
			r.bars = append(r.bars, holdBar(h, end))
		}
	}
	return r, len(r.bars) > 0
}

func holdBar(h Hold, end time.Time) bar {
	to := orEnd(h.To, end)
	text := fmt.Sprintf("on hold for %s: %s", duration(ms(to.Sub(h.From))), first(h.Why, "no reason given"))
	if h.Action != "" {
		text += fmt.Sprintf("; then %s by %s", h.Action, h.Author)
	}
	return bar{from: h.From, to: to, class: "hold", title: text}
}

func stepRow(ev Evidence, s Step, end time.Time) row {
	f := family(s.Phase)
	label := strings.Trim(strings.TrimPrefix(s.ID, f), "-/")
	r := row{group: f, label: first(label, s.Title, s.ID), title: first(s.Title, s.ID) + " (" + s.ID + ")", bars: attemptBars(s, end)}
	for _, h := range ev.Holds {
		if h.Step == s.ID && s.ID != "" {
			r.bars = append(r.bars, holdBar(h, end))
		}
	}
	for _, a := range ev.Interventions {
		if a.Step == s.ID && s.ID != "" {
			r.marks = append(r.marks, mark{at: a.At, class: "act", title: fmt.Sprintf("%s by %s at %s", a.Action, who(a), clock(a.At))})
		}
	}
	var worked time.Duration
	for _, a := range s.Attempts {
		worked += max(0, orEnd(a.To, end).Sub(a.From))
	}
	r.note = duration(ms(worked))
	if !s.Done() {
		r.note += ", " + first(string(s.Outcome), "did not end")
	}
	if n := len(s.Attempts); n > 1 {
		r.note += fmt.Sprintf(", %d attempts", n)
	}
	return r
}

func attemptBars(s Step, end time.Time) []bar {
	var bars []bar
	for i, a := range s.Attempts {
		class := "running"
		switch a.Outcome {
		case journal.Changed, journal.Unchanged:
			class = "ok"
		case journal.Failed, journal.Rejected, journal.Expired:
			class = "failed"
		case journal.Skipped:
			class = "skipped"
		case journal.Canceled:
			class = "canceled"
		}
		to := orEnd(a.To, end)
		text := fmt.Sprintf("%s: %s, %s to %s (%s)", s.ID, first(string(a.Outcome), "did not end"), clock(a.From), clock(a.To), duration(ms(to.Sub(a.From))))
		if len(s.Attempts) > 1 {
			text += fmt.Sprintf(", attempt %d", i+1)
		}
		if a.Tries > 1 {
			text += fmt.Sprintf(", %d tries", a.Tries)
		}
		bars = append(bars, bar{from: a.From, to: to, class: class, title: text})
	}
	return bars
}

// phaseRows puts all steps of a phase into one row.
func phaseRows(ev Evidence, end time.Time) []row {
	var out []row
	for _, s := range groupSteps(ev.Steps) {
		if n := len(out); n == 0 || out[n-1].label != family(s.Phase) {
			out = append(out, row{group: "all systems", label: family(s.Phase), title: "all steps of phase " + family(s.Phase)})
		}
		r := &out[len(out)-1]
		r.bars = append(r.bars, attemptBars(s, end)...)
	}
	for i := range out {
		r := &out[i]
		r.note = fmt.Sprintf("%d attempts", len(r.bars))
		failed := 0
		for _, b := range r.bars {
			if b.class == "failed" || b.class == "skipped" {
				failed++
			}
		}
		if failed > 0 {
			r.note += fmt.Sprintf(", %d failed", failed)
		}
		r.bars = merge(r.bars)
	}
	return out
}

// merge draws the bars of one class as their union.
func merge(bars []bar) []bar {
	var out []bar
	for _, class := range []string{"running", "ok", "canceled", "skipped", "failed"} {
		var bands []journal.Band
		for _, b := range bars {
			if b.class == class {
				bands = append(bands, journal.Band{From: b.from, To: b.to.Add(1)}) // an instant is seen too
			}
		}
		for _, b := range union(bands, 0) {
			out = append(out, bar{from: b.From, to: b.To, class: class, title: class + " for " + duration(ms(length(b)))})
		}
	}
	return out
}

// systemRows gives a row to the systems that somebody will ask about: failures first, then the longest outages.
func systemRows(ev Evidence, end time.Time) []row {
	weight := map[string]int64{}
	byName := map[string][]Step{}
	var names []string
	for _, s := range ev.Steps {
		if _, known := byName[s.System]; !known {
			names = append(names, s.System)
		}
		byName[s.System] = append(byName[s.System], s)
		if !s.Done() {
			weight[s.System] += 1 << 50
		}
	}
	for _, h := range ev.Holds {
		weight[h.System] += 1 << 48
	}
	for _, s := range ev.Systems {
		if s.Measure != nil {
			weight[s.Name] += min(outage(*s.Measure), 1<<40)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(weight[b], weight[a]) })
	var out []row
	for _, name := range names[:min(len(names), notableSystems)] {
		r := row{group: "system", label: first(name, "(no system)"), title: fmt.Sprintf("all %d steps of %s", len(byName[name]), first(name, "no system"))}
		for _, s := range byName[name] {
			r.bars = append(r.bars, attemptBars(s, end)...)
		}
		r.bars = merge(r.bars)
		r.note = fmt.Sprintf("%d steps", len(byName[name]))
		for _, h := range ev.Holds {
			if h.System == name && h.Step != "" {
				r.bars = append(r.bars, holdBar(h, end))
			}
		}
		out = append(out, r)
	}
	return out
}

package evidence

import (
	"slices"
	"time"

	"github.com/musterhq/muster/internal/journal"
)

// times splits the worst outage and totals the run.
func times(ev Evidence, entries []journal.Entry) Times {
	last := ev.Started
	for _, e := range entries {
		if e.At.After(last) {
			last = e.At
		}
	}
	end := ev.Ended
	if end.IsZero() {
		end = last
	}
	run := journal.Band{From: ev.Started, To: end}
	gates := gateBands(ev, end)
	t := Times{
		RunMs:    ms(length(run)),
		GatesMs:  ms(total(clip(gates, run))),
		HeldMs:   ms(total(clip(holdBands(ev, end), run))),
		LockedMs: ms(total(clip(lockBands(entries, end), run))),
	}
	for _, s := range ev.Systems {
		if s.Measure == nil || !s.Measure.Measured {
			continue
		}
		t.Measured = true
		if out := outage(*s.Measure); t.System == "" || out > t.OutageMs {
			t.System, t.OutageMs, t.Outage = s.Name, out, s.Measure.Outage
		}
	}
	if t.Outage == nil || length(*t.Outage) == 0 {
		t.ExecuteMs = t.OutageMs
		return t
	}
	out := *t.Outage
	t.DetectMs = ms(total(clip([]journal.Band{{From: out.From, To: ev.Started}}, out)))
	rest := journal.Band{From: out.From, To: out.To}
	if rest.From.Before(ev.Started) {
		rest.From = ev.Started
	}
	t.DecideMs = ms(total(clip(gates, rest)))
	if v, ok := verifyBand(ev, t.System); ok {
		verify := clip([]journal.Band{v}, rest)
		deciding := time.Duration(0)
		for _, b := range verify {
			deciding += total(clip(gates, b))
		}
		t.VerifyMs = ms(total(verify) - deciding)
	}
	t.ExecuteMs = max(0, t.OutageMs-t.DetectMs-t.DecideMs-t.VerifyMs)
	return t
}

// outage is the longest interruption that a measure knows of, in whichever of its fields.
func outage(m journal.Measure) int64 {
	longest := m.OutageMs
	if m.Outage != nil {
		longest = max(longest, ms(length(*m.Outage)))
	}
	for _, b := range m.Outages {
		longest = max(longest, ms(length(b)))
	}
	return longest
}

// atMost is the longest interruption that there may have been: as if every unwatched interval had been one.
func atMost(m journal.Measure) int64 {
	all := slices.Concat(m.Outages, m.Unwatched)
	if m.Outage != nil {
		all = append(all, *m.Outage)
	}
	// Bands that touch, to within two writes, are one.
	touch := 2 * time.Duration(max(0, min(m.EveryMs, 10_000))) * time.Millisecond
	longest := outage(m)
	for _, b := range union(all, touch) {
		longest = max(longest, ms(length(b)))
	}
	return longest
}

// verifyBand is from the end of the last route step to the end of the first good verification after it: the system's own
// steps, or those that name no system.
func verifyBand(ev Evidence, system string) (journal.Band, bool) {
	var routed time.Time
	for _, s := range stepsOf(ev, "route", system) {
		for _, a := range s.Attempts {
			if s.Done() && a.To.After(routed) {
				routed = a.To
			}
		}
	}
	if routed.IsZero() {
		return journal.Band{}, false
	}
	var verified time.Time
	for _, s := range stepsOf(ev, "verify", system) {
		for _, a := range s.Attempts {
			good := a.Outcome == journal.Changed || a.Outcome == journal.Unchanged
			if good && !a.To.Before(routed) && (verified.IsZero() || a.To.Before(verified)) {
				verified = a.To
			}
		}
	}
	return journal.Band{From: routed, To: verified}, !verified.IsZero()
}

// stepsOf returns the steps of a phase for a system; where none names it, those that name no system.
func stepsOf(ev Evidence, phase, system string) []Step {
	var own, shared []Step
	for _, s := range ev.Steps {
		switch {
		case s.Phase != phase:
		case s.System == system:
			own = append(own, s)
		case s.System == "":
			shared = append(shared, s)
		}
	}
	if len(own) > 0 {
		return own
	}
	return shared
}

func gateBands(ev Evidence, end time.Time) []journal.Band {
	var all []journal.Band
	for _, g := range ev.Gates {
		all = append(all, journal.Band{From: g.Opened, To: orEnd(g.Closed, end)})
	}
	return all
}

func holdBands(ev Evidence, end time.Time) []journal.Band {
	var all []journal.Band
	for _, h := range ev.Holds {
		all = append(all, journal.Band{From: h.From, To: orEnd(h.To, end)})
	}
	return all
}

// lockBands runs from the first lock taken to the last one given back.
func lockBands(entries []journal.Entry, end time.Time) []journal.Band {
	var b journal.Band
	for _, e := range entries {
		if e.Kind == journal.Locked && b.From.IsZero() {
			b.From, b.To = e.At, end
		}
		if e.Kind == journal.Unlocked && !b.From.IsZero() {
			b.To = e.At
		}
	}
	if b.From.IsZero() {
		return nil
	}
	return []journal.Band{b}
}

func orEnd(t, end time.Time) time.Time {
	if t.IsZero() {
		return end
	}
	return t
}

// union merges bands that overlap or lie no further apart than touch. Bands that end before they begin are dropped.
func union(bands []journal.Band, touch time.Duration) []journal.Band {
	sorted := slices.DeleteFunc(slices.Clone(bands), func(b journal.Band) bool { return !b.To.After(b.From) })
	slices.SortStableFunc(sorted, func(a, b journal.Band) int { return a.From.Compare(b.From) })
	var out []journal.Band
	for _, b := range sorted {
		if n := len(out); n > 0 && !b.From.After(out[n-1].To.Add(touch)) {
			if b.To.After(out[n-1].To) {
				out[n-1].To = b.To
			}
			continue
		}
		out = append(out, b)
	}
	return out
}

// clip returns the union of bands within w.
func clip(bands []journal.Band, w journal.Band) []journal.Band {
	var in []journal.Band
	for _, b := range bands {
		if b.From.Before(w.From) {
			b.From = w.From
		}
		if b.To.After(w.To) {
			b.To = w.To
		}
		in = append(in, b)
	}
	return union(in, 0)
}

func total(bands []journal.Band) time.Duration {
	var sum time.Duration
	for _, b := range bands {
		sum += length(b)
	}
	return sum
}

func length(b journal.Band) time.Duration { return max(0, b.Duration()) }

func ms(d time.Duration) int64 { return d.Milliseconds() }

package writer

import (
	"cmp"
	"slices"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

const (
	// bridge is the longest unwatched interval that an outage spans: a writer killed within an outage must not make it
	// look shorter. It is an upper bound then, and the interval stands under Unwatched too.
	bridge = 10 * time.Minute
	// lookBack is how long before the window a write may have been acknowledged and still count if it is missing: an
	// unplanned loss is of writes from before the failure, and the run that measures began after it.
	lookBack = 10 * time.Minute
)

// beat is an attempt with the process that made it.
type beat struct {
	attempt
	process int
}

// tally is what a log says of a window. It is all of a report but Missing, which the data says.
type tally struct {
	report activities.WriterReport
	writer string
	check  []int64 // acknowledged numbers that must be in the data, ascending
	forgot int64
}

// threshold is what an interval without an acknowledged write must exceed to count.
func threshold(every time.Duration) time.Duration { return max(5*every, 150*time.Millisecond) }

// compute is a pure function of the log and the window. A zero since means from the log's beginning.
func compute(entries []entry, since, until time.Time) tally {
	var t tally
	var beats []beat
	process := 0
	t.report.Every = defaultEvery
	for _, e := range entries {
		n := e.note
		if n == nil {
			beats = append(beats, beat{e.attempt, process})
			continue
		}
		if n.Start {
			process++
		}
		if n.Every > 0 {
			t.report.Every = n.Every
		}
		if n.Writer != "" {
			t.writer = n.Writer
		}
		t.forgot = max(t.forgot, n.Forgot)
	}
	if since.IsZero() {
		since = until
		if len(beats) > 0 {
			since = time.Unix(0, beats[0].wallSent()).UTC()
		}
	}
	for _, b := range beats {
		if b.acked() && b.seq >= t.forgot && b.wallDone() >= since.Add(-lookBack).UnixNano() && b.wallSent() <= until.UnixNano() {
			t.check = append(t.check, b.seq)
		}
		if b.wallDone() < since.UnixNano() || b.wallSent() > until.UnixNano() {
			continue
		}
		if b.acked() {
			t.report.Acknowledged++
		} else {
			t.report.Failed++
		}
		if t.report.First.IsZero() {
			t.report.First = b.doneAt()
		}
		t.report.Last = b.doneAt()
	}
	slices.Sort(t.check)
	w := window{since: since.UTC(), until: until.UTC(), limit: threshold(t.report.Every)}
	t.report.Outages = w.outages(beats)
	t.report.Unwatched = w.unwatched(beats)
	return t
}

// straighten puts the last process's attempts on the wall clock as its last one saw it: a clock that is set in the middle of a window
// would otherwise put attempts outside of it. since may be of the time before a clock was set forward, and is returned on the new one;
// where a clock was set back, whoever asks knows the new one.
func straighten(entries []entry, since time.Time) time.Time {
	begin, skew := 0, int64(0)
	for i, e := range entries {
		switch {
		case e.note == nil:
			skew = e.attempt.skew
		case e.note.Start:
			begin = i
		}
	}
	moved := since.IsZero()
	for i := begin; i < len(entries); i++ {
		if a := &entries[i].attempt; entries[i].note == nil {
			if !moved && a.wallDone() >= since.UnixNano() {
				since, moved = since.Add(time.Duration(max(0, skew-a.skew))), true
			}
			a.skew = skew
		}
	}
	return since
}

// window is an interval of the wall clock, and what counts as an interruption within it.
type window struct {
	since, until time.Time
	limit        time.Duration
}

// point is the beginning or the end of a beat.
type point struct {
	steady, wall int64
	process      int
}

func (b beat) begin() point { return point{b.sent, b.wallSent(), b.process} }
func (b beat) end() point   { return point{b.done, b.wallDone(), b.process} }

// elapsed is the time between two points: by the clock that does not jump, where one process saw both.
func elapsed(from, to point) time.Duration {
	if from.process == to.process {
		return time.Duration(to.steady - from.steady)
	}
	return max(0, time.Duration(to.wall-from.wall))
}

// outages finds every interval without an acknowledged write that is longer than the limit and overlaps the window,
// longest first. Each is whole where it began before the window, and clipped where it ends after it.
func (w window) outages(beats []beat) []journal.Band {
	var found []journal.Band
	for i := 0; i <= len(beats); {
		end := i // of the run that ends with the first acknowledged beat at or after i
		for end < len(beats) && !beats[end].acked() {
			end++
		}
		found = append(found, w.within(beats, i, end)...)
		i = end + 1
	}
	slices.SortStableFunc(found, func(a, b journal.Band) int { return cmp.Compare(b.Duration(), a.Duration()) })
	return found
}

// within finds the outages between the acknowledged beat before index first and the one at index last; either may not be
// there. There are several where unwatched intervals longer than the bridge lie between.
func (w window) within(beats []beat, first, last int) []journal.Band {
	var found []journal.Band
	var from *point
	bad := false
	flush := func(to point, open bool) {
		if from != nil && bad {
			if band, overlaps := w.clip(*from, to, open); overlaps && band.Duration() > w.limit {
				found = append(found, band)
			}
		}
		from, bad = nil, false
	}
	if first > 0 {
		p := beats[first-1].end()
		from = &p
	}
	for i := first; i <= last && i < len(beats); i++ {
		b := beats[i]
		if i > 0 && from != nil {
			gap := elapsed(beats[i-1].end(), b.begin())
			// Between two acknowledged writes nothing speaks for an outage: a slow one counts alone.
			if gap > bridge || (gap > w.limit && b.acked() && !bad) {
				flush(beats[i-1].end(), false)
			}
		}
		if from == nil {
			p := b.begin()
			from = &p
		}
		bad = bad || !b.acked() || elapsed(b.begin(), b.end()) > w.limit
		if i == last {
			flush(b.end(), false)
		}
	}
	if last >= len(beats) && len(beats) > 0 { // the log ends within the outage
		to := beats[len(beats)-1].end()
		flush(to, w.until.Sub(time.Unix(0, to.wall)) <= bridge)
	}
	return found
}

// clip makes a band of wall times whose length is the time elapsed. An open one lasts to the end of the window.
func (w window) clip(from, to point, open bool) (journal.Band, bool) {
	begin := time.Unix(0, from.wall).UTC()
	band := journal.Band{From: begin, To: begin.Add(elapsed(from, to))}
	if open || band.To.After(w.until) {
		band.To = w.until
	}
	return band, begin.Before(w.until) && (open || band.To.After(w.since)) && band.To.After(band.From)
}

// unwatched finds the intervals of the window in which nothing was tried, oldest first.
func (w window) unwatched(beats []beat) []journal.Band {
	var found []journal.Band
	add := func(from, to time.Time) {
		if from.Before(w.since) {
			from = w.since
		}
		if to.After(w.until) {
			to = w.until
		}
		if to.Sub(from) > w.limit {
			found = append(found, journal.Band{From: from, To: to})
		}
	}
	if len(beats) == 0 {
		add(w.since, w.until)
		return found
	}
	add(w.since, time.Unix(0, beats[0].wallSent()).UTC())
	for i := 1; i < len(beats); i++ {
		if gap := elapsed(beats[i-1].end(), beats[i].begin()); gap > w.limit {
			from := beats[i-1].doneAt()
			add(from, from.Add(gap))
		}
	}
	add(beats[len(beats)-1].doneAt(), w.until)
	return found
}

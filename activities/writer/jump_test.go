package writer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAJumpOfTheClockIsNoOutage: an attempt every 20 ms, a second without an answer, and the wall clock is set in the middle of it.
func TestAJumpOfTheClockIsNoOutage(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{0, time.Hour, -time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			t.Parallel()
			start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			entries := []entry{{note: &note{Start: true, Next: 1, Every: 20 * time.Millisecond, Writer: "w"}}}
			for n := range 200 {
				at := start.Add(time.Duration(n) * 20 * time.Millisecond)
				a := attempt{seq: int64(n + 1), sent: at.UnixNano(), done: at.Add(time.Millisecond).UnixNano(), outcome: ack}
				if n >= 100 && n < 150 {
					a.outcome = "Unreachable"
				}
				if n >= 125 {
					a.skew = int64(jump)
				}
				entries = append(entries, entry{attempt: a})
			}
			until := start.Add(4 * time.Second).Add(jump)
			report := compute(entries, straighten(entries, start.Add(-time.Second).Add(min(jump, 0))), until).report
			require.Len(t, report.Outages, 1)
			require.InDelta(t, time.Second.Milliseconds(), report.Outages[0].Duration().Milliseconds(), 50)
			require.EqualValues(t, 150, report.Acknowledged)
			require.Len(t, report.Unwatched, 1, "the second before the writer began, %v", report.Unwatched)

			// The next run looks at the same log, with the clock set right again: what was before it is none of its business.
			later := start.Add(10 * time.Second)
			entries = append(entries, entry{note: &note{Start: true, Next: 300}})
			for n := range 50 {
				at := later.Add(time.Duration(n) * 20 * time.Millisecond)
				entries = append(entries, entry{attempt: attempt{seq: int64(300 + n), sent: at.UnixNano(), done: at.UnixNano() + 1, outcome: ack}})
			}
			report = compute(entries, straighten(entries, later), later.Add(time.Second)).report
			require.Empty(t, report.Outages)
		})
	}
}

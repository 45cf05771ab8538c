package evidence

import (
	"cmp"
	"slices"
	"time"
)

// axis maps time to the picture's x. It is linear, but for long waits, which are drawn as gaps of a fixed width: a gate that
// waited for 40 minutes leaves room for steps of 200 ms.
type axis struct {
	pieces []piece
}

// piece is an interval of time that is drawn from x0 to x1.
type piece struct {
	from, to time.Time
	x0, x1   float64
	gap      bool
}

const (
	maxGaps  = 12
	gapWidth = 52
	// A wait that nothing happens in is a gap when it is twice as long as all shorter intervals together; work must be
	// twelve times as long.
	idleFactor, busyFactor = 2, 12
	leastLinear            = 200 * time.Millisecond
)

// newAxis lays the moments out from x0 to x1. busy says whether work was done between two neighbouring moments.
func newAxis(moments []time.Time, busy func(from, to time.Time) bool, x0, x1 float64) axis {
	moments = slices.Clone(moments)
	slices.SortFunc(moments, time.Time.Compare)
	moments = slices.CompactFunc(moments, time.Time.Equal)
	if len(moments) == 0 {
		moments = []time.Time{{}}
	}
	if len(moments) == 1 {
		moments = append(moments, moments[0].Add(leastLinear))
	}
	gaps := findGaps(moments, busy)
	var linear float64
	for i := range len(moments) - 1 {
		if !gaps[i] {
			linear += float64(moments[i+1].Sub(moments[i]))
		}
	}
	scale := (x1 - x0 - float64(len(gaps)*gapWidth)) / max(linear, 1)
	var a axis
	x := x0
	for i := range len(moments) - 1 {
		p := piece{from: moments[i], to: moments[i+1], x0: x, gap: gaps[i]}
		if p.gap {
			x += gapWidth
		} else {
			x += float64(p.to.Sub(p.from)) * scale
		}
		p.x1 = x
		if n := len(a.pieces); n > 0 && !p.gap && !a.pieces[n-1].gap {
			a.pieces[n-1].to, a.pieces[n-1].x1 = p.to, p.x1
			continue
		}
		a.pieces = append(a.pieces, p)
	}
	return a
}

// findGaps returns the intervals (by the index of their first moment) that are to be gaps.
func findGaps(moments []time.Time, busy func(from, to time.Time) bool) map[int]bool {
	byLength := make([]int, len(moments)-1)
	var rest float64 // hostile times do not overflow it
	for i := range byLength {
		byLength[i] = i
		rest += float64(moments[i+1].Sub(moments[i]))
	}
	size := func(i int) time.Duration { return moments[i+1].Sub(moments[i]) }
	slices.SortStableFunc(byLength, func(a, b int) int { return cmp.Compare(size(b), size(a)) })
	cut := 0
	for k, i := range byLength[:min(len(byLength), maxGaps)] {
		rest -= float64(size(i))
		if rest < float64(leastLinear) {
			break
		}
		factor := float64(idleFactor)
		if busy(moments[i], moments[i+1]) {
			factor = busyFactor
		}
		if float64(size(i)) > factor*rest {
			cut = k + 1
		}
	}
	gaps := map[int]bool{}
	for _, i := range byLength[:cut] {
		gaps[i] = true
	}
	return gaps
}

// x places a moment; what is outside the axis is put at its ends.
func (a axis) x(t time.Time) float64 {
	for _, p := range a.pieces {
		if t.Before(p.from) {
			return p.x0
		}
		if !t.After(p.to) {
			return p.x0 + (p.x1-p.x0)*float64(t.Sub(p.from))/float64(max(1, p.to.Sub(p.from)))
		}
	}
	return a.pieces[len(a.pieces)-1].x1
}

// tick is a mark on the axis, labelled by the time since zero.
type tick struct {
	x     float64
	after time.Duration
	step  time.Duration // between ticks: how fine the label must be
}

var tickSteps = []time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second,
	10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute,
	15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// ticks are at least room apart, at round times since zero, and none is in a gap.
func (a axis) ticks(zero time.Time, room float64) []tick {
	var perPixel float64
	for _, p := range a.pieces {
		if !p.gap && p.x1 > p.x0 {
			perPixel = max(perPixel, float64(p.to.Sub(p.from))/(p.x1-p.x0))
		}
	}
	step := 24 * time.Hour
	for _, s := range tickSteps {
		if float64(s) >= perPixel*room {
			step = s
			break
		}
	}
	for perPixel*room > float64(step) && step < 1<<60 {
		step *= 2
	}
	var out []tick
	for _, p := range a.pieces {
		if p.gap {
			continue
		}
		n := p.from.Sub(zero) / step
		if p.from.Sub(zero) > n*step {
			n++
		}
		for most := n + 200; n < most && !zero.Add(n*step).After(p.to); n++ {
			x := a.x(zero.Add(n * step))
			if len(out) == 0 || x-out[len(out)-1].x >= room*0.9 {
				out = append(out, tick{x: x, after: n * step, step: step})
			}
		}
	}
	return out
}

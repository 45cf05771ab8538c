package evidence

import (
	"fmt"
	"strconv"
	"time"

	"github.com/musterhq/muster/internal/journal"
)

// The picture's measures, in units of its view box.
const (
	picWidth  = 1040
	labelsX   = 84  // where row labels begin, after the phase
	plotX     = 236 // where time begins
	plotEnd   = 1024
	rowHeight = 20
	headTop   = 64 // lanes above the rows: gaps, outage, point of no return
	charWidth = 6.2
)

// picture is the timeline as shapes; the template draws them and escapes their texts. Numbers are texts with one decimal.
type picture struct {
	Width, Height string
	Describe      string
	Together      bool
	Shapes        []shape
}

// shape is one element of the picture. Kind is rect, line, path or text.
type shape struct {
	Kind, Class, X, Y, W, H, D string
	Anchor, Text, Title        string
}

type canvas struct {
	axis   axis
	shapes []shape
}

func f1(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }

func (c *canvas) rect(class string, x, y, w, h float64, title string) {
	c.shapes = append(c.shapes, shape{Kind: "rect", Class: class, X: f1(x), Y: f1(y), W: f1(w), H: f1(h), Title: title})
}

func (c *canvas) path(class, d, title string) {
	c.shapes = append(c.shapes, shape{Kind: "path", Class: class, D: d, Title: title})
}

func (c *canvas) text(class, anchor string, x, y float64, text, title string) {
	c.shapes = append(c.shapes, shape{Kind: "text", Class: class, Anchor: anchor, X: f1(x), Y: f1(y), Text: text, Title: title})
}

// fit cuts a text to a width; the whole of it is in the title.
func fit(text string, width float64) string {
	used := 0.0
	for i, r := range text {
		w := charWidth
		if r >= 0x1100 {
			w *= 2
		}
		if used+w > width-charWidth && i > 0 && len(text[i:]) > 1 {
			return text[:i] + "…"
		}
		used += w
	}
	return text
}

func textWidth(text string) float64 {
	w := 0.0
	for _, r := range text {
		w += charWidth
		if r >= 0x1100 && r != '…' {
			w += charWidth
		}
	}
	return w
}

// draw makes the timeline of the run.
func draw(ev Evidence) picture {
	end := ev.Started
	for _, e := range ev.Journal {
		if e.At.After(end) {
			end = e.At
		}
	}
	all, together := rows(ev, end)
	outages, unwatched := clientBands(ev)
	c := canvas{axis: newAxis(moments(ev, all, outages, end), working(all), plotX, plotEnd-8)}
	height := float64(headTop + len(all)*rowHeight)
	c.background(ev, all, height)
	c.bands("unwatched", unwatched, height, "no writer ran for ")
	c.bands("outage", outages, height, "clients were cut off for ")
	c.gaps(height)
	for i, r := range all {
		c.row(r, float64(headTop+i*rowHeight))
	}
	c.noReturn(ev, height)
	c.outageLabel(ev)
	return picture{Width: strconv.Itoa(picWidth), Height: f1(height + 30), Describe: describe(ev, len(all)), Together: together, Shapes: c.shapes}
}

func describe(ev Evidence, n int) string {
	text := fmt.Sprintf("Timeline of the run in %d rows, from %s for %s.", n, stamp(ev.Started), duration(ev.Times.RunMs))
	if ev.Times.Outage != nil {
		text += fmt.Sprintf(" Clients of %s were cut off from %s to %s, %s.", ev.Times.System, clock(ev.Times.Outage.From),
			clock(ev.Times.Outage.To), duration(ev.Times.OutageMs))
	}
	return text + " The tables below hold the same data."
}

// clientBands are the outages of all systems together, and the intervals that nobody watched.
func clientBands(ev Evidence) (outages, unwatched []journal.Band) {
	for _, s := range ev.Systems {
		if s.Measure == nil {
			continue
		}
		outages = append(outages, s.Measure.Outages...)
		if s.Measure.Outage != nil {
			outages = append(outages, *s.Measure.Outage)
		}
		unwatched = append(unwatched, s.Measure.Unwatched...)
	}
	return union(outages, 0), union(unwatched, 0)
}

func moments(ev Evidence, all []row, outages []journal.Band, end time.Time) []time.Time {
	at := []time.Time{ev.Started, end}
	for _, r := range all {
		for _, b := range r.bars {
			at = append(at, b.from, b.to)
		}
		for _, m := range r.marks {
			at = append(at, m.at)
		}
	}
	for _, b := range outages {
		at = append(at, b.From, b.To)
	}
	for _, n := range ev.NoReturn {
		at = append(at, n.At)
	}
	return at
}

// working reports whether a step was at work in an interval, as against gates and holds.
func working(all []row) func(from, to time.Time) bool {
	return func(from, to time.Time) bool {
		for _, r := range all {
			for _, b := range r.bars {
				if b.class != "gate" && b.class != "hold" && !b.from.After(from) && !b.to.Before(to) {
					return true
				}
			}
		}
		return false
	}
}

func (c *canvas) background(ev Evidence, all []row, height float64) {
	shade := false
	for i, r := range all {
		y := float64(headTop + i*rowHeight)
		if i == 0 || all[i-1].group != r.group {
			shade = !shade
			c.text("phase", "start", 4, y+14, fit(r.group, labelsX-8), r.group)
		}
		if shade {
			c.rect("stripe", 0, y, picWidth, rowHeight, "")
		}
	}
	// The stripe goes under the phase's name.
	for i, s := range c.shapes {
		if s.Kind == "text" && i+1 < len(c.shapes) && c.shapes[i+1].Kind == "rect" {
			c.shapes[i], c.shapes[i+1] = c.shapes[i+1], s
		}
	}
	for _, t := range c.axis.ticks(ev.Started, 76) {
		c.path("grid", fmt.Sprintf("M%s %dV%s", f1(t.x), headTop, f1(height)), "")
		label := "0"
		if t.after != 0 {
			label = sinceStart(t.after, t.step)
		}
		c.text("tick", "middle", min(t.x, plotEnd-14), height+14, label, "")
	}
	c.text("tick", "start", 4, height+14, "since "+ev.Started.UTC().Format("15:04:05.000 UTC"), "")
}

// sinceStart labels a tick as finely as ticks are apart.
func sinceStart(d, step time.Duration) string {
	sign := "+"
	if d < 0 {
		sign, d = "−", -d
	}
	digits := 0
	for unit := time.Second; unit > step && digits < 3; unit /= 10 {
		digits++
	}
	width := 2
	if digits > 0 {
		width += 1 + digits
	}
	switch seconds := (d % time.Minute).Seconds(); {
	case d < time.Second:
		return sign + strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return sign + strconv.FormatFloat(seconds, 'f', digits, 64) + " s"
	case d < time.Hour || step < time.Minute:
		return fmt.Sprintf("%s%d:%0*.*f", sign, d/time.Minute, width, digits, seconds)
	default:
		return fmt.Sprintf("%s%d:%02d h", sign, d/time.Hour, d%time.Hour/time.Minute)
	}
}

// bands draws sorted intervals over all rows. Those that are nearer than the eye sees become one, whose title counts them.
func (c *canvas) bands(class string, sorted []journal.Band, height float64, what string) {
	const near = 3
	for i := 0; i < len(sorted); {
		x0, x1 := c.axis.x(sorted[i].From), c.axis.x(sorted[i].To)
		x1 = max(x1, x0+2)
		longest, n := length(sorted[i]), 1
		for ; i+n < len(sorted) && c.axis.x(sorted[i+n].From) < x1+near; n++ {
			x1 = max(x1, c.axis.x(sorted[i+n].To))
			longest = max(longest, length(sorted[i+n]))
		}
		title := what + duration(ms(longest))
		if n > 1 {
			title = fmt.Sprintf("%d intervals; at the longest, %s", n, title)
		}
		c.rect(class, x0, 44, x1-x0, height-44, title)
		i += n
	}
}

// gaps marks where the axis is broken, with the length of the wait in the topmost lane.
func (c *canvas) gaps(height float64) {
	for _, p := range c.axis.pieces {
		if !p.gap {
			continue
		}
		length := duration(ms(p.to.Sub(p.from)))
		mid := (p.x0 + p.x1) / 2
		c.rect("gap", p.x0+4, headTop, p.x1-p.x0-8, height-headTop, "a wait of "+length+", drawn short")
		for _, x := range []float64{mid - 3, mid + 3} {
			c.path("zigzag", fmt.Sprintf("M%s %sl6 4l-6 4l6 4", f1(x-3), f1(height-6)), "")
		}
		c.text("gaptext", "middle", mid, 12, length, "a wait of "+length+", drawn short")
	}
}

func (c *canvas) row(r row, y float64) {
	c.text("label", "start", labelsX, y+14, fit(r.label, plotX-labelsX-6), first(r.title, r.label))
	left, right := float64(plotEnd), float64(plotX)
	drawn := map[string]float64{} // class -> to where it covers the row, for rows of many steps
	for _, b := range r.bars {
		x0, x1 := c.axis.x(b.from), c.axis.x(b.to)
		x1 = max(x1, x0+2.5)
		if covered := drawn[b.class]; len(r.bars) > 100 && x0 < covered {
			if x0 = covered; x1-x0 < 2 {
				continue
			}
		}
		drawn[b.class] = x1
		c.rect("bar "+b.class, x0, y+4, x1-x0, rowHeight-8, b.title)
		left, right = min(left, x0), max(right, x1)
	}
	for _, m := range r.marks {
		x, mid := c.axis.x(m.at), y+rowHeight/2
		d := fmt.Sprintf("M%s %sl6 6l-6 6l-6 -6z", f1(x), f1(mid-6))
		if m.class == "refused" {
			d = fmt.Sprintf("M%s %sl8 8m0 -8l-8 8", f1(x-4), f1(mid-4))
		}
		c.path("mark "+m.class, d, m.title)
		left, right = min(left, x-6), max(right, x+6)
	}
	if r.note == "" || len(r.bars)+len(r.marks) == 0 {
		return
	}
	switch note := fit(r.note, 200); {
	case right+5+textWidth(note) <= plotEnd:
		c.text("note", "start", right+5, y+14, note, "")
	case left-5-textWidth(note) >= plotX:
		c.text("note", "end", left-5, y+14, note, "")
	}
}

// noReturn draws the points of no return; of more than a dozen, only the first: the others would hide the steps.
func (c *canvas) noReturn(ev Evidence, height float64) {
	points := ev.NoReturn
	if len(points) == 0 {
		return
	}
	text := "point of no return"
	if len(points) > 1 {
		text = fmt.Sprintf("point of no return, the first of %d", len(points))
	}
	c.label("noreturntext", c.axis.x(points[0].At), 40, text)
	if len(points) > 12 {
		points = points[:1]
	}
	for _, n := range points {
		c.path("noreturn", fmt.Sprintf("M%s 44V%s", f1(c.axis.x(n.At)), f1(height)), first(n.Title, "point of no return"))
	}
}

func (c *canvas) outageLabel(ev Evidence) {
	if t := ev.Times; t.Outage != nil {
		x := (c.axis.x(t.Outage.From) + c.axis.x(t.Outage.To)) / 2
		c.label("outagetext", x, 26, fit("clients cut off for "+duration(t.OutageMs)+" ("+t.System+")", 420))
	}
}

// label centres a text on x, and keeps it within the plot.
func (c *canvas) label(class string, x, y float64, text string) {
	half := textWidth(text)/2 + 4
	c.text(class, "middle", min(max(x, plotX+half), plotEnd-half), y, text, "")
}

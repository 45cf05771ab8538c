package evidence

import (
	"fmt"
	"strconv"
	"time"
)

// duration writes milliseconds for people: 230 ms, 2.31 s, 4 min 05 s, 1 h 02 min.
func duration(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case ms < 0:
		return "-" + duration(-max(ms, -1<<53))
	case ms < 1000:
		return fmt.Sprintf("%d ms", ms)
	case ms < 10_000:
		return fmt.Sprintf("%.2f s", float64(ms)/1000)
	case ms < 59_950:
		return fmt.Sprintf("%.1f s", float64(ms)/1000)
	case d < time.Hour:
		s := int64(d.Round(time.Second) / time.Second)
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	case d < 48*time.Hour:
		m := ms / 60_000
		return fmt.Sprintf("%d h %02d min", m/60, m%60)
	default:
		return fmt.Sprintf("%d d %d h", ms/86_400_000, ms%86_400_000/3_600_000)
	}
}

// count writes a number with a thin space between thousands.
func count(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return sign + text
}

// clock is the time of day in UTC, to the millisecond.
func clock(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("15:04:05.000")
}

// stamp is date and time in UTC, to the millisecond.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000 UTC")
}

// short is the first twelve digits of a hash.
func short(hash string) string {
	if hash == "" {
		return "(none)"
	}
	return hash[:min(len(hash), 12)]
}

// clipped cuts a text for the page; the JSON file has it whole.
func clipped(text string, runes int) string {
	n := 0
	for i := range text {
		if n == runes {
			return text[:i] + " … (cut; whole in the JSON file)"
		}
		n++
	}
	return text
}

package evidence

import (
	"bytes"
	"encoding/xml"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/journal"
)

func pageOf(t testing.TB, entries []journal.Entry) string {
	t.Helper()
	ev, err := Build(entries)
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, WriteHTML(&b, ev))
	return b.String()
}

func TestPageReachesNothingAndRunsNothing(t *testing.T) {
	t.Parallel()
	outside := regexp.MustCompile(`(?i)<(script|img|iframe|link|object|embed|base|form|image|use|foreignObject)\b|\bon[a-z]+\s*=\s*["']|@import|src\s*=|href\s*=|url\([^#]`)
	for name, make := range runs {
		text := pageOf(t, make(t))
		// What the attack left of itself is text: it has no angle bracket and no quote any more.
		tags := regexp.MustCompile(`<[^>]*>`).FindAllString(text, -1)
		style := text[strings.Index(text, "<style>"):strings.Index(text, "</style>")]
		for _, tag := range append(tags, style) {
			require.False(t, outside.MatchString(tag), "%s: %s", name, tag)
		}
		require.NotContains(t, text, "\u202e", name)
		require.Contains(t, text, "default-src &#39;none&#39;; style-src &#39;sha256-", name)
		require.Equal(t, 1, strings.Count(text, "<style>"), name)
	}
	require.Contains(t, pageOf(t, hostile(t)), "‹U+202E›", "an override of the reading direction is shown")
}

// A tag that is not closed shows as a broken page in some browser: the page is well-formed XML as well.
func TestPageIsWellFormed(t *testing.T) {
	t.Parallel()
	for name, make := range runs {
		d := xml.NewDecoder(strings.NewReader(pageOf(t, make(t))))
		d.Entity = xml.HTMLEntity
		for {
			_, err := d.Token()
			if err != nil {
				require.EqualError(t, err, "EOF", name)
				break
			}
		}
	}
}

func TestPageOfManySystemsStaysSmallAndReadable(t *testing.T) {
	t.Parallel()
	entries := many(t, 1000)
	text := pageOf(t, entries)
	require.Less(t, len(text), 5_000_000)
	require.Less(t, strings.Count(text, `class="bar `), 4000)
	require.Contains(t, text, "drawn by phase")
	require.Contains(t, text, "more are in the JSON file")
}

// The run's own verdict never hides a criterion that does not hold.
func TestPageSaysWhatDoesNotHoldBesideTheVerdict(t *testing.T) {
	t.Parallel()
	text := pageOf(t, many(t, 3)) // passed, without the re-protection that was planned
	require.Contains(t, text, "<h1>Passed</h1>")
	require.Contains(t, text, "Of the 7 criteria below: 1 not met.")
	require.NotContains(t, pageOf(t, success(t)), "criteria below:")
}

// However many outages there are, each is under a band of the picture.
func TestPictureCoversEveryOutage(t *testing.T) {
	t.Parallel()
	ev := build(t, many(t, 400))
	p := draw(ev)
	outages, _ := clientBands(ev)
	require.Greater(t, len(outages), 200)
	number := func(text string) float64 {
		f, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err)
		return f
	}
	all, _ := rows(ev, ev.Ended)
	a := newAxis(moments(ev, all, outages, ev.Ended), working(all), plotX, plotEnd-8)
	for _, b := range outages {
		covered := false
		for _, s := range p.Shapes {
			covered = covered || s.Class == "outage" && number(s.X) <= a.x(b.From)+0.1 && number(s.X)+number(s.W) >= a.x(b.To)-0.2
		}
		require.True(t, covered, "%v", b)
	}
}

func TestAxisBreaksLongWaits(t *testing.T) {
	t.Parallel()
	at := func(d ...time.Duration) (out []time.Time) {
		for _, d := range d {
			out = append(out, t0.Add(d))
		}
		return out
	}
	idle := func(time.Time, time.Time) bool { return false }
	busy := func(time.Time, time.Time) bool { return true }
	gaps := func(a axis) (n int) {
		for _, p := range a.pieces {
			if p.gap {
				n++
			}
		}
		return n
	}
	a := newAxis(at(0, 100*time.Millisecond, 40*time.Minute, 40*time.Minute+200*time.Millisecond), idle, 0, 800)
	require.Equal(t, 1, gaps(a))
	require.Greater(t, a.x(t0.Add(100*time.Millisecond)), 200.0, "the steps before and after the wait have the room")
	require.InDelta(t, 800, a.x(t0.Add(time.Hour)), 0.1)
	require.Equal(t, 2, gaps(newAxis(at(0, time.Second, 40*time.Minute, 40*time.Minute+time.Second, 80*time.Minute), idle, 0, 800)), "two waits alike")
	require.Zero(t, gaps(newAxis(at(0, 500*time.Millisecond, 3*time.Second), busy, 0, 800)), "work is drawn as long as it was")
	require.Zero(t, gaps(newAxis(at(0), idle, 0, 800)))
	require.Zero(t, gaps(newAxis(nil, idle, 0, 800)))
	for _, moments := range [][]time.Time{at(0, 200*time.Millisecond), at(0, 9*time.Hour), at(-1<<62, 1<<62)} {
		a := newAxis(moments, busy, 0, 800)
		last := -1.0
		for _, m := range moments {
			require.Greater(t, a.x(m), last)
			last = a.x(m)
		}
		require.LessOrEqual(t, len(a.ticks(t0, 76)), 12)
	}
}

func BenchmarkWrite500Steps(b *testing.B) {
	entries := many(b, 72)
	for b.Loop() {
		dir, err := os.MkdirTemp(b.TempDir(), "")
		require.NoError(b, err)
		_, err = Write(dir, entries)
		require.NoError(b, err)
	}
}

func FuzzPage(f *testing.F) {
	f.Add(attack, int64(5), "retry")
	f.Add("\xff\xfe\u2028", int64(-1<<62), "abort")
	f.Fuzz(func(t *testing.T, text string, ns int64, action string) {
		s := begin(t, planned())
		at := t0.Add(time.Duration(ns))
		b := journal.Band{From: at, To: t0}
		s.add(0, journal.Entry{Kind: journal.Held, Step: text, Message: text})
		s.add(time.Duration(ns), journal.Entry{Kind: journal.StepStarted, Step: text, Phase: action})
		s.add(1, journal.Entry{Kind: journal.Intervened, Step: text, Action: action})
		s.add(1, journal.Entry{Kind: journal.Measured, Measure: &journal.Measure{System: text, Measured: true, OutageMs: ns, Outage: &b, Unwatched: []journal.Band{b}}})
		s.add(time.Second, journal.Entry{Kind: journal.StepEnded, Step: text, Outcome: journal.Outcome(action), After: journal.Facts{text: text}})
		ev, err := Build(s.entries)
		require.NoError(t, err)
		out, err := encode(ev)
		require.NoError(t, err)
		again, err := verifyJSON(out)
		require.NoError(t, err)
		require.Equal(t, ev.Digest, again.Digest)
		page := pageOf(t, s.entries)
		require.NotContains(t, strings.ToLower(page), "<script")
	})
}

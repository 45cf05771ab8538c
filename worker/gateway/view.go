package gateway

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

//go:embed page.html
var pageHTML string

// templates escape all that they are given; only the style sheet is ours.
var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"style": func() template.CSS { return template.CSS(style) }, //nolint:gosec // embedded, not from outside
	"stamp": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"clock": func(t time.Time) string { return t.UTC().Format("15:04:05") },
	"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"until": until,
	"since": func(now, t time.Time) string { return span(now.Sub(t)) },
	"took":  func(s run.StepStatus) string { return took(s) },
	"short": func(hash string) string { return cut12(hash) },
	"path":  run.PagePath,
	"next":  func(i int) int { return i + 1 },
	"facts": facts,
	"badge": badgeOf,
	"what":  what,
	"join":  strings.Join,
	"state": func(s run.State) string { return strings.ReplaceAll(string(s), "-", " ") },
}).Parse(pageHTML))

func cut12(hash string) string { return cut(hash, 12) }

// cut returns the first n bytes of text, at a rune's edge.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

func until(now, deadline time.Time) string {
	left := deadline.Sub(now)
	if left <= 0 {
		return "now"
	}
	return "in " + span(left)
}

// span is a length of time as people say it.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

func took(s run.StepStatus) string {
	if s.Ended.IsZero() {
		return ""
	}
	d := s.Ended.Sub(s.Started)
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func facts(f journal.Facts) string {
	parts := make([]string, 0, len(f))
	for _, key := range slices.Sorted(maps.Keys(f)) {
		parts = append(parts, key+" "+f[key])
	}
	return strings.Join(parts, ", ")
}

// badge is a word that colour and sign repeat, so that neither is needed.
type badge struct{ Class, Sign, Word string }

var badges = map[string]badge{
	string(run.StateRunning):        {"calm", "▸", "running"},
	string(run.StateAwaiting):       {"warn", "◆", "waits for a decision"},
	string(run.StateHeld):           {"bad", "‖", "on hold"},
	string(run.StateWaiting):        {"calm", "…", "waits for a lock"},
	string(run.StateWindow):         {"calm", "…", "waits for its window"},
	string(run.StateUndoing):        {"warn", "↶", "undoing"},
	string(run.StateEnded):          {"calm", "■", "ended"},
	"done":                          {"good", "✓", "done"},
	"skipped":                       {"warn", "»", "skipped"},
	string(journal.Failed):          {"bad", "✕", "failed"},
	string(journal.Changed):         {"good", "✓", "done"},
	string(journal.Unchanged):       {"good", "✓", "unchanged"},
	string(journal.Passed):          {"good", "✓", "passed"},
	string(journal.PassedWithSkips): {"warn", "!", "passed with skips"},
	string(journal.MissedObjective): {"warn", "!", "missed objectives"},
	string(journal.RejectedVerdict): {"warn", "✕", "rejected"},
	string(journal.Undone):          {"warn", "↶", "undone"},
	string(journal.Aborted):         {"bad", "✕", "aborted"},
	string(journal.ObservedVerdict): {"calm", "✓", "observed"},
}

func badgeOf(word any) badge {
	text := fmt.Sprint(word)
	if b, ok := badges[text]; ok {
		return b
	}
	return badge{"calm", "·", cmp.Or(text, "unknown")}
}

// what says in one line what a journal's entry is about.
func what(e journal.Entry) string {
	var parts []string
	for _, text := range []string{e.Title, e.Action, string(e.Outcome), string(e.Verdict)} {
		if text != "" {
			parts = append(parts, text)
		}
	}
	line := strings.Join(parts, " · ")
	if e.Author != "" {
		line += " by " + e.Author
		if e.Channel != "" {
			line += " via " + e.Channel
		}
	}
	if e.Message != "" {
		line = strings.TrimPrefix(line+": "+e.Message, ": ")
	}
	if e.Reason != "" {
		line += " “" + e.Reason + "”"
	}
	return cut(strings.TrimSpace(line), 600)
}

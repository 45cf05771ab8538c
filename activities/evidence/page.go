package evidence

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"

	"github.com/musterhq/muster/internal/journal"
)

// layoutVersion rises when the page of the same evidence looks different: a page is verified by drawing it again.
const layoutVersion = 1

var generator = fmt.Sprintf("muster evidence, layout %d", layoutVersion)

// What the page shows at most; the JSON file has all of it, and the page says what it left out.
const (
	mostJournal = 2500
	mostRows    = 1200 // of any other table
	mostRunes   = 400  // of any text
)

var (
	//go:embed page.html
	pageSource string
	//go:embed page.css
	pageStyle string

	page = template.Must(template.New("page").Funcs(template.FuncMap{
		"duration": duration, "count": count, "clock": clock, "stamp": stamp, "short": short, "who": who,
		"next": func(i int) int { return i + 1 },
		"cut":  func(text any) string { return clipped(fmt.Sprint(text), mostRunes) },
	}).Parse(pageSource))
)

// WriteHTML writes the page: one file, no network, no script.
func WriteHTML(w io.Writer, ev Evidence) error {
	text, err := encode(ev)
	if err != nil {
		return err
	}
	return writePage(w, ev, sha256Hex(text))
}

func writePage(w io.Writer, ev Evidence, digest string) error {
	var b bytes.Buffer
	if err := page.Execute(&b, viewOf(ev, digest)); err != nil {
		return fmt.Errorf("draw the evidence page of %s: %w", ev.Run.WorkflowID, err)
	}
	if _, err := w.Write(visible(b.Bytes())); err != nil {
		return fmt.Errorf("write the evidence page of %s: %w", ev.Run.WorkflowID, err)
	}
	return nil
}

// visible shows the characters that would change how an auditor reads the text around them: overrides of its direction,
// and control characters.
func visible(text []byte) []byte {
	if !bytes.ContainsFunc(text, hidden) {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		if hidden(r) {
			fmt.Fprintf(&b, "‹U+%04X›", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.Bytes()
}

func hidden(r rune) bool {
	return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e ||
		r >= 0x2066 && r <= 0x2069 || r == 0xfeff
}

// view is what the template reads.
type view struct {
	Evidence
	Generator, Policy, SHA256 string
	Style                     template.CSS
	Badge                     badge
	Doubts                    string // how many criteria do not hold, whatever the verdict says
	Tiles                     []tile
	Criteria                  []criterionView
	Picture                   picture
	Parts                     []part
	Systems                   []systemView
	Steps                     []stepView
	Journal                   []entryView
	Acts                      []Act // decisions, interventions and refusals in order
	Left                      map[string]int
}

// badge is a state with an icon and a word, so that its colour says nothing alone.
type badge struct{ Class, Icon, Word string }

type tile struct {
	Title, Value, Note string
	Badge              badge
}

type criterionView struct {
	Criterion
	Badge  badge
	Shown  []systemResultView
	Folded []systemResultView
	Left   int
}

type systemResultView struct {
	SystemResult
	Badge badge
}

// part is one share of the outage; X and W are in thousandths of the bar.
type part struct {
	Class, Name, What string
	Ms                int64
	Percent           string
	X, W              string
}

type systemView struct {
	System
	Facts  []factView
	Same   int // facts that did not change and are left out
	Result string
}

type factView struct {
	Key, Before, After string
	Changed            bool
}

type stepView struct {
	Step
	Badge   badge
	Held    int64
	Took    int64
	Changes string
}

type entryView struct {
	journal.Entry
	What string
}

func viewOf(ev Evidence, digest string) view {
	style := sha256.Sum256([]byte(pageStyle))
	v := view{
		Evidence: ev, Generator: generator, SHA256: digest, Style: template.CSS(pageStyle), //nolint:gosec // our own file
		Policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) + "'; base-uri 'none'; form-action 'none'",
		Badge:  verdictBadge(ev.Verdict), Picture: draw(ev), Parts: partsOf(ev.Times), Left: map[string]int{},
	}
	for _, c := range ev.Criteria {
		v.Criteria = append(v.Criteria, criterionViewOf(c))
	}
	v.Doubts = doubtsOf(ev)
	v.Tiles = tilesOf(ev)
	wide := len(ev.Systems) > 20
	for _, s := range ev.Systems {
		v.Systems = append(v.Systems, systemViewOf(s, wide))
	}
	for _, s := range ev.Steps {
		v.Steps = append(v.Steps, stepViewOf(ev, s))
	}
	for _, e := range ev.Journal {
		v.Journal = append(v.Journal, entryView{Entry: e, What: entryText(e)})
	}
	for _, g := range ev.Gates {
		v.Acts = append(v.Acts, g.Decisions...)
	}
	v.Acts = slices.Concat(v.Acts, ev.Interventions)
	slices.SortStableFunc(v.Acts, func(a, b Act) int { return cmp.Compare(a.Seq, b.Seq) })
	v.limit()
	return v
}

// limit keeps the page within its size, and counts what it leaves out.
func (v *view) limit() {
	v.Journal = keep(v.Left, "journal", v.Journal, mostJournal)
	v.Steps = keep(v.Left, "steps", v.Steps, mostRows)
	v.Systems = keep(v.Left, "systems", v.Systems, mostRows)
	v.Acts = keep(v.Left, "acts", v.Acts, mostRows)
	v.Gates = keep(v.Left, "gates", v.Gates, mostRows)
	v.Refused = keep(v.Left, "refused", v.Refused, mostRows)
	v.Holds = keep(v.Left, "holds", v.Holds, mostRows)
	v.Undos = keep(v.Left, "undos", v.Undos, mostRows)
	v.Notices = keep(v.Left, "notices", v.Notices, mostRows)
	v.Undelivered = keep(v.Left, "undelivered", v.Undelivered, mostRows)
	if v.Plan != nil {
		p := *v.Plan
		p.Steps = keep(v.Left, "plan", p.Steps, mostRows)
		p.Systems = keep(v.Left, "planned systems", p.Systems, mostRows)
		p.Findings = keep(v.Left, "findings", p.Findings, mostRows)
		v.Plan = &p
	}
}

func keep[T any](left map[string]int, name string, all []T, most int) []T {
	if len(all) <= most {
		return all
	}
	left[name] = len(all) - most
	return all[:most]
}

package email

import (
	"bytes"
	_ "embed" // the templates
	"fmt"
	htmltemplate "html/template"
	"net/mail"
	"regexp"
	"strings"
	"text/template"
	"time"
	"unicode"

	"al.essio.dev/pkg/shellescape"
	gomail "github.com/wneessen/go-mail"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

const (
	maxSubject = 200
	maxLine    = 1000
	maxSteps   = 200
)

//go:embed notice.txt.tmpl
var textSource string

//go:embed notice.html.tmpl
var htmlSource string

var (
	textTemplate = template.Must(template.New("text").Parse(textSource))
	htmlTemplate = htmltemplate.Must(htmltemplate.New("html").Parse(htmlSource)) // escapes by context

	// knownID is a Message-ID that this driver made. Receipts come back through a run's history; nothing else goes into a header.
	knownID = regexp.MustCompile(`^[0-9a-f]{32}@[A-Za-z0-9.-]{1,255}$`)
)

// compose writes the message. It is the same for every attempt, but for the boundary between its parts, which nobody may guess.
func compose(s *session, id string, in activities.AnnounceInput) ([]byte, error) {
	n := in.Notice
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(s.from)
	m.ToMailAddress(append([]*mail.Address(nil), s.to...)...)
	m.Subject(oneLine(subject(n), maxSubject))
	m.SetDateWithValue(n.At.UTC())
	m.SetMessageIDWithValue(id)
	var references []string
	for _, earlier := range []string{in.Thread.Channel, in.Earlier.Channel} {
		if knownID.MatchString(earlier) && earlier != id && (len(references) == 0 || references[0] != "<"+earlier+">") {
			references = append(references, "<"+earlier+">")
		}
	}
	if len(references) > 0 {
		m.SetGenHeader(gomail.HeaderInReplyTo, references[len(references)-1])
		m.SetGenHeader(gomail.HeaderReferences, strings.Join(references, " "))
	}
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetGenHeader("X-Auto-Response-Suppress", "All") // Exchange does not know Auto-Submitted
	m.SetGenHeader("X-Muster-Event", oneLine(string(n.Event), 100))
	m.SetGenHeader("X-Muster-Severity", oneLine(string(n.Severity), 100))
	if n.Severity == runbooks.Critical {
		m.SetImportance(gomail.ImportanceHigh)
	}
	v := viewOf(n)
	var text, html bytes.Buffer
	if err := textTemplate.Execute(&text, v); err != nil {
		return nil, fmt.Errorf("write the text of the message: %w", err)
	}
	if err := htmlTemplate.Execute(&html, v); err != nil {
		return nil, fmt.Errorf("write the HTML of the message: %w", err)
	}
	m.SetBodyString(gomail.TypeTextPlain, text.String())
	m.AddAlternativeString(gomail.TypeTextHTML, html.String())
	var message bytes.Buffer
	if _, err := m.WriteTo(&message); err != nil {
		return nil, fmt.Errorf("write the message: %w", err)
	}
	return message.Bytes(), nil
}

func subject(n activities.Notice) string {
	text := n.Title
	if strings.TrimSpace(text) == "" {
		text = string(n.Event) + " " + n.Header.WorkflowID
	}
	if n.Severity == runbooks.Critical {
		text = "CRITICAL: " + text
	}
	if n.Header.Estate != "" {
		text = "[muster " + n.Header.Estate + "] " + text
	}
	return text
}

// view is what the templates show: all of it text for people, single lines but for Text.
type view struct {
	Title, Text, ID, Page            string
	Facts                            []fact
	Gate                             *gateView
	Hold                             *holdView
	Measures                         []string
	Approve, Reject                  string // commands; empty where nothing is to be decided
	Retry, Skip, Abort, Resume, Show string
}

type fact struct{ Name, Value string }

type gateView struct {
	Title, Risk, Loss, Deadline, Who, PlanHash, Outcome string
	Open                                                bool
	Steps                                               []stepView
	More                                                int
	Decisions                                           []string
}

type stepView struct {
	N        int
	Title    string
	NoReturn bool
}

type holdView struct{ Step, Why, Since, Released string }

func viewOf(n activities.Notice) view {
	h := n.Header
	v := view{Title: line(n.Title), Text: lines(n.Text), ID: line(n.ID), Page: line(n.Page), Show: command("show", h.WorkflowID)}
	for _, f := range []fact{{"Estate", h.Estate}, {"Runbook", h.Runbook}, {"Operation", h.Operation}, {"From", h.From}, {"To", h.To}, {"Kind", h.MoveKind},
		{"Requested by", h.RequestedBy}, {"Run", h.WorkflowID}, {"Verdict", string(n.Verdict)}} {
		if f.Value != "" {
			v.Facts = append(v.Facts, fact{f.Name, line(f.Value)})
		}
	}
	for _, m := range n.Measures {
		text := m.System + ": not measured"
		if m.Measured {
			text = fmt.Sprintf("%s: clients were cut off for %s, %d acknowledged writes are missing", m.System, time.Duration(m.OutageMs)*time.Millisecond, m.Missing)
		}
		v.Measures = append(v.Measures, line(text))
	}
	if g := n.Gate; g != nil {
		v.Gate = viewOfGate(g)
		if v.Gate.Open {
			v.Approve = command("approve", h.WorkflowID, "--gate", g.Name, "--plan", g.PlanHash)
			v.Reject = command("reject", h.WorkflowID, "--gate", g.Name, "--plan", g.PlanHash)
		}
	}
	if hold := n.Hold; hold != nil {
		v.Hold = &holdView{Step: line(hold.Step), Why: line(hold.Why), Released: line(hold.Released)}
		if hold.Released == "" {
			v.Hold.Since = when(hold.Since)
		}
		if hold.Released == "" && hold.Step != "" {
			v.Retry, v.Skip, v.Abort = command("retry", h.WorkflowID, hold.Step), command("skip", h.WorkflowID, hold.Step), command("abort", h.WorkflowID)
		} else if hold.Released == "" {
			v.Resume, v.Abort = command("resume", h.WorkflowID), command("abort", h.WorkflowID)
		}
	}
	if v.Gate != nil && v.Text == v.Gate.Risk || v.Hold != nil && v.Text == v.Hold.Why {
		v.Text = "" // said below
	}
	return v
}

func viewOfGate(g *activities.NoticeGate) *gateView {
	v := &gateView{Title: line(g.Title), Risk: line(g.Risk), Deadline: when(g.Deadline), PlanHash: line(g.PlanHash), Outcome: line(string(g.Outcome)),
		Open: g.Outcome == "", Who: line(strings.Join(g.Who, ", "))}
	if g.Need > 1 {
		v.Who = fmt.Sprintf("%d of: %s", g.Need, v.Who)
	}
	if g.FourEyes {
		v.Who += " (not who asked for the run)"
	}
	if g.Plan != nil {
		v.Loss = line(g.Plan.ExpectedLoss)
		for i, step := range g.Plan.Steps {
			if i == maxSteps {
				v.More = len(g.Plan.Steps) - maxSteps
				break
			}
			v.Steps = append(v.Steps, stepView{N: i + 1, Title: line(step.Title), NoReturn: step.NoReturn})
		}
	}
	for _, d := range g.Decisions {
		text := fmt.Sprintf("%s: %s (by %s, %s)", d.Approver, d.Decision, d.Channel, when(d.At))
		if d.Reason != "" {
			text += ": " + d.Reason
		}
		v.Decisions = append(v.Decisions, line(text))
	}
	if g.Outcome == journal.Expired {
		v.Outcome = "expired: nobody decided in time"
	}
	return v
}

// command is what somebody can paste into a shell, whatever the names are made of.
func command(args ...string) string {
	for i, arg := range args {
		args[i] = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return -1
			}
			return r
		}, arg)
	}
	return shellescape.QuoteCommand(append([]string{"muster"}, args...))
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func line(text string) string { return oneLine(text, maxLine) }

// lines keeps line breaks, and drops what else could move the cursor.
func lines(text string) string {
	var kept []string
	for l := range strings.Lines(strings.ToValidUTF8(text, "?")) {
		kept = append(kept, line(l))
	}
	return strings.TrimSpace(strings.Join(kept, "\n"))
}

// oneLine makes one line of text, of at most limit characters.
func oneLine(text string, limit int) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return text
}

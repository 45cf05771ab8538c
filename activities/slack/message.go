package slack

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	api "github.com/slack-go/slack"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// metadataType marks muster's messages; its payload says which notice a message shows.
const metadataType = "muster_notice"

// message is a notice in Slack's words.
type message struct {
	text      string // what a phone shows; mrkdwn
	blocks    []api.Block
	metadata  api.SlackMetadata
	broadcast bool // a reply that the whole channel should see
}

// render turns a notice into a message. It is a pure function: the same notice is the same message.
func render(n activities.Notice) message {
	m := message{metadata: api.SlackMetadata{EventType: metadataType, EventPayload: map[string]any{
		"notice": n.ID, "subject": n.Subject, "event": string(n.Event), "at": n.At.UTC().Format(time.RFC3339Nano),
		"workflow": n.Header.WorkflowID, "run": n.Header.RunID,
	}}}
	m.text = cut(sign(n)+" "+esc(n.Title), limitSection)
	switch {
	case n.Event == activities.EventGateReminded && n.Gate != nil:
		m.blocks = reminderBlocks(n, m.text)
	case n.Gate != nil:
		m.blocks = gateBlocks(n)
	case n.Event == activities.EventHeld || n.Event == activities.EventReleased:
		m.broadcast = n.Event == activities.EventHeld
		m.blocks = holdBlocks(n)
	case n.Event == activities.EventFinished:
		m.broadcast = true
		m.blocks = finishedBlocks(n)
	default:
		m.blocks = []api.Block{section(m.text)}
		if n.Text != "" {
			m.blocks = append(m.blocks, section(lines(n.Text)))
		}
	}
	return m
}

// sign is what people see first of a notice.
func sign(n activities.Notice) string {
	switch n.Event {
	case activities.EventGateOpened, activities.EventGateDecided:
		return ":raised_hand:"
	case activities.EventGateReminded:
		return ":alarm_clock:"
	case activities.EventGateEscalated:
		return ":rotating_light:"
	case activities.EventGateClosed:
		if n.Gate != nil && n.Gate.Outcome == journal.Approved {
			return ":white_check_mark:"
		}
		return ":no_entry:"
	case activities.EventGateExpired:
		return ":hourglass:"
	case activities.EventHeld:
		return ":octagonal_sign:"
	case activities.EventReleased:
		return ":arrow_forward:"
	case activities.EventFinished:
		if n.Verdict == journal.Passed || n.Verdict == journal.ObservedVerdict {
			return ":white_check_mark:"
		}
		return ":warning:"
	default:
		return ":small_blue_diamond:"
	}
}

func reminderBlocks(n activities.Notice, text string) []api.Block {
	g := n.Gate
	blocks := []api.Block{section(text), section("Still waiting for an answer until " + when(g.Deadline) + ".")}
	if who := answerers(g); who != "" {
		blocks = append(blocks, section(who))
	}
	return blocks
}

func holdBlocks(n activities.Notice) []api.Block {
	blocks := []api.Block{header(n.Title)}
	h := cmp.Or(n.Hold, &activities.NoticeHold{})
	what := "*The run is paused.*"
	if h.Step != "" {
		what = "*Step* " + code(h.Step) + " *waits for an operator.*"
	}
	if h.Why != "" {
		what += "\n" + lines(h.Why)
	}
	blocks = append(blocks, section(what))
	if n.Text != "" {
		blocks = append(blocks, section(lines(n.Text)))
	}
	if n.Event == activities.EventReleased {
		blocks = append(blocks, section(":arrow_forward: *Goes on:* "+cmp.Or(lines(h.Released), "released")))
	} else {
		blocks = append(blocks, holdButtons(n, h)...)
	}
	return append(blocks, footer(n, "Held since "+when(h.Since)))
}

func holdButtons(n activities.Notice, h *activities.NoticeHold) []api.Block {
	base := button{Workflow: n.Header.WorkflowID, Run: n.Header.RunID, Step: h.Step, Label: n.Title}
	if h.Step == "" {
		return buttons(n, base, choice{resume, "Resume", api.StylePrimary}, choice{abort, "Abort", api.StyleDanger})
	}
	return buttons(n, base, choice{retry, "Retry", api.StylePrimary}, choice{skip, "Skip", api.StyleDefault}, choice{abort, "Abort", api.StyleDanger})
}

func finishedBlocks(n activities.Notice) []api.Block {
	blocks := []api.Block{header(n.Title)}
	if n.Text != "" {
		blocks = append(blocks, section(lines(n.Text)))
	}
	blocks = append(blocks, fields("Verdict", code(string(n.Verdict)), "Estate", esc(n.Header.Estate), "From → to", move(n.Header), "Runbook", esc(n.Header.Runbook)))
	if len(n.Measures) > 0 {
		var rows []string
		for _, m := range n.Measures {
			rows = append(rows, measure(m))
		}
		blocks = append(blocks, section("*Measured*\n"+fit(rows, limitSection-20, "systems")))
	}
	return append(blocks, footer(n, ""))
}

func measure(m journal.Measure) string {
	if !m.Measured {
		return code(m.System) + ": not measured"
	}
	return fmt.Sprintf("%s: clients were cut off for *%s*, *%d* acknowledged writes lost of %d",
		code(m.System), time.Duration(m.OutageMs)*time.Millisecond, m.Missing, m.Acknowledged)
}

func move(h journal.Header) string {
	if h.From == "" && h.To == "" {
		return "–"
	}
	text := esc(h.From) + " → " + esc(h.To)
	if h.MoveKind != "" {
		text += " (" + esc(h.MoveKind) + ")"
	}
	return text
}

// choice is one button.
type choice struct {
	do, text string
	style    api.Style
}

// buttons returns a row of buttons that carry base; where a value would be too long for Slack, how to answer without them.
func buttons(n activities.Notice, base button, choices ...choice) []api.Block {
	var row []api.BlockElement
	for _, c := range choices {
		base.Do = c.do
		value, ok := base.encode()
		if !ok {
			return []api.Block{section(cut("The names of this run are too long for Slack's buttons: answer by `muster inbox`"+orPage(n)+".", limitSection))}
		}
		row = append(row, api.NewButtonBlockElement(actionPrefix+c.do, value, plainText(c.text)).WithStyle(c.style))
	}
	return []api.Block{api.NewActionBlock("muster_actions", row...)}
}

func orPage(n activities.Notice) string {
	if page := link(n.Page, "the run's page"); page != "" {
		return " or on " + page
	}
	return ""
}

// footer names the run in full, for people who look for it elsewhere.
func footer(n activities.Notice, more string) api.Block {
	parts := []string{"Run " + code(n.Header.WorkflowID)}
	if n.Header.RunID != "" {
		parts = append(parts, code(n.Header.RunID))
	}
	if more != "" {
		parts = append(parts, more)
	}
	if page := link(n.Page, "open its page"); page != "" {
		parts = append(parts, page)
	}
	return api.NewContextBlock("", mrkdwn(cut(strings.Join(parts, " · "), limitField)))
}

func header(text string) api.Block {
	return api.NewHeaderBlock(plainText(cut(cmp.Or(plain(text), "muster"), limitHeader)))
}

func section(text string) api.Block {
	return api.NewSectionBlock(mrkdwn(cut(cmp.Or(text, "–"), limitSection)), nil, nil)
}

// fields makes a table of two columns from names and values; ten of them at most.
func fields(pairs ...string) api.Block {
	var cells []*api.TextBlockObject
	for i := 0; i+1 < len(pairs); i += 2 {
		cells = append(cells, mrkdwn(cut("*"+pairs[i]+"*\n"+cmp.Or(pairs[i+1], "–"), limitField)))
	}
	return api.NewSectionBlock(nil, cells, nil)
}

// fit joins rows to at most limit characters and counts those left out.
func fit(rows []string, limit int, noun string) string {
	limit -= 40 // for the count
	var b strings.Builder
	for i, row := range rows {
		row = cut(row, 400)
		if b.Len()+len(row)+1 > limit {
			fmt.Fprintf(&b, "… and %d more %s", len(rows)-i, noun)
			break
		}
		b.WriteString(row + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

func plainText(text string) *api.TextBlockObject {
	return api.NewTextBlockObject(api.PlainTextType, text, false, false)
}

func mrkdwn(text string) *api.TextBlockObject {
	return api.NewTextBlockObject(api.MarkdownType, text, false, false)
}

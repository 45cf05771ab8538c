package run

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// SigningText is what a decision's signature covers: every field but the signature, and the run that it is meant for.
// It is one line per field, a name and a JSON string (only ", \ and control characters are escaped), so that it can be
// written by hand:
//
//	muster decision v1
//	workflow "failover:shop"
//	run "0199c1f4-5d0e-7cc1-b2a8-3a1a3d0e5a31"
//	gate "approve"
//	plan "9f2c..."
//	decision "approve"
//	approver "ada"
//	reason "change 4711"
//	channel "cli"
//	time "2026-01-31T09:30:00Z"
//	nonce "b1946ac9"
//
// A time is in UTC, without trailing zeros; a field that is not set is "". The last line ends with a newline.
// Where a gateway vouches for somebody, two lines follow the channel's: gateway and vouched.
func (d Decision) SigningText(workflowID, runID string) []byte {
	var t signingText
	t.line("muster decision v1")
	t.field("workflow", workflowID)
	t.field("run", runID)
	t.field("gate", d.Gate)
	t.field("plan", d.PlanHash)
	t.field("decision", d.Decision)
	t.field("approver", d.Approver)
	t.field("reason", d.Reason)
	t.field("channel", d.Channel)
	t.voucher(d.Gateway, d.Vouched)
	t.field("time", signingTime(d.Time))
	t.field("nonce", d.Nonce)
	return []byte(t.String())
}

// SigningText is what an intervention's signature covers, in the form of a decision's. Each entry of Set is a line
// `set "key" "value"`, in the byte order of the keys, between action and author.
func (i Intervention) SigningText(workflowID, runID string) []byte {
	var t signingText
	t.line("muster intervention v1")
	t.field("workflow", workflowID)
	t.field("run", runID)
	t.field("step", i.Step)
	t.field("action", i.Action)
	keys := make([]string, 0, len(i.Set))
	//workflowcheck:ignore the keys are sorted below
	for key := range i.Set {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		t.field("set", key, i.Set[key])
	}
	t.field("author", i.Author)
	t.field("reason", i.Reason)
	t.field("channel", i.Channel)
	t.voucher(i.Gateway, i.Vouched)
	t.field("time", signingTime(i.Time))
	t.field("nonce", i.Nonce)
	return []byte(t.String())
}

type signingText struct{ strings.Builder }

func (t *signingText) line(text string) { t.WriteString(text + "\n") }

func (t *signingText) field(name string, values ...string) {
	t.WriteString(name)
	for _, value := range values {
		t.WriteString(" " + jsonString(value))
	}
	t.WriteString("\n")
}

func (t *signingText) voucher(gateway, vouched string) {
	if gateway != "" || vouched != "" {
		t.field("gateway", gateway)
		t.field("vouched", vouched)
	}
}

// jsonString is not encoding/json: that also escapes <, >, & and line separators, which nobody types by hand.
func jsonString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		default:
			if c < 0x20 {
				fmt.Fprintf(&b, `\u%04x`, c)
			} else {
				b.WriteByte(c)
			}
		}
	}
	b.WriteByte('"')
	return b.String()
}

func signingTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

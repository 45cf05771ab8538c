package slack

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/musterhq/muster/runbooks"
)

// Slack's limits, in characters (https://docs.slack.dev/reference/block-kit/blocks).
const (
	limitHeader  = 150
	limitSection = 3000
	limitField   = 2000
	limitValue   = 2000
	limitReason  = 1000 // ours: what an input takes
)

var (
	escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	// address is the estate's form of a person in Slack: team and user.
	address = regexp.MustCompile(`^([TE][A-Z0-9]{2,30})/([UW][A-Z0-9]{2,30})$`)
)

// plain makes one line of text that shows what it is: control characters and those that turn the direction of writing, with
// which a name could pass for another, become spaces.
func plain(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
	}), " ")
}

// esc is plain for mrkdwn: nothing in text mentions anybody or links anywhere.
func esc(text string) string { return escaper.Replace(plain(text)) }

// lines is esc for text that may have several lines.
func lines(text string) string {
	parts := strings.Split(text, "\n")
	for i, part := range parts {
		parts[i] = esc(part)
	}
	return strings.TrimSpace(strings.Join(parts, "\n"))
}

// code shows text as it is, in a fixed-width face.
func code(text string) string {
	if text = strings.ReplaceAll(esc(text), "`", "'"); text == "" {
		return "–"
	}
	return "`" + text + "`"
}

// cut shortens text to at most limit characters, and says so with an ellipsis. It never ends within an escape.
func cut(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	short := string(runes[:limit-1])
	if amp := strings.LastIndexByte(short, '&'); amp >= 0 && !strings.Contains(short[amp:], ";") {
		short = short[:amp]
	}
	return short + "…"
}

// when shows a time in the zone of whoever reads it.
func when(t time.Time) string {
	return fmt.Sprintf("<!date^%d^{date_short_pretty} {time_secs}|%s>", t.Unix(), t.UTC().Format("2006-01-02 15:04:05 UTC"))
}

// short is the part of a plan's hash that people compare.
func short(hash string) string { return hash[:min(12, len(hash))] }

// listed joins items, at most limit of them, and counts the rest.
func listed(items []string, limit int) string {
	if len(items) <= limit {
		return strings.Join(items, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:limit], ", "), len(items)-limit)
}

// mentions turns people into mentions; whoever has no address in Slack is named.
func mentions(people []runbooks.Person) []string {
	var found []string
	for _, p := range people {
		if m := address.FindStringSubmatch(p.Slack); m != nil {
			found = append(found, "<@"+m[2]+">")
		} else if p.Name != "" {
			found = append(found, esc(p.Name))
		}
	}
	return found
}

// link is a link to page, empty where it is none that a browser opens safely.
func link(page, text string) string {
	if !strings.HasPrefix(page, "https://") && !strings.HasPrefix(page, "http://") || len(page) > 2000 || strings.ContainsAny(page, "|<> \n") {
		return ""
	}
	return "<" + escaper.Replace(page) + "|" + text + ">"
}

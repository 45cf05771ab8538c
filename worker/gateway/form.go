package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/workflows/run"
)

const (
	maxReason = 2000 // bytes; the journal keeps it
	maxName   = 300  // bytes of a gate's, a step's or a key's name
	maxSet    = 20   // changes to a step's input
)

// form is what a page's form says: a decision or an action.
type form struct {
	nonce    string
	gate     string
	plan     string // the hash that was shown
	decision string
	step     string
	action   string
	set      map[string]string
	reason   string
}

// Gate and Step say to the template which of a page's forms this was; Action too.
func (f form) Gate() string   { return f.gate }
func (f form) Step() string   { return f.step }
func (f form) Action() string { return f.action }

// parseForm reads a form. Its errors are for the person who filled it in.
func parseForm(v url.Values) (form, error) {
	f := form{nonce: v.Get("nonce"), gate: v.Get("gate"), plan: v.Get("plan"), decision: v.Get("decision"), step: v.Get("step"), action: v.Get("action"),
		reason: strings.TrimSpace(strings.ReplaceAll(v.Get("reason"), "\r\n", "\n"))}
	for _, text := range []string{f.nonce, f.gate, f.plan, f.decision, f.step, f.action} {
		if len(text) > maxName || !utf8.ValidString(text) {
			return form{}, errors.New("the form was changed on its way: open the page again")
		}
	}
	switch {
	case f.nonce == "" || (f.decision == "") == (f.action == ""):
		return form{}, errors.New("the form is not complete: open the page again, and press one of its buttons")
	case f.decision != "" && f.decision != "approve" && f.decision != "reject":
		return form{}, fmt.Errorf("a decision is approve or reject, not %q", f.decision)
	case !utf8.ValidString(f.reason) || len(f.reason) > maxReason:
		return form{}, fmt.Errorf("the reason is longer than %d bytes, or not text", maxReason)
	case f.reason == "" && f.decision == "reject":
		return form{}, errors.New("say why you reject: the reason is kept in the run's journal")
	case f.reason == "" && f.action != "":
		return form{}, fmt.Errorf("say why you %s: the reason is kept in the run's journal", f.action)
	}
	if f.action != "" {
		switch f.action {
		case run.ActionRetry, run.ActionSkip, run.ActionAbort, run.ActionPause, run.ActionResume:
		default:
			return form{}, fmt.Errorf("unknown action %q", f.action)
		}
	}
	var err error
	if f.action == run.ActionRetry {
		f.set, err = parseSet(v.Get("set"))
	} else if strings.TrimSpace(v.Get("set")) != "" {
		err = fmt.Errorf("changes to the input go with retry, not with %s", f.action+f.decision)
	}
	return f, err
}

// parseSet bounds what a stranger can make the gateway hold.
func parseSet(text string) (map[string]string, error) {
	if len(text) > maxReason || !utf8.ValidString(text) {
		return nil, fmt.Errorf("the changes to the input are longer than %d bytes, or not text", maxReason)
	}
	set, err := activities.ParseSet(text)
	if err != nil {
		return nil, fmt.Errorf("changes to the input: %w", err)
	}
	if len(set) > maxSet {
		return nil, fmt.Errorf("more than %d changes to the input", maxSet)
	}
	for key := range set {
		if len(key) > maxName {
			return nil, fmt.Errorf("changes to the input: a key longer than %d bytes", maxName)
		}
	}
	return set, nil
}

// word is what the person of s says with f. The nonce is of the person and all that they said: pressing a button twice, or sending
// the page again, counts once, and nobody can use up another one's.
func (f form) word(workflowID, runID string, s session) activities.Word {
	h := sha256.New()
	for _, text := range []string{s.ID, f.nonce, workflowID, runID, f.gate, f.plan, f.decision, f.step, f.action, f.reason, fmt.Sprint(f.set)} {
		fmt.Fprintf(h, "%d:%s,", len(text), text)
	}
	return activities.Word{WorkflowID: workflowID, RunID: runID, Gate: f.gate, PlanHash: f.plan, Decision: f.decision, Step: f.step, Action: f.action,
		Set: f.set, Reason: f.reason, Channel: "page", Who: s.Who, Nonce: hex.EncodeToString(h.Sum(nil)[:16])}
}

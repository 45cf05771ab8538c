package evidence

import (
	"fmt"
	"strings"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// factProof is the After fact of a fence that holds its activities.Proof.
const factProof = "proof"

// criteria judges the run by its objectives and by the house's rules.
func criteria(ev Evidence) []Criterion {
	j := judge{ev: ev, names: systemNames(ev)}
	return []Criterion{j.rto(), j.lostWrites(), j.oneWriter(), j.verified(), j.approved(), j.reprotected(), j.skips()}
}

type judge struct {
	ev    Evidence
	names []string
}

// systemNames are the systems that the run was about: the plan's, then those measured or stepped on.
func systemNames(ev Evidence) []string {
	var names []string
	seen := map[string]bool{"": true}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	if ev.Plan != nil {
		for _, s := range ev.Plan.Systems {
			add(s.Name)
		}
	}
	for _, s := range ev.Systems {
		if s.Measure != nil {
			add(s.Name)
		}
	}
	for _, s := range ev.Steps {
		add(s.System)
	}
	return names
}

// steps returns the steps of a phase that were begun for a system.
func (j judge) steps(phase, system string) []Step {
	var all []Step
	for _, s := range stepsOf(j.ev, phase, system) {
		if begun(s) {
			all = append(all, s)
		}
	}
	return all
}

// begun: the step may have had an effect. The kernel announces a step before it waits for a pause to end; one that was stopped
// there says so.
func begun(s Step) bool {
	return len(s.Attempts) > 0 && (s.Outcome != journal.Canceled || !strings.HasPrefix(s.Message, "not started"))
}

// promoted: a promotion was begun, whatever came of it: its effect may be there.
func (j judge) promoted(system string) bool { return len(j.steps("promote", system)) > 0 }

func (j judge) moved() bool {
	for _, s := range j.ev.Steps {
		if s.Phase == "promote" && begun(s) {
			return true
		}
	}
	return false
}

func (j judge) measure(system string) *journal.Measure {
	for _, s := range j.ev.Systems {
		if s.Name == system {
			return s.Measure
		}
	}
	return nil
}

// each judges every system, and sums up: the worst result, and what was found of it.
func (j judge) each(c Criterion, one func(system string) (Result, string)) Criterion {
	c.Result = NotApplicable
	counts := map[Result]int{}
	for _, name := range j.names {
		result, found := one(name)
		counts[result]++
		c.Systems = append(c.Systems, SystemResult{System: name, Found: found, Result: result})
		if badness[result] > badness[c.Result] || c.Found == "" {
			c.Result, c.Found = result, name+": "+found
		}
	}
	if len(j.names) == 0 {
		c.Found = "no system was touched"
	} else if n := counts[c.Result]; n > 1 && c.Found != "" {
		c.Found = fmt.Sprintf("%s (and %d more like it)", c.Found, n-1)
	}
	return c
}

var badness = map[Result]int{NotApplicable: 0, Met: 1, Weak: 2, NotMeasured: 3, NotMet: 4}

func (j judge) rto() Criterion {
	c := Criterion{ID: CriterionRTO, Title: "Outage as clients saw it", Asked: "no objective was set"}
	objective := j.ev.Run.RTOMs
	if objective != nil {
		c.Asked = "at most " + duration(*objective)
	}
	c = j.each(c, func(name string) (Result, string) {
		m := j.measure(name)
		switch {
		case (m == nil || !m.Measured) && !j.moved():
			return NotApplicable, "nothing was moved"
		case m == nil || !m.Measured:
			return NotMeasured, "no writer ran: the outage is not known"
		}
		out, most := outage(*m), atMost(*m)
		found := duration(out)
		if out == 0 {
			found = "no interruption seen"
		}
		if most > out {
			found += fmt.Sprintf(", at most %s were nobody watching an outage", duration(most))
		}
		switch {
		case objective == nil:
			return NotApplicable, found
		case out > *objective:
			return NotMet, found
		case most > *objective:
			return NotMeasured, found
		default:
			return Met, found
		}
	})
	return j.worstMeasure(c, objective, func(m journal.Measure) int64 { return outage(m) })
}

func (j judge) lostWrites() Criterion {
	c := Criterion{ID: CriterionLostWrites, Title: "Acknowledged writes lost", Asked: "no objective was set"}
	objective := j.ev.Run.LostWrites
	if objective != nil {
		c.Asked = "at most " + count(*objective)
		if *objective == 0 {
			c.Asked = "none"
		}
	}
	c = j.each(c, func(name string) (Result, string) {
		m := j.measure(name)
		switch {
		case (m == nil || !m.Measured) && !j.moved():
			return NotApplicable, "nothing was moved"
		case m == nil || !m.Measured:
			return NotMeasured, "no writer ran: the loss is not known"
		case m.Acknowledged <= 0:
			return NotMeasured, "no write was acknowledged: there was nothing to look for"
		}
		found := fmt.Sprintf("%s of %s acknowledged writes are missing", count(m.Missing), count(m.Acknowledged))
		switch {
		case objective == nil:
			return NotApplicable, found
		case m.Missing > *objective:
			return NotMet, found
		default:
			return Met, found
		}
	})
	return j.worstMeasure(c, objective, func(m journal.Measure) int64 { return m.Missing })
}

// worstMeasure words a measured criterion by the system with the highest number among those with the criterion's result.
func (j judge) worstMeasure(c Criterion, objective *int64, number func(journal.Measure) int64) Criterion {
	if c.Result == NotMeasured {
		return c
	}
	worst, at := int64(-1), -1
	for i, s := range c.Systems {
		m := j.measure(s.System)
		if s.Result == c.Result && m != nil && m.Measured && number(*m) > worst {
			worst, at = number(*m), i
		}
	}
	if at < 0 {
		return c
	}
	c.Found = c.Systems[at].Found
	if len(c.Systems) > 1 {
		c.Found = "worst, " + c.Systems[at].System + ": " + c.Found
	}
	return c
}

// oneWriter: no promotion without proof that the old primary was fenced before it began.
func (j judge) oneWriter() Criterion {
	c := Criterion{ID: CriterionOneWriter, Title: "One writer at a time", Asked: "the old primary is proven fenced before another is promoted"}
	return j.each(c, func(name string) (Result, string) {
		promotions := j.steps("promote", name)
		if len(promotions) == 0 {
			return NotApplicable, "nothing was promoted"
		}
		promotedAt := promotions[0].Attempts[0].From
		proof, fencedAt := activities.Proof(""), time.Time{}
		for _, s := range j.steps("fence", name) {
			if end := s.Attempts[len(s.Attempts)-1].To; s.Done() && !end.IsZero() {
				proof, fencedAt = activities.Proof(s.After[factProof]), end
			}
		}
		risk := j.riskTaken(name, promotedAt)
		switch {
		case fencedAt.After(promotedAt):
			return NotMet, "promoted before the fence was proven"
		case proof.Strong():
			return Met, fmt.Sprintf("%s, %s before the promotion", proofWords[proof], duration(ms(promotedAt.Sub(fencedAt))))
		case proof == activities.ProofCutOff:
			return Weak, proofWords[proof] + risk
		case risk != "":
			return Weak, "no proof" + risk
		case fencedAt.IsZero():
			return NotMet, "promoted without a fence"
		case proof == activities.ProofNone || proof == "":
			return NotMet, "promoted without proof of the fence"
		default:
			return NotMet, fmt.Sprintf("%q is no proof that is known", proof)
		}
	})
}

var proofWords = map[activities.Proof]string{
	activities.ProofStopped: "old primary stopped cleanly",
	activities.ProofCrashed: "old primary is down, it had crashed",
	activities.ProofRefuses: "old primary refuses every write, one was tried",
	activities.ProofCutOff:  "old primary cut off at the route and read-only: the weaker proof",
}

// riskTaken says who accepted, before the promotion, that the old primary may still accept writes.
func (j judge) riskTaken(system string, before time.Time) string {
	for _, g := range j.ev.Gates {
		ours := g.System == "" || g.System == system
		if g.Name == runbooks.GateNoFenceProof && ours && g.Outcome == journal.Approved && !g.Closed.After(before) {
			if names := approvers(g); names != "" {
				return "; the risk was accepted by " + names
			}
		}
	}
	return ""
}

func (j judge) verified() Criterion {
	c := Criterion{ID: CriterionVerified, Title: "Verified through the route", Asked: "a write and a read by the clients' own way"}
	return j.each(c, func(name string) (Result, string) {
		steps := j.steps("verify", name)
		if !j.promoted(name) && len(steps) == 0 {
			return NotApplicable, "nothing was moved"
		}
		if len(steps) == 0 && !j.routed(name) {
			return NotMeasured, "no route: the clients' way is not known"
		}
		for _, phase := range []string{"verify", "verify-clients"} {
			for _, s := range stepsOf(j.ev, phase, name) {
				if !s.Done() {
					return NotMet, "verification " + ended(s)
				}
			}
		}
		if len(steps) == 0 {
			return NotMet, "nobody verified it"
		}
		last := steps[len(steps)-1].Attempts
		return Met, "written and read at " + clock(last[len(last)-1].To)
	})
}

// routed: the plan names a route for the system, or there is no plan to ask.
func (j judge) routed(system string) bool {
	if j.ev.Plan == nil {
		return true
	}
	for _, s := range j.ev.Plan.Systems {
		if s.Name == system {
			return s.Route != ""
		}
	}
	return true
}

func (j judge) reprotected() Criterion {
	c := Criterion{ID: CriterionReprotect, Title: "Re-protected", Asked: "the old primary follows the new one"}
	return j.each(c, func(name string) (Result, string) {
		all := stepsOf(j.ev, "re-protect", name)
		switch {
		case !j.promoted(name):
			return NotApplicable, "nothing was moved"
		case len(all) == 0 && j.planned("re-protect", name):
			return NotMet, "planned, and not done: there is no standby to fall back to"
		case len(all) == 0:
			return NotApplicable, "not part of the plan: there is no standby to fall back to"
		}
		for _, s := range all {
			if !s.Done() {
				return NotMet, "re-protection " + ended(s) + ": there is no standby to fall back to"
			}
		}
		if last := all[len(all)-1].Attempts; len(last) > 0 {
			return Met, "follows since " + clock(last[len(last)-1].To)
		}
		return Met, "follows"
	})
}

func (j judge) planned(phase, system string) bool {
	if j.ev.Plan == nil {
		return false
	}
	for _, s := range j.ev.Plan.Steps {
		if s.Phase == phase && (s.System == system || s.System == "") {
			return true
		}
	}
	return false
}

func ended(s Step) string {
	switch {
	case s.Outcome == "":
		return "did not end"
	case s.Outcome == journal.Failed && s.Message != "":
		return "failed: " + s.Message
	default:
		return "was " + string(s.Outcome)
	}
}

func (j judge) skips() Criterion {
	c := Criterion{ID: CriterionSkips, Title: "No step skipped", Asked: "every step that began reached its goal", Found: "none was skipped", Result: Met}
	var skipped, failed []string
	for _, s := range j.ev.Steps {
		switch s.Outcome {
		case journal.Skipped:
			skipped = append(skipped, s.ID)
		case journal.Changed, journal.Unchanged:
		default:
			failed = append(failed, s.ID)
		}
	}
	var parts []string
	if len(skipped) > 0 {
		parts = append(parts, list("skipped", skipped))
	}
	if len(failed) > 0 {
		parts = append(parts, list("not done", failed))
	}
	switch {
	case len(j.ev.Steps) == 0:
		c.Found, c.Result = "no step began", NotApplicable
	case len(parts) > 0:
		c.Found, c.Result = strings.Join(parts, "; "), NotMet
	}
	return c
}

// list names up to five of the names.
func list(what string, names []string) string {
	shown := names[:min(len(names), 5)]
	text := fmt.Sprintf("%s: %s", what, strings.Join(shown, ", "))
	if more := len(names) - len(shown); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

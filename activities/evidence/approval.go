package evidence

import (
	"fmt"
	"strings"

	"github.com/musterhq/muster/internal/journal"
)

// approved: what was done is what was approved, by people whose identity is proven.
func (j judge) approved() Criterion {
	c := Criterion{ID: CriterionApproved, Title: "Approved by", Asked: "people approve this very plan, by its hash"}
	c.Result, c.Found = j.approval()
	return c
}

func (j judge) approval() (Result, string) {
	ev := j.ev
	switch {
	case len(ev.Gates) == 0 && !j.moved():
		return NotApplicable, "no gate was opened, and nothing was moved"
	case len(ev.Gates) == 0:
		return Weak, "nobody: the runbook leaves the approval out"
	}
	result := Met
	var parts []string
	for _, g := range lastOpenings(ev.Gates) {
		r, found := gateResult(g)
		parts = append(parts, gateName(g)+": "+found)
		if badness[r] > badness[result] {
			result = r
		}
	}
	if j.moved() {
		if why := j.planFollowed(); why != "" {
			result, parts = NotMet, append(parts, why)
		}
	}
	return result, strings.Join(parts, "; ")
}

// lastOpenings leaves out openings that were asked again.
func lastOpenings(gates []Gate) []Gate {
	last := map[string]int{}
	for i, g := range gates {
		last[gateName(g)] = i
	}
	var out []Gate
	for i, g := range gates {
		if last[gateName(g)] == i {
			out = append(out, g)
		}
	}
	return out
}

func gateName(g Gate) string {
	if g.System == "" {
		return g.Name
	}
	return g.Name + " of " + g.System
}

func gateResult(g Gate) (Result, string) {
	switch g.Outcome {
	case journal.Approved:
	case journal.Rejected:
		for _, d := range g.Decisions {
			if d.Action == "reject" {
				text := "rejected by " + who(d)
				if d.Reason != "" {
					text += ": " + d.Reason
				}
				return NotMet, text
			}
		}
		return NotMet, "rejected"
	case journal.Expired:
		return NotMet, "nobody decided before the deadline"
	case "":
		return NotMet, "still open"
	default:
		return NotMet, string(g.Outcome)
	}
	names := approvers(g)
	if names == "" {
		return NotMet, "closed as approved, and no approval is recorded"
	}
	result := Met
	for _, d := range g.Decisions {
		if d.Action != "approve" {
			continue
		}
		if d.PlanHash != g.PlanHash {
			return NotMet, fmt.Sprintf("%s approved plan %s, the gate asked for plan %s", who(d), short(d.PlanHash), short(g.PlanHash))
		}
		if !signed(d) {
			result = Weak
		}
	}
	return result, names
}

// planFollowed says what is wrong with the plan that was carried out, or nothing.
func (j judge) planFollowed() string {
	ev := j.ev
	if ev.Plan == nil || !ev.PlanApproved {
		return "no plan that was made carries an approved hash"
	}
	for i := len(ev.Journal) - 1; i >= 0; i-- {
		p := ev.Journal[i].Plan
		if ev.Journal[i].Kind != journal.Planned || p == nil {
			continue
		}
		if p.Hash != ev.Plan.Hash {
			return fmt.Sprintf("the run followed plan %s, which nobody approved", short(p.Hash))
		}
		break
	}
	sealed, err := ev.Plan.Seal()
	if err != nil || sealed.Hash != ev.Plan.Hash {
		return fmt.Sprintf("plan %s does not have the hash that it carries", short(ev.Plan.Hash))
	}
	return ""
}

// approvers names those who approved, each once.
func approvers(g Gate) string {
	var names []string
	seen := map[string]bool{}
	for _, d := range g.Decisions {
		if d.Action == "approve" && !seen[d.Author] {
			seen[d.Author] = true
			names = append(names, who(d))
		}
	}
	return strings.Join(names, ", ")
}

// who names an author, and says how it is known that it was they.
func who(a Act) string {
	name := first(a.Author, "(nobody named)")
	if signed(a) {
		return name + " (signed)"
	}
	return name + " (claimed)"
}

func signed(a Act) bool { return strings.HasPrefix(a.Identity, "signed:") }

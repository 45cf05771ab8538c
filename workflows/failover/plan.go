package failover

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// Classes of expected loss. The plan's hash covers the class and not the bytes, which change from second to second.
const (
	lossNone     = "none"
	lossPossible = "possible"
	lossUnknown  = "unknown"
)

// planOf is pure: the same document and the same roles, identities and findings make the same plan, with the same hash.
func planOf(doc runbooks.Resolved, saw seen) (journal.Plan, error) {
	book := doc.Runbook
	f := book.Failover
	p := journal.Plan{Operation: Operation, Estate: doc.Estate.Name, Runbook: book.Name, Document: doc.SHA256,
		From: f.From, To: f.To, MoveKind: f.Kind, LossClass: lossNone}
	p.Steps = append(p.Steps, journal.PlanStep{ID: "gate/" + runbooks.GateApprove, Phase: phaseGate, Title: "people approve this plan", Gate: true})
	var losses []string
	for i, group := range f.Order {
		for _, name := range group {
			system := doc.Estate.Systems[name]
			result := saw.systems[name]
			p.Systems = append(p.Systems, planSystem(name, i+1, system, result))
			p.Steps = append(p.Steps, stepsOf(name, system, *f)...)
			p.Findings = append(p.Findings, result.Findings...)
			p.LossClass = worse(p.LossClass, lossOf(*f, result))
			losses = append(losses, lossLine(name, *f, result))
		}
	}
	p.ExpectedLoss = strings.Join(losses, "; ")
	if unfinished(doc, saw) {
		for i, finding := range p.Findings {
			if finding.Code == activities.FindingMoved {
				p.Findings[i].Refuse, p.Findings[i].Next = false, ""
			}
		}
	}
	if f.Reprotect == nil || *f.Reprotect {
		for _, name := range slices.Concat(f.Order...) {
			p.Steps = append(p.Steps, journal.PlanStep{ID: phaseReprotect + "/" + name, Phase: phaseReprotect, System: name,
				Title: fmt.Sprintf("%s at %s follows %s", name, f.From, f.To)})
		}
	}
	return p.Seal()
}

// unfinished says whether a system has yet to move, or its clients have yet to be sent after it: what is there already is then no reason
// to refuse, and each of its steps is met at its first look.
func unfinished(doc runbooks.Resolved, saw seen) bool {
	f := doc.Runbook.Failover
	for _, name := range slices.Concat(f.Order...) {
		moved := slices.ContainsFunc(saw.systems[name].Findings, func(found journal.Finding) bool { return found.Code == activities.FindingMoved })
		sites := saw.routes[name].Sites
		if !moved || len(sites) > 0 && (!sites[f.To].Open || sites[f.From].Open) {
			return true
		}
	}
	return false
}

func planSystem(name string, group int, system runbooks.System, result activities.PreflightResult) journal.PlanSystem {
	s := journal.PlanSystem{Name: name, Kind: system.Kind, Group: group, Route: system.Route,
		Members: map[string]journal.Facts{}, Identity: map[string]string{}}
	//workflowcheck:ignore fills maps, order has no effect
	for site, m := range result.State.Members {
		s.Members[site] = factsOf(m)
		s.Identity[site] = fmt.Sprintf("%s %s %s", m.Role, m.Identity, m.Lineage)
	}
	return s
}

// factsOf shows a member to people.
func factsOf(m activities.MemberState) journal.Facts {
	facts := journal.Facts{"role": string(m.Role), "accepts_writes": strconv.FormatBool(m.AcceptsWrites)}
	optional := journal.Facts{"position": m.Position, "identity": m.Identity, "lineage": m.Lineage, "following": m.Following, "unreachable": m.Unreachable}
	//workflowcheck:ignore fills a map, order has no effect
	for key, value := range optional {
		if value != "" {
			facts[key] = value
		}
	}
	if m.Role == activities.RoleStandby && m.LagBytes >= 0 {
		facts["lag_bytes"] = strconv.FormatInt(m.LagBytes, 10)
	}
	return facts
}

func stepsOf(name string, system runbooks.System, f runbooks.Failover) []journal.PlanStep {
	var steps []journal.PlanStep
	add := func(phase, title, undo string, noReturn bool) {
		steps = append(steps, journal.PlanStep{ID: phase + "/" + name, Phase: phase, System: name, Title: title, Undo: undo, NoReturn: noReturn})
	}
	if f.Kind == "planned" {
		add(phasePrepare, fmt.Sprintf("prepare %s at %s, while clients still write", name, f.From), "", false)
	}
	if system.Route != "" {
		add(phaseRoute, fmt.Sprintf("close %s to clients of %s at %s", system.Route, name, f.From), fmt.Sprintf("send clients to %s again", f.From), false)
	}
	add(phaseFence, fmt.Sprintf("fence %s at %s, with proof", name, f.From), fmt.Sprintf("%s at %s is primary again", name, f.From), false)
	if f.Kind == "planned" {
		add(phaseCatchUp, fmt.Sprintf("%s at %s replays to the old primary's last record", name, f.To), "", false)
	} else {
		add(phaseCatchUp, fmt.Sprintf("%s at %s replays all that it has received", name, f.To), "", false)
	}
	add(phasePromote, fmt.Sprintf("promote %s at %s", name, f.To), "", true)
	if system.Route != "" {
		add(phaseRoute, fmt.Sprintf("send clients of %s to %s", system.Route, f.To), "", false)
	}
	add(phaseVerify, fmt.Sprintf("write to and read from %s as clients do", name), "", false)
	return steps
}

func lossOf(f runbooks.Failover, result activities.PreflightResult) string {
	switch {
	case f.Kind == "planned":
		return lossNone
	case result.LossBytes < 0:
		return lossUnknown
	case result.LossBytes == 0 && result.State.Members[f.From].Role == activities.RoleStopped:
		return lossNone
	default:
		return lossPossible
	}
}

func lossLine(name string, f runbooks.Failover, result activities.PreflightResult) string {
	switch lossOf(f, result) {
	case lossUnknown:
		return name + ": unknown, the old primary's last record cannot be read"
	case lossPossible:
		return fmt.Sprintf("%s: %d bytes were not replicated when last looked at", name, result.LossBytes)
	default:
		return name + ": none"
	}
}

func worse(a, b string) string {
	order := []string{lossNone, lossPossible, lossUnknown}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}

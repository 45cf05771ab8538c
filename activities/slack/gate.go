package slack

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	api "github.com/slack-go/slack"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// stepsLimit is how much of a plan a message shows: more is not read in a channel, and the page has it all.
const stepsLimit = 2800

// gateBlocks shows what is approved, who may, and, while the gate is open, the buttons to do it.
func gateBlocks(n activities.Notice) []api.Block {
	g := n.Gate
	plan := cmp.Or(g.Plan, &journal.Plan{})
	blocks := []api.Block{header(n.Title)}
	if g.Title != "" && plain(g.Title) != plain(n.Title) {
		blocks = append(blocks, section("*"+esc(g.Title)+"*"))
	}
	if n.Text != "" {
		blocks = append(blocks, section(lines(n.Text)))
	}
	if closed := outcome(n); closed != "" {
		blocks = append(blocks, section(closed))
	}
	if g.Risk != "" {
		blocks = append(blocks, section(":warning: *Risk:* "+lines(g.Risk)))
	}
	blocks = append(blocks, fields(
		"Estate", esc(n.Header.Estate),
		"From → to", move(n.Header),
		"Runbook", esc(n.Header.Runbook),
		"Requested by", esc(n.Header.RequestedBy),
		"Expected loss", esc(plan.ExpectedLoss),
		"Plan", code(short(g.PlanHash)),
		"Deadline", when(g.Deadline),
		"Approvals", approvals(g),
	))
	blocks = append(blocks, planBlocks(plan)...)
	if len(g.Decisions) > 0 {
		var rows []string
		for _, d := range g.Decisions {
			rows = append(rows, decision(d))
		}
		blocks = append(blocks, section("*Decisions*\n"+fit(rows, limitSection-20, "decisions")))
	}
	if open(n) {
		if who := answerers(g); who != "" {
			blocks = append(blocks, section(who))
		}
		blocks = append(blocks, buttons(n, button{
			Workflow: n.Header.WorkflowID, Run: n.Header.RunID, Gate: g.Name, Hash: g.PlanHash, Reason: g.Reason, Label: n.Title,
		}, choice{approve, "Approve", api.StylePrimary}, choice{reject, "Reject", api.StyleDanger})...)
	}
	return append(blocks, footer(n, "Plan "+code(g.PlanHash)))
}

// open says whether the gate of a notice still takes decisions.
func open(n activities.Notice) bool {
	return n.Gate.Outcome == "" && n.Event != activities.EventGateClosed && n.Event != activities.EventGateExpired
}

func outcome(n activities.Notice) string {
	if open(n) {
		return ""
	}
	o := n.Gate.Outcome
	if o == "" && n.Event == activities.EventGateExpired {
		o = journal.Expired
	}
	text := sign(n) + " *" + strings.ToUpper(cmp.Or(string(o), "closed")) + "*"
	if o == journal.Expired {
		text += " Nobody decided in time; that counts as a rejection unless the runbook names an escalation."
	}
	return text
}

func approvals(g *activities.NoticeGate) string {
	have := 0
	for _, d := range g.Decisions {
		if d.Decision == approve {
			have++
		}
	}
	text := fmt.Sprintf("%d of %d", have, max(g.Need, 1))
	if g.FourEyes {
		text += ", not by who asked"
	}
	return text
}

func decision(d activities.NoticeDecision) string {
	mark := ":no_entry:"
	if d.Decision == approve {
		mark = ":white_check_mark:"
	}
	text := fmt.Sprintf("%s *%s* by %s", mark, esc(d.Decision), esc(d.Approver))
	if d.Channel != "" {
		text += " (" + esc(d.Channel) + ")"
	}
	text += " " + when(d.At)
	if d.Reason != "" {
		text += ": " + cut(esc(d.Reason), 200)
	}
	return text
}

// answerers says who may answer: people by mention, so that they are told, and roles.
func answerers(g *activities.NoticeGate) string {
	people := mentions(g.Mention)
	var who []string
	for _, name := range g.Who {
		who = append(who, code(name))
	}
	switch {
	case len(people) == 0 && len(who) == 0:
		return ""
	case len(people) == 0:
		return "*May answer:* " + listed(who, 30)
	case len(who) == 0:
		return "*May answer:* " + listed(people, 30)
	default:
		return "*May answer:* " + listed(people, 30) + " (" + listed(who, 30) + ")"
	}
}

// planBlocks shows the plan's systems and steps, and what speaks against it. What is left out is counted.
func planBlocks(plan *journal.Plan) []api.Block {
	var blocks []api.Block
	if len(plan.Systems) > 0 {
		var names []string
		for _, s := range plan.Systems {
			names = append(names, cut(code(s.Name), 80))
		}
		blocks = append(blocks, section("*Systems* "+listed(names, 12)))
	}
	if len(plan.Findings) > 0 {
		var rows []string
		for _, f := range plan.Findings {
			rows = append(rows, strings.TrimSpace(":warning: "+esc(f.System))+" "+esc(f.Message))
		}
		blocks = append(blocks, section("*People should know*\n"+fit(rows, 1500, "findings")))
	}
	if len(plan.Steps) > 0 {
		var rows []string
		for i, s := range plan.Steps {
			row := fmt.Sprintf("%d. %s", i+1, esc(s.Title))
			if s.NoReturn {
				row += "  :point_left: *point of no return*"
			}
			rows = append(rows, row)
		}
		blocks = append(blocks, section("*Steps*\n"+fit(rows, stepsLimit, "steps")))
	}
	// Said apart too: the list of steps may have been cut before it.
	if i := slices.IndexFunc(plan.Steps, func(s journal.PlanStep) bool { return s.NoReturn }); i >= 0 {
		blocks = append(blocks, section(fmt.Sprintf("*Point of no return:* step %d of %d, %s. After it, failback is the way back.",
			i+1, len(plan.Steps), esc(plan.Steps[i].Title))))
	} else if len(plan.Steps) > 0 {
		blocks = append(blocks, section("*Point of no return:* none"))
	}
	return blocks
}

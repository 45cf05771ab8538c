package gateway

import (
	"time"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/workflows/run"
)

// shopRuns has two estates: shop, whose gate is open and which has a held run too, and vault, which is other people's.
func shopRuns(issuer, gatewayKey string) *fakeRuns {
	gateways := map[string]runbooks.Gateway{"door": {Key: gatewayKey}}
	f := &fakeRuns{
		estates: map[string]runbooks.Estate{
			"shop": {Name: "shop", Gateways: gateways, People: map[string]runbooks.Person{
				"ada":  {Name: "Ada", Roles: []string{"approver", "operator"}, OIDC: issuer + "#ada-1", Slack: "T0SHOP/U0ADA", Email: "ada@example.com"},
				"bo":   {Roles: []string{"viewer"}, Email: "Bo@Example.com"},
				"cleo": {Roles: []string{"admin"}, Slack: "T0SHOP/U0CLEO", Email: "cleo@example.com"},
				"none": {Email: "zoe@example.com"},
				"twin": {Roles: []string{"approver"}, Email: "twin@example.com"},
				"twig": {Roles: []string{"approver"}, Email: "twin@example.com"},
			}},
			"vault": {Name: "vault", Gateways: gateways, People: map[string]runbooks.Person{"zoe": {Roles: []string{"admin"}, Email: "zoe@example.com"}}},
		},
		status: map[string]run.Status{}, plan: map[string]journal.Plan{}, journal: map[string][]journal.Entry{}, nonces: map[string]run.Answer{},
	}
	shop := f.add(shopID, shopIn, "shop", run.StateAwaiting)
	shop.Phase, shop.Plan = "gate", planHash
	shop.Gates = []run.GateStatus{{Name: "approve", Title: "Move the shop from east to west", PlanHash: planHash, Opened: noon.Add(-6 * time.Minute),
		Deadline: noon.Add(42 * time.Minute), Need: 2, Have: []string{"cleo"}, Who: []string{"ada", "approver"}, Trust: "signed", FourEyes: true,
		Risk: "orders at west is 1.2 MB behind: about 3 seconds of writes may be lost"}}
	shop.Steps = []run.StepStatus{
		{ID: "observe/orders", Title: "look at orders", State: "done", Outcome: journal.Unchanged, Started: noon.Add(-7 * time.Minute), Ended: noon.Add(-7*time.Minute + 84*time.Millisecond)},
		{ID: "observe/cache", Title: "look at cache", State: "done", Outcome: journal.Unchanged, Started: noon.Add(-7 * time.Minute), Ended: noon.Add(-7*time.Minute + 31*time.Millisecond)},
		{ID: "preflight/orders", Title: "check that orders can move", State: "done", Outcome: journal.Changed, Started: noon.Add(-6 * time.Minute), Ended: noon.Add(-6*time.Minute + 2300*time.Millisecond)},
	}
	f.journal[shopID] = []journal.Entry{
		{Seq: 1, At: noon.Add(-7 * time.Minute), Kind: journal.RunStarted, Title: "failover of shop", Author: "dana", Channel: "cli"},
		{Seq: 2, At: noon.Add(-7 * time.Minute), Kind: journal.StepEnded, Step: "observe/orders", Title: "look at orders", Outcome: journal.Unchanged},
		{Seq: 3, At: noon.Add(-6 * time.Minute), Kind: journal.Planned, Title: "plan 9f2c9f2c9f2c"},
		{Seq: 4, At: noon.Add(-6 * time.Minute), Kind: journal.GateOpened, Gate: "approve", Title: "Move the shop from east to west"},
		{Seq: 5, At: noon.Add(-5 * time.Minute), Kind: journal.Refused, Gate: "approve", Action: "approve", Author: "dana", Channel: "slack", Message: "dana asked for this run, and gate approve wants other eyes"},
		{Seq: 6, At: noon.Add(-4 * time.Minute), Kind: journal.Decided, Gate: "approve", Action: "approve", Author: "cleo", Channel: "slack", Reason: "change 4711 <b>is on</b>"},
	}
	shop.Entries = 6
	f.plan[shopID] = shopPlan()
	f.status[shopID] = *shop

	held := f.add("failover:stock", "0199c1f4-0000-7cc1-b2a8-3a1a3d0e5a32", "shop", run.StateHeld)
	held.Phase, held.NoReturn = "re-protect", true
	held.Holds = []run.HoldStatus{{Step: "follow/orders", Why: "pg_rewind of orders at east: connection refused (127.0.0.1:5432), 4 attempts", Since: noon.Add(-17 * time.Minute)}}
	held.Steps = []run.StepStatus{{ID: "promote/orders", Title: "promote orders at west", State: "done", Outcome: journal.Changed, Started: noon.Add(-19 * time.Minute), Ended: noon.Add(-19*time.Minute + time.Second)},
		{ID: "follow/orders", Title: "orders at east follows west", State: "held", Started: noon.Add(-18 * time.Minute), Message: "pg_rewind of orders at east: connection refused"}}
	f.status["failover:stock"] = *held
	f.plan["failover:stock"] = shopPlan()
	f.journal["failover:stock"] = []journal.Entry{{Seq: 1, At: noon.Add(-17 * time.Minute), Kind: journal.Held, Step: "follow/orders", Title: "orders at east follows west", Message: "connection refused"}}
	f.status["failover:quiet"] = *f.add("failover:quiet", "0199c1f4-0000-7cc1-b2a8-3a1a3d0e5a33", "shop", run.StateRunning)

	vault := f.add("failover:vault", "0199c1f4-0000-7cc1-b2a8-3a1a3d0e5a34", "vault", run.StateAwaiting)
	vault.Gates = []run.GateStatus{{Name: "approve", Title: "Move the vault", PlanHash: planHash, Deadline: noon.Add(time.Hour), Need: 1}}
	f.status["failover:vault"] = *vault
	return f
}

func (f *fakeRuns) add(id, runID, estate string, state run.State) *run.Status {
	f.open = append(f.open, OpenRun{WorkflowID: id, RunID: runID, Operation: "failover", Estate: estate, State: state, Started: noon.Add(-20 * time.Minute)})
	return &run.Status{State: state, Started: noon.Add(-20 * time.Minute), Header: journal.Header{WorkflowID: id, RunID: runID, Operation: "failover", Estate: estate,
		Runbook: "failover-" + estate, Mode: "execute", From: "east", To: "west", MoveKind: "planned", RequestedBy: "dana", Channel: "cli"}}
}

func shopPlan() journal.Plan {
	return journal.Plan{Operation: "failover", Estate: "shop", Runbook: "failover-shop", From: "east", To: "west", MoveKind: "planned",
		Systems: []journal.PlanSystem{
			{Name: "orders", Kind: "postgresql", Group: 1, Route: "orders-db", Members: map[string]journal.Facts{
				"east": {"role": "primary", "timeline": "3", "position": "0/5012A98"}, "west": {"role": "standby", "timeline": "3", "lag": "1.2 MB", "follows": "10.0.0.4:5432"}}},
			{Name: "cache", Kind: "redis", Group: 2, Route: "cache", Members: map[string]journal.Facts{"east": {"role": "primary"}, "west": {"role": "standby", "lag": "0 B"}}}},
		Steps: []journal.PlanStep{
			{ID: "gate/approve", Phase: "gate", Title: "people approve this plan", Gate: true},
			{ID: "lock/orders", Phase: "lock", System: "orders", Title: "lock orders"},
			{ID: "close/orders", Phase: "fence", System: "orders", Title: "close orders-db to clients of east", Undo: "send clients of orders-db to east"},
			{ID: "fence/orders", Phase: "fence", System: "orders", Title: "fence orders at east, with proof", Undo: "orders at east is primary again"},
			{ID: "catch-up/orders", Phase: "catch-up", System: "orders", Title: "orders at west replays what there is"},
			{ID: "promote/orders", Phase: "promote", System: "orders", Title: "promote orders at west", NoReturn: true},
			{ID: "route/orders", Phase: "route", System: "orders", Title: "send clients of orders-db to west"},
			{ID: "verify/orders", Phase: "verify", System: "orders", Title: "write to and read from orders as clients do"},
		},
		Findings:     []journal.Finding{{Code: "standby-lags", System: "orders", Message: "west is 1.2 MB behind", Next: "wait, or accept the risk at the gate"}},
		ExpectedLoss: "none for a planned move: the old primary stops, and the new one replays to its end", LossClass: "none", Hash: planHash}
}

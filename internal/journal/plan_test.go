package journal_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/journal"
)

func samplePlan() journal.Plan {
	return journal.Plan{
		Operation: "failover", Estate: "shop", Runbook: "failover-shop", Document: "d0c", From: "west", To: "east", MoveKind: "planned",
		Systems: []journal.PlanSystem{{Name: "orders", Kind: "postgresql", Group: 1, Route: "front",
			Members:  map[string]journal.Facts{"west": {"position": "0/3000060"}, "east": {"lag_bytes": "0"}},
			Identity: map[string]string{"west": "primary 7351 1", "east": "standby 7351 1"}}},
		Steps: []journal.PlanStep{{ID: "fence/orders", Phase: "fence", System: "orders", Title: "fence orders", Undo: "unfence"},
			{ID: "promote/orders", Phase: "promote", System: "orders", Title: "promote orders", NoReturn: true}},
		Findings:     []journal.Finding{{Code: "slot-missing", System: "orders", Message: "no slot, 12 bytes behind", Next: "create it"}},
		ExpectedLoss: "orders: none", LossClass: "none",
	}
}

func TestSealCoversWhatIsApproved(t *testing.T) {
	t.Parallel()
	want, err := samplePlan().Seal()
	require.NoError(t, err)
	require.Len(t, want.Hash, 64)
	for name, change := range map[string]func(*journal.Plan){
		"operation":      func(p *journal.Plan) { p.Operation = "drill" },
		"estate":         func(p *journal.Plan) { p.Estate = "other" },
		"runbook":        func(p *journal.Plan) { p.Runbook = "other" },
		"document":       func(p *journal.Plan) { p.Document = "other" },
		"from":           func(p *journal.Plan) { p.From = "east" },
		"to":             func(p *journal.Plan) { p.To = "west" },
		"kind":           func(p *journal.Plan) { p.MoveKind = "unplanned" },
		"loss class":     func(p *journal.Plan) { p.LossClass = "possible" },
		"system":         func(p *journal.Plan) { p.Systems[0].Name = "stock" },
		"system's group": func(p *journal.Plan) { p.Systems[0].Group = 2 },
		"system's route": func(p *journal.Plan) { p.Systems[0].Route = "" },
		"identity":       func(p *journal.Plan) { p.Systems[0].Identity["west"] = "primary 7351 2" },
		"step":           func(p *journal.Plan) { p.Steps[0].Title = "stop orders" },
		"undo":           func(p *journal.Plan) { p.Steps[0].Undo = "" },
		"no return":      func(p *journal.Plan) { p.Steps[1].NoReturn = false },
		"order of steps": func(p *journal.Plan) { p.Steps[0], p.Steps[1] = p.Steps[1], p.Steps[0] },
		"finding":        func(p *journal.Plan) { p.Findings[0].Code = "lag" },
		"refusal":        func(p *journal.Plan) { p.Findings[0].Refuse = true },
		"no finding":     func(p *journal.Plan) { p.Findings = nil },
	} {
		p := samplePlan()
		change(&p)
		got, err := p.Seal()
		require.NoError(t, err)
		require.NotEqual(t, want.Hash, got.Hash, name)
	}
}

func TestSealLeavesOutWhatChangesByItself(t *testing.T) {
	t.Parallel()
	want, err := samplePlan().Seal()
	require.NoError(t, err)
	for name, change := range map[string]func(*journal.Plan){
		"an older hash": func(p *journal.Plan) { p.Hash = "old" },
		"loss in words": func(p *journal.Plan) { p.ExpectedLoss = "orders: 48 bytes" },
		"positions":     func(p *journal.Plan) { p.Systems[0].Members["west"]["position"] = "0/4000000" },
		"message":       func(p *journal.Plan) { p.Findings[0].Message = "no slot, 13 bytes behind" },
		"advice":        func(p *journal.Plan) { p.Findings[0].Next = "create it now" },
	} {
		p := samplePlan()
		change(&p)
		got, err := p.Seal()
		require.NoError(t, err)
		require.Equal(t, want.Hash, got.Hash, name)
	}
}

func TestSealKeepsThePlanWhole(t *testing.T) {
	t.Parallel()
	want := samplePlan()
	got, err := want.Seal()
	require.NoError(t, err)
	again, err := got.Seal()
	require.NoError(t, err)
	require.Equal(t, got, again)
	got.Hash = ""
	require.Equal(t, want, got)
}

func FuzzSealSurvivesJSON(f *testing.F) {
	f.Add("orders", "west", 1)
	f.Add("\xff", "\\ufffd", -1)
	f.Add("", "", 0)
	f.Fuzz(func(t *testing.T, name, site string, group int) {
		p := samplePlan()
		p.Systems[0].Name, p.Systems[0].Group, p.Systems[0].Identity[site] = name, group, name
		p, err := p.Seal()
		require.NoError(t, err)
		wire, err := json.Marshal(p)
		require.NoError(t, err)
		var back journal.Plan
		require.NoError(t, json.Unmarshal(wire, &back))
		again, err := back.Seal()
		require.NoError(t, err)
		require.Equal(t, p.Hash, again.Hash)
	})
}

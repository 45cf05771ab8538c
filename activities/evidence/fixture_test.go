package evidence

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/journal"
)

// script writes a journal as the kernel does, on a clock of its own.
type script struct {
	t       testing.TB
	at      time.Time
	entries []journal.Entry
	prev    string
	plan    journal.Plan
	count   map[string]int // how often a step began: the second is fence/orders#2
}

func (s *script) id(phase, system string) string {
	if n := s.count[phase+"/"+system]; n > 1 {
		return fmt.Sprintf("%s/%s#%d", phase, system, n)
	}
	return phase + "/" + system
}

var t0 = time.Date(2026, 3, 14, 9, 26, 53, 589_000_000, time.UTC)

const runID = "0195a2b4-7c31-7e2a-9d0f-3b8e5c6a1f42"

func begin(t testing.TB, h journal.Header) *script {
	s := &script{t: t, at: t0, prev: journal.Genesis, count: map[string]int{}}
	h.WorkflowID, h.RunID = "failover:shop", runID
	h.Operation, h.Estate, h.Runbook = "failover", "shop", "failover-shop"
	h.Document = "9f2c1d7a4b6e8f0a1c3d5e7f9b2d4f6a8c0e1f3a5b7c9d0e2f4a6b8c0d1e3f5a"
	h.RequestedBy, h.Channel = "ana", "cli"
	s.add(0, journal.Entry{Kind: journal.RunStarted, Phase: "load", Header: &h, Author: "ana", Title: "failover of shop by runbook failover-shop"})
	return s
}

func planned() journal.Header {
	rto, lost := int64(30_000), int64(0)
	return journal.Header{Mode: "execute", From: "west", To: "east", MoveKind: "planned", RTOMs: &rto, LostWrites: &lost}
}

func (s *script) add(after time.Duration, e journal.Entry) *script {
	s.at = s.at.Add(after)
	e.Seq, e.At = len(s.entries)+1, s.at
	linked, err := journal.Link(e, s.prev)
	require.NoError(s.t, err)
	s.entries, s.prev = append(s.entries, linked), linked.Hash
	return s
}

func (s *script) start(phase, system, title string) *script {
	s.count[phase+"/"+system]++
	return s.add(5*time.Millisecond, journal.Entry{Kind: journal.StepStarted, Phase: phase, System: system, Step: s.id(phase, system), Title: title})
}

func (s *script) end(took time.Duration, phase, system string, e journal.Entry) *script {
	e.Kind, e.Phase, e.System, e.Step, e.TookMs = journal.StepEnded, phase, system, s.id(phase, system), took.Milliseconds()
	if e.Outcome == "" {
		e.Outcome = journal.Changed
	}
	if e.Attempts == 0 {
		e.Attempts = 1
	}
	return s.add(took, e)
}

func (s *script) step(took time.Duration, phase, system, title string) *script {
	return s.start(phase, system, title).end(took, phase, system, journal.Entry{})
}

func (s *script) look(system string, facts journal.Facts) *script {
	s.start("observe", system, "look at "+system).end(30*time.Millisecond, "observe", system, journal.Entry{Outcome: journal.Unchanged})
	return s.add(0, journal.Entry{Kind: journal.Observed, Phase: "observe", System: system, Title: system + " as it is", After: facts})
}

func (s *script) makePlan(loss string, systems ...string) *script {
	p := journal.Plan{Operation: "failover", Estate: "shop", Runbook: "failover-shop", From: "west", To: "east", MoveKind: "planned",
		ExpectedLoss: "nothing: the standby replays to the last record", LossClass: loss}
	if loss != "none" {
		p.ExpectedLoss = "orders: 48112 bytes were not replicated when last looked at"
		p.Findings = []journal.Finding{{Code: "primary-down", System: "orders", Message: "the primary at west does not answer", Next: "approve the possible loss, or bring it back"}}
	}
	p.Steps = append(p.Steps, journal.PlanStep{ID: "gate/approve", Phase: "gate", Title: "people approve this plan", Gate: true})
	for i, name := range systems {
		p.Systems = append(p.Systems, journal.PlanSystem{Name: name, Kind: "postgresql", Group: i + 1, Route: "front",
			Identity: map[string]string{"west": "primary 7351 1", "east": "standby 7351 1"}})
		p.Steps = append(p.Steps,
			journal.PlanStep{ID: "fence/" + name, Phase: "fence", System: name, Title: "fence " + name + " at west, with proof", Undo: name + " at west is primary again"},
			journal.PlanStep{ID: "catch-up/" + name, Phase: "catch-up", System: name, Title: name + " at east replays to the last record"},
			journal.PlanStep{ID: "promote/" + name, Phase: "promote", System: name, Title: "promote " + name + " at east", NoReturn: true},
			journal.PlanStep{ID: "route/" + name, Phase: "route", System: name, Title: "send clients of " + name + " to east"},
			journal.PlanStep{ID: "verify/" + name, Phase: "verify", System: name, Title: "write to and read from " + name + " as clients do"},
			journal.PlanStep{ID: "re-protect/" + name, Phase: "re-protect", System: name, Title: name + " at west follows east"})
	}
	p, err := p.Seal()
	require.NoError(s.t, err)
	s.plan = p
	return s.add(2*time.Millisecond, journal.Entry{Kind: journal.Planned, Phase: "preflight", Plan: &p, PlanHash: p.Hash, Title: "plan " + p.Hash[:12]})
}

func (s *script) open(name, risk string) *script {
	return s.add(time.Millisecond, journal.Entry{Kind: journal.GateOpened, Phase: "gate", Gate: name, PlanHash: s.plan.Hash,
		Title: "approve the move of shop to east", Message: risk, Deadline: s.at.Add(time.Hour)})
}

func (s *script) decide(after time.Duration, gate, action, author, identity, reason string) *script {
	return s.add(after, journal.Entry{Kind: journal.Decided, Phase: "gate", Gate: gate, PlanHash: s.plan.Hash, Action: action, Author: author,
		Identity: identity, Channel: "slack", Reason: reason})
}

func (s *script) close(name string, outcome journal.Outcome) *script {
	return s.add(time.Millisecond, journal.Entry{Kind: journal.GateClosed, Phase: "gate", Gate: name, PlanHash: s.plan.Hash, Outcome: outcome})
}

func (s *script) over(v journal.Verdict, summary string) []journal.Entry {
	return s.add(3*time.Millisecond, journal.Entry{Kind: journal.RunEnded, Phase: "end", Verdict: v, Message: summary, Title: string(v)}).entries
}

func (s *script) fence(system, proof string) *script {
	s.add(0, journal.Entry{Kind: journal.UndoAdded, Phase: "fence", System: system, Title: system + " at west is primary again"})
	return s.start("fence", system, "fence "+system+" at west, with proof").end(410*time.Millisecond, "fence", system, journal.Entry{
		Before: journal.Facts{"state": "in production", "role": "primary"},
		After:  journal.Facts{"state": "shut down", "role": "stopped", "proof": proof}})
}

func (s *script) promote(system string) *script {
	s.add(time.Millisecond, journal.Entry{Kind: journal.NoReturn, Phase: "promote", System: system, Title: "point of no return of " + system})
	return s.step(280*time.Millisecond, "promote", system, "promote "+system+" at east")
}

// move carries one system over, and returns when clients were cut off.
func (s *script) move(system string) journal.Band {
	s.step(20*time.Millisecond, "fence-route", system, "close front to clients of "+system)
	from := s.at
	s.fence(system, "stopped").step(120*time.Millisecond, "catch-up", system, system+" at east replays").promote(system)
	s.step(40*time.Millisecond, "route", system, "send clients of "+system+" to east")
	to := s.at.Add(15 * time.Millisecond)
	s.step(55*time.Millisecond, "verify", system, "write to and read from "+system)
	return journal.Band{From: from, To: to}
}

func (s *script) measured(system string, b journal.Band, missing int64, seqs ...int64) *script {
	return s.add(time.Millisecond, journal.Entry{Kind: journal.Measured, Phase: "measure", System: system, Measure: &journal.Measure{System: system,
		Measured: true, OutageMs: b.Duration().Milliseconds(), Outage: &b, Outages: []journal.Band{b}, Acknowledged: 18_204,
		FailedWrites: 9, Missing: missing, MissingSeqs: seqs, EveryMs: 20}})
}

func factsAt(primary string) journal.Facts {
	other := map[string]string{"west": "east", "east": "west"}[primary]
	return journal.Facts{primary + ".role": "primary", primary + ".accepts_writes": "true", primary + ".identity": "7351",
		other + ".role": "standby", other + ".accepts_writes": "false", other + ".identity": "7351", other + ".following": primary + ":5432"}
}

const anasKey = "signed:SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDiF3a1kKqUeE1Ztx0"

func success(t testing.TB) []journal.Entry {
	s := begin(t, planned()).look("orders", factsAt("west")).look("stock", factsAt("west")).makePlan("none", "orders", "stock")
	s.open("approve", "").decide(41*time.Minute, "approve", "approve", "bo", anasKey, "agreed in change 4711").close("approve", journal.Approved)
	s.add(time.Millisecond, journal.Entry{Kind: journal.Locked, Phase: "lock", System: "orders", Title: "holds orders, fencing token 7"})
	a := s.move("orders")
	b := s.move("stock")
	s.step(900*time.Millisecond, "re-protect", "orders", "orders at west follows east").step(700*time.Millisecond, "re-protect", "stock", "stock at west follows east")
	s.measured("orders", a, 0).measured("stock", b, 0).look("orders", factsAt("east")).look("stock", factsAt("east"))
	s.add(time.Millisecond, journal.Entry{Kind: journal.Unlocked, Phase: "unlock", System: "orders", Title: "freed orders"})
	return s.over(journal.Passed, "orders and stock moved from west to east; no acknowledged write lost")
}

func unplanned(t testing.TB) []journal.Entry {
	h := planned()
	h.MoveKind = "unplanned"
	s := begin(t, h)
	from := t0.Add(-9 * time.Second)
	before := factsAt("west")
	before["west.role"], before["west.unreachable"] = "unknown", "dial tcp 10.0.1.5:5432: connection refused"
	s.look("orders", before).makePlan("possible", "orders")
	s.open("approve", "the old primary is gone: 48112 bytes may be lost")
	s.add(4*time.Second, journal.Entry{Kind: journal.Refused, Gate: "approve", Action: "approve", Author: "ana", Identity: anasKey, Channel: "cli",
		PlanHash: s.plan.Hash, Reason: "go", Message: "four eyes: ana asked for this run and cannot approve it"})
	s.decide(6*time.Second, "approve", "approve", "bo", anasKey, "site west is without power").close("approve", journal.Approved)
	s.fence("orders", "cut-off")
	s.open("no-fence-proof", "orders at west may still accept writes").decide(3*time.Second, "no-fence-proof", "approve", "cem", "claimed", "no power, no writes").close("no-fence-proof", journal.Approved)
	s.step(200*time.Millisecond, "catch-up", "orders", "orders at east replays all that it has received").promote("orders")
	why := "haproxy runtime API at unix:/run/haproxy.sock: connection refused (next: is the proxy up?)"
	s.start("route", "orders", "send clients of orders to east")
	s.add(2*time.Second, journal.Entry{Kind: journal.Held, Phase: "route", System: "orders", Step: "route/orders", Message: why})
	s.add(5*time.Second, journal.Entry{Kind: journal.Intervened, Phase: "route", System: "orders", Step: "route/orders", Action: "retry", Author: "bo",
		Identity: anasKey, Channel: "cli", Reason: "proxy restarted", After: journal.Facts{"route.haproxy.backend": "orders"}})
	s.end(60*time.Millisecond, "route", "orders", journal.Entry{Attempts: 3})
	s.step(1200*time.Millisecond, "verify", "orders", "write to and read from orders")
	to := s.at
	s.start("re-protect", "orders", "orders at west follows east")
	s.add(time.Second, journal.Entry{Kind: journal.Held, Phase: "re-protect", System: "orders", Step: "re-protect/orders", Message: "host west-1 is unreachable"})
	s.add(time.Second, journal.Entry{Kind: journal.Intervened, System: "orders", Step: "re-protect/orders", Action: "skip", Author: "bo", Identity: anasKey, Channel: "cli", Reason: "site is down"})
	s.end(0, "re-protect", "orders", journal.Entry{Outcome: journal.Skipped, Message: "host west-1 is unreachable", Author: "bo", Reason: "site is down"})
	s.add(0, journal.Entry{Kind: journal.Noted, System: "orders", Title: "no standby: orders runs on one member"})
	s.measured("orders", journal.Band{From: from, To: to}, 3, 9918, 9919, 9920)
	return s.over(journal.MissedObjective, "orders moved to east; 3 acknowledged writes lost, objective none")
}

func rejected(t testing.TB) []journal.Entry {
	s := begin(t, planned()).look("orders", factsAt("west")).makePlan("none", "orders")
	s.open("approve", "").decide(90*time.Second, "approve", "reject", "bo", anasKey, "not during the sale").close("approve", journal.Rejected)
	return s.over(journal.RejectedVerdict, "rejected by bo at gate approve: not during the sale; nothing was moved")
}

func aborted(t testing.TB) []journal.Entry {
	s := begin(t, planned()).look("orders", factsAt("west")).makePlan("none", "orders")
	s.open("approve", "").decide(8*time.Second, "approve", "approve", "bo", anasKey, "").close("approve", journal.Approved).fence("orders", "stopped")
	s.add(time.Second, journal.Entry{Kind: journal.Intervened, Action: "pause", Author: "ana", Identity: anasKey, Channel: "cli", Reason: "wait for the batch"})
	s.start("catch-up", "orders", "orders at east replays")
	s.add(20*time.Second, journal.Entry{Kind: journal.Intervened, Action: "abort", Author: "ana", Identity: anasKey, Channel: "cli", Reason: "batch runs until noon"})
	s.end(0, "catch-up", "orders", journal.Entry{Outcome: journal.Canceled, Message: "not started: aborted"})
	s.step(350*time.Millisecond, "undo-fence", "orders", "orders at west is primary again")
	s.look("orders", factsAt("west"))
	return s.over(journal.Undone, "aborted by ana; what had been done was undone")
}

func observed(t testing.TB) []journal.Entry {
	h := planned()
	h.Mode = "observe"
	return begin(t, h).look("orders", factsAt("west")).makePlan("none", "orders").over(journal.ObservedVerdict, "looked and planned; nothing was moved")
}

func empty(t testing.TB) []journal.Entry {
	return begin(t, journal.Header{Mode: "execute"}).over(journal.FailedVerdict, "the runbook has no order")
}

const attack = `"><script>alert(1)</script><img src=x onerror=alert(2)>'{{.}}]]></title></style>` + "\u202e\u0007"

// hostile puts an attack into every text field that a journal has.
func hostile(t testing.TB) []journal.Entry {
	s := &script{t: t, at: t0, prev: journal.Genesis, count: map[string]int{}}
	h := journal.Header{WorkflowID: attack + "../../etc/passwd", RunID: attack, Operation: attack, Estate: attack, Runbook: attack, Document: attack,
		Mode: attack, From: attack, To: attack, MoveKind: attack, RequestedBy: attack, Channel: attack}
	facts := journal.Facts{attack: attack, "proof": attack}
	plan := journal.Plan{Operation: attack, Estate: attack, ExpectedLoss: attack, LossClass: attack, Hash: attack,
		Systems:  []journal.PlanSystem{{Name: attack, Kind: attack, Route: attack, Members: map[string]journal.Facts{attack: facts}, Identity: map[string]string{attack: attack}}},
		Steps:    []journal.PlanStep{{ID: attack, Phase: attack, System: attack, Title: attack, Undo: attack, NoReturn: true, Gate: true}},
		Findings: []journal.Finding{{Code: attack, System: attack, Refuse: true, Message: attack, Next: attack}}}
	full := journal.Entry{Phase: attack, Step: attack, System: attack, Title: attack, Outcome: attack, Message: attack, Before: journal.Facts{attack: "x"},
		After: facts, Gate: attack, PlanHash: attack, Author: attack, Channel: attack, Identity: attack, Reason: attack, Action: attack, Verdict: attack, Attempts: 2}
	for _, kind := range []journal.Kind{journal.RunStarted, journal.Observed, journal.Planned, journal.GateOpened, journal.Decided, journal.Refused,
		journal.GateClosed, journal.StepStarted, journal.StepEnded, journal.Held, journal.Intervened, journal.Locked, journal.Unlocked, journal.UndoAdded,
		journal.NoReturn, journal.Measured, journal.Noted, journal.Observed, attack, journal.RunEnded} {
		e := full
		e.Kind = kind
		switch kind {
		case journal.RunStarted:
			e.Header = &h
		case journal.Planned:
			e.Plan = &plan
		case journal.Measured:
			b := journal.Band{From: s.at.Add(-time.Second), To: s.at}
			e.Measure = &journal.Measure{System: attack, Measured: true, OutageMs: 1000, Outage: &b, Acknowledged: 5, Missing: 1, MissingSeqs: []int64{3}}
		}
		s.add(7*time.Millisecond, e)
	}
	return s.entries
}

// many is a run over n systems, in parallel groups of fifty.
func many(t testing.TB, n int) []journal.Entry {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("system-%04d-of-a-rather-long-name", i)
	}
	s := begin(t, planned())
	for _, name := range names {
		s.look(name, factsAt("west"))
	}
	s.makePlan("none", names...).open("approve", "").decide(12*time.Minute, "approve", "approve", "bo", anasKey, "").close("approve", journal.Approved)
	for i, name := range names {
		b := s.move(name)
		if i%97 == 5 {
			b.To = b.To.Add(time.Duration(i) * 100 * time.Millisecond)
		}
		s.measured(name, b, 0)
	}
	return s.over(journal.Passed, fmt.Sprintf("%d systems moved from west to east", n))
}

// runs are the journals with golden files.
var runs = map[string]func(testing.TB) []journal.Entry{
	"success": success, "unplanned": unplanned, "rejected": rejected, "aborted": aborted, "observed": observed, "empty": empty, "hostile": hostile,
}

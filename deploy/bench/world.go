package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/evidence"
	"github.com/musterhq/muster/activities/steps"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/workflows/failover"
)

// world is systems and routes that answer at once: what is left is what the kernel and Temporal cost.
type world struct{ clock }

// clock keeps when activities were at work.
type clock struct {
	mu sync.Mutex
	at []time.Time
}

func (c *clock) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = append(c.at, time.Now())
}

// take returns the times from one tick to the next in ms, and begins anew.
func (c *clock) take() []float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var took []float64
	for i := 1; i < len(c.at); i++ {
		took = append(took, ms(c.at[i].Sub(c.at[i-1])))
	}
	c.at = nil
	return took
}

func (w *world) Observe(_ context.Context, t activities.Target) (activities.SystemState, error) {
	w.tick()
	return activities.SystemState{System: t.Name}, nil
}

func (w *world) Preflight(_ context.Context, m activities.Move) (activities.PreflightResult, error) {
	w.tick()
	if len(m.System.Members) == 0 { // a no-op step
		return activities.PreflightResult{}, nil
	}
	state := activities.SystemState{System: m.Name, Kind: m.System.Kind, At: time.Now().UTC(), Members: map[string]activities.MemberState{
		m.From: {Site: m.From, Role: activities.RolePrimary, AcceptsWrites: true, HostReachable: true, Identity: "7318349394477056", Lineage: "1", Position: "0/3000148"},
		m.To: {Site: m.To, Role: activities.RoleStandby, HostReachable: true, Identity: "7318349394477056", Lineage: "1", Position: "0/3000148",
			Following: m.System.Members[m.From].Address},
	}}
	return activities.PreflightResult{State: state}, nil
}

// Fence is a goal that is met by one act.
func (w *world) Fence(activities.Move) activities.Action {
	done := false
	return activities.Action{
		Look: func(context.Context) (activities.Look, error) {
			return activities.Look{Met: done, Why: "not acted yet", Proof: activities.ProofStopped}, nil
		},
		Act: func(context.Context, string) error { done = true; w.tick(); return nil },
	}
}

func (w *world) Unfence(activities.Move) activities.Action { return activities.Action{} }
func (w *world) CatchUp(activities.Move) activities.Action { return activities.Action{} }
func (w *world) Promote(activities.Move) activities.Action { return activities.Action{} }
func (w *world) Follow(activities.Move) activities.Action  { return activities.Action{} }

func (w *world) Marks(context.Context, activities.Target, string) (activities.Marks, error) {
	return nil, fmt.Errorf("nobody writes in bench's own world")
}

// ways are the routes of the world.
type ways struct{}

func (ways) Observe(_ context.Context, t activities.RouteTarget) (activities.RouteState, error) {
	return activities.RouteState{Route: t.Name, Sites: map[string]activities.RouteSite{"east": {Open: true}, "west": {}}}, nil
}
func (ways) Point(activities.RouteTarget, string) activities.Action { return activities.Action{} }
func (ways) Close(activities.RouteTarget, string) activities.Action { return activities.Action{} }

// stepsOf is the activities that the kernel calls, on the world in place of real systems. Temporal, the journal and the
// evidence are real.
func (b *bench) stepsOf(w *world, r runs) *steps.Steps {
	return &steps.Steps{
		Systems: map[string]activities.System{"world": w},
		Routes:  map[string]activities.Route{"way": ways{}},
		Runs:    r,
		Load: func(in activities.LoadRunbookInput) (activities.LoadRunbookResult, error) {
			return activities.LoadRunbookResult{Resolved: document(in.Runbook), SearchAttributes: true}, nil
		},
		Write: func(entries []journal.Entry) (activities.EvidenceResult, error) {
			return evidence.Write(filepath.Join(b.dir, "evidence"), entries)
		},
	}
}

// document is the runbook "plan-N", an observing failover of N systems, or "look-N" and "act-N", N steps.
func document(name string) runbooks.Resolved {
	kind, count := parse(name)
	doc := runbooks.Resolved{SHA256: name, Runbook: runbooks.Runbook{Name: name, Operation: stepping, Estate: "bench"},
		Estate: runbooks.Estate{Name: "bench", Systems: map[string]runbooks.System{}, Routes: map[string]runbooks.Route{}}}
	if kind != "plan" {
		doc.Estate.Systems["noop"] = runbooks.System{Kind: "world"}
		return doc
	}
	doc.Runbook.Operation = failover.Operation
	doc.Runbook.Failover = &runbooks.Failover{From: "east", To: "west", Kind: "planned", Mode: "observe", Order: [][]string{nil}}
	for i := range count {
		system, route := fmt.Sprintf("system-%04d", i), fmt.Sprintf("route-%04d", i)
		doc.Runbook.Failover.Order[0] = append(doc.Runbook.Failover.Order[0], system)
		doc.Estate.Systems[system] = runbooks.System{Kind: "world", Route: route, Members: map[string]runbooks.Member{
			"east": {Address: fmt.Sprintf("%s.east.example:5432", system)}, "west": {Address: fmt.Sprintf("%s.west.example:5432", system)}}}
		doc.Estate.Routes[route] = runbooks.Route{Kind: "way", Address: route + ".example:5432"}
	}
	return doc
}

func parse(name string) (kind string, count int) {
	kind, text, _ := strings.Cut(name, "-")
	_, _ = fmt.Sscan(text, &count) // names are bench's own
	return kind, count
}

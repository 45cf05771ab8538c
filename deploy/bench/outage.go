package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/proto"

	"github.com/musterhq/muster/activities/host"
	"github.com/musterhq/muster/activities/postgres"
	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/failover"
	"github.com/musterhq/muster/workflows/run"
)

const system = "orders" // PostgreSQL's, of the sandbox

// outage measures failovers of the sandbox, in turns with a shell script that does the same by hand.
func (b *bench) outage(ctx context.Context) (err error) {
	p, err := b.start(ctx, "outage", "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop(ctx)) }()
	h := &byHand{bench: b, system: system, command: b.postgresScript}
	h.open(func(hosts *host.Hosts) driver { return postgres.New(hosts) })
	defer func() { err = errors.Join(err, h.close(ctx)) }()

	m := &moves{bench: b, runs: runs{p.temporal}, system: system}
	if _, err := m.move(ctx, ""); err != nil { // warm: caches, the marks' table, the lock's workflow
		return err
	}
	if err := p.stop(ctx); err != nil { // an orderly stop folds the write-ahead log into the file
		return err
	}
	before, err := p.database()
	if err != nil {
		return err
	}
	if p, err = b.start(ctx, "outage", ""); err != nil {
		return err
	}
	m = &moves{bench: b, runs: runs{p.temporal}, system: system}
	if err := b.planned(ctx, m, h); err != nil {
		return err
	}
	if err := b.unplanned(ctx, m, h); err != nil {
		return err
	}
	if err := p.stop(ctx); err != nil {
		return err
	}
	after, err := p.database()
	if err != nil {
		return err
	}
	grown := (after - before) / float64(len(m.sizes))
	b.add(figure{ID: "database/failover", What: fmt.Sprintf("database growth per failover (of %d)", len(m.sizes)), Unit: "KiB", Value: grown,
		Reference: reference("its history's events", m.sizes...)})
	return nil
}

// moves are failovers of the sandbox by muster, there and back.
type moves struct {
	*bench
	runs
	system string
	sizes  []float64 // of the histories, KiB
}

// sites returns where a system's primary is, and where it is not.
func (b *bench) sites(ctx context.Context, system string) (here, there string, err error) {
	st, err := b.estate.Status(ctx)
	if err != nil {
		return "", "", err
	}
	for _, p := range st.Processes {
		if p.Role != "primary" || !strings.HasPrefix(p.Name, system+"/") {
			continue
		}
		if here != "" {
			return "", "", fmt.Errorf("two primaries: %+v", st)
		}
		here, there = sandbox.East, sandbox.West
		if p.Name == system+"/"+sandbox.West {
			here, there = there, here
		}
	}
	if here == "" {
		return "", "", fmt.Errorf("no primary: %+v", st)
	}
	return here, there, nil
}

// move fails over from where the primary is; for an unplanned one it kills that first.
func (m *moves) move(ctx context.Context, ending string) (finished, error) {
	here, _, err := m.sites(ctx, m.system)
	if err != nil {
		return finished{}, err
	}
	runbook := "failover-shop"
	if here == sandbox.West {
		runbook = "failback-shop"
	}
	if ending != "" {
		if _, err := m.estate.Break(ctx, "primary:"+m.system); err != nil {
			return finished{}, err
		}
	}
	x, err := m.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "failover:shop", TaskQueue: run.TaskQueue, WorkflowTaskTimeout: 2 * time.Second},
		failover.Name, run.Input{Runbook: runbook + ending, Mode: "execute", RequestedBy: "dana", Channel: "bench"})
	if err != nil {
		return finished{}, err
	}
	if err := m.approve(ctx, x); err != nil {
		return finished{}, err
	}
	f, err := m.wait(ctx, x, journal.Passed)
	if err != nil {
		return f, err
	}
	events, err := m.history(ctx, f.id, f.run)
	size := 0
	for _, e := range events {
		size += proto.Size(e)
	}
	m.sizes = append(m.sizes, float64(size)/1024)
	return f, err
}

func (b *bench) planned(ctx context.Context, m *moves, h *byHand) error {
	f, err := b.inTurns(ctx, m, h, b.pick(10, 4), 0)
	if err != nil {
		return err
	}
	f.ID, f.What, f.Aim, f.Reference.What = "outage/planned", "clients' outage of a planned failover", 1500, "the same by a shell script"
	b.add(f)
	return nil
}

// The numbered writer counts no outage below this: an interruption that was seen and is shorter counts as this long.
const shortest = 150 * time.Millisecond

// inTurns measures planned moves by muster and by hand, one of each at a time: a machine that grows slower does so for both.
// rhythm is the period of what the system does by its own clock: each move begins at a random point of it, as people's moves do.
func (b *bench) inTurns(ctx context.Context, m *moves, h *byHand, count int, rhythm time.Duration) (figure, error) {
	var outages, scripts []float64
	var lost int64
	parts := map[string][]float64{}
	somewhen := func() error { return pause(ctx, time.Duration(rand.Float64()*float64(rhythm))) }
	for range count {
		if err := somewhen(); err != nil {
			return figure{}, err
		}
		f, err := m.move(ctx, "")
		if err != nil {
			return figure{}, err
		}
		measured := f.result.Measures[0]
		if !measured.Measured || measured.FailedWrites == 0 || measured.Missing != 0 {
			return figure{}, fmt.Errorf("a planned failover was not measured, or lost writes: %+v", measured)
		}
		if measured.Outage == nil {
			outages = append(outages, ms(shortest))
		} else {
			outages = append(outages, ms(measured.Outage.Duration()))
			entries, err := m.journal(ctx, f)
			if err != nil {
				return figure{}, err
			}
			split(parts, entries, *measured.Outage)
		}
		if err := somewhen(); err != nil {
			return figure{}, err
		}
		took, missing, err := h.planned(ctx)
		if err != nil {
			return figure{}, err
		}
		scripts, lost = append(scripts, took), lost+missing
	}
	f := figure{Unit: "ms", Samples: outages, AimRatio: 1.25, Reference: reference("", scripts...), Parts: medians(parts)}
	if lost > 0 {
		f.Note = fmt.Sprintf("muster's %d moves lost nothing; the reference's lost %d acknowledged writes, each counted as an outage of %s", count, lost, every)
	}
	return f, nil
}

// unplanned is from the fence to the first write, less what people took to answer gates between.
func (b *bench) unplanned(ctx context.Context, m *moves, h *byHand) error {
	var took, scripts []float64
	parts := map[string][]float64{}
	for range b.pick(5, 2) {
		f, err := m.move(ctx, "-unplanned")
		if err != nil {
			return err
		}
		measured := f.result.Measures[0]
		if measured.Outage == nil {
			return fmt.Errorf("an unplanned failover was not measured: %+v", measured)
		}
		entries, err := m.journal(ctx, f)
		if err != nil {
			return err
		}
		var began, opened time.Time
		var people time.Duration
		for _, e := range entries {
			switch {
			case e.Kind == journal.StepStarted && strings.HasPrefix(e.Step, "fence") && began.IsZero():
				began = e.At
			case e.Kind == journal.GateOpened && !began.IsZero():
				opened = e.At
			case e.Kind == journal.GateClosed && !opened.IsZero():
				people += e.At.Sub(opened)
			}
		}
		took = append(took, ms(measured.Outage.To.Sub(began)-people))
		split(parts, entries, journal.Band{From: began, To: measured.Outage.To})
		script, err := h.unplanned(ctx)
		if err != nil {
			return err
		}
		scripts = append(scripts, script)
	}
	b.add(figure{ID: "outage/unplanned", What: "unplanned: fence to first write, without people", Unit: "ms", Samples: took, Aim: 2000,
		Reference: reference("the same by a shell script", scripts...), Parts: medians(parts)})
	return nil
}

// split adds how much of an outage each step had, and what lay between the steps.
func split(parts map[string][]float64, entries []journal.Entry, outage journal.Band) {
	started := map[string]time.Time{}
	rest := outage.Duration()
	for _, e := range entries {
		switch e.Kind {
		case journal.StepStarted:
			started[e.Step] = e.At
		case journal.StepEnded:
			from, to := started[e.Step], e.At
			if from.Before(outage.From) {
				from = outage.From
			}
			if to.After(outage.To) {
				to = outage.To
			}
			if took := to.Sub(from); took > 0 {
				parts[e.Step] = append(parts[e.Step], ms(took))
				rest -= took
			}
		}
	}
	parts["(between)"] = append(parts["(between)"], ms(rest))
}

func medians(parts map[string][]float64) map[string]float64 {
	m := map[string]float64{}
	for key, samples := range parts {
		m[key] = median(samples)
	}
	return m
}

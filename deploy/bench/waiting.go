package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/workflows/failover"
	"github.com/musterhq/muster/workflows/run"
)

// waiting measures a worker whose runs wait for people: its memory, and what a step costs meanwhile.
func (b *bench) waiting(ctx context.Context) (err error) {
	p, err := b.start(ctx, "waiting", "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop(ctx)) }()
	ws, err := b.serve(p.temporal)
	if err != nil {
		return err
	}
	defer ws.stop()
	idle, _, err := p.resident()
	if err != nil {
		return err
	}
	if _, err := ws.sample(ctx, 1, 20); err != nil { // warm
		return err
	}
	alone, err := ws.sample(ctx, 2, 101)
	if err != nil {
		return err
	}
	started := 0
	for _, level := range []struct {
		count  int
		memory float64 // MiB; 0: no limit was promised for so few
	}{{b.pick(1000, 100), float64(b.pick(400, 0))}, {b.pick(5000, 300), float64(b.pick(700, 0))}} {
		began := time.Now()
		reached, err := b.startWaiting(ctx, p, started, level.count)
		if err != nil {
			return err
		}
		each := ms(time.Since(began)) / float64(reached-started)
		started = reached
		note := ""
		if reached < level.count { // too few say nothing of the aim
			note, level.memory = fmt.Sprintf("%d of %d came to their gates in %s, so the aim is NOT JUDGED; ", reached, level.count, b.patience()), 0
		}
		now, most, err := p.resident()
		if err != nil {
			return err
		}
		calm, err := p.idle(ctx)
		if err != nil {
			return err
		}
		s, err := ws.sample(ctx, 2, 101)
		if err != nil {
			return err
		}
		b.add(figure{ID: fmt.Sprintf("waiting/%d/memory", level.count), What: fmt.Sprintf("resident, %d runs waiting at gates", reached), Unit: "MiB",
			Value: now, Reference: reference("no run", idle), Aim: level.memory,
			Note: note + fmt.Sprintf("at its highest %s MiB; a run came to its gate every %s ms", number(most), number(each))})
		b.add(figure{ID: fmt.Sprintf("waiting/%d/step", level.count), What: fmt.Sprintf("no-op step, %d runs waiting", reached), Unit: "ms",
			Samples: s.look, Reference: reference("no run waiting", alone.look...), Aim: 10,
			Note: fmt.Sprintf("measured %s s after the last came to its gate; a plain SDK activity meanwhile %s ms, with no run waiting %s",
				number(calm.Seconds()), number(median(s.raw)), number(median(alone.raw)))})
	}
	return nil
}

// patience is how long runs may take to come to their gates: on a busy machine bench must end all the same.
func (b *bench) patience() time.Duration { return time.Duration(b.pick(900, 60)) * time.Second }

// startWaiting starts runs until count wait at their gates or patience is over, and returns how many wait; never are more
// than a hundred on their way there.
func (b *bench) startWaiting(ctx context.Context, p *process, from, count int) (int, error) {
	here, _, err := b.sites(ctx, system)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	runbook := "failover-shop"
	if here == sandbox.West {
		runbook = "failback-shop"
	}
	next := from
	for next < count && (next == from || time.Since(began) < b.patience()) {
		until := min(next+50, count)
		group, limited := errgroup.WithContext(ctx)
		group.SetLimit(8)
		for ; next < until; next++ {
			id := fmt.Sprintf("failover:shop-%d", next)
			group.Go(func() error {
				_, err := p.temporal.ExecuteWorkflow(limited, client.StartWorkflowOptions{ID: id, TaskQueue: run.TaskQueue, WorkflowTaskTimeout: 2 * time.Second},
					failover.Name, run.Input{Runbook: runbook, Mode: "execute", RequestedBy: "dana", Channel: "bench"})
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return 0, fmt.Errorf("start a run that waits: %w", err)
		}
		if err := awaitGates(ctx, p, until-50); err != nil {
			return 0, err
		}
	}
	return next, awaitGates(ctx, p, next)
}

// awaitGates waits until that many runs wait for a decision.
func awaitGates(ctx context.Context, p *process, count int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		answer, err := p.temporal.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
			Query: fmt.Sprintf("%s = '%s'", run.AttributeState, run.StateAwaiting)})
		if err != nil {
			return fmt.Errorf("count the runs at gates: %w", err)
		}
		if answer.GetCount() >= int64(count) {
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d runs are at their gates: %w", answer.GetCount(), count, err)
		}
	}
}

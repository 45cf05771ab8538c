package main

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/workflows/failover"
	"github.com/musterhq/muster/workflows/run"
)

// Task queues of bench's two workers: the kernel's, and one of the plain SDK.
const (
	queue    = "bench"
	rawQueue = "bench-raw"
	stepping = "stepping" // an operation of no-op steps
)

// workers serve the kernel and, for reference, plain workflows, both in this process and on the same engine.
type workers struct {
	runs
	world *world
	raw   clock
	stop  func()
}

func (b *bench) serve(c client.Client) (*workers, error) {
	ws := &workers{runs: runs{c}, world: &world{}}
	options := worker.Options{StickyScheduleToStartTimeout: time.Second, MaxConcurrentActivityExecutionSize: 200} // as muster-worker's
	kernel := worker.New(c, queue, options)
	kernel.RegisterWorkflowWithOptions(failover.Failover, workflow.RegisterOptions{Name: failover.Name})
	kernel.RegisterWorkflowWithOptions(steppingWorkflow, workflow.RegisterOptions{Name: stepping})
	b.stepsOf(ws.world, ws.runs).Register(kernel)
	raw := worker.New(c, rawQueue, options)
	raw.RegisterWorkflowWithOptions(rawSteps, workflow.RegisterOptions{Name: "raw-steps"})
	raw.RegisterWorkflowWithOptions(rawSideBySide, workflow.RegisterOptions{Name: "raw-side-by-side"})
	raw.RegisterActivityWithOptions(func(context.Context) error { ws.raw.tick(); return nil }, activity.RegisterOptions{Name: "raw"})
	if err := kernel.Start(); err != nil {
		return nil, fmt.Errorf("start bench's worker: %w", err)
	}
	if err := raw.Start(); err != nil {
		kernel.Stop()
		return nil, fmt.Errorf("start bench's plain worker: %w", err)
	}
	ws.stop = func() { kernel.Stop(); raw.Stop() }
	return ws, nil
}

// steppingWorkflow carries out N no-op steps one after the other: of runbook look-N, steps that look, of act-N, steps that act.
func steppingWorkflow(ctx workflow.Context, in run.Input) (run.Result, error) {
	kind, count := parse(in.Runbook)
	return run.Execute(ctx, stepping, in, func(ctx workflow.Context, r *run.Run) error {
		if kind == "act" {
			if err := r.Lock(ctx, []string{"noop"}); err != nil {
				return err
			}
		}
		for i := range count {
			spec := run.Spec{Phase: fmt.Sprintf("step-%d", i), System: "noop", Title: "nothing to do", Activity: activities.Preflight,
				Intent: run.Probe, Input: activities.Move{Target: r.Target("noop")}}
			if kind == "act" {
				spec.Activity, spec.Intent = activities.Fence, run.Mutate
				spec.Input = activities.ActInput{Move: activities.Move{Target: r.Target("noop")}, Lease: r.Lease("noop"), RequestID: r.RequestID(spec.Phase, "noop")}
				if _, _, err := run.Act(ctx, r, spec); err != nil {
					return err
				}
				continue
			}
			if _, _, err := run.Step[activities.PreflightResult](ctx, r, spec); err != nil {
				return err
			}
		}
		return nil
	})
}

func rawOptions(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 20 * time.Second})
}

func rawSteps(ctx workflow.Context, count int) error {
	for range count {
		if err := workflow.ExecuteActivity(rawOptions(ctx), "raw").Get(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

// rawSideBySide runs count pairs of activities at the same time: one after the other within a pair, as a plan's look does.
func rawSideBySide(ctx workflow.Context, count int) error {
	group := workflow.NewWaitGroup(ctx)
	var failed error
	for range count {
		group.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer group.Done()
			if err := rawSteps(ctx, 2); err != nil {
				failed = err
			}
		})
	}
	group.Wait(ctx)
	return failed
}

// kernelRun starts a runbook of bench's world.
func (ws *workers) kernelRun(ctx context.Context, name, runbook string) (client.WorkflowRun, error) {
	return ws.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "bench:" + runbook, TaskQueue: queue, WorkflowTaskTimeout: 2 * time.Second},
		name, run.Input{Runbook: runbook})
}

// rawRun runs a plain workflow to its end.
func (ws *workers) rawRun(ctx context.Context, name string, count int) error {
	x, err := ws.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "bench:" + name, TaskQueue: rawQueue, WorkflowTaskTimeout: 2 * time.Second}, name, count)
	if err != nil {
		return err
	}
	return x.Get(ctx, nil)
}

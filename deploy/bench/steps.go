package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.temporal.io/api/enums/v1"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/evidence"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/failover"
	"github.com/musterhq/muster/workflows/run"
)

// onEngine measures with bench's workers on an engine of their own.
func (b *bench) onEngine(ctx context.Context, name string, measure func(context.Context, *workers) error) (err error) {
	p, err := b.start(ctx, name, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop(ctx)) }()
	ws, err := b.serve(p.temporal)
	if err != nil {
		return err
	}
	defer ws.stop()
	if _, err := ws.sample(ctx, 1, 20); err != nil { // warm
		return err
	}
	return measure(ctx, ws)
}

func (b *bench) steps(ctx context.Context) error { return b.onEngine(ctx, "steps", b.stepFigures) }
func (b *bench) plan(ctx context.Context) error  { return b.onEngine(ctx, "plan", b.planFigures) }
func (b *bench) evidence(ctx context.Context) error {
	return b.onEngine(ctx, "evidence", b.evidenceFigure)
}

// sampled is how long each of count steps took in ms: a looking step, an acting one, and a plain activity.
type sampled struct{ look, act, raw []float64 }

// sample takes turns, so that whatever else the machine does is felt by all.
func (ws *workers) sample(ctx context.Context, rounds, count int) (s sampled, err error) {
	ws.world.take()
	ws.raw.take()
	for range rounds {
		if err := ws.rawRun(ctx, "raw-steps", count); err != nil {
			return s, fmt.Errorf("plain activities: %w", err)
		}
		s.raw = append(s.raw, ws.raw.take()...)
		for _, kind := range []struct {
			name string
			to   *[]float64
		}{{"look", &s.look}, {"act", &s.act}} {
			x, err := ws.kernelRun(ctx, stepping, fmt.Sprintf("%s-%d", kind.name, count))
			if err != nil {
				return s, err
			}
			if _, err := ws.wait(ctx, x, journal.Passed); err != nil {
				return s, err
			}
			*kind.to = append(*kind.to, ws.world.take()...)
		}
	}
	return s, nil
}

func (b *bench) stepFigures(ctx context.Context, ws *workers) error {
	s, err := ws.sample(ctx, b.pick(5, 3), 101)
	if err != nil {
		return err
	}
	raw := reference("plain SDK activity", s.raw...)
	b.add(figure{ID: "step/noop", What: "no-op step through the kernel", Unit: "ms", Samples: s.look, Reference: raw, Aim: 10})
	b.add(figure{ID: "step/act", What: "no-op step that acts (lease checked, intent stored)", Unit: "ms", Samples: s.act, Reference: raw})
	return nil
}

// planFigures takes turns between the sizes: a database that grows, and whatever else changes meanwhile, is felt by all.
func (b *bench) planFigures(ctx context.Context, ws *workers) error {
	sizes := []struct {
		systems, rounds int
		took, raw       []float64
	}{
		{systems: 10, rounds: b.pick(9, 5)}, // as many as any other has
		{systems: 100, rounds: b.pick(9, 3)},
		{systems: 1000, rounds: b.pick(5, 1)},
	}
	for round := range sizes[0].rounds {
		for i := range sizes {
			size := &sizes[i]
			if round >= size.rounds {
				continue
			}
			began := time.Now()
			if err := ws.rawRun(ctx, "raw-side-by-side", size.systems); err != nil {
				return err
			}
			size.raw = append(size.raw, ms(time.Since(began)))
			planned, err := ws.planRun(ctx, size.systems)
			if err != nil {
				return err
			}
			size.took = append(size.took, planned)
		}
	}
	for i, size := range sizes {
		b.add(figure{ID: fmt.Sprintf("plan/%d", size.systems), What: fmt.Sprintf("plan of %d systems (bench's own driver)", size.systems), Unit: "ms",
			Samples: size.took, Reference: reference(fmt.Sprintf("%d plain activities, 2 a system", 2*size.systems), size.raw...)})
		if i == 0 {
			continue
		}
		fewer := sizes[i-1]
		b.add(figure{ID: fmt.Sprintf("plan/growth-%d", size.systems), What: fmt.Sprintf("plan, a system of %d", size.systems), Unit: "ms",
			Value:     median(size.took) / float64(size.systems),
			Reference: reference(fmt.Sprintf("a system of %d", fewer.systems), median(fewer.took)/float64(fewer.systems)), AimRatio: 1})
	}
	return nil
}

// planRun returns how many ms it took from the start of a run to its plan.
func (ws *workers) planRun(ctx context.Context, systems int) (float64, error) {
	began := time.Now()
	x, err := ws.kernelRun(ctx, failover.Name, fmt.Sprintf("plan-%d", systems))
	if err != nil {
		return 0, err
	}
	f, err := ws.wait(ctx, x, journal.ObservedVerdict)
	if err != nil {
		return 0, err
	}
	events, err := ws.history(ctx, f.id, f.run)
	if err != nil {
		return 0, err
	}
	for _, e := range events { // a plan's hash becomes a search attribute when it is made
		if _, planned := e.GetUpsertWorkflowSearchAttributesEventAttributes().GetSearchAttributes().GetIndexedFields()[run.AttributePlanHash]; planned {
			return ms(e.GetEventTime().AsTime().Sub(began)), nil
		}
	}
	return 0, fmt.Errorf("run %s ended without a plan", f.id)
}

// evidenceFigure measures the activity that reads a journal of 500 steps by query and writes both files.
func (b *bench) evidenceFigure(ctx context.Context, ws *workers) error {
	var took, alone []float64
	for range b.pick(3, 1) {
		x, err := ws.kernelRun(ctx, stepping, "look-500")
		if err != nil {
			return err
		}
		f, err := ws.wait(ctx, x, journal.Passed)
		if err != nil {
			return err
		}
		ws.world.take()
		events, err := ws.history(ctx, f.id, f.run)
		if err != nil {
			return err
		}
		var scheduled time.Time // of the activity that was scheduled last: evidence is what a run ends with
		for _, e := range events {
			switch e.GetEventType() {
			case enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
				scheduled = time.Time{}
				if e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName() == activities.WriteEvidence {
					scheduled = e.GetEventTime().AsTime()
				}
			case enums.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
				if !scheduled.IsZero() {
					took = append(took, ms(e.GetEventTime().AsTime().Sub(scheduled)))
				}
			}
		}
		entries, err := ws.journal(ctx, f)
		if err != nil {
			return err
		}
		began := time.Now()
		if _, err := evidence.Write(filepath.Join(b.dir, "evidence-again"), entries); err != nil {
			return err
		}
		alone = append(alone, ms(time.Since(began)))
	}
	b.add(figure{ID: "evidence/500", What: "evidence of a run of 500 steps", Unit: "ms", Samples: took, Aim: 2000,
		Reference: reference("the same files from a journal in memory", alone...)})
	return nil
}

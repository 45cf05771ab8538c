package main

import (
	"context"
	"errors"
)

// ready measures from the start of the process to its ready line, beside a worker that finds Temporal running.
func (b *bench) ready(ctx context.Context) (err error) {
	running, err := b.start(ctx, "running", "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.stop(ctx)) }()
	var empty, again, without []float64
	for i := range b.pick(8, 4) {
		for _, kind := range []struct {
			state, address string
			to             *[]float64
		}{{"ready", "", &again}, {"without", running.address, &without}} {
			p, err := b.start(ctx, kind.state, kind.address)
			if err != nil {
				return err
			}
			if i == 0 && kind.address == "" {
				empty = append(empty, ms(p.ready))
			} else {
				*kind.to = append(*kind.to, ms(p.ready))
			}
			if err := p.stop(ctx); err != nil {
				return err
			}
		}
	}
	beside := reference("worker alone, Temporal runs", without...)
	b.add(figure{ID: "ready/empty", What: "worker ready, empty state folder", Unit: "ms", Samples: empty, Reference: beside, Aim: 2000})
	b.add(figure{ID: "ready/again", What: "worker ready after a restart", Unit: "ms", Samples: again, Reference: beside, Aim: 2000})
	return nil
}

package writer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster/activities"
)

const chunk = 10_000 // numbers of one Marks.Read

// measure reads the log, and then asks the data which of the acknowledged marks are there.
func (k *Keeper) measure(ctx context.Context, f folder, in activities.WriterInput) (activities.WriterReport, error) {
	until := in.Until
	if now := time.Now(); until.IsZero() || until.After(now) {
		until = now
	}
	log := &reader{dir: f.log()}
	var entries []entry
	read := func() error {
		more, err := log.next()
		entries = append(entries, more...)
		return err
	}
	// The attempt in flight at the window's end decides whether an outage is open: it ends within its timeouts.
	config := Config{Input: in}
	limit := time.Now().Add(2*config.timeout() + config.connectTimeout() + time.Second)
	for {
		if err := read(); err != nil {
			return activities.WriterReport{}, err
		}
		if n := len(entries); n > 0 && entries[n-1].note == nil && entries[n-1].attempt.wallDone() >= until.UnixNano() {
			break
		}
		runs, err := f.running()
		if err != nil {
			return activities.WriterReport{}, err
		}
		if !runs || time.Now().After(limit) {
			break
		}
		if !sleep(ctx, poll) {
			return activities.WriterReport{}, fmt.Errorf("measure %s: %w", in.Name, ctx.Err())
		}
	}
	in.Since = straighten(entries, in.Since)
	t := compute(entries, in.Since, until)
	t.report.System = in.Name
	if len(t.check) == 0 {
		return t.report, nil
	}
	missing, err := k.missing(ctx, in, t)
	if err != nil {
		return activities.WriterReport{}, err
	}
	// Marks that the writer has begun to forget while they were read are not lost.
	if err := read(); err != nil {
		return activities.WriterReport{}, err
	}
	forgot := t.forgot
	for _, e := range entries {
		if e.note != nil {
			forgot = max(forgot, e.note.Forgot)
		}
	}
	known, err := f.knownMissing()
	if err != nil {
		return activities.WriterReport{}, err
	}
	missing = slices.DeleteFunc(missing, func(seq int64) bool {
		at, found := known[seq]
		return seq < forgot || (found && at.Before(in.Since))
	})
	if err := f.addMissing(missing, until); err != nil {
		return activities.WriterReport{}, err
	}
	t.report.Missing = int64(len(missing))
	t.report.MissingSeqs = missing[:min(len(missing), 100)]
	return t.report, nil
}

// missing reads through the clients' route. What cannot be read is an error, never a count.
func (k *Keeper) missing(ctx context.Context, in activities.WriterInput, t tally) ([]int64, error) {
	marks, err := k.open(ctx, in.Target, in.Route.Route.Address)
	if err != nil {
		return nil, fmt.Errorf("count the missing writes of %s through %s: %w", in.Name, in.Route.Name, err)
	}
	defer marks.Close()
	var missing []int64
	for rest := t.check; len(rest) > 0; {
		first := rest[0]
		size, _ := slices.BinarySearchFunc(rest, first+chunk, func(seq, target int64) int { return cmp.Compare(seq, target) })
		part := rest[:size]
		there, err := marks.Read(ctx, t.writer, first, part[len(part)-1])
		if err != nil {
			return nil, fmt.Errorf("count the missing writes of %s through %s: %w", in.Name, in.Route.Name, err)
		}
		for _, seq := range part {
			if _, found := slices.BinarySearch(there, seq); !found {
				missing = append(missing, seq)
			}
		}
		rest = rest[size:]
	}
	return missing, nil
}

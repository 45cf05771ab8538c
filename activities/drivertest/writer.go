package drivertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
)

// writer tries to write to one member, directly, all the time, and remembers what was acknowledged and when.
type writer struct {
	name string
	stop context.CancelFunc
	done sync.WaitGroup

	mu   sync.Mutex
	acks map[int64]time.Time
}

func startWriter(t testing.TB, f Fixture, site, name string) *writer {
	ctx, cancel := context.WithCancel(t.Context())
	w := &writer{name: name, stop: cancel, acks: map[int64]time.Time{}}
	w.done.Go(func() {
		var marks activities.Marks
		defer func() {
			if marks != nil {
				marks.Close()
			}
		}()
		for seq := int64(1); ctx.Err() == nil; seq++ {
			try, cancel := context.WithTimeout(ctx, time.Second)
			var err error
			if marks == nil {
				marks, err = f.Driver.Marks(try, f.Target, f.address(site))
			}
			if err == nil {
				if err = marks.Write(try, name, seq); err == nil {
					w.acked(seq)
				} else {
					marks.Close()
					marks = nil
				}
			}
			cancel()
			wait := 2 * time.Millisecond
			if err != nil {
				wait = 10 * time.Millisecond
			}
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
		}
	})
	t.Cleanup(w.end)
	return w
}

func (w *writer) acked(seq int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks[seq] = time.Now()
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acks)
}

// end stops the writer; safe to repeat.
func (w *writer) end() {
	w.stop()
	w.done.Wait()
}

// firstLast returns when the first and the last write were acknowledged.
func (w *writer) firstLast() (first, last time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.acks {
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	return first, last
}

// missing returns the acknowledged writes that a member does not have.
func (w *writer) missing(t testing.TB, f Fixture, site string) []int64 {
	t.Helper()
	marks, err := f.Driver.Marks(t.Context(), f.Target, f.address(site))
	require.NoError(t, err)
	defer marks.Close()
	found, err := marks.Read(t.Context(), w.name, 0, 1<<60)
	require.NoError(t, err)
	have := map[int64]bool{}
	for _, seq := range found {
		have[seq] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var lost []int64
	for seq := range w.acks {
		if !have[seq] {
			lost = append(lost, seq)
		}
	}
	return lost
}

// awaitWrites waits until n more writes are acknowledged.
func (w *writer) awaitWrites(t testing.TB, n int) {
	t.Helper()
	goal := w.count() + n
	require.Eventually(t, func() bool { return w.count() >= goal }, limit, 2*time.Millisecond, "no writes at %s", w.name)
}

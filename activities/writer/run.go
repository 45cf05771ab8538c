// Package writer is the numbered writer: through the clients' route it writes one number after the other and logs how each
// went, so that outages and lost writes are measured. It runs in a process of its own (Run), which outlives the worker;
// Keeper is how activities start it, read it and stop it.
package writer

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/musterhq/muster/activities"
)

// Opener opens marks at an address as the system's driver does (activities.System.Marks).
type Opener = func(ctx context.Context, t activities.Target, address string) (activities.Marks, error)

const (
	forgetAfter = time.Hour // marks older than this are deleted
	lockFor     = 250 * time.Millisecond
	choresEvery = 200 * time.Millisecond
)

// Run writes until nobody wants the writer any more, ctx ends, or the log cannot be written. Where another process writes
// for the same system, it returns at once, without error. configPath is the file that Keeper gave to spawn.
func Run(ctx context.Context, configPath string, open Opener) error {
	f := folder(filepath.Dir(configPath))
	config, text, err := readConfig(configPath)
	if err != nil {
		return err
	}
	if wanted, err := f.wanted(config.lease()); err != nil || !wanted {
		return err // spawned twice, and late: leave no trace
	}
	lock := flock.New(f.lock(), flock.SetPermissions(0o600))
	// Who asks whether a writer runs holds the lock for a moment: try for a while.
	waiting, cancel := context.WithTimeout(ctx, lockFor)
	locked, err := lock.TryLockContext(waiting, 5*time.Millisecond)
	cancel()
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || (err == nil && !locked) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", f.lock(), err)
	}
	defer func() { _ = lock.Close() }()

	if wanted, err := f.wanted(config.lease()); err != nil || !wanted {
		return err
	}

	id := make([]byte, 4)
	_, _ = rand.Read(id) // never fails
	limit := config.Segment
	if limit == 0 {
		limit = segmentBytes
	}
	name := config.Input.Estate + "/" + config.Input.Name + "/" + hex.EncodeToString(id)
	ledger, before, err := openLedger(f.log(), limit, name, config.every())
	if err != nil {
		return err
	}
	defer ledger.close()
	l := &loop{folder: f, path: configPath, config: config, text: text, open: open, ledger: ledger, start: time.Now(), next: ledger.head.Next, signs: signs{}}
	for _, e := range before {
		if e.note == nil {
			l.remember(time.Unix(0, e.attempt.wallDone()), e.attempt.seq)
		}
	}
	if err := ledger.note(note{Start: true, Next: l.next, Every: config.every(), Writer: ledger.head.Writer, PID: os.Getpid()}); err != nil {
		return err
	}
	defer l.disconnect()
	return l.run(ctx)
}

// loop is a writer at work: one write in flight, one connection.
type loop struct {
	folder folder
	path   string
	config Config
	text   []byte // the configuration as it was read, to notice a change
	open   Opener
	ledger *ledger
	marks  activities.Marks // nil: connect at the next attempt
	signs  signs            // of the runs that want it
	start  time.Time        // wall and monotonic: the clock of this process
	next   int64
	asked  bool        // the system was asked for its last mark
	past   []milestone // which number was written when, about a minute apart
}

type milestone struct {
	at  time.Time
	seq int64
}

func (l *loop) run(ctx context.Context) error {
	tick := time.NewTimer(0)
	defer tick.Stop()
	var due, chores time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		if now.Sub(chores) >= choresEvery {
			goOn, err := l.chores(ctx, now)
			if err != nil || !goOn {
				return err
			}
			chores = now
		}
		if err := l.attempt(ctx); err != nil {
			return err
		}
		// A late write is followed by one at once, never by a burst of those that were missed.
		due = due.Add(l.config.every())
		if now := time.Now(); due.Before(now) {
			due = now
			if l.marks == nil { // it failed: an endless run of refusals is no reason to spin
				due = now.Add(l.config.every())
			}
		}
		tick.Reset(time.Until(due))
	}
}

// attempt makes one numbered write and logs it. A stop waits for it, so that its outcome is known.
func (l *loop) attempt(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	a := attempt{sent: l.clock(time.Now())}
	err := l.write(ctx)
	now := time.Now()
	a.seq, a.done, a.outcome = l.next, l.clock(now), ack
	a.skew = now.UnixNano() - a.done
	l.next++
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		a.outcome = "Timeout"
	case err != nil:
		a.outcome = activities.TypeOf(err)
	}
	if err != nil {
		l.disconnect()
	}
	l.remember(now, a.seq)
	return l.ledger.attempt(a)
}

// clock is the wall clock as it stood at the start plus the monotonic time since: it never jumps.
func (l *loop) clock(now time.Time) int64 { return l.start.UnixNano() + int64(now.Sub(l.start)) }

func (l *loop) write(ctx context.Context) error {
	if l.marks == nil {
		if err := l.connect(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, l.config.timeout())
	defer cancel()
	return l.marks.Write(ctx, l.ledger.head.Writer, l.next)
}

func (l *loop) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.config.connectTimeout())
	defer cancel()
	marks, err := l.open(ctx, l.config.Input.Target, l.config.Input.Route.Route.Address)
	if err != nil {
		return err
	}
	l.marks = marks
	if l.asked {
		return nil
	}
	last, err := marks.Last(ctx, l.ledger.head.Writer)
	if err != nil {
		return err
	}
	l.next, l.asked = max(l.next, last+1), true
	return nil
}

func (l *loop) disconnect() {
	if l.marks != nil {
		l.marks.Close()
		l.marks = nil
	}
}

// chores are what a writer does now and then: see whether it is wanted, take a changed configuration, forget old marks.
func (l *loop) chores(ctx context.Context, now time.Time) (goOn bool, err error) {
	wanted, err := l.folder.wantedSince(l.config.lease(), l.signs)
	if err != nil || !wanted {
		return false, err
	}
	config, text, err := readConfig(l.path)
	if err != nil {
		return false, err
	}
	if !bytes.Equal(text, l.text) {
		l.config, l.text = config, text
		l.ledger.head.Every = config.every()
		l.disconnect()
		if err := l.ledger.note(note{Next: l.next, Every: config.every(), Writer: l.ledger.head.Writer}); err != nil {
			return false, err
		}
	}
	return true, l.forget(ctx, now)
}

func (l *loop) remember(at time.Time, seq int64) {
	if n := len(l.past); n == 0 || at.Sub(l.past[n-1].at) >= time.Minute {
		l.past = append(l.past, milestone{at, seq})
	}
}

// forget deletes marks that were written an hour ago. The log says so first: a reader never takes them for lost.
func (l *loop) forget(ctx context.Context, now time.Time) error {
	if l.marks == nil {
		return nil
	}
	below := l.ledger.head.Forgot
	for len(l.past) > 0 && now.Sub(l.past[0].at) >= forgetAfter {
		below, l.past = max(below, l.past[0].seq), l.past[1:]
	}
	if below == l.ledger.head.Forgot {
		return nil
	}
	l.ledger.head.Forgot = below
	if err := l.ledger.note(note{Forgot: below}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.config.timeout())
	defer cancel()
	if err := l.marks.Forget(ctx, l.ledger.head.Writer, below); err != nil {
		l.disconnect() // they are deleted with the next ones: deletion is by number, not by list
	}
	return nil
}

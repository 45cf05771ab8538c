package writer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

const (
	poll       = 10 * time.Millisecond
	startLimit = 15 * time.Second // from Start to the first attempt of a write
	stopLimit  = 10 * time.Second
)

// Keeper is how activities start, read and stop numbered writers. It holds no state: another worker's Keeper on the same
// folder carries on. Safe for concurrent use.
type Keeper struct {
	root  string
	open  Opener
	spawn func(configPath string) error
	lease time.Duration
}

// NewKeeper keeps its files in stateDir/writers. spawn starts a process that calls Run with the path it is given, and does
// not wait for it (SpawnSelf).
func NewKeeper(stateDir string, open Opener, spawn func(configPath string) error) *Keeper {
	return &Keeper{root: filepath.Join(stateDir, "writers"), open: open, spawn: spawn, lease: defaultLease}
}

// Start makes sure that a writer runs and that in.Run wants it. It returns with the first attempt that ends after the call,
// acknowledged or not, for the primary may be dead; the facts say which. Safe to repeat.
func (k *Keeper) Start(ctx context.Context, in activities.WriterInput) (activities.ActResult, error) {
	start := time.Now()
	if in.Writer.Off {
		return activities.ActResult{After: journal.Facts{"writer": "off"}}, nil
	}
	f, err := k.want(in, true)
	if err != nil {
		return activities.ActResult{}, err
	}
	log, err := fromLast(f.log())
	if err != nil {
		return activities.ActResult{}, err
	}
	if _, err := log.next(); err != nil { // what was before
		return activities.ActResult{}, err
	}
	watch := watcher{keeper: k, folder: f, run: in.Run}
	found := journal.Facts{}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		if err := watch.keepAlive(); err != nil {
			return activities.ActResult{}, err
		}
		entries, err := log.next()
		if err != nil {
			return activities.ActResult{}, err
		}
		for _, e := range entries {
			if n := e.note; n != nil {
				continue
			}
			found["first attempt"] = strconv.FormatInt(e.attempt.seq, 10) + " " + says(e.attempt)
			found["log"] = f.log()
			if f.startedFor(in.Run) {
				found[activities.FactStartedBy] = in.Run
			}
			return activities.ActResult{Changed: watch.spawned, After: found, Took: time.Since(start)}, nil
		}
		if !sleep(ctx, poll) {
			return activities.ActResult{}, &activities.Error{Type: activities.ErrNotYet, Op: "start the numbered writer of " + in.Name,
				Err: fmt.Errorf("it has attempted no write: %w%s", ctx.Err(), f.lastOutput()), Next: "read " + f.output()}
		}
	}
}

func says(a attempt) string {
	if a.acked() {
		return "acknowledged"
	}
	return "failed: " + a.outcome
}

// Await waits until a write is acknowledged after in.Since, or after the call where that is zero, as long as ctx lasts; then it is
// ErrNotYet, with the last failure.
func (k *Keeper) Await(ctx context.Context, in activities.WriterInput) (activities.ActResult, error) {
	start := time.Now()
	if in.Writer.Off {
		return activities.ActResult{After: journal.Facts{"writer": "off"}}, nil
	}
	f, err := k.want(in, false)
	if err != nil {
		return activities.ActResult{}, err
	}
	log, err := fromLast(f.log())
	if err != nil {
		return activities.ActResult{}, err
	}
	if in.Since.IsZero() { // by the log's order and no clock: one of them may jump
		if _, err := log.next(); err != nil {
			return activities.ActResult{}, err
		}
	}
	watch := watcher{keeper: k, folder: f}
	last := "nothing was attempted"
	for {
		if err := watch.keepAlive(); err != nil {
			return activities.ActResult{}, err
		}
		entries, err := log.next()
		if err != nil {
			return activities.ActResult{}, err
		}
		for _, e := range entries {
			if e.note != nil {
				continue
			}
			a := e.attempt
			last = fmt.Sprintf("attempt %d %s", a.seq, says(a))
			if a.acked() && a.wallDone() > in.Since.UnixNano() {
				return activities.ActResult{Changed: watch.spawned, Took: time.Since(start), After: journal.Facts{
					"acknowledged": fmt.Sprintf("%d at %s", a.seq, a.doneAt().Format(time.RFC3339Nano))}}, nil
			}
		}
		if !sleep(ctx, poll) {
			return activities.ActResult{}, &activities.Error{Type: activities.ErrNotYet, Op: "await a write of " + in.Name + " through " + in.Route.Name,
				Err: fmt.Errorf("none was acknowledged since %s, the last: %s: %w", in.Since.UTC().Format(time.RFC3339Nano), last, ctx.Err())}
		}
	}
}

// Touch renews in.Run's want for another lease, and starts the writer again where it is gone.
func (k *Keeper) Touch(_ context.Context, in activities.WriterInput) error {
	if in.Writer.Off {
		return nil
	}
	f, err := k.want(in, false)
	if err != nil {
		return err
	}
	return (&watcher{keeper: k, folder: f}).keepAlive()
}

// Measure reports on the window from in.Since to in.Until (now where it is zero or later), and the writer goes on.
func (k *Keeper) Measure(ctx context.Context, in activities.WriterInput) (activities.WriterReport, error) {
	if in.Writer.Off {
		return off(in), nil
	}
	f, err := k.want(in, false)
	if err != nil {
		return activities.WriterReport{}, err
	}
	if err := (&watcher{keeper: k, folder: f}).keepAlive(); err != nil {
		return activities.WriterReport{}, err
	}
	return k.measure(ctx, f, in)
}

// Stop measures as Measure does, unless in.Gone, and withdraws in.Run's want. It returns when the writer has ended, or at
// once where another run wants it. Safe to repeat: the log stays.
func (k *Keeper) Stop(ctx context.Context, in activities.WriterInput) (activities.WriterReport, error) {
	if in.Writer.Off {
		return off(in), nil
	}
	f, err := folderOf(k.root, in)
	if err != nil {
		return activities.WriterReport{}, err
	}
	report := activities.WriterReport{System: in.Name}
	if !in.Gone {
		if report, err = k.measure(ctx, f, in); err != nil {
			return activities.WriterReport{}, err
		}
	}
	if err := f.unwant(in.Run); err != nil {
		return activities.WriterReport{}, err
	}
	return report, k.awaitEnd(ctx, f)
}

// StopAll withdraws every want of every writer below the state folder and returns when all have ended: for what tears an
// estate down.
func (k *Keeper) StopAll(ctx context.Context) error {
	dirs, err := os.ReadDir(k.root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stop all numbered writers: %w", err)
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, os.RemoveAll(folder(filepath.Join(k.root, dir.Name())).wants()))
	}
	for _, dir := range dirs {
		errs = append(errs, k.awaitEnd(ctx, folder(filepath.Join(k.root, dir.Name()))))
	}
	return errors.Join(errs...)
}

func off(in activities.WriterInput) activities.WriterReport {
	return activities.WriterReport{System: in.Name, Unwatched: []journal.Band{{From: in.Since, To: in.Until}}}
}

// want registers in.Run. The configuration is written by Start, and by others where there is none.
func (k *Keeper) want(in activities.WriterInput, configure bool) (folder, error) {
	f, err := folderOf(k.root, in)
	if err != nil {
		return "", err
	}
	if err := f.touch(in.Run); err != nil {
		return "", err
	}
	if _, err := os.Stat(f.config()); err == nil && !configure {
		return f, nil
	}
	in.Run, in.Since, in.Until = "", time.Time{}, time.Time{} // the writer is everybody's: a second Start changes nothing
	return f, f.save(Config{Input: in, Lease: k.lease})
}

func (k *Keeper) awaitEnd(ctx context.Context, f folder) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	for {
		runs, err := f.running()
		if err != nil || !runs {
			return err
		}
		if wanted, err := f.wanted(k.lease); err != nil || wanted {
			return err
		}
		if !sleep(ctx, poll) {
			return &activities.Error{Type: activities.ErrNotYet, Op: "stop the numbered writer in " + string(f), Err: fmt.Errorf("it still runs: %w", ctx.Err())}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

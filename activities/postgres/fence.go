package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// stopScript makes sure that the server comes back as a standby only, whoever starts it, and only then stops it: at no moment between
// would a restart accept writes. A number in postmaster.pid that is not this server's process is left alone. It does not wait: pg_ctl
// looks ten times a second, the caller looks more often. It may outlive who started it, so it holds a lock, and gives up where
// unmarkScript took its mark away before it had that; where the file system has no locks it stops all the same.
// Arguments: data directory, bin directory, mode of pg_ctl stop.
const stopScript = `set -e
: >"$1/standby.signal"
exec 9<"$1"
flock --timeout 5 9 || :
[ -e "$1/standby.signal" ] || { echo 'the fence was taken back meanwhile' >&2; exit 75; }
sync "$1/standby.signal" "$1"
read -r pid 2>/dev/null <"$1/postmaster.pid" || exit 0
[ "/proc/$pid/cwd" -ef "$1" ] || exit 0
exec "$2/pg_ctl" stop -s -W -m "$3" -D "$1"`

// How long an unplanned move waits for a fast stop before it takes an immediate one: it has no clean end to protect.
const fastStopTimeout = 5 * time.Second

// Fence stops the server at m.From so that it comes back as a standby only (ProofStopped, ProofCrashed). Where its host cannot be
// reached but the server can, it makes it read-only and ends the clients' sessions: ProofCutOff, which a client can undo for itself.
func (d *Driver) Fence(m activities.Move) activities.Action {
	f := fencing{driver: d, move: m}
	return activities.Action{Look: f.look, Act: f.act}
}

type fencing struct {
	driver *Driver
	move   activities.Move
	end    journal.Facts // of a crashed server, read once: it does not change any more
	last   string
}

func (f *fencing) look(ctx context.Context) (activities.Look, error) {
	from, err := f.driver.member(f.move.Target, f.move.From)
	if err != nil {
		return activities.Look{}, err
	}
	machine, hostErr := f.driver.probe(ctx, from)
	if hostErr != nil {
		if activities.TypeOf(hostErr) != activities.ErrUnreachable {
			return activities.Look{Proof: activities.ProofNone}, hostErr
		}
		return f.lookBySQL(ctx, from, hostErr)
	}
	look := activities.Look{Facts: machine.facts(), Proof: activities.ProofNone}
	switch {
	case machine.running() && machine.Standby:
		s, err := f.driver.ask(ctx, from)
		if err != nil {
			look.Why = "the server is stopping, or starting as a standby"
			return look, nil
		}
		look.Facts = s.facts()
		if !s.InRecovery {
			look.Why = "the server has not been stopped yet"
			return look, nil
		}
		look.Met, look.Proof = true, activities.ProofStopped
	case machine.running():
		look.Why = fmt.Sprintf("the server runs (%d processes)", len(machine.Processes))
	case !machine.Dir: // set aside: nothing can start there
		look.Met, look.Proof = true, activities.ProofStopped
	case !machine.Standby:
		look.Why = "the server is down, and would come back as a primary"
	default:
		return f.down(ctx, from, machine, look)
	}
	return look, nil
}

// down proves a server that does not run and comes back as a standby only, and reads where its WAL ends.
func (f *fencing) down(ctx context.Context, from member, machine machine, look activities.Look) (activities.Look, error) {
	c := machine.Control
	look.Met = true
	switch c.State {
	case stateShutDown:
		// The start of the shutdown checkpoint, its very last record: a standby that is beyond it has all.
		look.Proof, look.Position = activities.ProofStopped, c.Checkpoint.String()
		look.Facts["last_record"] = look.Position
		return look, nil
	case stateShutDownInRecovery:
		look.Proof = activities.ProofStopped
		return look, nil
	}
	// It crashed. The host saw no process; a server that answers all the same lives where that host does not see it.
	if _, err := f.driver.ask(ctx, from); err == nil {
		look.Met, look.Why = false, "the host shows no server process, but the server answers: is the host the right one?"
		return look, nil
	}
	if f.last == "" {
		start, end, err := f.driver.lastRecord(ctx, from, c)
		if err != nil {
			look.Facts["last_record"] = "unknown: " + oneLine(err)
			look.Proof = activities.ProofCrashed
			return look, nil
		}
		f.last, f.end = start.String(), journal.Facts{"last_record": start.String(), "wal_end": end.String()}
	}
	for key, value := range f.end {
		look.Facts[key] = value
	}
	look.Proof, look.Position = activities.ProofCrashed, f.last
	return look, nil
}

// lookBySQL is what is left where the host does not answer.
func (f *fencing) lookBySQL(ctx context.Context, from member, hostErr error) (activities.Look, error) {
	look := activities.Look{Proof: activities.ProofNone}
	s, err := f.driver.ask(ctx, from)
	if err != nil {
		if activities.TypeOf(err) != activities.ErrUnreachable {
			return look, err
		}
		return look, &activities.Error{
			Type: activities.ErrUnreachable, Op: from.op("fence"), Err: errors.Join(hostErr, err),
			Next: "nothing proves that it accepts no writes: make sure by other means before you accept that risk",
		}
	}
	look.Facts = s.facts()
	look.Facts["host"] = "unreachable"
	look.Facts["clients"] = fmt.Sprint(s.Clients)
	switch {
	case s.InRecovery:
		look.Met, look.Proof = true, activities.ProofCutOff
	case s.ReadOnly != "on":
		look.Why = "the host cannot be reached, and the server accepts writes"
	case s.Clients > 0 && !f.reclosed():
		look.Why = fmt.Sprintf("%d clients are still connected", s.Clients)
	default:
		// A position is the start of a record, or any byte before its end; the last byte that was written is one.
		look.Met, look.Proof, look.Position = true, activities.ProofCutOff, (s.written() - 1).String()
		look.Facts["proof"] = "weak: the server runs, read-only by default; a session may override that"
	}
	return look, nil
}

// reclosed is whether clients that come again may stay: their new sessions are read-only.
func (f *fencing) reclosed() bool { return f.last == "cut" }

func (f *fencing) act(ctx context.Context, _ string) error {
	d := f.driver
	from, err := d.member(f.move.Target, f.move.From)
	if err != nil {
		return err
	}
	machine, err := d.probe(ctx, from)
	if err != nil {
		if activities.TypeOf(err) != activities.ErrUnreachable {
			return err
		}
		return f.cutOff(ctx, from)
	}
	if s, err := d.ask(ctx, from); err == nil {
		if err := d.samePlace(ctx, from, s); err != nil { // before the wrong server is stopped
			return err
		}
	}
	if f.move.Planned && machine.running() {
		// A checkpoint while the server still answers makes the one that ends the stop short. It may fail: the stop only takes longer.
		bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
		_ = d.checkpoint(bounded, from)
		cancel()
	}
	if err := d.stop(ctx, from, "fast"); err != nil || f.move.Planned {
		return err
	}
	if err := d.awaitStop(ctx, from, fastStopTimeout); err == nil || ctx.Err() != nil {
		return err
	}
	return d.stop(ctx, from, "immediate")
}

// samePlace returns nil where the server runs in the data directory that the estate names for it.
func (d *Driver) samePlace(ctx context.Context, m member, s server) error {
	if s.DataDir == m.own.DataDirectory {
		return nil
	}
	_, err := d.run(ctx, m, activities.Command{Args: []string{"test", s.DataDir, "-ef", m.own.DataDirectory}})
	if err == nil {
		return nil
	}
	return &activities.Error{
		Type: activities.ErrConfig, Op: m.op("match the data directory of"),
		Err:  fmt.Errorf("the server at %s runs in %s, the estate says %s", m.addr, s.DataDir, m.own.DataDirectory),
		Next: "correct data_directory in the estate",
	}
}

// checkpoint may take long on a busy server, so it has a connection of its own.
func (d *Driver) checkpoint(ctx context.Context, m member) error {
	conn, err := dial(ctx, adminLogin(m.pg, m.addr), connectTimeout)
	if err != nil {
		return mapError(m.op("checkpoint"), err)
	}
	defer closeConn(conn)
	_, err = conn.Exec(ctx, "CHECKPOINT")
	return mapError(m.op("checkpoint"), err)
}

// stop marks the data directory as a standby's and asks the server, if one runs, to stop. It does not wait.
func (d *Driver) stop(ctx context.Context, m member, mode string) error {
	_, err := d.run(ctx, m, activities.Command{
		Args: []string{"sh", "-c", stopScript, "stop", m.own.DataDirectory, m.own.BinDirectory, mode},
		Env:  map[string]string{"LC_ALL": "C"},
	})
	if err != nil {
		// It may have stopped between the look and now: what counts is whether it runs.
		if machine, again := d.probe(ctx, m); again == nil && !machine.running() && machine.Standby {
			return nil
		}
	}
	return mapError(m.op("stop"), err)
}

// awaitBurial waits until a start can follow: no process is left, and a killed postmaster is no zombie any more.
func (d *Driver) awaitBurial(ctx context.Context, m member) error {
	for range 500 {
		if err := d.awaitStop(ctx, m, stopTimeout); err != nil {
			return err
		}
		machine, err := d.probe(ctx, m)
		if err != nil || !machine.Zombie {
			return err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return &activities.Error{
		Type: activities.ErrNotYet, Op: m.op("stop"), Err: errors.New("the killed postmaster stays a zombie"),
		Next: "end its parent process, which does not wait for it",
	}
}

// awaitStop waits until no process of the server is left. A zombie counts as gone: it writes nothing.
func (d *Driver) awaitStop(ctx context.Context, m member, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		machine, err := d.probe(ctx, m)
		if err != nil {
			return err
		}
		if !machine.running() {
			return nil
		}
		if time.Now().After(deadline) {
			return &activities.Error{
				Type: activities.ErrNotYet, Op: m.op("stop"),
				Err:  fmt.Errorf("%d processes still run after %s", len(machine.Processes), timeout),
				Next: "see the server's log: a standby that does not confirm, or an archive command, can hold a stop up",
			}
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// cutOff makes a server read-only by default and ends its clients' sessions.
func (f *fencing) cutOff(ctx context.Context, from member) error {
	for _, sql := range []string{
		"ALTER SYSTEM SET default_transaction_read_only = on",
		"SELECT pg_reload_conf()",
	} {
		if err := f.driver.exec(ctx, from, "make read-only", sql); err != nil {
			return err
		}
	}
	// A session that began before the reload reached it may still write: end sessions only once new ones are read-only.
	for {
		s, err := f.driver.ask(ctx, from)
		if err != nil {
			return err
		}
		if s.ReadOnly == "on" {
			break
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	err := f.driver.exec(ctx, from, "cut clients off", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name <> 'muster'`)
	if err == nil {
		f.last = "cut"
	}
	return err
}

// pause waits, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/musterhq/muster/activities"
)

// How long a server that was told to stop may take, and how long pg_ctl waits for one to start.
const (
	stopTimeout  = time.Minute
	startSeconds = "60"
)

// startScript starts the server; pg_ctl gives it a session of its own, so that it outlives the worker.
// A postmaster that was killed is a zombie for a second or two, and until it is buried its socket's lock file keeps the next one from
// starting, whatever data directory that has: so a start that failed waits for zombies, and is tried once more.
// Arguments: data directory, bin directory, options for the server as pg_ctl's shell reads them.
const startScript = `
start() { "$2/pg_ctl" start -s -w -t ` + startSeconds + ` -D "$1" -l "$1.muster.log" ${3:+-o "$3"} </dev/null; }
zombies() {
  for stat in /proc/[0-9]*/stat; do
    read -r line 2>/dev/null <"$stat" || continue
    case $line in *'(postgres) Z '*) return 0 ;; esac
  done
  return 1
}
start "$@" && exit 0
tries=0
while zombies && [ $tries -lt 50 ]; do tries=$((tries + 1)); sleep 0.1; done
start "$@"`

// Unfence makes the member at m.From the primary again, and is met once the member at m.To streams from it, where that one runs.
// It refuses (ErrConflict) where the member at m.To is a primary, or nothing shows what it is.
func (d *Driver) Unfence(m activities.Move) activities.Action {
	return activities.Action{
		Look: func(ctx context.Context) (activities.Look, error) { return d.lookUnfenced(ctx, m) },
		Act:  func(ctx context.Context, _ string) error { return d.unfence(ctx, m) },
	}
}

func (d *Driver) lookUnfenced(ctx context.Context, m activities.Move) (activities.Look, error) {
	from, to, err := d.pair(m)
	if err != nil {
		return activities.Look{}, err
	}
	s, err := d.ask(ctx, from)
	if err != nil {
		if activities.TypeOf(err) == activities.ErrUnreachable {
			return activities.Look{Why: "the server does not answer: " + oneLine(err)}, nil
		}
		return activities.Look{}, err
	}
	look := activities.Look{Facts: s.facts()}
	switch {
	case s.InRecovery:
		look.Why = "the server is a standby"
	case s.ReadOnly == "on":
		look.Why = "the server is read-only"
	default:
		if machine, err := d.probe(ctx, from); err == nil && machine.Standby {
			look.Why = "the server would come back as a standby"
			return look, nil
		}
		other, err := d.ask(ctx, to)
		if err == nil && !other.streams() {
			look.Why = fmt.Sprintf("%s at %s does not stream from it yet", m.Name, m.To)
			look.Busy = true // only waiting is left to do
			return look, nil
		}
		look.Met = true
	}
	return look, nil
}

func (d *Driver) unfence(ctx context.Context, m activities.Move) error {
	from, to, err := d.pair(m)
	if err != nil {
		return err
	}
	if err := d.mustBeStandby(ctx, from, to); err != nil {
		return err
	}
	machine, err := d.probe(ctx, from)
	if err != nil {
		if activities.TypeOf(err) == activities.ErrUnreachable { // it was cut off by SQL, or is out of reach
			return d.allowWrites(ctx, from)
		}
		return err
	}
	s, err := d.ask(ctx, from)
	switch {
	case err == nil && !s.InRecovery && machine.Standby:
		// Marked and not stopped: the stop did not come to it, or was sent in this moment. A postmaster hears of a stop before it lets
		// the next session in, so a new one tells.
		if err := d.unmark(ctx, from); err != nil {
			return err
		}
		if conn, err := dial(ctx, adminLogin(from.pg, from.addr), connectTimeout); err == nil {
			closeConn(conn)
			return d.allowWrites(ctx, from)
		}
	case err == nil && !s.InRecovery:
		return d.allowWrites(ctx, from)
	case err == nil: // somebody started it again, as the standby that Fence made of it
		if err := d.stop(ctx, from, "fast"); err != nil {
			return err
		}
	}
	switch up, err := d.awaitDown(ctx, from); {
	case err != nil:
		return err
	case up: // by a start that was cut short, and still went on
		return d.unfence(ctx, m)
	}
	// The last look before the point where it may write again.
	if err := d.mustBeStandby(ctx, from, to); err != nil {
		return err
	}
	if err := d.unmark(ctx, from); err != nil {
		return err
	}
	if err := d.start(ctx, from); err != nil {
		return err
	}
	return d.allowWrites(ctx, from)
}

// awaitDown waits until a start can follow (see awaitBurial), or the server answers after all: one that does not answer at first may be
// on its way down, or up.
func (d *Driver) awaitDown(ctx context.Context, m member) (up bool, err error) {
	for deadline := time.Now().Add(stopTimeout); ; {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return false, err
		}
		machine, err := d.probe(ctx, m)
		if err != nil || !machine.running() && !machine.Zombie {
			return false, err
		}
		if _, err := d.ask(ctx, m); err == nil {
			return true, nil
		}
		if time.Now().After(deadline) {
			return false, d.awaitBurial(ctx, m)
		}
	}
}

// mustBeStandby returns nil where it is seen that the other member accepts no writes.
func (d *Driver) mustBeStandby(ctx context.Context, from, to member) error {
	s := d.see(ctx, to, false)
	next := fmt.Sprintf("%s is where the data goes on: make %s follow it", to.site, from.site)
	switch {
	case s.server != nil && s.server.InRecovery:
		return nil
	case s.server != nil:
		return conflict(from.op("unfence"), fmt.Errorf("the member at %s is a primary", to.site), next)
	case s.machine != nil && s.machine.Dir && s.machine.Standby:
		return nil // down or on its way, and a standby when it is up
	case s.machine != nil && s.machine.Dir:
		return conflict(from.op("unfence"), fmt.Errorf("the member at %s does not answer, and its data directory is a primary's", to.site), next)
	default:
		return &activities.Error{
			Type: activities.ErrUnreachable, Op: from.op("unfence"),
			Err: fmt.Errorf("cannot see whether the member at %s is a primary: %w", to.site, errors.Join(s.sqlErr, s.hostErr)),
		}
	}
}

// unmarkScript takes standby.signal away. A stop whose starter is gone may still be on its way: it has been sent when this returns, or
// never will be. Argument: data directory.
const unmarkScript = `exec 9<"$1"
flock --timeout 5 --conflict-exit-code 75 9 || [ $? != 75 ] || { echo 'a stop is still on its way' >&2; exit 75; }
rm -f "$1/standby.signal"`

func (d *Driver) unmark(ctx context.Context, m member) error {
	_, err := d.run(ctx, m, activities.Command{Args: []string{"sh", "-c", unmarkScript, "unmark", m.own.DataDirectory}})
	return mapError(m.op("unmark"), err)
}

// allowWrites takes the read-only setting back; without effect where it is not set.
func (d *Driver) allowWrites(ctx context.Context, m member) error {
	if err := d.exec(ctx, m, "make writable", "ALTER SYSTEM RESET default_transaction_read_only"); err != nil {
		return err
	}
	return d.exec(ctx, m, "make writable", "SELECT pg_reload_conf()")
}

// start starts the server and waits until it accepts connections. One that runs already is fine.
func (d *Driver) start(ctx context.Context, m member) error {
	options := ""
	if m.own.ConfigFile != "" {
		options = "-c " + shellescape.Quote("config_file="+m.own.ConfigFile)
	}
	_, err := d.run(ctx, m, activities.Command{
		Args: []string{"sh", "-c", startScript, "start", m.own.DataDirectory, m.own.BinDirectory, options},
		Env:  map[string]string{"LC_ALL": "C"},
	})
	if err == nil {
		return nil
	}
	if _, asked := d.ask(ctx, m); asked == nil {
		return nil
	}
	mapped := mapError(m.op("start"), err)
	var typed *activities.Error
	if errors.As(mapped, &typed) && typed.Next == "" {
		typed.Next = fmt.Sprintf("see the server's log, or %s.muster.log on host %s; last it says: %s", m.own.DataDirectory, m.host, lastLine(d.logTail(ctx, m)))
	}
	return mapped
}

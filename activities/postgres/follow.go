package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/musterhq/muster/activities"
)

// How long a standby that was just started may take until it streams.
const streamTimeout = 20 * time.Second

// Follow makes the server at m.From a standby of the one at m.To: as it is where it has nothing that the new primary has not, by
// pg_rewind where it has, by a base backup where that fails or cannot be. What a base backup replaced is kept beside it, once.
// The long work runs on the host under a lock and outlives the worker; looks say Busy meanwhile.
func (d *Driver) Follow(m activities.Move) activities.Action {
	return activities.Action{
		Look: func(ctx context.Context) (activities.Look, error) { return d.lookFollowing(ctx, m) },
		Act:  func(ctx context.Context, requestID string) error { return d.follow(ctx, m, requestID) },
	}
}

func (d *Driver) lookFollowing(ctx context.Context, m activities.Move) (activities.Look, error) {
	from, to, err := d.pair(m)
	if err != nil {
		return activities.Look{}, err
	}
	primary, err := d.ask(ctx, to)
	if err != nil {
		return activities.Look{}, err
	}
	s, err := d.ask(ctx, from)
	if err != nil {
		if activities.TypeOf(err) != activities.ErrUnreachable {
			return activities.Look{}, err
		}
		look := activities.Look{Why: "the server does not answer"}
		machine, err := d.probe(ctx, from)
		if err != nil {
			if activities.TypeOf(err) == activities.ErrConfig { // no data directory: a base backup can make it
				look.Facts = map[string]string{"data_directory": "missing"}
				return look, nil
			}
			return look, err
		}
		look.Facts = machine.facts()
		if look.Busy = machine.Busy; look.Busy {
			look.Why = "pg_rewind or a base backup is at work"
		}
		return look, nil
	}
	look := activities.Look{Facts: s.facts(), Position: s.replayed().String()}
	look.Why = d.notFollowing(s, primary, from, to)
	look.Met = look.Why == ""
	if !look.Met {
		return look, nil
	}
	// What of the data directory is worth knowing, where its host tells.
	if machine, err := d.probe(ctx, from); err == nil {
		if machine.Old != "" {
			look.Facts["kept"] = machine.Old
		}
		if _, how, _ := strings.Cut(machine.Job, " "); how != "" {
			look.Facts["made_by"] = how
		}
	}
	return look, nil
}

// notFollowing says what is missing, nothing where the server is the standby that it should be.
func (d *Driver) notFollowing(s, primary server, from, to member) string {
	switch {
	case primary.InRecovery:
		return fmt.Sprintf("the member at %s is no primary", to.site)
	case !s.InRecovery:
		return "the server is a primary"
	case s.SystemID != primary.SystemID:
		return "the server is of another system"
	case !s.streams():
		return "the server streams from nobody"
	case !sameServer(s.following(), to):
		return "the server streams from " + s.following()
	case s.timeline() != primary.timeline():
		return fmt.Sprintf("the server is on timeline %d, the primary on %d", s.timeline(), primary.timeline())
	case from.own.Slot != "" && s.Receiver.Slot != from.own.Slot:
		return "the server streams without its slot " + from.own.Slot
	}
	if left := leftSlots(s, from, to); len(left) > 0 {
		return "slots of its time as a primary keep WAL: " + strings.Join(left, ", ")
	}
	return ""
}

// sameServer compares what the walreceiver reports with where it was sent. It reports names as they were given, and the port.
func sameServer(following string, to member) bool {
	host, port, err := net.SplitHostPort(to.streamAddress())
	if err != nil {
		return false
	}
	return following == host+":"+port
}

// leftSlots are the slots of the two members that nobody uses on a server that became a standby. Each would keep WAL until the disk is full.
// Slots with other names are somebody else's business.
func leftSlots(s server, from, to member) []string {
	var left []string
	for _, name := range []string{from.own.Slot, to.own.Slot} {
		if sl, ok := s.slot(name); ok && name != "" && !sl.Active {
			left = append(left, name)
		}
	}
	return left
}

func (d *Driver) follow(ctx context.Context, m activities.Move, requestID string) error {
	from, to, err := d.pair(m)
	if err != nil {
		return err
	}
	op := from.op("follow with")
	primary, err := d.ask(ctx, to)
	if err != nil {
		return err
	}
	if primary.InRecovery {
		return conflict(op, fmt.Errorf("the member at %s is no primary", to.site), "promote it first")
	}
	if err := d.ensureSlot(ctx, to, primary, from.own.Slot); err != nil {
		return err
	}
	if s, err := d.ask(ctx, from); err == nil && s.InRecovery && d.onlySlotsLeft(s, primary, from, to) {
		return d.dropSlots(ctx, from, to)
	}

	machine, err := d.probe(ctx, from)
	missing := err != nil && activities.TypeOf(err) == activities.ErrConfig && strings.Contains(err.Error(), "no directory")
	if err != nil && !missing {
		return err
	}
	if machine.Busy {
		return &activities.Error{Type: activities.ErrNotYet, Op: op, Err: errors.New("an earlier pg_rewind or base backup is still at work")}
	}
	if machine.Dir && machine.Control.SystemID != primary.SystemID {
		return &activities.Error{
			Type: activities.ErrConfig, Op: op,
			Err:  fmt.Errorf("%s holds system %s, the primary is system %s", from.own.DataDirectory, machine.Control.SystemID, primary.SystemID),
			Next: "nothing was touched: check data_directory in the estate",
		}
	}
	if machine.Dir {
		if err := d.stop(ctx, from, "fast"); err != nil {
			return err
		}
		if err := d.awaitBurial(ctx, from); err != nil {
			return err
		}
		if machine, err = d.probe(ctx, from); err != nil { // its state after the stop
			return err
		}
	}
	how, err := d.way(ctx, from, to, primary, machine)
	if err != nil {
		return err
	}
	for ; ; how = wayBackup {
		if err := d.rebuild(ctx, from, to, machine, how, requestID); err != nil {
			return err
		}
		if err := d.start(ctx, from); err != nil {
			return err
		}
		hopeless, err := d.awaitStream(ctx, from, to)
		switch {
		case err == nil:
			return d.dropSlots(ctx, from, to)
		case !hopeless || how == wayBackup:
			return err
		}
		if err := d.stop(ctx, from, "fast"); err != nil {
			return err
		}
		if err := d.awaitBurial(ctx, from); err != nil {
			return err
		}
	}
}

// onlySlotsLeft reports whether a standby is as it should be but for slots of its time as a primary.
func (d *Driver) onlySlotsLeft(s, primary server, from, to member) bool {
	s.Slots = nil
	return d.notFollowing(s, primary, from, to) == ""
}

// way decides how the data directory becomes a standby's.
func (d *Driver) way(ctx context.Context, from, to member, primary server, machine machine) (string, error) {
	if !machine.Dir { // missing, or a pg_rewind that did not end: nothing to build on
		return wayBackup, nil
	}
	c, timeline := machine.Control, primary.timeline()
	wasPrimary := c.State != stateShutDownInRecovery && c.State != stateArchiveRecovery
	if c.Timeline == timeline {
		if wasPrimary { // of the new primary's own timeline: pg_rewind would see no difference
			return wayBackup, nil
		}
		return wayStart, nil
	}
	forks, err := d.history(ctx, to, timeline)
	if err != nil {
		return "", err
	}
	for _, f := range forks {
		if f.Timeline != c.Timeline {
			continue
		}
		// It has nothing of its own if its last record lies before the point where the new timeline left the old one.
		if wasPrimary {
			start, _, err := d.lastRecord(ctx, from, c)
			if err == nil && start < f.End {
				return wayStart, nil
			}
		} else if c.MinRecovery <= f.End {
			return wayStart, nil
		}
	}
	if c.rewindable() && !machine.Mount {
		return wayRewind, nil
	}
	return wayBackup, nil
}

// ensureSlot makes the slot that the member will stream from, and makes one anew that lost its WAL.
func (d *Driver) ensureSlot(ctx context.Context, to member, primary server, name string) error {
	if name == "" {
		return nil
	}
	sl, ok := primary.slot(name)
	switch {
	case ok && sl.Type != "physical":
		return &activities.Error{
			Type: activities.ErrConfig, Op: to.op("make slot " + name + " of"), Err: fmt.Errorf("a %s slot has that name", sl.Type),
			Next: "choose another slot in the estate",
		}
	case ok && sl.WALStatus == "lost" && !sl.Active:
		if err := d.exec(ctx, to, "drop slot "+name+" of", "SELECT pg_drop_replication_slot("+quoteLiteral(name)+")"); err != nil {
			return err
		}
	case ok:
		return nil
	}
	err := d.exec(ctx, to, "make slot "+name+" of", "SELECT pg_create_physical_replication_slot("+quoteLiteral(name)+", true)")
	if err == nil {
		return nil
	}
	if again, asked := d.ask(ctx, to); asked == nil {
		if _, ok := again.slot(name); ok { // made by an attempt whose answer was lost
			return nil
		}
	}
	return err
}

// dropSlots drops the two members' unused slots on the server that became a standby.
func (d *Driver) dropSlots(ctx context.Context, from, to member) error {
	s, err := d.ask(ctx, from)
	if err != nil {
		return err
	}
	if !s.InRecovery {
		return conflict(from.op("drop slots of"), errors.New("the server is a primary"), "")
	}
	for _, name := range leftSlots(s, from, to) {
		if err := d.exec(ctx, from, "drop slot "+name+" of", "SELECT pg_drop_replication_slot("+quoteLiteral(name)+")"); err != nil {
			return err
		}
	}
	return nil
}

// hopeless are the words with which a standby says that it can never stream from this primary with the data that it has.
var hopeless = []string{
	"has already been removed", "is not in this server's history", "is not a child of this server's history",
	"new timeline", "is ahead of the WAL flush position", "could not locate a valid checkpoint record",
}

// awaitStream waits until the standby streams from its new primary. Where it does not, it looks in the server's log for why.
func (d *Driver) awaitStream(ctx context.Context, from, to member) (never bool, err error) {
	deadline := time.Now().Add(streamTimeout)
	var why string
	for time.Now().Before(deadline) {
		primary, err := d.ask(ctx, to)
		if err != nil {
			return false, err
		}
		s, err := d.ask(ctx, from)
		switch {
		case err != nil && activities.TypeOf(err) != activities.ErrUnreachable:
			return false, err
		case err != nil:
			why = oneLine(err)
		case !s.InRecovery:
			return false, &activities.Error{
				Type: activities.ErrNotYet, Op: from.op("follow with"), Err: errors.New("the server is a primary: somebody started it while it was made a standby"),
				Next: "it is stopped and made a standby again; keep what starts it (an init system, a cluster manager) from doing so",
			}
		default:
			if why = d.notFollowing(s, primary, from, to); d.onlySlotsLeft(s, primary, from, to) {
				return false, nil
			}
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return false, err
		}
	}
	said := d.logTail(ctx, from)
	for _, words := range hopeless {
		never = never || strings.Contains(said, words)
	}
	return never, &activities.Error{
		Type: activities.ErrNotYet, Op: from.op("follow with"), Err: errors.New(why),
		Next: "see the server's log; it says: " + lastLine(said),
	}
}

// logTail is the end of what the server said: to those who started it, and in the collector's current file where there is one.
func (d *Driver) logTail(ctx context.Context, m member) string {
	out, err := d.run(ctx, m, activities.Command{Args: []string{"sh", "-c", `
log=$1.muster.log
if [ -r "$1/current_logfiles" ]; then
  read -r kind file <"$1/current_logfiles"
  case $file in /*) log=$file ;; *) log=$1/$file ;; esac
fi
tail -q -n 20 "$1.muster.log" "$log" 2>/dev/null`, "log", m.own.DataDirectory}})
	if err != nil {
		return ""
	}
	return out.Stdout
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

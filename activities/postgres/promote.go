package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/musterhq/muster/activities"
)

// settled is for how long a standby's positions must not move before all that it received counts as replayed, while it does not know
// yet that its primary is gone (wal_receiver_timeout is a minute), or holds the first half of a record whose second half never came.
const settled = 500 * time.Millisecond

// CatchUp waits until the member at m.To has replayed the record at m.Position. Unplanned, where that record may never come, it is also
// met once all that was received is replayed; its facts then say how far behind that is.
func (d *Driver) CatchUp(m activities.Move) activities.Action {
	c := catchingUp{driver: d, move: m}
	return activities.Action{Look: c.look}
}

type catchingUp struct {
	driver *Driver
	move   activities.Move
	still  string // the positions, and since when they are these
	since  time.Time
}

func (c *catchingUp) look(ctx context.Context) (activities.Look, error) {
	to, err := c.driver.member(c.move.Target, c.move.To)
	if err != nil {
		return activities.Look{}, err
	}
	op := to.op("catch up")
	s, err := c.driver.ask(ctx, to)
	if err != nil {
		return activities.Look{}, c.driver.whyStopped(ctx, to, err)
	}
	look := activities.Look{Facts: s.facts(), Position: s.replayed().String()}
	if !s.InRecovery {
		look.Met, look.Position = true, s.written().String()
		return look, nil
	}
	if s.Paused {
		return look, &activities.Error{
			Type: activities.ErrRefused, Op: op, Err: errors.New("replay is paused"),
			Next: "find out who paused it and why, then SELECT pg_wal_replay_resume()",
		}
	}
	var position lsn
	if c.move.Position != "" {
		if position, err = parseLSN(c.move.Position); err != nil {
			return look, &activities.Error{Type: activities.ErrConfig, Op: op, Err: err}
		}
		look.Facts["waits_for"] = c.move.Position
		if beyond(s.replayed(), position) {
			look.Met = true
			return look, nil
		}
		look.Facts["behind_bytes"] = strconv.FormatInt(distance(s.replayed(), position)+1, 10)
	}
	if c.move.Planned && c.move.Position != "" {
		look.Why = fmt.Sprintf("replayed to %s, received to %s, the old primary's last record is at %s", s.replayed(), s.received(), c.move.Position)
		if !s.streams() {
			look.Why += "; it streams from nobody"
		}
		return look, nil
	}
	look.Met = c.quiet(s)
	look.Why = fmt.Sprintf("replayed to %s, received to %s", s.replayed(), s.received())
	return look, nil
}

// quiet reports whether all that this standby will ever replay is replayed.
func (c *catchingUp) quiet(s server) bool {
	if now := s.replayed().String() + " " + s.received().String(); now != c.still {
		c.still, c.since = now, time.Now()
	}
	if !s.streams() && s.replayed() >= s.received() {
		return true
	}
	return time.Since(c.since) >= settled
}

// Promote makes the member at m.To a primary. It refuses (ErrConflict) while the member at m.From is seen accepting writes.
// Its Position is where the new timeline began.
func (d *Driver) Promote(m activities.Move) activities.Action {
	return activities.Action{
		Look: func(ctx context.Context) (activities.Look, error) { return d.lookPromoted(ctx, m) },
		Act:  func(ctx context.Context, _ string) error { return d.promote(ctx, m) },
	}
}

func (d *Driver) lookPromoted(ctx context.Context, m activities.Move) (activities.Look, error) {
	to, err := d.member(m.Target, m.To)
	if err != nil {
		return activities.Look{}, err
	}
	s, err := d.ask(ctx, to)
	if err != nil {
		return activities.Look{}, d.whyStopped(ctx, to, err)
	}
	look := activities.Look{Facts: s.facts()}
	switch {
	case s.InRecovery:
		look.Why = "the server is in recovery"
	case s.ReadOnly == "on":
		look.Why = "the server is read-only"
	default:
		look.Met = true
		// For people, and the server may refuse it: a promotion is no less done for that.
		if forks, err := d.history(ctx, to, s.timeline()); err == nil && len(forks) > 0 {
			last := forks[len(forks)-1]
			look.Position = last.End.String()
			look.Facts["old_timeline"] = fmt.Sprint(last.Timeline)
		}
	}
	return look, nil
}

func (d *Driver) promote(ctx context.Context, m activities.Move) error {
	from, to, err := d.pair(m)
	if err != nil {
		return err
	}
	if err := d.mustNotWrite(ctx, from, to); err != nil {
		return err
	}
	s, err := d.ask(ctx, to)
	if err != nil {
		return err
	}
	if s.ReadOnly == "on" { // left over from an earlier fence; ALTER SYSTEM works on a standby
		if err := d.allowWrites(ctx, to); err != nil {
			return err
		}
	}
	if !s.InRecovery {
		return nil
	}
	if err := d.exec(ctx, to, "promote", "SELECT pg_promote(false)"); !promotedMeanwhile(err) { // by an earlier attempt, cut short
		return err
	}
	return nil
}

// mustNotWrite refuses where the old primary accepts writes, or runs without being marked as a standby.
func (d *Driver) mustNotWrite(ctx context.Context, from, to member) error {
	op, next := to.op("promote"), fmt.Sprintf("fence the member at %s first", from.site)
	s := d.see(ctx, from, false)
	switch {
	case s.server != nil && s.server.acceptsWrites():
		return conflict(op, fmt.Errorf("the member at %s accepts writes", from.site), next)
	case s.server == nil && s.machine != nil && s.machine.running() && !s.machine.Standby:
		return conflict(op, fmt.Errorf("the server at %s runs, and is not marked as a standby", from.site), next)
	default:
		return nil
	}
}

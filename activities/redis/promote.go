package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

// How long FAILOVER may hold clients up before the server gives it up by itself.
const failoverTimeout = 10 * time.Second

// pause is the time between two looks of an act that waits.
func pause(ctx context.Context) error { return wait(ctx, 5*time.Millisecond) }

func wait(ctx context.Context, long time.Duration) error {
	t := time.NewTimer(long)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// CatchUp waits until the servers at m.To have applied all that m.Position names. Without a position it is met once none of them
// is in the middle of a full synchronisation, which leaves a server without usable data.
func (d *Driver) CatchUp(m activities.Move) activities.Action {
	return activities.Action{Look: func(ctx context.Context) (activities.Look, error) {
		_, to, err := d.pair(m)
		if err != nil {
			return activities.Look{}, err
		}
		all, err := d.seeAll(ctx, to, false)
		if err != nil {
			return activities.Look{}, err
		}
		look := activities.Look{Facts: memberState(m.To, all, all).Facts, Met: true}
		for _, s := range all {
			switch {
			case s.server == nil:
				return look, s.err
			case s.server.syncing() || s.server.loading():
				return activities.Look{Facts: look.Facts, Why: s.node.addr + " is in the middle of a full synchronisation"}, nil
			}
			look.Position = s.server.position()
		}
		if m.Position == "" {
			return look, nil
		}
		for position := range strings.SplitSeq(m.Position, ",") {
			if why := behind(all, position); why != "" {
				look.Met, look.Why = false, why
			}
		}
		return look, nil
	}}
}

func behind(all []seen, position string) string {
	found := ""
	for _, s := range all {
		has, related := s.server.has(position)
		if has {
			return ""
		}
		if related {
			found = fmt.Sprintf("%s has applied up to %s, not yet up to %s", s.node.addr, s.server.position(), position)
		}
	}
	if found == "" {
		found = "no server there is of the lineage of " + position
	}
	return found
}

// Promote makes the servers at m.To primaries: by FAILOVER, or REPLICAOF NO ONE where there is nothing left to hand over; under Sentinel by
// SENTINEL FAILOVER, in a Cluster by CLUSTER FAILOVER. It refuses (ErrConflict) while a server at m.From is seen accepting writes.
// The new primary accepts its first write once its role stands in its configuration file.
func (d *Driver) Promote(m activities.Move) activities.Action {
	return activities.Action{
		Look: func(ctx context.Context) (activities.Look, error) { return d.lookPromoted(ctx, m) },
		Act:  func(ctx context.Context, _ string) error { return d.promote(ctx, m) },
	}
}

func (d *Driver) lookPromoted(ctx context.Context, m activities.Move) (activities.Look, error) {
	from, to, err := d.pair(m)
	if err != nil {
		return activities.Look{}, err
	}
	all, err := d.seeAll(ctx, to, false)
	if err != nil {
		return activities.Look{}, err
	}
	look := activities.Look{Facts: memberState(m.To, all, all).Facts}
	var began []string
	for _, s := range all {
		switch {
		case s.server == nil:
			return look, s.err
		case !s.server.primary() && clustered(s.node) && !followsAny(*s.server, from):
			continue // a replica of a shard that was never at m.From
		case !s.server.primary():
			look.Why = s.node.addr + " is a replica"
			return look, nil
		case s.server.fenced():
			look.Why = s.node.addr + " is a primary that refuses writes until its role stands in its configuration file"
			return look, nil
		case s.server.cluster.known && s.server.cluster.state != "ok": // for two seconds after it took a majority's place
			look.Why = fmt.Sprintf("the Cluster's state is %s, says %s: it refuses clients", s.server.cluster.state, s.node.addr)
			return look, nil
		}
		began = append(began, fmt.Sprintf("%d@%s", s.server.number("second_repl_offset")-1, short(s.server.info["master_replid2"])))
	}
	if len(began) == 0 {
		look.Why = "no server there is a primary"
		return look, nil
	}
	if shape(m.Target) == runbooks.RedisSentinel {
		if why := d.sentinelsDisagree(ctx, to[0]); why != "" {
			look.Why = why
			return look, nil
		}
	}
	look.Met, look.Position = true, strings.Join(began, ",")
	return look, nil
}

func followsAny(s server, nodes []node) bool {
	for _, n := range nodes {
		if n.is(s.following()) {
			return true
		}
	}
	return false
}

func (d *Driver) promote(ctx context.Context, m activities.Move) error {
	from, to, err := d.pair(m)
	if err != nil {
		return err
	}
	old, err := d.seeAll(ctx, from, false)
	if err != nil {
		return err
	}
	for _, s := range old {
		if err := mustNotWrite(to[0], s); err != nil {
			return err
		}
	}
	switch shape(m.Target) {
	case runbooks.RedisSentinel:
		return d.promoteBySentinel(ctx, m.Planned, to[0])
	case runbooks.RedisCluster:
		return d.promoteInCluster(ctx, m, from, to)
	default:
		return d.promoteReplica(ctx, m.Planned, old[0], to[0])
	}
}

// mustNotWrite refuses where the old primary accepts writes, or runs and is not known to be fenced.
func mustNotWrite(to node, s seen) error {
	op, next := to.op("promote"), fmt.Sprintf("fence the member at %s first", s.node.site)
	switch {
	case s.server != nil && s.server.acceptsWrites():
		return conflict(op, next, "the server at %s (%s) accepts writes", s.node.site, s.node.addr)
	case s.server == nil && s.machine != nil && s.machine.running() && !s.machine.fenced():
		return conflict(op, next, "the server at %s (%s) runs, and is not known to be fenced", s.node.site, s.node.addr)
	default:
		return nil
	}
}

// promoteReplica keeps the new primary fenced until the new roles stand in the files: were it killed before, it would come back as it was.
func (d *Driver) promoteReplica(ctx context.Context, planned bool, old seen, to node) error {
	target, err := d.ask(ctx, to)
	if err != nil {
		return err
	}
	if !target.primary() {
		if target.syncing() || target.loading() { // half of a data set would become all of it
			return &activities.Error{Type: activities.ErrNotYet, Op: to.op("promote"), Err: errors.New("it is in the middle of a full synchronisation")}
		}
		if !target.fenced() {
			if err := d.setFence(ctx, to, fenceStep+target.original()); err != nil {
				return err
			}
		}
		handed, err := d.swap(ctx, planned, old, to, target)
		if err != nil {
			return err
		}
		if target, err = d.awaitPrimary(ctx, to, old.node, handed, failoverTimeout); err != nil {
			return err
		}
	}
	if err := d.keep(ctx, to, target); err != nil {
		return err
	}
	if err := d.unfenceServer(ctx, to, target); err != nil {
		return err
	}
	return d.keepOld(ctx, old.node)
}

// keepOld writes the old primary's new role down, where FAILOVER made a replica of it. Follow does it again for one that was not there.
func (d *Driver) keepOld(ctx context.Context, n node) error {
	if s, err := d.ask(ctx, n); err == nil && !s.primary() {
		return d.keep(ctx, n, s)
	}
	return nil
}

// swap asks the fenced old primary to hand its role over, where it still has the replica; otherwise the replica takes it.
func (d *Driver) swap(ctx context.Context, planned bool, old seen, to node, target server) (handed bool, err error) {
	if planned && old.server != nil && old.server.primary() {
		if old.server.moving() {
			return true, nil
		}
		if replica, online := replicaLine(*old.server, to, target); online {
			return true, d.do(ctx, old.node, "FAILOVER", "TO", replica["ip"], replica["port"], "TIMEOUT", failoverTimeout.Milliseconds())
		}
	}
	return false, d.do(ctx, to, "REPLICAOF", "NO", "ONE")
}

// replicaLine is what the primary says in INFO of its replica, where that is online. FAILOVER knows it by no other ip and port.
func replicaLine(s server, to node, target server) (fields map[string]string, online bool) {
	for i := range s.number("connected_slaves") {
		line, listed := s.info[fmt.Sprintf("slave%d", i)]
		if !listed { // Redis leaves out one whose connection just broke
			break
		}
		fields = map[string]string{}
		for part := range strings.SplitSeq(line, ",") {
			key, value, _ := strings.Cut(part, "=")
			fields[key] = value
		}
		named := to.is(net.JoinHostPort(fields["ip"], fields["port"])) || fields["port"] == target.info["tcp_port"] && s.info["connected_slaves"] == "1"
		if fields["state"] == "online" && named {
			return fields, true
		}
	}
	return nil, false
}

// awaitPrimary waits until a server is a primary, for as long as the command tries and a moment more. Where the old primary hands its
// role over and says by master_failover_state that it no longer does, it gave up, and nothing is left to wait for.
func (d *Driver) awaitPrimary(ctx context.Context, n, old node, handed bool, most time.Duration) (server, error) {
	ctx, cancel := context.WithTimeout(ctx, most+time.Second)
	defer cancel()
	for {
		var from server
		asked := errors.New("nobody hands over")
		if handed { // first: it may have ended between the two looks
			from, asked = d.ask(ctx, old)
		}
		s, err := d.ask(ctx, n)
		if err == nil && s.primary() {
			return s, nil
		}
		if err == nil && asked == nil && from.primary() && !from.moving() {
			return server{}, &activities.Error{Type: activities.ErrNotYet, Op: n.op("promote"), Err: fmt.Errorf("FAILOVER ended, and %s is still a replica", n.addr),
				Next: "the log of " + old.addr + " says why"}
		}
		if waited := pause(ctx); waited != nil {
			return server{}, &activities.Error{Type: activities.ErrNotYet, Op: n.op("promote"),
				Err: errors.Join(fmt.Errorf("it is still a replica of %s", old.addr), err)}
		}
	}
}

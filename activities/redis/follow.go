package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

// Follow makes the servers at m.From standbys of those at m.To, and so every other member that does not follow them. It starts a server
// that is down. It refuses (ErrConflict) to discard what only the old primary holds, unless m.Discard; where nothing can tell, as after a crash, an
// unplanned move goes on.
func (d *Driver) Follow(m activities.Move) activities.Action {
	return activities.Action{
		Look: func(ctx context.Context) (activities.Look, error) { return d.lookFollowing(ctx, m) },
		Act:  func(ctx context.Context, _ string) error { return d.follow(ctx, m) },
	}
}

func (d *Driver) lookFollowing(ctx context.Context, m activities.Move) (activities.Look, error) {
	from, to, err := d.pair(m)
	if err != nil {
		return activities.Look{}, err
	}
	others, err := d.others(m)
	if err != nil {
		return activities.Look{}, err
	}
	all, err := d.seeAll(ctx, slices.Concat(from, to, others), false)
	if err != nil {
		return activities.Look{}, err
	}
	look := activities.Look{Facts: memberState(m.From, all[:len(from)], all).Facts}
	for _, s := range slices.Concat(all[:len(from)], all[len(from)+len(to):]) {
		if s.node.site != m.From && (s.server == nil || clustered(s.node)) {
			continue // a sibling that is down is no reason to wait
		}
		if look.Why, look.Busy = notFollowing(s, to); look.Why != "" {
			return look, nil
		}
	}
	if shape(m.Target) == runbooks.RedisSentinel {
		if look.Why = d.sentinelsDisagree(ctx, to[0]); look.Why != "" {
			look.Busy = true
			return look, nil
		}
	}
	look.Met = true
	return look, nil
}

func notFollowing(s seen, to []node) (why string, busy bool) {
	switch {
	case s.server == nil:
		return s.node.addr + " does not answer: " + oneLine(s.err), false
	case s.server.primary() && (!clustered(s.node) || s.server.cluster.slots > 0 || s.server.fenced()):
		return s.node.addr + " is a primary", false
	case s.server.primary():
		return "", false // in a cluster: without slots, and nothing to follow
	case !followsAny(*s.server, to) && !clustered(s.node):
		return s.node.addr + " follows " + s.server.following(), false
	case s.server.fenced():
		return s.node.addr + " is still fenced", false
	case s.server.syncing():
		return s.node.addr + " is being synchronised", true
	case !s.server.linked():
		return s.node.addr + " has no link to its primary yet", true
	}
	return "", false
}

func (d *Driver) follow(ctx context.Context, m activities.Move) error {
	from, to, err := d.pair(m)
	if err != nil {
		return err
	}
	targets, err := d.seeAll(ctx, to, false)
	if err != nil {
		return err
	}
	if err := mustLead(from[0], targets); err != nil {
		return err
	}
	for _, n := range from {
		if err := d.followOne(ctx, m, n, targets); err != nil {
			return err
		}
	}
	if shape(m.Target) != runbooks.RedisReplication {
		return nil
	}
	others, err := d.others(m)
	if err != nil {
		return err
	}
	for _, n := range others {
		s, err := d.ask(ctx, n)
		if err != nil {
			continue // a sibling that is down is no reason to stop
		}
		if err := d.replicate(ctx, m, n, s, targets[0]); err != nil {
			return err
		}
	}
	return d.keep(ctx, to[0], *targets[0].server)
}

// mustLead returns nil where the new primary is one.
func mustLead(from node, targets []seen) error {
	for _, s := range targets {
		if s.server != nil && s.server.primary() {
			return nil
		}
	}
	for _, s := range targets {
		if s.server == nil {
			return s.err
		}
	}
	return conflict(from.op("follow"), "promote it first", "the member at %s is no primary", targets[0].node.site)
}

func (d *Driver) followOne(ctx context.Context, m activities.Move, n node, targets []seen) error {
	s := d.see(ctx, n, false)
	switch {
	case s.server == nil && s.machine != nil && !s.machine.running():
		if !s.machine.fenced() && s.machine.ReplicaOf == "" && s.machine.Config {
			if err := d.fenceFile(ctx, n); err != nil { // somebody took the fence away since: it must not come back as a second primary
				return err
			}
		}
		if err := d.launch(ctx, n); err != nil {
			return err
		}
		answer, err := d.awaitAnswer(ctx, n)
		if err != nil {
			return err
		}
		s = answer
	case s.server == nil:
		return errors.Join(s.err, s.hostErr)
	}
	switch shape(m.Target) {
	case runbooks.RedisSentinel, runbooks.RedisCluster:
		return d.awaitDemotion(ctx, n) // their own business: raw commands beneath them would be undone, or undo them
	default:
		return d.replicate(ctx, m, n, *s.server, targets[0])
	}
}

// replicate makes one server a replica of the new primary. It discards the server's data where the two cannot go on from each other.
func (d *Driver) replicate(ctx context.Context, m activities.Move, n node, s server, target seen) error {
	if s.primary() || !target.node.is(s.following()) {
		if err := mayDiscard(m, n, s, target); err != nil {
			return err
		}
		host, port, err := net.SplitHostPort(target.node.repl)
		if err != nil {
			return &activities.Error{Type: activities.ErrConfig, Op: n.op("follow"), Err: err}
		}
		if err := d.do(ctx, n, "REPLICAOF", host, port); err != nil {
			return err
		}
	}
	return d.unfenceServer(ctx, n, s)
}

// mayDiscard refuses where the server holds more than the new primary, and in a planned move also where that cannot be known.
func mayDiscard(m activities.Move, n node, s server, target seen) error {
	more := target.server.beyond(s)
	next := "compare the two, then accept the loss: retry --set discard=true"
	switch {
	case more == 0, m.Discard, s.keys() == 0:
		return nil
	case more > 0:
		return conflict(n.op("follow"), next, "it holds %d bytes that the new primary at %s does not have", more, target.node.site)
	case m.Planned && s.primary():
		return conflict(n.op("follow"), next, "it is of another lineage (%s) than the new primary at %s (%s): what it holds would be discarded",
			s.position(), target.node.site, fmt.Sprintf("%s, before %s", target.server.position(), short(target.server.info["master_replid2"])))
	default:
		return nil
	}
}

// awaitDemotion waits until Sentinel or the Cluster has made a replica of a server, and then takes the fence off it.
func (d *Driver) awaitDemotion(ctx context.Context, n node) error {
	for {
		s, err := d.ask(ctx, n)
		if err == nil && (!s.primary() || s.cluster.known && s.cluster.slots == 0) {
			return d.unfenceServer(ctx, n, s)
		}
		if waited := pause(ctx); waited != nil {
			return &activities.Error{Type: activities.ErrNotYet, Op: n.op("follow"), Err: errors.Join(errors.New("it is still a primary"), waited, err)}
		}
	}
}

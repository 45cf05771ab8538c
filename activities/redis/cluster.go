package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/musterhq/muster/activities"
)

// A manual failover that has not come to its end by then was given up by the replica (CLUSTER_MF_TIMEOUT is 5 s).
const clusterPatience = 6 * time.Second

// promoteInCluster fails one shard over after the other: masters vote once in an epoch, so elections at once would only disturb each other.
func (d *Driver) promoteInCluster(ctx context.Context, m activities.Move, from, to []node) error {
	for _, n := range to {
		if err := d.promoteShard(ctx, m, n, from, slices.Concat(from, to)); err != nil {
			return err
		}
	}
	return nil
}

// promoteShard makes a replica its shard's master, and lets it accept writes once the Cluster takes it for that. A replica that won an
// election a short while ago takes itself for the winner of the next one, too: it is overruled in a moment, and what it accepted by then
// would be gone (redis/redis#8752). Then its old election is waited out.
func (d *Driver) promoteShard(ctx context.Context, m activities.Move, n node, from, all []node) error {
	for try := 1; ; try++ {
		s, err := d.ask(ctx, n)
		if err != nil {
			return err
		}
		switch {
		case !s.primary() && !followsAny(s, from), s.primary() && !s.fenced():
			return nil
		case !s.primary():
			if err := d.failShardOver(ctx, m, n, s); err != nil {
				return err
			}
			_, err = d.awaitPrimary(ctx, n, from[0], false, clusterPatience)
		}
		if err == nil {
			err = d.awaitKnown(ctx, n, s.cluster.id, all)
		}
		if err == nil {
			if s, err = d.ask(ctx, n); err == nil {
				return d.unfenceServer(ctx, n, s)
			}
		}
		if try == 3 || ctx.Err() != nil {
			return err
		}
		if waited := d.outwaitElection(ctx, n); waited != nil {
			return errors.Join(err, waited)
		}
	}
}

// failShardOver sends the command. As a master the server refuses writes for now.
func (d *Driver) failShardOver(ctx context.Context, m activities.Move, n node, s server) error {
	command, err := clusterCommand(m, n, s)
	if err != nil {
		return err
	}
	if !s.fenced() {
		if err := d.setFence(ctx, n, fenceStep+s.original()); err != nil {
			return err
		}
	}
	return d.do(ctx, n, command...)
}

// awaitKnown waits until the Cluster knows the new master: all servers that answer, as one that does not know it yet would deny its vote
// to the next shard, or at least most of them, after a second. It fails where the server is a replica again.
func (d *Driver) awaitKnown(ctx context.Context, n node, id string, all []node) error {
	began := time.Now()
	for {
		answered, known := 0, 0
		for _, voter := range all {
			s, err := d.ask(ctx, voter)
			if voter.addr == n.addr && err == nil && !s.primary() {
				return &activities.Error{Type: activities.ErrNotYet, Op: n.op("promote"), Err: errors.New("the Cluster did not take it for its shard's master")}
			}
			if err == nil {
				answered++
				if s.cluster.leaders[id] {
					known++
				}
			}
		}
		waited := time.Since(began)
		if answered > 0 && known == answered || known*2 > answered && waited > time.Second {
			return nil
		}
		if stopped := pause(ctx); stopped != nil || waited > clusterPatience {
			return errors.Join(stopped, &activities.Error{Type: activities.ErrNotYet, Op: n.op("promote"),
				Err: fmt.Errorf("%d of the %d servers that answer know it as its shard's master", known, answered)})
		}
	}
}

// outwaitElection waits until a server would hold an election anew: four times cluster-node-timeout after its last one, four seconds at least.
func (d *Driver) outwaitElection(ctx context.Context, n node) error {
	var config map[string]string
	err := d.conns.use(ctx, n.login(), true, func(ctx context.Context, c *client) (err error) {
		config, err = c.ConfigGet(ctx, "cluster-node-timeout").Result()
		return err
	})
	timeout, parsed := strconv.ParseInt(config["cluster-node-timeout"], 10, 64)
	if err != nil || parsed != nil {
		return mapError(n.op("ask"), errors.Join(err, parsed))
	}
	return wait(ctx, max(4*time.Second, 4*time.Duration(timeout)*time.Millisecond))
}

// clusterCommand: with its master a replica asks that first and loses nothing; without, it asks the other masters (FORCE); where too few of
// them are left to vote only TAKEOVER is left, which asks nobody, and must have been accepted.
func clusterCommand(m activities.Move, n node, s server) ([]any, error) {
	switch {
	case s.linked() && m.Planned:
		return []any{"CLUSTER", "FAILOVER"}, nil
	case s.cluster.alive*2 > s.cluster.masters && !m.Takeover:
		return []any{"CLUSTER", "FAILOVER", "FORCE"}, nil
	case m.Takeover:
		return []any{"CLUSTER", "FAILOVER", "TAKEOVER"}, nil
	default:
		return nil, &activities.Error{Type: activities.ErrRefused, Op: n.op("promote"),
			Err:  errors.Join(fmt.Errorf("%d of the cluster's %d masters are left, too few to vote", s.cluster.alive, s.cluster.masters)),
			Next: "bring masters back, or accept a promotion without a vote: retry --set takeover=true"}
	}
}

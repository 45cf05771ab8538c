package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster/activities"
)

// A manual failover that has not come to its end by then was given up by the replica (CLUSTER_MF_TIMEOUT is 5 s).
const clusterPatience = 6 * time.Second

// promoteInCluster fails one shard over after the other: masters vote once in an epoch, so elections at once would only disturb each other.
func (d *Driver) promoteInCluster(ctx context.Context, m activities.Move, from, to []node) error {
	for _, n := range to {
		for try := 1; ; try++ {
			s, err := d.ask(ctx, n)
			if err != nil {
				return err
			}
			if s.primary() && s.fenced() { // left from an earlier move
				if err := d.unfenceServer(ctx, n, s); err != nil {
					return err
				}
			}
			if s.primary() || !followsAny(s, from) {
				break
			}
			command, err := clusterCommand(m, n, s)
			if err != nil {
				return err
			}
			if s.fenced() {
				if err := d.setFence(ctx, n, s.original()); err != nil {
					return err
				}
			}
			if err := d.do(ctx, n, command...); err != nil {
				return err
			}
			if _, err = d.awaitPrimary(ctx, n, from[0], clusterPatience); err == nil {
				d.awaitKnown(ctx, n, s.cluster.id, slices.Concat(from, to))
				break
			}
			if try == 3 || ctx.Err() != nil {
				return err
			}
		}
	}
	return nil
}

// awaitKnown waits until every server that answers knows the new master: one that does not yet would deny its vote in the next
// election, which then has to wait for its retry. It is no error where one never does.
func (d *Driver) awaitKnown(ctx context.Context, n node, id string, all []node) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, voter := range all {
		for {
			s, err := d.ask(ctx, voter)
			if err != nil || s.cluster.leaders[id] || voter.addr == n.addr {
				break
			}
			if pause(ctx) != nil {
				return
			}
		}
	}
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

package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

var _ activities.Preparer = (*Driver)(nil)

// A replica tells its primary once a second how far it is, and FAILOVER waits for that word while clients are held up. So the fence
// begins shortly before the next one is due: what lies between is what closing the route and fencing take.
const (
	ackPeriod    = time.Second
	fenceBefore  = 200 * time.Millisecond
	ackPatience  = 2 * time.Second // no word by then: nobody writes, and FAILOVER has nothing to wait for
	ackLookEvery = 10 * time.Millisecond
)

// A Sentinel asks a replica for its role every ten seconds, and every second in the middle of a failover: it learns of a promotion, and
// sends clients there, when its last look is a second old. So the fence begins when that is as old as the promotion takes to be done.
const (
	lookAged       = 450 * time.Millisecond
	lookTooOld     = 550 * time.Millisecond
	lookPatience   = 22 * time.Second // ten until the last Sentinel has seen the role, and ten until the moment comes round again
	lookAtSentinel = 20 * time.Millisecond
)

// Prepare waits, while clients still write, for the moment at which cutting them off costs them least: both a replica and a Sentinel go
// by a clock of their own. It asks the servers and changes nothing; where no clock is seen it is met at once. At most 22 s. Safe to repeat.
func (d *Driver) Prepare(m activities.Move) activities.Action {
	return activities.Action{Look: func(ctx context.Context) (activities.Look, error) {
		from, to, err := d.pair(m)
		if err != nil {
			return activities.Look{}, err
		}
		began, found := time.Now(), false
		switch shape(m.Target) {
		case runbooks.RedisSentinel:
			found = d.awaitLook(ctx, to[0])
		case runbooks.RedisReplication:
			found = d.awaitAck(ctx, from[0], to[0])
		}
		if ctx.Err() != nil {
			return activities.Look{}, fmt.Errorf("prepare %s: %w", m.Name, ctx.Err())
		}
		look := activities.Look{Met: true, Facts: journal.Facts{"moment": "any"}}
		if found {
			look.Facts["moment"] = "waited for " + time.Since(began).Round(time.Millisecond).String()
		}
		return look, nil
	}}
}

// awaitAck returns shortly before the replica's next word is due; false where it was not heard.
func (d *Driver) awaitAck(ctx context.Context, from, to node) bool {
	target, err := d.ask(ctx, to)
	if err != nil {
		return false
	}
	heard := ""
	for limit := time.Now().Add(ackPatience); time.Now().Before(limit); {
		primary, err := d.ask(ctx, from)
		if err != nil {
			return false
		}
		at := time.Now()
		replica, online := replicaLine(primary, to, target)
		if !online {
			return false
		}
		if heard != "" && replica["offset"] != heard {
			return wait(ctx, ackPeriod-fenceBefore-time.Since(at)) == nil
		}
		heard = replica["offset"]
		if wait(ctx, ackLookEvery) != nil {
			return false
		}
	}
	return false
}

// awaitLook returns when every Sentinel has seen n as a replica, and the look of the one to be asked is as old as wanted; false where
// that was not seen.
func (d *Driver) awaitLook(ctx context.Context, n node) bool {
	good, _ := d.quorum(ctx, n.redis)
	if len(good) == 0 {
		return false
	}
	for limit := time.Now().Add(lookPatience); time.Now().Before(limit); {
		seen, err := d.sentinelSees(ctx, good[0], n)
		if err != nil {
			return false
		}
		pause := lookAtSentinel
		switch {
		case seen.age < lookAged:
			pause = lookAged - seen.age
		case seen.age <= lookTooOld && d.mistaken(ctx, n) == "":
			return true
		}
		if wait(ctx, pause) != nil {
			return false
		}
	}
	return false
}

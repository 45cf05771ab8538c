package redis

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

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
	lookPatience   = 12 * time.Second
	lookAtSentinel = 20 * time.Millisecond
)

// Prepare waits, while clients still write, for the moment at which cutting them off costs them least: both a replica and a Sentinel go
// by a clock of their own. It asks the servers and changes nothing; where no clock is seen it is met at once. At most 12 s. Safe to repeat.
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

// awaitLook returns when the look that the Sentinel to be asked had at n is as old as wanted; false where that was not seen.
func (d *Driver) awaitLook(ctx context.Context, n node) bool {
	good, _ := d.quorum(ctx, n.redis)
	if len(good) == 0 {
		return false
	}
	for limit := time.Now().Add(lookPatience); time.Now().Before(limit); {
		age, err := d.lookedAt(ctx, good[0], n)
		switch {
		case err != nil || age < 0:
			return false
		case age >= lookAged && age <= lookTooOld:
			return true
		case age < lookAged:
			err = wait(ctx, lookAged-age)
		default:
			err = wait(ctx, lookAtSentinel)
		}
		if err != nil {
			return false
		}
	}
	return false
}

// lookedAt is how long ago a Sentinel asked n for its role; -1 where it does not know n.
func (d *Driver) lookedAt(ctx context.Context, sentinel string, n node) (time.Duration, error) {
	var replicas []map[string]string
	err := d.conns.use(ctx, sentinelLogin(n.redis, sentinel), true, func(ctx context.Context, c *client) (err error) {
		cmd := redis.NewMapStringStringSliceCmd(ctx, "SENTINEL", "REPLICAS", n.redis.MasterName)
		_ = c.Process(ctx, cmd)
		replicas, err = cmd.Result()
		return err
	})
	if err != nil {
		return 0, mapError("ask the Sentinel at "+sentinel+" for replicas", err)
	}
	for _, r := range replicas {
		if !n.is(net.JoinHostPort(r["ip"], r["port"])) {
			continue
		}
		age, err := strconv.ParseInt(r["info-refresh"], 10, 64)
		return time.Duration(age) * time.Millisecond, err
	}
	return -1, nil
}

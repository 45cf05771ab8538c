package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

// How long Sentinels may say that they have no replica to promote, or are at work, before that is an error.
const sentinelPatience = 20 * time.Second

func sentinelLogin(r *runbooks.Redis, address string) login {
	return login{address: address, user: r.SentinelUser, password: r.SentinelPassword}
}

// master asks one Sentinel where the master is.
func (d *Driver) master(ctx context.Context, r *runbooks.Redis, address string) (string, error) {
	var at []string
	err := d.conns.use(ctx, sentinelLogin(r, address), true, func(ctx context.Context, c *client) (err error) {
		at, err = c.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", r.MasterName).StringSlice()
		return err
	})
	if errors.Is(err, redis.Nil) || err == nil && len(at) != 2 {
		return "", &activities.Error{Type: activities.ErrConfig, Op: "ask the Sentinel at " + address,
			Err: fmt.Errorf("it knows no master %s", r.MasterName), Next: "check master_name in the estate"}
	}
	if err != nil {
		return "", mapError("ask the Sentinel at "+address, err)
	}
	return net.JoinHostPort(at[0], at[1]), nil
}

// sentinelsDisagree is empty where most Sentinels send clients to n.
func (d *Driver) sentinelsDisagree(ctx context.Context, n node) string {
	agree := 0
	var others []string
	for _, address := range n.redis.Sentinels {
		at, err := d.master(ctx, n.redis, address)
		switch {
		case err != nil:
			others = append(others, oneLine(err))
		case n.is(at):
			agree++
		default:
			others = append(others, fmt.Sprintf("the one at %s sends clients to %s", address, at))
		}
	}
	if agree*2 > len(n.redis.Sentinels) {
		return ""
	}
	return fmt.Sprintf("%d of %d Sentinels send clients there: %s", agree, len(n.redis.Sentinels), strings.Join(others, "; "))
}

// quorum asks every Sentinel whether enough of them agree and enough can authorize a failover; it returns those that say so.
func (d *Driver) quorum(ctx context.Context, r *runbooks.Redis) (good []string, why error) {
	var errs []error
	for _, address := range r.Sentinels {
		err := d.conns.use(ctx, sentinelLogin(r, address), true, func(ctx context.Context, c *client) error {
			return c.Do(ctx, "SENTINEL", "CKQUORUM", r.MasterName).Err()
		})
		if err == nil {
			good = append(good, address)
			continue
		}
		errs = append(errs, mapError("ask the Sentinel at "+address+" for its quorum", err))
	}
	return good, errors.Join(errs...)
}

// sighting is what a Sentinel last saw of a replica.
type sighting struct {
	role string
	age  time.Duration
}

// sentinelSees returns what the Sentinel at address last saw of its replica n.
func (d *Driver) sentinelSees(ctx context.Context, address string, n node) (sighting, error) {
	var replicas []map[string]string
	err := d.conns.use(ctx, sentinelLogin(n.redis, address), true, func(ctx context.Context, c *client) (err error) {
		cmd := redis.NewMapStringStringSliceCmd(ctx, "SENTINEL", "REPLICAS", n.redis.MasterName)
		_ = c.Process(ctx, cmd)
		replicas, err = cmd.Result()
		return err
	})
	if err != nil {
		return sighting{}, mapError("ask the Sentinel at "+address+" for replicas", err)
	}
	for _, r := range replicas {
		if n.is(net.JoinHostPort(r["ip"], r["port"])) {
			age, err := strconv.ParseInt(r["info-refresh"], 10, 64)
			return sighting{role: r["role-reported"], age: time.Duration(age) * time.Millisecond}, err
		}
	}
	return sighting{}, fmt.Errorf("the Sentinel at %s knows no replica %s", address, n.addr)
}

// mistaken says which Sentinels last saw the replica n as a master, as it was before the last failover. One that finds it a master at its
// next look takes that for the same old state, and makes it a replica again (sentinel.c, +convert-to-slave): a promotion in between is undone.
func (d *Driver) mistaken(ctx context.Context, n node) string {
	var by []string
	for _, address := range n.redis.Sentinels {
		if seen, err := d.sentinelSees(ctx, address, n); err == nil && seen.role == "master" {
			by = append(by, address)
		}
	}
	return strings.Join(by, ", ")
}

func (d *Driver) mustBeKnown(ctx context.Context, n node) error {
	by := d.mistaken(ctx, n)
	if by == "" {
		return nil
	}
	return &activities.Error{Type: activities.ErrNotYet, Op: n.op("promote"),
		Err: fmt.Errorf("the Sentinels at %s have yet to see that it is a replica, and would make it one again", by)}
}

// promoteBySentinel has one Sentinel fail the master over. Two that were asked at once would do it twice.
// Planned, it first waits for those that are mistaken; where the master is gone nobody is made its replica again.
func (d *Driver) promoteBySentinel(ctx context.Context, planned bool, to node) error {
	good, why := d.quorum(ctx, to.redis)
	if len(good)*2 <= len(to.redis.Sentinels) {
		return &activities.Error{Type: activities.ErrRefused, Op: to.op("promote"), Err: fmt.Errorf("the Sentinels have no quorum: %w", why),
			Next: "start the Sentinels that are down"}
	}
	ctx, cancel := context.WithTimeout(ctx, sentinelPatience)
	defer cancel()
	for {
		s, err := d.ask(ctx, to)
		if err == nil && s.primary() {
			return d.unfenceServer(ctx, to, s)
		}
		if err == nil && planned {
			err = d.mustBeKnown(ctx, to)
		}
		if err == nil {
			err = d.conns.use(ctx, sentinelLogin(to.redis, good[0]), false, func(ctx context.Context, c *client) error {
				return c.Do(ctx, "SENTINEL", "FAILOVER", to.redis.MasterName).Err()
			})
			if err == nil {
				return d.awaitSentinel(ctx, to)
			}
			err = mapError(to.op("promote by SENTINEL FAILOVER"), err)
			if activities.TypeOf(err) != activities.ErrNotYet {
				return err
			}
		}
		if waited := pause(ctx); waited != nil {
			return err
		}
	}
}

// awaitSentinel waits until the failover made n the master. What Sentinel gives up it does not say: the look will.
func (d *Driver) awaitSentinel(ctx context.Context, n node) error {
	for {
		s, err := d.ask(ctx, n)
		if err == nil && s.primary() {
			return d.unfenceServer(ctx, n, s)
		}
		if waited := pause(ctx); waited != nil {
			return nil
		}
	}
}

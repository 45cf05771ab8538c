package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
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

// promoteBySentinel has one Sentinel fail the master over. Two that were asked at once would do it twice.
func (d *Driver) promoteBySentinel(ctx context.Context, to node) error {
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

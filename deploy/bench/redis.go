package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/host"
	"github.com/musterhq/muster/activities/redis"
	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/runbooks"
)

//go:embed redis.sh
var redisScript string

// redis measures planned moves of Redis, each in turns with the command that Redis has for it, alone.
func (b *bench) redis(ctx context.Context) error {
	moved := 0
	for _, c := range []struct {
		shape, id, what, alone string
		rhythm                 time.Duration // of what replicas and Sentinels do by their own clocks
	}{
		{runbooks.RedisReplication, "redis/replication", "Redis: clients' outage of a planned move", "FAILOVER and the route, alone", time.Second},
		{runbooks.RedisSentinel, "redis/sentinel", "Redis under Sentinel: the same", "SENTINEL FAILOVER alone, no fence", 10 * time.Second},
	} {
		f, err := b.redisShape(ctx, c.shape, c.rhythm)
		if err != nil {
			return fmt.Errorf("%s: %w", c.shape, err)
		}
		f.ID, f.What, f.Reference.What = c.id, c.what, c.alone
		moved += len(f.Samples)
		b.add(f)
	}
	// inTurns ends with an error at the first move that loses one.
	b.add(figure{ID: "redis/lost", What: fmt.Sprintf("planned Redis moves that lost an acknowledged write, of %d", moved), Unit: "moves", Aim: 1})
	return nil
}

// redisShape measures on an estate of its own.
func (b *bench) redisShape(ctx context.Context, shape string, rhythm time.Duration) (f figure, err error) {
	shop := b.estate
	defer func() { b.estate = shop }()
	if b.estate, err = sandbox.Up(ctx, sandbox.Options{Systems: []string{}, Redis: shape, RuntimeTCP: true}); err != nil {
		return f, err
	}
	estate := b.estate
	defer func() {
		down, cancel := afterwards(ctx)
		defer cancel()
		err = errors.Join(err, estate.Down(down, true))
	}()
	p, err := b.start(ctx, "redis-"+shape, "")
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, p.stop(ctx)) }()
	h := &byHand{bench: b, system: sandbox.RedisSystem, command: b.redisByHand}
	h.open(func(hosts *host.Hosts) driver { return redis.New(hosts) })
	defer func() { err = errors.Join(err, h.close(ctx)) }()
	m := &moves{bench: b, runs: runs{p.temporal}, system: sandbox.RedisSystem}
	if _, err := m.move(ctx, ""); err != nil { // warm
		return f, err
	}
	return b.inTurns(ctx, m, h, b.pick(10, 3), rhythm)
}

func (b *bench) redisByHand(ctx context.Context, kind string, target activities.Target, here, there string) error {
	r := target.System.Redis
	password, err := b.estate.Password("redis")
	if err != nil {
		return err
	}
	var sentinels []string
	for _, address := range r.Sentinels {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return err
		}
		sentinels = append(sentinels, port)
	}
	return b.script(ctx, redisScript, kind, "", target, here, there, "REDIS_USER="+r.User, "REDISCLI_AUTH="+password,
		"SENTINEL_PORTS="+strings.Join(sentinels, " "), "MASTER_NAME="+r.MasterName)
}

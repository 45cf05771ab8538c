package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

const marksPrefix = "muster:mark:"

// marks are the members of one sorted set for each writer, their scores the numbers.
type marks struct {
	clients []*redis.Client // the servers that may hold the key; the first is the one that answered last
	cluster *redis.ClusterClient
	op      string // subject of its errors
}

// Marks connects as a client would: at address, or where that is empty at the master that the Sentinels or the Cluster name.
// In a cluster the address of a site's server stands for all servers of that site, and for no others.
func (d *Driver) Marks(ctx context.Context, t activities.Target, address string) (activities.Marks, error) {
	r := t.System.Redis
	if r == nil {
		return nil, &activities.Error{Type: activities.ErrConfig, Op: "open marks of " + t.Name, Err: errors.New("the estate has no redis section for it")}
	}
	m := &marks{op: fmt.Sprintf("of %s at %s", t.Name, address)}
	if address == "" {
		m.op = "of " + t.Name
	}
	var err error
	switch {
	case r.Shape == runbooks.RedisCluster:
		err = d.clusterMarks(t, address, m)
	case address == "":
		address, err = d.findMaster(ctx, t)
	}
	if err != nil {
		return nil, err
	}
	if r.Shape != runbooks.RedisCluster {
		m.clients = []*redis.Client{redis.NewClient(options(login{address: address, user: r.User, password: r.Password}, answerTimeout))}
	}
	if err := m.do(ctx, func(c redis.Cmdable) error { return c.Ping(ctx).Err() }); err != nil {
		m.Close()
		return nil, mapError("open marks "+m.op, err)
	}
	return m, nil
}

func (d *Driver) clusterMarks(t activities.Target, address string, m *marks) error {
	r := t.System.Redis
	var all []string
	for site := range t.System.Members {
		nodes, err := d.member(t, site)
		if err != nil {
			return err
		}
		var own []string
		for _, n := range nodes {
			own = append(own, n.addr)
		}
		if slices.Contains(own, address) || t.System.Members[site].Address == address {
			for _, addr := range own {
				o := options(login{address: addr, user: r.User, password: r.Password}, answerTimeout)
				// A replica of a cluster is read only by those who ask for it.
				o.OnConnect = func(ctx context.Context, c *redis.Conn) error { return c.ReadOnly(ctx).Err() }
				m.clients = append(m.clients, redis.NewClient(o))
			}
			return nil
		}
		all = append(all, own...)
	}
	if address != "" {
		all = []string{address}
	}
	slices.Sort(all)
	plain := options(login{user: r.User, password: r.Password, address: all[0]}, answerTimeout)
	m.cluster = redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: all, Protocol: 2, DisableIdentity: true, ContextTimeoutEnabled: true, MaxRedirects: 3, MaxRetries: -1, DialerRetries: 1,
		DialTimeout: connectTimeout, ReadTimeout: answerTimeout, WriteTimeout: answerTimeout, PoolSize: plain.PoolSize,
		MaintNotificationsConfig: plain.MaintNotificationsConfig, CredentialsProviderContext: plain.CredentialsProviderContext,
	})
	return nil
}

// findMaster is what a client does that knows the Sentinels, or only the members: it asks, and checks the answer by ROLE.
func (d *Driver) findMaster(ctx context.Context, t activities.Target) (string, error) {
	r := t.System.Redis
	var asked []error
	check := func(address string) bool {
		var role []any
		err := d.conns.use(ctx, login{address: address, user: r.User, password: r.Password}, true, func(ctx context.Context, c *client) (err error) {
			role, err = c.Do(ctx, "ROLE").Slice()
			return err
		})
		if err == nil && len(role) > 0 && role[0] == "master" {
			return true
		}
		asked = append(asked, fmt.Errorf("%s is no master: %w", address, err))
		return false
	}
	for _, sentinel := range r.Sentinels {
		at, err := d.master(ctx, r, sentinel)
		if err != nil {
			asked = append(asked, err)
		} else if check(at) {
			return at, nil
		}
	}
	if r.Shape == runbooks.RedisReplication {
		for _, m := range t.System.Members {
			if check(m.Address) {
				return m.Address, nil
			}
		}
	}
	return "", &activities.Error{Type: activities.ErrUnreachable, Op: "find the master of " + t.Name, Err: errors.Join(asked...)}
}

// do asks the servers one after the other until one of them does not point elsewhere.
func (m *marks) do(ctx context.Context, ask func(redis.Cmdable) error) error {
	if m.cluster != nil {
		return ask(m.cluster)
	}
	var err error
	for i, c := range m.clients {
		err = ask(c)
		var said redis.Error
		var network *net.OpError
		moved := errors.As(err, &said) && strings.HasPrefix(said.Error(), "MOVED ")
		unreached := errors.As(err, &network) && network.Op == "dial"
		if !moved && !unreached {
			m.clients[0], m.clients[i] = m.clients[i], m.clients[0]
			return err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return err
}

// Write is one ZADD, acknowledged by the master alone. The same mark may be written again.
func (m *marks) Write(ctx context.Context, writer string, seq int64) error {
	err := m.do(ctx, func(c redis.Cmdable) error {
		return c.ZAdd(ctx, marksPrefix+writer, redis.Z{Score: float64(seq), Member: seq}).Err()
	})
	return mapError("write a mark "+m.op, err)
}

// Read finds nothing where no mark was ever written.
func (m *marks) Read(ctx context.Context, writer string, first, last int64) ([]int64, error) {
	var found []string
	err := m.do(ctx, func(c redis.Cmdable) (err error) {
		found, err = c.ZRangeByScore(ctx, marksPrefix+writer, &redis.ZRangeBy{Min: strconv.FormatInt(first, 10), Max: strconv.FormatInt(last, 10)}).Result()
		return err
	})
	if err != nil {
		return nil, mapError("read marks "+m.op, err)
	}
	return numbers(found)
}

func numbers(found []string) ([]int64, error) {
	all := make([]int64, 0, len(found))
	for _, text := range found {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read marks: somebody else wrote among them: %w", err)
		}
		all = append(all, n)
	}
	return all, nil
}

func (m *marks) Last(ctx context.Context, writer string) (int64, error) {
	var found []string
	err := m.do(ctx, func(c redis.Cmdable) (err error) {
		found, err = c.ZRevRange(ctx, marksPrefix+writer, 0, 0).Result()
		return err
	})
	if err != nil || len(found) == 0 {
		return 0, mapError("read the last mark "+m.op, err)
	}
	all, err := numbers(found)
	if err != nil {
		return 0, err
	}
	return all[0], nil
}

func (m *marks) Forget(ctx context.Context, writer string, below int64) error {
	err := m.do(ctx, func(c redis.Cmdable) error {
		return c.ZRemRangeByScore(ctx, marksPrefix+writer, "-inf", "("+strconv.FormatInt(below, 10)).Err()
	})
	return mapError("forget marks "+m.op, err)
}

// Where tells servers apart by their run ID and port: behind a proxy all have the same address.
func (m *marks) Where(ctx context.Context) (journal.Facts, error) {
	var text string
	err := m.do(ctx, func(c redis.Cmdable) (err error) {
		if m.cluster == nil {
			if m.isCluster() { // the server that has the marks, not any of the site
				if err := c.Exists(ctx, marksPrefix).Err(); err != nil {
					return err
				}
			}
			text, err = c.Info(ctx).Result()
			return err
		}
		owner, err := m.cluster.MasterForKey(ctx, marksPrefix)
		if err == nil {
			text, err = owner.Info(ctx).Result()
		}
		return err
	})
	if err != nil {
		return nil, mapError("ask which member answers "+m.op, err)
	}
	info := parseInfo(text)
	role := "primary"
	if info["role"] != "master" {
		role = "standby"
	}
	return journal.Facts{"run_id": info["run_id"], "port": info["tcp_port"], "role": role}, nil
}

func (m *marks) isCluster() bool { return len(m.clients) > 1 }

func (m *marks) Close() {
	for _, c := range m.clients {
		_ = c.Close()
	}
	if m.cluster != nil {
		_ = m.cluster.Close()
	}
}

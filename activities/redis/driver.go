// Package redis drives Redis 6.2 and later, and Valkey: plain replication, Sentinel and Cluster.
//
// A primary is fenced while it runs. Its min-replicas-to-write is raised by fenceStep, so that it refuses every write, and what it was
// before can be read off the number; a second step up says that the first one stands in the configuration file.
package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

// Driver implements activities.System and keeps one client per server for its looks.
type Driver struct {
	hosts activities.Hosts
	conns conns
}

var _ activities.System = (*Driver)(nil)

// New returns a driver that reaches the members' machines through hosts.
func New(hosts activities.Hosts) *Driver {
	silence()
	return &Driver{hosts: hosts, conns: conns{kept: map[login]*client{}}}
}

// Close ends the kept connections.
func (d *Driver) Close() { d.conns.close() }

// node is one server with all that is needed to reach it. A member is one node, or in a cluster several.
type node struct {
	system string
	site   string
	redis  *runbooks.Redis
	addr   string
	repl   string // as the other servers reach it
	host   string // name in the estate, empty where none is named
	at     runbooks.Host
	config string
	start  []string
}

func (n node) op(verb string) string {
	return fmt.Sprintf("%s %s at %s (%s)", verb, n.system, n.site, n.addr)
}

func (n node) login() login {
	return login{address: n.addr, user: n.redis.User, password: n.redis.Password}
}

// member finds the servers of a site.
func (d *Driver) member(t activities.Target, site string) ([]node, error) {
	op := fmt.Sprintf("find %s at %s", t.Name, site)
	wrong := func(text string, args ...any) error {
		return &activities.Error{Type: activities.ErrConfig, Op: op, Err: fmt.Errorf(text, args...)}
	}
	m, ok := t.System.Members[site]
	switch {
	case !ok:
		return nil, wrong("the system has no member there")
	case t.System.Redis == nil:
		return nil, wrong("the estate has no redis section for it")
	}
	own := runbooks.RedisMember{}
	if m.Redis != nil {
		own = *m.Redis
	}
	first := node{system: t.Name, site: site, redis: t.System.Redis, addr: m.Address, repl: m.Address, host: m.Host, config: own.ConfigFile, start: own.Start}
	if own.ReplicationAddress != "" {
		first.repl = own.ReplicationAddress
	}
	nodes := []node{first}
	if t.System.Redis.Shape == runbooks.RedisCluster {
		nodes = nil
		for _, n := range own.Nodes {
			next := first
			next.addr, next.repl, next.config, next.start = n.Address, n.Address, n.ConfigFile, n.Start
			if n.Host != "" {
				next.host = n.Host
			}
			nodes = append(nodes, next)
		}
		if len(nodes) == 0 {
			return nil, wrong("the estate names no nodes for it")
		}
	}
	for i, n := range nodes {
		if n.host == "" {
			continue
		}
		if nodes[i].at, ok = t.Hosts[n.host]; !ok {
			return nil, wrong("host %s is not in the estate", n.host)
		}
	}
	return nodes, nil
}

// pair finds both members of a move.
func (d *Driver) pair(m activities.Move) (from, to []node, err error) {
	if m.From == m.To {
		return nil, nil, &activities.Error{Type: activities.ErrConfig, Op: "move " + m.Name, Err: fmt.Errorf("from and to are both %s", m.From)}
	}
	if from, err = d.member(m.Target, m.From); err != nil {
		return nil, nil, err
	}
	to, err = d.member(m.Target, m.To)
	return from, to, err
}

func shape(t activities.Target) string {
	if t.System.Redis == nil {
		return ""
	}
	return t.System.Redis.Shape
}

// sameAddress compares host:port; "localhost" and "127.0.0.1" are one machine.
func sameAddress(a, b string) bool {
	if a == b {
		return true
	}
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && loopback(hostA) && loopback(hostB)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// is says whether address is where this server is found.
func (n node) is(address string) bool {
	return sameAddress(address, n.repl) || sameAddress(address, n.addr)
}

// run runs a command on the node's host.
func (d *Driver) run(ctx context.Context, n node, c activities.Command) (activities.Output, error) {
	if n.host == "" {
		return activities.Output{}, &activities.Error{
			Type: activities.ErrUnreachable, Op: n.op("reach the host of"), Err: errors.New("the estate names no host for this member"),
		}
	}
	h, err := d.hosts.Open(ctx, n.host, n.at)
	if err != nil {
		return activities.Output{}, err
	}
	defer func() { _ = h.Close() }()
	return h.Run(ctx, c)
}

// others are the members that are neither From nor To.
func (d *Driver) others(m activities.Move) ([]node, error) {
	var all []node
	for site := range m.System.Members {
		if site == m.From || site == m.To {
			continue
		}
		nodes, err := d.member(m.Target, site)
		if err != nil {
			return nil, err
		}
		all = append(all, nodes...)
	}
	slices.SortFunc(all, func(a, b node) int { return strings.Compare(a.addr, b.addr) })
	return all, nil
}

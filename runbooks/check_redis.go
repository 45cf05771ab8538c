package runbooks

import "regexp"

// What the driver writes into Sentinel's commands.
var masterName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

func (d *document) checkRedis(path string, s System) {
	if !d.block(path, "redis", s.Kind == "redis", s.Redis == nil, "kind") || s.Redis == nil {
		return
	}
	r, at := s.Redis, join(path, "redis")
	if d.bad[at] || d.bad[join(at, "shape")] || !d.has(join(at, "shape")) {
		return
	}
	set := map[string]bool{"sentinels": len(r.Sentinels) > 0, "master_name": r.MasterName != "",
		"sentinel_user": r.SentinelUser != "", "sentinel_password": r.SentinelPassword != ""}
	for _, key := range []string{"sentinels", "master_name", "sentinel_user", "sentinel_password"} {
		switch needed := key == "sentinels" || key == "master_name"; {
		case d.bad[join(at, key)]:
		case r.Shape == RedisSentinel && needed && !set[key]:
			d.problem(join(at, key), "add it", "missing key %q; shape: sentinel needs sentinels and master_name", key)
		case r.Shape != RedisSentinel && set[key]:
			d.problem(join(at, key), "remove it, or write shape: sentinel", "the key belongs to shape: sentinel")
		}
	}
	seen := owners{}
	for i, address := range r.Sentinels {
		d.check(item(join(at, "sentinels"), i), validAddress, address)
		d.unique(seen, item(join(at, "sentinels"), i), "address", address)
	}
	if key := join(at, "master_name"); d.has(key) && !masterName.MatchString(r.MasterName) {
		d.problem(key, "", "%s is not the name of a master; expected letters, digits and '._-'", shown(r.MasterName))
	}
	for key, user := range map[string]string{"user": r.User, "sentinel_user": r.SentinelUser} {
		if at := join(at, key); d.has(at) && !loginName.MatchString(user) {
			d.problem(at, "", "%s is not the name of a user; expected letters, digits, '_', '.' and '-', a letter or '_' first", shown(user))
		}
	}
}

func (d *document) checkRedisMember(e *Estate, path string, s System, m Member, shared owners) {
	at := join(path, "redis")
	if d.bad[at] {
		return
	}
	if s.Kind != "redis" {
		if m.Redis != nil {
			d.problem(at, "remove it, or write kind: redis", "the key belongs to kind: redis")
		}
		return
	}
	if m.PostgreSQL != nil {
		d.problem(join(path, "postgresql"), "remove it", "the key belongs to kind: postgresql")
	}
	cluster := s.Redis != nil && s.Redis.Shape == RedisCluster
	if m.Redis == nil {
		if cluster {
			d.problem(at, "add it, with nodes", "missing key %q; a member of a cluster needs its nodes", "redis")
		}
		return
	}
	r := m.Redis
	d.checkPath(join(at, "config_file"), r.ConfigFile)
	d.check(join(at, "replication_address"), validAddress, r.ReplicationAddress)
	nodes := join(at, "nodes")
	if cluster && len(r.Nodes) == 0 && !d.bad[nodes] {
		d.problem(nodes, "list every server of the site", "missing key %q; a member of a cluster needs its nodes", "nodes")
	}
	if !cluster && len(r.Nodes) > 0 && s.Redis != nil {
		d.problem(nodes, "remove it, or write shape: cluster", "the key belongs to shape: cluster")
	}
	if cluster {
		own := map[string]bool{"config_file": r.ConfigFile != "", "start": len(r.Start) > 0, "replication_address": r.ReplicationAddress != ""}
		for _, key := range []string{"config_file", "start", "replication_address"} {
			if own[key] {
				d.problem(join(at, key), "write it at each of nodes", "the servers of a cluster are its nodes, and this is of a server")
			}
		}
	}
	for i, n := range r.Nodes {
		d.checkRedisNode(e, item(nodes, i), m, n, shared)
	}
}

func (d *document) checkRedisNode(e *Estate, path string, m Member, n RedisNode, shared owners) {
	d.check(join(path, "address"), validAddress, n.Address)
	if n.Address != m.Address { // the member's own address is that of one of its nodes
		d.unique(shared, join(path, "address"), "address", n.Address)
	}
	d.checkPath(join(path, "config_file"), n.ConfigFile)
	if host := join(path, "host"); d.has(host) {
		if _, known := e.Hosts[n.Host]; !known {
			d.unknown(host, "host", n.Host, sorted(e.Hosts))
		}
	}
}

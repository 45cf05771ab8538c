package sandbox

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/musterhq/muster/runbooks"
)

// RedisSystem is what the Redis system of a sandbox is called.
const RedisSystem = "sessions"

const (
	debianBin = "/usr/bin"
	sentinels = 3
	shards    = 3 // of a cluster; each has a node at each site
)

const redisConfig = `# muster sandbox
bind 127.0.0.1
port %d
dir %s
logfile redis.log
pidfile ""
appendonly yes
appendfsync everysec
no-appendfsync-on-rewrite yes
save ""
repl-diskless-sync yes
repl-diskless-sync-delay 0
repl-backlog-size 4mb
user default off
user %s on >%s ~* &* +@all
masteruser %s
masterauth %s
`

const sentinelConfig = `# muster sandbox
bind 127.0.0.1
port %[1]d
dir %[2]s
logfile sentinel.log
pidfile ""
sentinel monitor %[3]s 127.0.0.1 %[4]d 2
sentinel auth-user %[3]s %[5]s
sentinel auth-pass %[3]s %[6]s
sentinel down-after-milliseconds %[3]s 5000
sentinel failover-timeout %[3]s 10000
`

// redisNode is one server of the Redis system.
type redisNode struct {
	site string
	name string // of its port: sessions/east, for a cluster sessions/east-1
}

func (s *Sandbox) redisNodes() []redisNode {
	var nodes []redisNode
	for _, site := range sites {
		switch s.state.Redis {
		case "":
		case runbooks.RedisCluster:
			for i := range shards {
				nodes = append(nodes, redisNode{site, fmt.Sprintf("%s-%d", memberName(RedisSystem, site), i+1)})
			}
		default:
			nodes = append(nodes, redisNode{site, memberName(RedisSystem, site)})
		}
	}
	return nodes
}

func (s *Sandbox) sentinelNames() []string {
	if s.state.Redis != runbooks.RedisSentinel {
		return nil
	}
	var names []string
	for i := range sentinels {
		names = append(names, fmt.Sprintf("sentinel-%d", i+1))
	}
	return names
}

// redisPorts are the names of the ports that the Redis system needs.
func (s *Sandbox) redisPorts() []string {
	names := s.sentinelNames()
	for _, n := range s.redisNodes() {
		names = append(names, n.name)
		if s.state.Redis == runbooks.RedisCluster {
			names = append(names, busName(n.name))
		}
	}
	if s.redisRouted() {
		names = append(names, routeName(RedisSystem))
	}
	return names
}

// redisRouted: clients of Sentinel and Cluster find their master themselves.
func (s *Sandbox) redisRouted() bool {
	return s.state.Redis == runbooks.RedisReplication && !s.state.NoRoute
}

// systemNames are all systems, in the order in which runbooks move them.
func (s *Sandbox) systemNames() []string {
	if s.state.Redis == "" {
		return s.state.Systems
	}
	return append(slices.Clone(s.state.Systems), RedisSystem)
}

// routedNames are the systems that have a route.
func (s *Sandbox) routedNames() []string {
	switch {
	case s.state.NoRoute:
		return nil
	case s.redisRouted():
		return s.systemNames()
	default:
		return s.state.Systems
	}
}

// busName is what the port of a node's cluster bus is called. Its default, 10000 above the node's own, may lie where the kernel takes ports from.
func busName(node string) string { return node + "-bus" }

func (s *Sandbox) redisDir(name string) string { return filepath.Join(s.state.Dir, "redis", name) }

func (s *Sandbox) redisConfigFile(name string) string {
	return filepath.Join(s.redisDir(name), "redis.conf")
}

const redisUser = User

func (s *Sandbox) redisSecret() string { return s.secretFile("redis") }

// redisEstate is the Redis system as muster sees it.
func (s *Sandbox) redisEstate() runbooks.System {
	shape := s.state.Redis
	system := runbooks.System{
		Kind: "redis", Redis: &runbooks.Redis{Shape: shape, User: redisUser, Password: secret(s.redisSecret())}, Members: map[string]runbooks.Member{},
	}
	for _, name := range s.sentinelNames() {
		system.Redis.MasterName = RedisSystem
		system.Redis.Sentinels = append(system.Redis.Sentinels, loopback(s.Port(name)))
	}
	if s.redisRouted() {
		system.Route = routeName(RedisSystem)
	}
	for _, n := range s.redisNodes() {
		address, start := loopback(s.Port(n.name)), []string{redisProgram(s.state.RedisBin, "server"), s.redisConfigFile(n.name)}
		m, there := system.Members[n.site]
		if !there {
			m = runbooks.Member{Address: address, Host: hostName(n.site), Redis: &runbooks.RedisMember{}}
		}
		if shape == runbooks.RedisCluster {
			m.Redis.Nodes = append(m.Redis.Nodes, runbooks.RedisNode{Address: address, ConfigFile: s.redisConfigFile(n.name), Start: start})
		} else {
			m.Redis.ConfigFile, m.Redis.Start = s.redisConfigFile(n.name), start
		}
		system.Members[n.site] = m
	}
	return system
}

// buildRedis starts every server and returns when each standby follows its master.
func (s *Sandbox) buildRedis(ctx context.Context) error {
	if err := s.startRedisSystem(ctx); err != nil {
		return fmt.Errorf("system %s: %w", RedisSystem, err)
	}
	return nil
}

func (s *Sandbox) startRedisSystem(ctx context.Context) error {
	own := s.state.Owner
	if err := own.write(s.redisSecret(), rand.Text()+"\n", 0o600); err != nil {
		return err
	}
	password, err := s.Password("redis")
	if err != nil {
		return err
	}
	if err := own.mkdir(filepath.Join(s.state.Dir, "redis"), 0o755); err != nil {
		return err
	}
	for _, n := range s.redisNodes() {
		if err := own.mkdir(s.redisDir(filepath.Dir(n.name)), 0o755); err != nil {
			return err
		}
		if err := own.mkdir(s.redisDir(n.name), 0o700); err != nil {
			return err
		}
		text := fmt.Sprintf(redisConfig, s.Port(n.name), s.redisDir(n.name), redisUser, password, redisUser, password)
		switch {
		case s.state.Redis == runbooks.RedisCluster:
			text += fmt.Sprintf("cluster-enabled yes\ncluster-port %d\n", s.Port(busName(n.name)))
			text += "cluster-config-file nodes.conf\ncluster-node-timeout 2000\ncluster-require-full-coverage no\n"
		case n.site == West:
			text += fmt.Sprintf("replicaof 127.0.0.1 %d\n", s.Port(memberName(RedisSystem, East)))
		}
		if err := own.write(s.redisConfigFile(n.name), text, 0o600); err != nil {
			return err
		}
		if err := s.startRedis(ctx, n.name); err != nil {
			return err
		}
	}
	if s.state.Redis == runbooks.RedisCluster {
		return s.formCluster(ctx)
	}
	if err := s.awaitReplica(ctx, memberName(RedisSystem, West)); err != nil {
		return err
	}
	return s.startSentinels(ctx, password)
}

// startRedis starts one server, in a session of its own, and returns when it answers.
func (s *Sandbox) startRedis(ctx context.Context, name string) error {
	if s.redisProc(name).alive() {
		return nil
	}
	if err := s.daemon(name, filepath.Join(s.redisDir(name), "start.log"), redisProgram(s.state.RedisBin, "server"), s.redisConfigFile(name)); err != nil {
		return err
	}
	client, err := s.Redis(name)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	return s.awaitDaemon(ctx, name, filepath.Join(s.redisDir(name), "redis.log"), func() error { return client.Ping(ctx).Err() })
}

func (s *Sandbox) startSentinels(ctx context.Context, password string) error {
	own := s.state.Owner
	for _, name := range s.sentinelNames() {
		dir := s.redisDir(name)
		if err := own.mkdir(dir, 0o700); err != nil {
			return err
		}
		file := filepath.Join(dir, "sentinel.conf")
		text := fmt.Sprintf(sentinelConfig, s.Port(name), dir, RedisSystem, s.Port(memberName(RedisSystem, East)), redisUser, password)
		if err := own.write(file, text, 0o600); err != nil {
			return err
		}
		if err := s.daemon(name, filepath.Join(dir, "start.log"), redisProgram(s.state.RedisBin, "sentinel"), file); err != nil {
			return err
		}
	}
	for _, name := range s.sentinelNames() {
		client := redis.NewClient(plain(loopback(s.Port(name))))
		err := s.awaitDaemon(ctx, name, filepath.Join(s.redisDir(name), "sentinel.log"), func() error {
			seen, err := client.Do(ctx, "SENTINEL", "MASTER", RedisSystem).StringSlice()
			if err != nil {
				return err
			}
			for i := 0; i+1 < len(seen); i += 2 {
				wanted := map[string]string{"num-slaves": "1", "num-other-sentinels": fmt.Sprint(sentinels - 1), "flags": "master"}[seen[i]]
				if wanted != "" && wanted != seen[i+1] {
					return fmt.Errorf("%s says %s %s", name, seen[i], seen[i+1])
				}
			}
			return client.Do(ctx, "SENTINEL", "CKQUORUM", RedisSystem).Err()
		})
		_ = client.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// awaitReplica waits until a server follows its master and has its data.
func (s *Sandbox) awaitReplica(ctx context.Context, name string) error {
	client, err := s.Redis(name)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	return await(ctx, 20*time.Second, func() error {
		text, err := client.Info(ctx, "replication").Result()
		if err == nil && !strings.Contains(text, "master_link_status:up") {
			err = fmt.Errorf("%s does not follow: %s", name, s.redisTail(name))
		}
		return err
	})
}

func init() { redis.SetLogger(silent{}) } // what it would write to stderr comes back as an error, too

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// plain are a client's options without surprises: no retries, nothing sent that was not asked for.
func plain(address string) *redis.Options {
	return &redis.Options{
		Addr: address, Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
		DialTimeout: time.Second, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second, PoolSize: 50,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// Redis returns a client of one server by the name of its port: "sessions/east", in a cluster "sessions/east-1".
func (s *Sandbox) Redis(name string) (*redis.Client, error) {
	password, err := s.Password("redis")
	if err != nil {
		return nil, err
	}
	o := plain(loopback(s.Port(name)))
	o.Username, o.Password = redisUser, password
	return redis.NewClient(o), nil
}

// redisProc returns the process that works in a server's folder, whoever started it.
func (s *Sandbox) redisProc(name string) proc {
	for _, p := range inFolder(s.redisDir(name)) {
		return p
	}
	return proc{}
}

// RedisPID returns the process of a server by the name of its port, 0 where none runs.
func (s *Sandbox) RedisPID(name string) int { return s.redisProc(name).PID }

// stopRedis stops Sentinels first, so that none of them acts on what follows.
func (s *Sandbox) stopRedis(ctx context.Context) error {
	names := s.sentinelNames()
	for _, n := range s.redisNodes() {
		names = append(names, n.name)
	}
	for _, name := range names {
		p := s.redisProc(name)
		if err := p.signal(syscall.SIGTERM); err != nil {
			return err
		}
		if err := awaitGone(ctx, []proc{p}, 5*time.Second); err != nil {
			if err := killAll(ctx, []proc{p}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Sandbox) redisTail(name string) string {
	for _, file := range []string{"redis.log", "sentinel.log", "start.log"} {
		if data, err := os.ReadFile(filepath.Join(s.redisDir(name), file)); err == nil && len(data) > 0 {
			return lastLines(string(data), 8)
		}
	}
	return "(empty)"
}

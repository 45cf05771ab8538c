package redis

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// sentinelChannel is where Sentinels announce themselves: every one of them listens there on every server that it watches.
const sentinelChannel = "__sentinel__:hello"

// fenceStep is what fencing adds to min-replicas-to-write, once to refuse writes, twice when the first stands in the configuration
// file. No server has so many replicas.
const fenceStep = 1_000_000

// server is what one server said of itself: INFO, its fence, who listens for Sentinels, and in a cluster its own line of CLUSTER NODES.
type server struct {
	info      map[string]string
	fence     int64
	sentinels int64 // connections that listen on the channel of Sentinels; -1 where the user may not ask
	cluster   clusterSelf
}

// ask looks at a server in one round trip.
func (d *Driver) ask(ctx context.Context, n node) (server, error) {
	s := server{}
	err := d.conns.use(ctx, n.login(), true, func(ctx context.Context, c *client) error {
		var info, nodes, state *redis.Cmd
		var fence *redis.MapStringStringCmd
		var listeners *redis.MapStringIntCmd
		_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
			info = p.Do(ctx, "INFO")
			fence = p.ConfigGet(ctx, "min-replicas-to-write")
			listeners = p.PubSubNumSub(ctx, sentinelChannel)
			if clustered(n) {
				nodes, state = p.Do(ctx, "CLUSTER", "NODES"), p.Do(ctx, "CLUSTER", "INFO")
			}
			return nil
		})
		if err != nil && (listeners.Err() == nil || info.Val() == nil || fence.Val() == nil) { // more than a user who may not ask that
			return err
		}
		text, err := info.Text()
		if err != nil {
			return err
		}
		s.info, s.sentinels = parseInfo(text), -1
		if err := s.whole(); err != nil {
			return &activities.Error{Type: activities.ErrUnknown, Op: "read INFO", Err: err, Next: "is it a Redis or Valkey server, and no Sentinel and no proxy?"}
		}
		if counts, err := listeners.Result(); err == nil {
			s.sentinels = counts[sentinelChannel]
		}
		if s.fence, err = strconv.ParseInt(fence.Val()["min-replicas-to-write"], 10, 64); err != nil {
			return fmt.Errorf("min-replicas-to-write: %w", err)
		}
		if nodes != nil {
			if text, err = nodes.Text(); err != nil {
				return err
			}
			if s.cluster, err = parseNodes(text); err != nil {
				return &activities.Error{Type: activities.ErrUnknown, Op: "read what it knows of its cluster", Err: err}
			}
			if text, err = state.Text(); err != nil {
				return err
			}
			s.cluster.state = parseInfo(text)["cluster_state"]
		}
		return nil
	})
	return s, mapError(n.op("ask"), err)
}

func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, found := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); found && !strings.HasPrefix(key, "#") {
			info[key] = value
		}
	}
	return info
}

var replicationID = regexp.MustCompile(`^[0-9a-f]{40}$`)

// whole is nil where INFO has what proofs rest on: role, lineage and offset. One that is missing must not read as "nothing was written".
func (s server) whole() error {
	offset := "master_repl_offset"
	switch s.info["role"] {
	case "master":
	case "slave":
		offset = "slave_repl_offset"
	default:
		return fmt.Errorf("its role is %.40q, neither master nor slave", s.info["role"])
	}
	if _, err := strconv.ParseInt(s.info[offset], 10, 64); err != nil {
		return fmt.Errorf("%s: %w", offset, err)
	}
	if !replicationID.MatchString(s.info["master_replid"]) {
		return fmt.Errorf("master_replid is %.80q, not 40 hexadecimal digits", s.info["master_replid"])
	}
	return nil
}

func (s server) number(key string) int64 {
	n, err := strconv.ParseInt(s.info[key], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func (s server) primary() bool { return s.info["role"] == "master" }
func (s server) fenced() bool  { return s.fence >= fenceStep }
func (s server) durable() bool {
	return s.fence >= 2*fenceStep || s.fenced() && s.info["config_file"] == ""
}
func (s server) original() int64 { return s.fence % fenceStep }
func (s server) loading() bool   { return s.info["loading"] == "1" || s.info["async_loading"] == "1" }
func (s server) linked() bool    { return s.info["master_link_status"] == "up" }
func (s server) syncing() bool   { return s.info["master_sync_in_progress"] == "1" }
func (s server) writable() bool  { return !s.primary() && s.info["slave_read_only"] == "0" }

// moving says whether FAILOVER is at work.
func (s server) moving() bool {
	state := s.info["master_failover_state"]
	return state != "" && state != "no-failover"
}

func (s server) acceptsWrites() bool {
	if s.cluster.known && s.primary() && s.cluster.slots == 0 {
		return false
	}
	return s.primary() && !s.fenced() || s.writable()
}

// offset is how far the server's data goes: a primary's own, a standby's what it has applied.
func (s server) offset() int64 {
	if s.primary() {
		return s.number("master_repl_offset")
	}
	return s.number("slave_repl_offset")
}

func (s server) following() string {
	if s.primary() {
		return ""
	}
	return net.JoinHostPort(s.info["master_host"], s.info["master_port"])
}

func (s server) keys() int64 {
	var total int64
	for key, value := range s.info {
		if !strings.HasPrefix(key, "db") {
			continue
		}
		if _, err := strconv.Atoi(key[2:]); err != nil {
			continue
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(value, "keys="), ",")
		n, _ := strconv.ParseInt(first, 10, 64)
		total += n
	}
	return total
}

func short(replid string) string { return replid[:min(12, len(replid))] }

// position names an offset in a lineage: "4711@1f2e3d4c5b6a".
func (s server) position() string {
	return fmt.Sprintf("%d@%s", s.offset(), short(s.info["master_replid"]))
}

// has says whether the server has applied what position names; its lineage must be the server's own or the one it came from.
func (s server) has(position string) (has, related bool) {
	text, replid, _ := strings.Cut(position, "@")
	offset, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return false, false
	}
	switch {
	case short(s.info["master_replid"]) == replid:
		return s.offset() >= offset, true
	case short(s.info["master_replid2"]) == replid:
		return s.number("second_repl_offset")-1 >= offset, true
	}
	return false, false
}

// beyond returns by how many bytes old holds more than s, its new primary: 0 where s has all of it, -1 where that cannot be known.
func (s server) beyond(old server) int64 {
	switch old.info["master_replid"] {
	case s.info["master_replid"]:
		return max(0, old.offset()-s.offset())
	case s.info["master_replid2"]:
		return max(0, old.offset()-(s.number("second_repl_offset")-1))
	}
	return -1
}

func (s server) facts() journal.Facts {
	f := journal.Facts{
		"role": "primary", "replid": short(s.info["master_replid"]), "offset": fmt.Sprint(s.offset()),
		"version": s.version(), "keys": fmt.Sprint(s.keys()), "dataset_bytes": s.info["used_memory_dataset"], "persistence": s.persistence(),
		"manager": s.manager(),
	}
	if s.primary() {
		f["replicas"] = s.info["connected_slaves"]
	} else {
		f["role"] = "standby"
		f["following"] = s.following()
		f["link"] = s.info["master_link_status"]
		if s.syncing() {
			f["sync"] = "in progress"
		}
		if s.writable() {
			f["writable"] = "yes"
		}
	}
	if s.fenced() {
		f["fenced"] = "yes"
	}
	if s.moving() {
		f["failover"] = s.info["master_failover_state"]
	}
	if s.loading() {
		f["loading"] = "yes"
	}
	if s.number("second_repl_offset") > 0 {
		f["previous"] = fmt.Sprintf("%d@%s", s.number("second_repl_offset")-1, short(s.info["master_replid2"]))
	}
	if s.cluster.known {
		f["slots"] = fmt.Sprint(s.cluster.slots)
	}
	return f
}

func (s server) version() string {
	if v := s.info["valkey_version"]; v != "" {
		return "valkey " + v
	}
	return s.info["redis_version"]
}

// older says whether the server's version is below major.minor. Valkey, which began at 7.2, keeps that number as redis_version.
func (s server) older(major, minor int) bool {
	var is [2]int
	if n, _ := fmt.Sscanf(s.info["redis_version"], "%d.%d", &is[0], &is[1]); n < 2 {
		return false // what does not say is not refused for it
	}
	return is[0] < major || is[0] == major && is[1] < minor
}

// manager is who moves the roles of this server besides muster, in the words of shape.
func (s server) manager() string {
	switch {
	case s.info["cluster_enabled"] == "1":
		return runbooks.RedisCluster
	case s.sentinels > 0:
		return runbooks.RedisSentinel
	default:
		return runbooks.RedisReplication
	}
}

func (s server) persistence() string {
	text := "rdb " + s.info["rdb_last_bgsave_status"]
	if s.info["aof_enabled"] == "1" {
		text = "aof " + s.info["aof_last_write_status"]
	}
	return text
}

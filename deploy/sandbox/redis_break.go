package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// KillRedis ends every server of a site with SIGKILL and returns when they are gone.
func (s *Sandbox) KillRedis(ctx context.Context, site string) error {
	var procs []proc
	for _, n := range s.redisNodes() {
		if n.site == site {
			procs = append(procs, s.redisProc(n.name))
		}
	}
	return killAll(ctx, procs)
}

// breakRedis kills every server of the site that has the primary, or of the other one.
func (s *Sandbox) breakRedis(ctx context.Context, standby bool) (Broken, error) {
	role := map[bool]string{true: "standby", false: "primary"}[standby]
	for _, p := range s.redisStatus(ctx) {
		if p.Role != role {
			continue
		}
		site := East
		if strings.HasPrefix(p.Name, memberName(RedisSystem, West)) {
			site = West
		}
		b := Broken{Name: memberName(RedisSystem, site), PID: p.PID, At: time.Now()}
		return b, s.KillRedis(ctx, site)
	}
	return Broken{}, fmt.Errorf("no %s of %s runs", role, RedisSystem)
}

// StartRedis starts the servers of a site that do not run.
func (s *Sandbox) StartRedis(ctx context.Context, site string) error {
	var err error
	for _, n := range s.redisNodes() {
		if n.site == site {
			err = errors.Join(err, s.startRedis(ctx, n.name))
		}
	}
	return err
}

// redisStatus looks at every server of the Redis system, Sentinels included.
func (s *Sandbox) redisStatus(ctx context.Context) []Process {
	var out []Process
	for _, n := range s.redisNodes() {
		p := Process{Name: n.name, Kind: "redis", Port: s.Port(n.name), PID: s.RedisPID(n.name), State: "stopped"}
		if p.PID != 0 {
			s.askRedis(ctx, &p)
		}
		out = append(out, p)
	}
	for _, name := range s.sentinelNames() {
		p := Process{Name: name, Kind: "sentinel", Port: s.Port(name), PID: s.RedisPID(name), State: "stopped"}
		if p.PID != 0 {
			p.State = "running"
		}
		out = append(out, p)
	}
	return out
}

func (s *Sandbox) askRedis(ctx context.Context, p *Process) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	client, err := s.Redis(p.Name)
	if err != nil {
		p.State, p.Detail = "not answering", err.Error()
		return
	}
	defer func() { _ = client.Close() }()
	role, err := client.Do(ctx, "ROLE").Slice()
	if err != nil || len(role) < 3 {
		p.State, p.Detail = "not answering", fmt.Sprint(err)
		return
	}
	p.State, p.Role, p.Detail = "running", "primary", "nobody streams from it"
	if replicas, ok := role[2].([]any); ok && len(replicas) > 0 {
		p.Detail = fmt.Sprintf("streams to %d", len(replicas))
	}
	if role[0] == "slave" && len(role) > 3 {
		p.Role, p.Detail = "standby", fmt.Sprintf("%s from %v:%v", role[3], role[1], role[2])
	}
}

package sandbox

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const slots = 16384

// formCluster makes the nodes at east masters of all slots, and those at west their replicas.
func (s *Sandbox) formCluster(ctx context.Context) error {
	nodes := s.redisNodes()
	first := s.Port(nodes[0].name)
	ids := map[string]string{}
	for i, n := range nodes {
		commands := [][]any{{"CLUSTER", "SET-CONFIG-EPOCH", i + 1}}
		if n.site == East {
			commands = append(commands, []any{"CLUSTER", "ADDSLOTSRANGE", i * slots / shards, (i+1)*slots/shards - 1})
		}
		if i > 0 {
			commands = append(commands, []any{"CLUSTER", "MEET", "127.0.0.1", first, s.Port(busName(nodes[0].name))})
		}
		id, err := s.redisDo(ctx, n.name, append(commands, []any{"CLUSTER", "MYID"})...)
		if err != nil {
			return err
		}
		ids[n.name] = id
	}
	// A replica must know its master, and that must know it.
	if err := s.awaitNodes(ctx, "", len(nodes)); err != nil {
		return err
	}
	for i, n := range nodes[shards:] {
		if _, err := s.redisDo(ctx, n.name, []any{"CLUSTER", "REPLICATE", ids[nodes[i].name]}); err != nil {
			return err
		}
	}
	for _, n := range nodes[shards:] {
		if err := s.awaitReplica(ctx, n.name); err != nil {
			return err
		}
	}
	return s.awaitNodes(ctx, "slave", shards)
}

// awaitNodes waits until every node knows the cluster as healthy, with count nodes whose line has word in it.
func (s *Sandbox) awaitNodes(ctx context.Context, word string, count int) error {
	return await(ctx, 30*time.Second, func() error {
		for _, n := range s.redisNodes() {
			text, err := s.redisDo(ctx, n.name, []any{"CLUSTER", "NODES"})
			if err != nil {
				return err
			}
			known := 0
			for line := range strings.Lines(text) {
				if strings.Contains(line, word) && !strings.Contains(line, "handshake") && !strings.Contains(line, "fail") {
					known++
				}
			}
			if known != count {
				return fmt.Errorf("%s knows %d of %d nodes", n.name, known, count)
			}
			info, err := s.redisDo(ctx, n.name, []any{"CLUSTER", "INFO"})
			if err != nil {
				return err
			}
			if !strings.Contains(info, "cluster_state:ok") {
				return fmt.Errorf("%s says that the cluster is not ok", n.name)
			}
		}
		return nil
	})
}

// redisDo sends commands to a server and returns its last answer.
func (s *Sandbox) redisDo(ctx context.Context, name string, commands ...[]any) (string, error) {
	client, err := s.Redis(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = client.Close() }()
	var answer any
	for _, args := range commands {
		if answer, err = client.Do(ctx, args...).Result(); err != nil {
			return "", fmt.Errorf("%s: %v %v: %w", name, args[0], args[1], err)
		}
	}
	return fmt.Sprint(answer), nil
}

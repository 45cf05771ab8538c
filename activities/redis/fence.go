package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/musterhq/muster/activities"
)

// Fence makes every server at m.From refuse writes, also after a restart, and tries a write to prove it: ProofRefuses. A server that
// is down is fenced in its configuration file: ProofCrashed. It does not tell Sentinels or a Cluster, whose own votes go on.
func (d *Driver) Fence(m activities.Move) activities.Action {
	return activities.Action{
		Look: func(ctx context.Context) (activities.Look, error) { return d.lookFenced(ctx, m) },
		Act:  func(ctx context.Context, _ string) error { return d.fence(ctx, m) },
	}
}

func (d *Driver) lookFenced(ctx context.Context, m activities.Move) (activities.Look, error) {
	none := activities.Look{Proof: activities.ProofNone}
	from, err := d.member(m.Target, m.From)
	if err != nil {
		return none, err
	}
	all, err := d.seeAll(ctx, from, false)
	if err != nil {
		return none, err
	}
	look := activities.Look{Met: true, Proof: activities.ProofRefuses, Facts: memberState(m.From, all, all).Facts}
	var missing, positions []string
	for _, s := range all {
		proof, position, why, err := d.proofOf(ctx, s)
		if err != nil {
			return activities.Look{Proof: activities.ProofNone, Facts: look.Facts}, err
		}
		if position != "" {
			positions = append(positions, position)
		}
		if why != "" {
			missing = append(missing, s.node.addr+": "+why)
		}
		look.Proof = weaker(look.Proof, proof)
	}
	look.Position = strings.Join(positions, ",")
	if len(missing) > 0 {
		look.Met, look.Proof, look.Why = false, activities.ProofNone, strings.Join(missing, "; ")
	}
	return look, nil
}

func weaker(a, b activities.Proof) activities.Proof {
	order := []activities.Proof{activities.ProofRefuses, activities.ProofCrashed, activities.ProofCutOff, activities.ProofNone}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}

// proofOf says how strongly one server is known to accept no writes; why says what is missing.
func (d *Driver) proofOf(ctx context.Context, s seen) (proof activities.Proof, position, why string, err error) {
	none := activities.ProofNone
	if s.server != nil {
		switch {
		case !s.server.primary() && s.server.writable():
			return none, "", "a replica that accepts writes", nil
		case !s.server.primary():
			return activities.ProofRefuses, "", "", nil
		case !s.server.fenced():
			return none, "", "it accepts writes", nil
		case !s.server.durable():
			return none, "", "it refuses writes, and would accept them after a restart", nil
		}
		if err := d.refusal(ctx, s.node, s.server.cluster.first); err != nil {
			return none, "", "", err
		}
		if s.server.info["config_file"] == "" {
			return activities.ProofCutOff, s.server.position(), "", nil // there is no file that a restart would read
		}
		return activities.ProofRefuses, s.server.position(), "", nil
	}
	switch {
	case !unreachable(s.err) && activities.TypeOf(s.err) != activities.ErrNotYet:
		return none, "", "", s.err
	case s.machine == nil && !unreachable(s.hostErr):
		return none, "", "", s.hostErr
	case s.machine == nil:
		return none, "", "", &activities.Error{Type: activities.ErrUnreachable, Op: s.node.op("fence"), Err: errors.Join(s.err, s.hostErr),
			Next: "nothing proves that it accepts no writes: make sure by other means before you accept that risk"}
	case s.machine.running():
		return none, "", "it runs and does not answer", nil
	case s.machine.fenced(), s.machine.ReplicaOf != "" && s.machine.Config:
		return activities.ProofCrashed, "", "", nil
	case s.machine.Config:
		return none, "", "it is down, and would come back as a primary", nil
	default:
		return activities.ProofCutOff, "", "", nil // down, with nothing to keep it from coming back as a primary
	}
}

// refusal returns nil where the server refuses a write. What is tried deletes a key that nobody has.
func (d *Driver) refusal(ctx context.Context, n node, slot int) error {
	err := d.do(ctx, n, "DEL", keyIn(slot))
	var said redis.Error
	if errors.As(err, &said) && (strings.HasPrefix(said.Error(), "NOREPLICAS") || strings.HasPrefix(said.Error(), "READONLY")) {
		return nil
	}
	if clustered(n) && errors.As(err, &said) && strings.HasPrefix(said.Error(), "MOVED") {
		return nil // it has lost its slots meanwhile
	}
	if err == nil {
		return conflict(n.op("fence"), "find out who changes min-replicas-to-write there", "it was fenced, and accepted a write all the same")
	}
	return err
}

func (d *Driver) fence(ctx context.Context, m activities.Move) error {
	from, err := d.member(m.Target, m.From)
	if err != nil {
		return err
	}
	all, err := d.seeAll(ctx, from, false)
	if err != nil {
		return err
	}
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, s := range all {
		wg.Go(func() { errs[i] = d.fenceNode(ctx, m, s) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (d *Driver) fenceNode(ctx context.Context, m activities.Move, s seen) error {
	n := s.node
	switch {
	case s.server != nil && !s.server.primary() && s.server.writable():
		return conflict(n.op("fence"), "CONFIG SET replica-read-only yes", "it is a replica that accepts writes")
	case s.server != nil && !s.server.primary():
		return nil
	case s.server != nil:
		return d.fenceServer(ctx, n, *s.server)
	case s.machine == nil:
		return errors.Join(s.err, s.hostErr)
	case s.machine.running() && m.Planned:
		return s.err // it may answer in a moment
	}
	if n.config != "" {
		if err := d.fenceFile(ctx, n); err != nil {
			return err
		}
	}
	if s.machine.running() {
		return d.kill(ctx, n, *s.machine)
	}
	return nil
}

// fenceServer stops writes with the first command, and makes it last with the other two.
func (d *Driver) fenceServer(ctx context.Context, n node, s server) error {
	if s.fence >= 2*fenceStep {
		return nil
	}
	if err := d.setFence(ctx, n, fenceStep+s.original()); err != nil {
		return err
	}
	if s.info["config_file"] == "" {
		return nil
	}
	if err := d.do(ctx, n, "CONFIG", "REWRITE"); err != nil {
		return err
	}
	return d.setFence(ctx, n, 2*fenceStep+s.original())
}

func (d *Driver) setFence(ctx context.Context, n node, value int64) error {
	return d.do(ctx, n, "CONFIG", "SET", "min-replicas-to-write", value)
}

// unfenceServer lets a server accept writes again, as its role allows, and keeps that over a restart where it has a file for it.
func (d *Driver) unfenceServer(ctx context.Context, n node, s server) error {
	if s.fenced() {
		if err := d.setFence(ctx, n, s.original()); err != nil {
			return err
		}
	}
	return d.keep(ctx, n, s)
}

// keep writes the roles into the server's configuration file.
func (d *Driver) keep(ctx context.Context, n node, s server) error {
	if s.info["config_file"] == "" {
		return nil
	}
	return d.do(ctx, n, "CONFIG", "REWRITE")
}

// Unfence lets the servers at m.From accept writes again, and is met once those at m.To follow them, where these run.
// It refuses (ErrConflict) where a server at m.To is a primary, or nothing shows what it is.
func (d *Driver) Unfence(m activities.Move) activities.Action {
	return activities.Action{
		Look: func(ctx context.Context) (activities.Look, error) { return d.lookUnfenced(ctx, m) },
		Act:  func(ctx context.Context, _ string) error { return d.unfence(ctx, m) },
	}
}

func (d *Driver) lookUnfenced(ctx context.Context, m activities.Move) (activities.Look, error) {
	from, to, err := d.pair(m)
	if err != nil {
		return activities.Look{}, err
	}
	all, err := d.seeAll(ctx, append(slices.Clone(from), to...), false)
	if err != nil {
		return activities.Look{}, err
	}
	own, other := all[:len(from)], all[len(from):]
	look := activities.Look{Facts: memberState(m.From, own, all).Facts}
	primaries := 0
	for _, s := range own {
		switch {
		case s.server == nil:
			look.Why = "it does not answer: " + oneLine(s.err)
			return look, nil
		case s.server.fenced():
			look.Why = s.node.addr + " is fenced"
			return look, nil
		case s.server.moving():
			look.Why = s.node.addr + " hands its role over"
			return look, nil
		case s.server.primary():
			primaries++
		}
	}
	if primaries == 0 {
		look.Why = "it is a standby"
		return look, nil
	}
	for _, s := range other {
		if s.server != nil && !s.server.primary() && !s.server.linked() {
			look.Why, look.Busy = fmt.Sprintf("%s at %s does not follow it yet", m.Name, m.To), true
			return look, nil
		}
	}
	look.Met = true
	return look, nil
}

func (d *Driver) unfence(ctx context.Context, m activities.Move) error {
	from, to, err := d.pair(m)
	if err != nil {
		return err
	}
	others, err := d.seeAll(ctx, to, false)
	if err != nil {
		return err
	}
	for _, s := range others {
		if err := mustBeStandby(from[0], s); err != nil {
			return err
		}
	}
	all, err := d.seeAll(ctx, from, false)
	if err != nil {
		return err
	}
	for _, s := range all {
		switch {
		case s.server == nil && s.machine != nil && !s.machine.running():
			if err := d.launch(ctx, s.node); err != nil {
				return err
			}
			if s, err = d.awaitAnswer(ctx, s.node); err != nil {
				return err
			}
		case s.server == nil:
			return errors.Join(s.err, s.hostErr)
		}
		if s.server.moving() {
			if err := d.do(ctx, s.node, "FAILOVER", "ABORT"); err != nil {
				return err
			}
		}
		if err := d.unfenceServer(ctx, s.node, *s.server); err != nil {
			return err
		}
	}
	return nil
}

// mustBeStandby returns nil where it is seen that the other member accepts no writes.
func mustBeStandby(from node, s seen) error {
	op, next := from.op("unfence"), fmt.Sprintf("%s is where the data goes on: make %s follow it", s.node.site, from.site)
	switch {
	case s.server != nil && s.server.primary() && (!s.server.cluster.known || s.server.cluster.slots > 0):
		return conflict(op, next, "the server at %s (%s) is a primary", s.node.site, s.node.addr)
	case s.server != nil:
		return nil
	case s.machine != nil && !s.machine.running() && (s.machine.ReplicaOf != "" || clustered(s.node)):
		return nil // down, and a standby when it is up
	case s.machine != nil && !s.machine.running() && s.machine.Config:
		return conflict(op, next, "the server at %s (%s) is down, and its configuration is a primary's", s.node.site, s.node.addr)
	default:
		return &activities.Error{Type: activities.ErrUnreachable, Op: op,
			Err: fmt.Errorf("cannot see whether the server at %s is a primary: %w", s.node.site, errors.Join(s.err, s.hostErr))}
	}
}

// awaitAnswer waits until a server that was just started answers and has loaded its data.
func (d *Driver) awaitAnswer(ctx context.Context, n node) (seen, error) {
	for {
		s, err := d.ask(ctx, n)
		if err == nil && !s.loading() {
			return seen{node: n, server: &s}, nil
		}
		if err != nil && !unreachable(err) && activities.TypeOf(err) != activities.ErrNotYet {
			return seen{}, err
		}
		if waited := pause(ctx); waited != nil {
			return seen{}, &activities.Error{Type: activities.ErrNotYet, Op: n.op("start"), Err: errors.Join(waited, err)}
		}
	}
}

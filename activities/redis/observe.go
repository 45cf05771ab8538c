package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// seen is one look at a server: by its own word, and from its host where it does not answer.
type seen struct {
	node    node
	server  *server
	err     error
	machine *machine
	hostErr error
}

// see looks at a server. whole also asks the host of a server that answers.
func (d *Driver) see(ctx context.Context, n node, whole bool) seen {
	s := seen{node: n}
	answered, err := d.ask(ctx, n)
	if err == nil {
		s.server = &answered
		if !whole {
			return s
		}
	}
	s.err = err
	looked, err := d.probe(ctx, n)
	if err != nil {
		s.hostErr = err
		return s
	}
	s.machine = &looked
	return s
}

// seeAll looks at several servers at once, and keeps their order.
func (d *Driver) seeAll(ctx context.Context, nodes []node, whole bool) ([]seen, error) {
	all := make([]seen, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { all[i] = d.see(ctx, n, whole) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("look at %s: %w", nodes[0].system, err)
	}
	for _, s := range all { // a wrong estate is no state of the member
		if s.err != nil && activities.TypeOf(s.err) == activities.ErrConfig {
			return nil, s.err
		}
	}
	return all, nil
}

func (d *Driver) seeSites(ctx context.Context, t activities.Target, whole bool) (map[string][]seen, error) {
	var nodes []node
	for site := range t.System.Members {
		found, err := d.member(t, site)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, found...)
	}
	all, err := d.seeAll(ctx, nodes, whole)
	if err != nil {
		return nil, err
	}
	bySite := map[string][]seen{}
	for _, s := range all {
		bySite[s.node.site] = append(bySite[s.node.site], s)
	}
	return bySite, nil
}

// Observe looks at all servers at once: by themselves, and through their hosts where one does not answer.
func (d *Driver) Observe(ctx context.Context, t activities.Target) (activities.SystemState, error) {
	all, err := d.seeSites(ctx, t, false)
	if err != nil {
		return activities.SystemState{}, err
	}
	return state(t, all), nil
}

func state(t activities.Target, all map[string][]seen) activities.SystemState {
	result := activities.SystemState{System: t.Name, Kind: t.System.Kind, At: time.Now().UTC(), Members: map[string]activities.MemberState{}}
	var everyone []seen
	for _, site := range all {
		everyone = append(everyone, site...)
	}
	for site, nodes := range all {
		result.Members[site] = memberState(site, nodes, everyone)
	}
	return result
}

// memberState puts the servers of a site together: it is the primary where one of them is, and as far behind as all of them.
func memberState(site string, nodes, everyone []seen) activities.MemberState {
	m := activities.MemberState{Site: site, Role: activities.RoleUnknown, HostReachable: true, Facts: journal.Facts{"role": "unknown"}}
	var lineages, positions, following, missing []string
	for i, s := range nodes {
		facts := journal.Facts{}
		switch {
		case s.server != nil:
			facts = s.server.facts()
			lineages = append(lineages, s.server.info["master_replid"])
			positions = append(positions, s.server.position())
			m.AcceptsWrites = m.AcceptsWrites || s.server.acceptsWrites()
			if s.server.primary() {
				m.Role = activities.RolePrimary
				break
			}
			if m.Role != activities.RolePrimary {
				m.Role = activities.RoleStandby
			}
			if s.server.linked() {
				following = append(following, s.server.following())
			}
			bytes, seconds := lagOf(*s.server, everyone)
			m.LagBytes, m.LagSeconds = add(m.LagBytes, bytes), max(m.LagSeconds, seconds)
			if seconds < 0 {
				m.LagSeconds = -1
			}
		case s.machine != nil:
			facts = s.machine.facts()
			missing = append(missing, s.node.addr+": "+oneLine(s.err))
		default:
			missing = append(missing, s.node.addr+": "+oneLine(errors.Join(s.err, s.hostErr)))
			m.HostReachable = m.HostReachable && activities.TypeOf(s.hostErr) != activities.ErrUnreachable
		}
		for key, value := range facts {
			if len(nodes) > 1 {
				key = fmt.Sprintf("node%d.%s", i+1, key)
			}
			m.Facts[key] = value
		}
	}
	m.Lineage, m.Position, m.Following = strings.Join(lineages, ","), strings.Join(positions, ","), strings.Join(following, ",")
	m.Unreachable = strings.Join(missing, "; ")
	if len(missing) == len(nodes) {
		m.LagBytes, m.LagSeconds = -1, -1
		if stopped(nodes) {
			m.Role = activities.RoleStopped
		}
	}
	if len(nodes) > 1 || m.Role == activities.RoleStopped {
		m.Facts["role"] = string(m.Role)
	}
	return m
}

func stopped(nodes []seen) bool {
	return !slices.ContainsFunc(nodes, func(s seen) bool { return s.machine == nil || s.machine.running() })
}

func add(total, more int64) int64 {
	if total < 0 || more < 0 {
		return -1
	}
	return total + more
}

// lagOf is how far a standby is behind the primary it follows, where that answers; otherwise what it says of itself.
func lagOf(s server, everyone []seen) (bytes int64, seconds float64) {
	for _, other := range everyone {
		if other.server != nil && other.server.primary() && other.server.info["master_replid"] == s.info["master_replid"] {
			bytes = max(0, other.server.offset()-s.offset())
			switch {
			case bytes == 0:
				return 0, 0
			case s.linked():
				return bytes, max(0, float64(s.number("master_last_io_seconds_ago")))
			default:
				return bytes, float64(s.number("master_link_down_since_seconds"))
			}
		}
	}
	return -1, -1
}

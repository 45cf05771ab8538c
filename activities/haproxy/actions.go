package haproxy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/activities"
)

// Close puts the site's server into maintenance at every process and cuts its sessions. It goes on at the processes that
// answer when another does not, and then fails: closing some is safer than closing none.
func (Driver) Close(t activities.RouteTarget, site string) activities.Action {
	return activities.Action{
		Look: func(ctx context.Context) (activities.Look, error) {
			r, all, err := observe(ctx, t, site)
			if err != nil {
				return activities.Look{}, err
			}
			missing := r.notClosed(all, site)
			return activities.Look{Met: len(missing) == 0, Why: strings.Join(missing, "; "), Facts: r.facts(all)}, nil
		},
		Act: func(ctx context.Context, _ string) error {
			r, err := checked(t, site)
			if err != nil {
				return err
			}
			return r.close(ctx, site)
		},
	}
}

// Point closes every other site first, and opens the site only once no process has a session to another:
// at no moment does the route lead to two sites.
func (Driver) Point(t activities.RouteTarget, site string) activities.Action {
	return activities.Action{
		Look: func(ctx context.Context) (activities.Look, error) {
			r, all, err := observe(ctx, t, site)
			if err != nil {
				return activities.Look{}, err
			}
			if err := r.strangers(all); err != nil {
				return activities.Look{}, err
			}
			missing := append(r.notClosed(all, r.others(site)...), r.notOpen(all, site)...)
			return activities.Look{Met: len(missing) == 0, Why: strings.Join(missing, "; "), Facts: r.facts(all)}, nil
		},
		Act: func(ctx context.Context, _ string) error {
			r, err := checked(t, site)
			if err != nil {
				return err
			}
			if others := r.others(site); len(others) > 0 {
				if err := r.close(ctx, others...); err != nil {
					return err
				}
			}
			return r.each(func(_ int, p process) error {
				return p.do(ctx, fmt.Sprintf("set server %s/%s state ready", r.backend, r.servers[site]))
			})
		},
	}
}

func checked(t activities.RouteTarget, site string) (route, error) {
	r, err := check(t)
	if err != nil {
		return route{}, err
	}
	return r, r.has(site)
}

func observe(ctx context.Context, t activities.RouteTarget, site string) (route, seen, error) {
	r, err := checked(t, site)
	if err != nil {
		return route{}, nil, err
	}
	all, err := r.lookAll(ctx)
	return r, all, err
}

// others are all sites but one, sorted.
func (r route) others(site string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(r.servers)), func(s string) bool { return s == site })
}

// close puts the servers of sites into maintenance, then cuts their sessions until there are none: a client that was
// given the server a moment before maintenance has its session a moment after the first cut.
func (r route) close(ctx context.Context, sites ...string) error {
	return r.each(func(_ int, p process) error {
		for _, site := range sites {
			if err := p.do(ctx, fmt.Sprintf("set server %s/%s state maint", r.backend, r.servers[site])); err != nil {
				return err
			}
		}
		for end := time.Now().Add(cutFor); ; {
			for _, site := range sites {
				if err := p.do(ctx, fmt.Sprintf("shutdown sessions server %s/%s", r.backend, r.servers[site])); err != nil {
					return err
				}
			}
			servers, err := r.look(ctx, p)
			if err != nil {
				return err
			}
			left := 0
			for _, site := range sites {
				left += servers[r.servers[site]].sessions
			}
			if left == 0 {
				return nil
			}
			op := fmt.Sprintf("cut the sessions of backend %s at haproxy %s", r.backend, p.name)
			if time.Now().After(end) {
				return &activities.Error{Type: activities.ErrNotYet, Op: op, Err: fmt.Errorf("%d sessions are left after %v", left, cutFor)}
			}
			select {
			case <-ctx.Done():
				return &activities.Error{Type: activities.ErrNotYet, Op: op, Err: fmt.Errorf("%d sessions are left: %w", left, ctx.Err())}
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
}

// notClosed says at which processes which sites are not closed, a line each.
func (r route) notClosed(all seen, sites ...string) []string {
	var missing []string
	for i, servers := range all {
		for _, site := range sites {
			s := servers[r.servers[site]]
			if !s.closed() {
				missing = append(missing, fmt.Sprintf("%s is not in maintenance (%s) at %s", site, s.health(), r.processes[i].name))
			}
			if s.sessions > 0 {
				missing = append(missing, fmt.Sprintf("%s has %d sessions at %s", site, s.sessions, r.processes[i].name))
			}
		}
	}
	return missing
}

func (r route) notOpen(all seen, site string) []string {
	var missing []string
	for i, servers := range all {
		if s := servers[r.servers[site]]; !s.open() {
			why := s.health()
			if s.weight == 0 {
				why = "its weight is 0"
			}
			missing = append(missing, fmt.Sprintf("%s takes no clients (%s) at %s", site, why, r.processes[i].name))
		}
	}
	return missing
}

// strangers refuses a backend with an open server that no site names: clients would be sent past the route.
func (r route) strangers(all seen) error {
	known := slices.Collect(maps.Values(r.servers))
	for i, servers := range all {
		for _, name := range slices.Sorted(maps.Keys(servers)) {
			if s := servers[name]; !slices.Contains(known, name) && !s.closed() {
				return &activities.Error{Type: activities.ErrConfig, Op: "point route " + r.name,
					Err:  fmt.Errorf("backend %s at %s also has server %s (%s), which belongs to no site of the route", r.backend, r.processes[i].name, name, s.health()),
					Next: "name it in the route's haproxy.servers, or put it into maintenance"}
			}
		}
	}
	return nil
}

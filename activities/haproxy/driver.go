// Package haproxy drives routes through HAProxy's runtime API (Management Guide, section 9.3), HAProxy 2.4 to 3.x.
//
// The state is in the memory of each process: a reload forgets it unless haproxy is told to keep it
// (`server-state-file`, `load-server-state-from-file`), so a route names every process and all must agree.
package haproxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// cutFor bounds how long one act goes on to cut sessions that a client opened while the server was being closed.
const cutFor = 3 * time.Second

// Driver implements activities.Route. Its zero value is ready for use and safe for concurrent use.
type Driver struct{}

var _ activities.Route = Driver{}

// names are what HAProxy accepts as names of proxies and servers: nothing in them ends a command.
var names = regexp.MustCompile(`^[A-Za-z0-9_.:-]+$`)

// route is a checked route: its processes, its backend, and the server of each site.
type route struct {
	name      string
	backend   string
	processes []process
	servers   map[string]string // site -> server
}

func check(t activities.RouteTarget) (route, error) {
	r := route{name: t.Name}
	wrong := func(format string, args ...any) (route, error) {
		return route{}, &activities.Error{Type: activities.ErrConfig, Op: "read route " + t.Name, Err: fmt.Errorf(format, args...),
			Next: "correct the route's haproxy section in the estate"}
	}
	h := t.Route.HAProxy
	if h == nil {
		return wrong("it has no haproxy section")
	}
	if len(h.Runtime) == 0 {
		return wrong("haproxy.runtime names no process")
	}
	for _, text := range h.Runtime {
		p, err := parseRuntime(text)
		if err != nil {
			return wrong("haproxy.runtime: %w", err)
		}
		r.processes = append(r.processes, p)
	}
	if !names.MatchString(h.Backend) {
		return wrong("haproxy.backend: %q is not a name", h.Backend)
	}
	if len(h.Servers) == 0 {
		return wrong("haproxy.servers names no server")
	}
	sites := map[string]string{}
	for _, site := range slices.Sorted(maps.Keys(h.Servers)) {
		name := h.Servers[site]
		if !names.MatchString(name) {
			return wrong("haproxy.servers.%s: %q is not a name", site, name)
		}
		if other, double := sites[name]; double {
			return wrong("haproxy.servers: sites %s and %s name the same server %s", other, site, name)
		}
		sites[name] = site
	}
	r.backend, r.servers = h.Backend, h.Servers
	return r, nil
}

func (r route) has(site string) error {
	if _, found := r.servers[site]; found {
		return nil
	}
	return &activities.Error{Type: activities.ErrConfig, Op: "read route " + r.name, Next: "add the site to the route's haproxy.servers",
		Err: fmt.Errorf("it has no server for site %s: %s", site, choices(site, slices.Collect(maps.Keys(r.servers))))}
}

// look reads one process: every server of the backend, those that no site names too.
func (r route) look(ctx context.Context, p process) (map[string]server, error) {
	op := fmt.Sprintf("read backend %s of haproxy at %s", r.backend, p.name)
	state, err := p.ask(ctx, "show servers state "+r.backend)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(state, "1\n") {
		return nil, r.explain(ctx, p, p.mapErr(op, state, nil))
	}
	servers, err := parseServers(state, r.backend)
	if err != nil {
		return nil, &activities.Error{Type: activities.ErrUnknown, Op: op, Err: err}
	}
	stat, err := p.ask(ctx, "show stat "+r.backend+" 4 -1")
	if err != nil {
		return nil, err
	}
	sessions, err := parseSessions(stat, r.backend)
	if err != nil {
		return nil, &activities.Error{Type: activities.ErrUnknown, Op: op, Err: err}
	}
	for name, s := range servers {
		count, found := sessions[name]
		if !found {
			return nil, &activities.Error{Type: activities.ErrUnknown, Op: op, Err: fmt.Errorf("server %s has a state and no statistics", name)}
		}
		s.sessions = count
		servers[name] = s
	}
	for _, site := range slices.Sorted(maps.Keys(r.servers)) {
		if name := r.servers[site]; servers[name].name == "" {
			return nil, &activities.Error{Type: activities.ErrConfig, Op: op, Next: "correct haproxy.servers." + site + " in the estate",
				Err: fmt.Errorf("it has no server %s: %s", name, choices(name, slices.Collect(maps.Keys(servers))))}
		}
	}
	return servers, nil
}

// explain adds to an unknown backend which ones exist.
func (r route) explain(ctx context.Context, p process, err error) error {
	var e *activities.Error
	if !errors.As(err, &e) || e.Type != activities.ErrConfig {
		return err
	}
	list, askErr := p.ask(ctx, "show backend")
	lines := strings.Fields(strings.TrimPrefix(list, "# name\n"))
	if askErr != nil || list == "" || len(lines) == 0 {
		return err
	}
	e.Err = fmt.Errorf("it has no backend %s: %s", r.backend, choices(r.backend, lines))
	return e
}

// seen is the backend at every process, in the order of the estate.
type seen []map[string]server

func (r route) lookAll(ctx context.Context) (seen, error) {
	all := make(seen, len(r.processes))
	err := r.each(func(i int, p process) (err error) {
		all[i], err = r.look(ctx, p)
		return err
	})
	return all, err
}

// each runs f for all processes at once, so that a dead one delays none of the others, and returns every error.
func (r route) each(f func(i int, p process) error) error {
	errs := make([]error, len(r.processes))
	var wait sync.WaitGroup
	for i, p := range r.processes {
		wait.Go(func() { errs[i] = f(i, p) })
	}
	wait.Wait()
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) < 2 {
		return errors.Join(errs...)
	}
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return &activities.Error{Type: activities.TypeOf(errs[0]), Op: fmt.Sprintf("route %s: %d of %d haproxy processes", r.name, len(errs), len(r.processes)),
		Err: errors.New(strings.Join(texts, "; "))}
}

// Observe reads the route at all its processes: a site is open where one of them sends clients to it, and its sessions
// are the sum. It fails where one process cannot be asked.
func (Driver) Observe(ctx context.Context, t activities.RouteTarget) (activities.RouteState, error) {
	r, err := check(t)
	if err != nil {
		return activities.RouteState{}, err
	}
	all, err := r.lookAll(ctx)
	if err != nil {
		return activities.RouteState{}, err
	}
	state := activities.RouteState{Route: t.Name, Sites: map[string]activities.RouteSite{}}
	for site := range r.servers {
		state.Sites[site] = r.site(all, site)
	}
	return state, nil
}

func (r route) site(all seen, site string) activities.RouteSite {
	var sum activities.RouteSite
	var health, raw []string
	for i, servers := range all {
		s := servers[r.servers[site]]
		sum.Open = sum.Open || s.open()
		sum.Sessions += s.sessions
		if !slices.Contains(health, s.health()) {
			health = append(health, s.health())
		}
		raw = append(raw, fmt.Sprintf("%s %s/%s %s", r.processes[i].name, r.backend, s.name, s.raw()))
	}
	sum.Health, sum.Raw = strings.Join(health, " | "), strings.Join(raw, "; ")
	return sum
}

func (r route) facts(all seen) journal.Facts {
	facts := journal.Facts{}
	for site := range r.servers {
		s := r.site(all, site)
		word := "closed"
		if s.Open {
			word = "open"
		}
		facts[site] = word + ", " + s.Health + ", " + strconv.Itoa(s.Sessions) + " sessions"
	}
	return facts
}

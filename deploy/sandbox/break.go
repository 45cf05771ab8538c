package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Broken is a process that Break killed.
type Broken struct {
	Name string    `json:"name"`
	PID  int       `json:"pid"`
	At   time.Time `json:"at"` // when the signal was sent
}

const breakUsage = "primary, standby, route or host; with :SYSTEM or :SITE (host) for one of them, as in primary:orders"

// Break kills with SIGKILL and returns when the process and its children are gone: "primary" the server that accepts
// writes, "standby" the one that does not, "route" HAProxy, "host" the sshd at the primaries' site. A colon narrows it
// down: "primary:orders", "host:west".
func (s *Sandbox) Break(ctx context.Context, what string) ([]Broken, error) {
	kind, names, err := s.parse(what)
	if err != nil {
		return nil, fmt.Errorf("sandbox break: %w", err)
	}
	var out []Broken
	for _, name := range names {
		b, err := s.breakOne(ctx, kind, name)
		if err != nil {
			return out, fmt.Errorf("sandbox break %s: %w", what, err)
		}
		out = append(out, b)
	}
	return out, nil
}

// parse returns the kind, and the systems, sites or (for route) the one process that are meant.
func (s *Sandbox) parse(what string) (kind string, names []string, err error) {
	kind, name, narrowed := strings.Cut(what, ":")
	var known []string
	switch kind {
	case "primary", "standby":
		names, known = s.systemNames(), s.systemNames()
	case "route":
		if s.state.NoRoute {
			return "", nil, errors.New("this sandbox has no route")
		}
		names = []string{"haproxy"}
	case "host":
		if !s.state.SSH {
			return "", nil, errors.New("this sandbox's hosts are local, which cannot break: start one with --ssh")
		}
		names, known = []string{East}, sites
		if len(s.state.Systems) > 0 {
			names = []string{s.primarySite(s.state.Systems[0])}
		}
	default:
		return "", nil, fmt.Errorf("%q is none of %s", what, breakUsage)
	}
	if narrowed {
		if !slices.Contains(known, name) {
			return "", nil, fmt.Errorf("%s: there is no %q here (there is: %s)", what, name, strings.Join(known, ", "))
		}
		names = []string{name}
	}
	return kind, names, nil
}

func (s *Sandbox) breakOne(ctx context.Context, kind, name string) (Broken, error) {
	if name == RedisSystem && s.state.Redis != "" {
		return s.breakRedis(ctx, kind == "standby")
	}
	b, p := Broken{Name: name}, s.proc(name)
	switch kind {
	case "primary", "standby":
		site, err := s.siteOf(ctx, name, kind == "standby")
		if err != nil {
			return b, err
		}
		b.Name, p = memberName(name, site), s.postmaster(name, site)
	case "route":
		if err := s.saveServers(ctx); err != nil { // so that Mend brings back what was, not what the configuration says
			return b, err
		}
	case "host":
		b.Name, p = hostName(name), s.proc(hostName(name))
	}
	if !p.alive() {
		return b, fmt.Errorf("%s does not run", b.Name)
	}
	children := descendants(p)
	b.PID, b.At = p.PID, time.Now()
	if err := p.signal(syscall.SIGKILL); err != nil {
		return b, err
	}
	if kind == "host" { // sessions outlive their sshd
		return b, killAll(ctx, append(children, p))
	}
	// PostgreSQL's children notice within a moment that their postmaster is gone.
	if err := awaitGone(ctx, append(children, p), 5*time.Second); err == nil || ctx.Err() != nil {
		return b, err
	}
	return b, killAll(ctx, append(children, p))
}

// siteOf returns the site of the member that runs and is a primary, or a standby, by its own word.
func (s *Sandbox) siteOf(ctx context.Context, system string, standby bool) (string, error) {
	var why []string
	for _, site := range sites {
		if s.PID(system, site) == 0 {
			why = append(why, site+" is stopped")
			continue
		}
		is, _, err := s.ask(ctx, system, site)
		if err == nil && is == standby {
			return site, nil
		}
		if err != nil {
			why = append(why, fmt.Sprintf("%s does not answer: %v", site, err))
		} else {
			why = append(why, site+" is not it")
		}
	}
	role := "primary"
	if standby {
		role = "standby"
	}
	return "", fmt.Errorf("no %s of %s runs (%s)", role, system, strings.Join(why, "; "))
}

// Mend starts again what Break killed; what runs is left alone. It refuses to start a former primary while the other
// member accepts writes: that would make two.
func (s *Sandbox) Mend(ctx context.Context, what string) error {
	kind, names, err := s.parse(what)
	if err != nil {
		return fmt.Errorf("sandbox mend: %w", err)
	}
	if kind == "host" && !strings.Contains(what, ":") {
		names = sites
	}
	for _, name := range names {
		switch kind {
		case "route":
			err = s.startHAProxy(ctx)
		case "host":
			err = s.startSSHD(ctx, name)
		default:
			if name == RedisSystem && s.state.Redis != "" {
				err = errors.Join(s.StartRedis(ctx, East), s.StartRedis(ctx, West))
				break
			}
			err = s.mendSystem(ctx, name)
		}
		if err != nil {
			return fmt.Errorf("sandbox mend %s: %w", what, err)
		}
	}
	return nil
}

func (s *Sandbox) mendSystem(ctx context.Context, system string) error {
	for i, site := range sites {
		if s.PID(system, site) != 0 {
			continue
		}
		if !s.comesBackAsStandby(system, site) {
			other := sites[1-i]
			if !s.comesBackAsStandby(system, other) {
				return fmt.Errorf("%s was a primary and so is %s since: starting it would make two (next: let muster make it follow, by the run's re-protect step)",
					memberName(system, site), memberName(system, other))
			}
		}
		if err := s.forgetZombie(ctx, system, site); err != nil {
			return err
		}
		if err := s.startPostgres(ctx, system, site); err != nil {
			return err
		}
	}
	return nil
}

// forgetZombie waits until a killed postmaster's pid is free: PostgreSQL takes a zombie for a running server and refuses
// to start. In a container whose first process reaps nobody that never happens; its postmaster.pid is removed then.
func (s *Sandbox) forgetZombie(ctx context.Context, system, site string) error {
	path := filepath.Join(s.DataDirectory(system, site), "postmaster.pid")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return fmt.Errorf("%s: its first line is no pid: %w", path, err)
	}
	zombie := func() bool {
		_, _, state, _, ok := stat(pid)
		return ok && state == 'Z'
	}
	err = await(ctx, 5*time.Second, func() error {
		if zombie() {
			return fmt.Errorf("process %d is a zombie", pid)
		}
		return nil
	})
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	return os.Remove(path)
}

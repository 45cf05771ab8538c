// Package sandbox builds a real two-site estate on one machine: for each PostgreSQL system a primary at east and a
// streaming standby at west, where asked for a Redis system of the same kind, one HAProxy as their route and an sshd for
// each site; all of it on loopback, in one folder, without systemd.
package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/musterhq/muster/runbooks"
)

// The sites of every sandbox. At the start east has the primaries.
const (
	East = "east"
	West = "west"
)

var sites = []string{East, West}

// Options says what a sandbox holds. The zero value is one system, orders, with its route and local hosts.
type Options struct {
	Dir          string   // an empty or new folder; default: a new one below os.TempDir
	BinDirectory string   // PostgreSQL's programs; default: the newest below /usr/lib/postgresql
	Systems      []string // default: orders; empty and not nil: no PostgreSQL
	Redis        string   // a shape (runbooks.RedisReplication and its siblings) adds the Redis system sessions
	RedisBin     string   // folder of Valkey's programs, or of another Redis; default: Debian's Redis
	SSH          bool     // hosts are reached through a real sshd, one for each site
	NoRoute      bool     // no HAProxy
	RuntimeTCP   bool     // HAProxy's runtime API on a TCP port too
	// ConfigOutside keeps the members' configuration outside their data directories, as Debian does.
	ConfigOutside bool

	People map[string]runbooks.Person // in addition to dana, kim and the caller; the same name replaces
	Trust  string                     // of runbooks and gates; default: unsigned
}

// Sandbox is an estate that was built by Up, in this process or another one.
type Sandbox struct {
	mu    sync.Mutex // guards state while Up works on several systems
	state state

	sockets []int // hold the ports, where this process chose them
}

// state is what the sandbox's file says, so that another process can go on with it.
type state struct {
	Dir           string                     `json:"dir"`
	BinDirectory  string                     `json:"bin_directory"`
	Owner         owner                      `json:"owner"`
	Systems       []string                   `json:"systems"`
	Redis         string                     `json:"redis,omitempty"`
	RedisBin      string                     `json:"redis_bin,omitempty"`
	Ports         map[string]int             `json:"ports"` // by member ("orders/east"), route ("orders-db"), "runtime", host ("east-host")
	SSH           bool                       `json:"ssh,omitempty"`
	NoRoute       bool                       `json:"no_route,omitempty"`
	RuntimeTCP    bool                       `json:"runtime_tcp,omitempty"`
	ConfigOutside bool                       `json:"config_outside,omitempty"`
	People        map[string]runbooks.Person `json:"people,omitempty"`
	Trust         string                     `json:"trust"`
	Procs         map[string]proc            `json:"procs,omitempty"` // haproxy and sshd by name; PostgreSQL writes its own postmaster.pid
	Test          proc                       `json:"test,omitzero"`   // the test process that wants it; when that is gone, nobody does
	Created       time.Time                  `json:"created"`
	Took          time.Duration              `json:"took_ns"` // by Up; 0 while it is half built
}

const stateFile = "sandbox.json"

var systemName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// Up builds and starts a sandbox and returns when every standby streams and every route answers. On an error, and when
// ctx is cancelled, it stops what it started and removes what it wrote.
func Up(ctx context.Context, o Options) (*Sandbox, error) { return up(ctx, o, proc{}) }

func up(ctx context.Context, o Options, test proc) (_ *Sandbox, err error) {
	began := time.Now()
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("sandbox up: %w", err)
	}
	own, err := findOwner(ctx)
	if err != nil {
		return nil, fmt.Errorf("sandbox up: %w", err)
	}
	dir, made, err := makeFolder(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("sandbox up: %w", err)
	}
	s := &Sandbox{state: state{
		Dir: dir, BinDirectory: o.BinDirectory, Owner: own, Systems: o.Systems, Redis: o.Redis, RedisBin: o.RedisBin, SSH: o.SSH, NoRoute: o.NoRoute, RuntimeTCP: o.RuntimeTCP,
		ConfigOutside: o.ConfigOutside, People: o.People, Trust: o.Trust, Procs: map[string]proc{}, Test: test, Created: began,
	}}
	defer func() {
		if err == nil {
			return
		}
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		undo := s.stop(back, true)
		if undo == nil {
			undo = s.purge(made)
		}
		err = errors.Join(fmt.Errorf("sandbox up: %w", err), undo)
	}()
	if err := own.mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := own.canReach(ctx, dir); err != nil {
		return nil, err
	}
	if err := s.choosePorts(); err != nil {
		return nil, err
	}
	if err := s.save(); err != nil { // before the first process: from here on Down finds everything
		return nil, err
	}
	if err := s.build(ctx); err != nil {
		return nil, err
	}
	s.state.Took = time.Since(began)
	return s, s.save()
}

func (o *Options) complete() error {
	if len(o.Systems) == 0 && (o.Systems == nil || o.Redis == "") {
		o.Systems = []string{"orders"}
	}
	if o.Trust == "" {
		o.Trust = "unsigned"
	}
	for i, name := range o.Systems {
		if !systemName.MatchString(name) {
			return fmt.Errorf("system name %q: use up to 31 lower-case letters, digits and dashes, a letter first", name)
		}
		if slices.Contains(o.Systems[:i], name) {
			return fmt.Errorf("system %s is named twice", name)
		}
	}
	if o.Redis != "" && !slices.Contains([]string{runbooks.RedisReplication, runbooks.RedisSentinel, runbooks.RedisCluster}, o.Redis) {
		return fmt.Errorf("Redis shape %q: expected replication, sentinel or cluster", o.Redis)
	}
	if o.Redis != "" && slices.Contains(o.Systems, RedisSystem) {
		return fmt.Errorf("system %s is the Redis system's name", RedisSystem)
	}
	return o.findPrograms()
}

// makeFolder returns the absolute path of an empty folder, and whether it made it.
func makeFolder(dir string) (string, bool, error) {
	if dir == "" {
		made, err := os.MkdirTemp("", "muster-sandbox-")
		return made, true, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", false, err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return dir, true, os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return "", false, fmt.Errorf("read the folder: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, stateFile)); err == nil {
		return "", false, fmt.Errorf("%s holds a sandbox already: use it, or remove it first: muster sandbox down --dir %s --purge", dir, dir)
	}
	if len(entries) > 0 {
		return "", false, fmt.Errorf("%s is not empty (it holds %s): choose a new folder", dir, entries[0].Name())
	}
	return dir, false, nil
}

func (s *Sandbox) choosePorts() error {
	var names []string
	for _, system := range s.state.Systems {
		names = append(names, memberName(system, East), memberName(system, West), routeName(system))
	}
	names = append(names, "runtime", hostName(East), hostName(West))
	names = append(names, s.redisPorts()...)
	ports, sockets, err := freePorts(len(names))
	if err != nil {
		return err
	}
	s.sockets = sockets
	s.state.Ports = map[string]int{}
	for i, name := range names {
		s.state.Ports[name] = ports[i]
	}
	// A socket's path has 107 bytes on Linux; both servers would say so late and darkly.
	longest := filepath.Join(s.runDir(), ".s.PGSQL.65535.lock")
	if len(longest) > 107 {
		return fmt.Errorf("the folder's path is too long for the sockets in it (%d bytes of 107): choose a shorter one", len(longest))
	}
	return nil
}

// build starts everything: systems side by side, two at a time, hosts first as they cost nothing.
func (s *Sandbox) build(ctx context.Context) error {
	if err := s.writeSecrets(); err != nil {
		return err
	}
	if err := s.writeFiles(); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	if s.state.SSH {
		for _, site := range sites {
			group.Go(func() error { return s.startSSHD(ctx, site) })
		}
	}
	for _, system := range s.state.Systems {
		group.Go(func() error { return s.buildSystem(ctx, system) })
	}
	if s.state.Redis != "" {
		group.Go(func() error { return s.buildRedis(ctx) })
	}
	if !s.state.NoRoute {
		group.Go(func() error { return s.buildHAProxy(ctx) })
	}
	return group.Wait()
}

// Open returns the sandbox of a folder, also one that is half built or stopped.
func Open(dir string) (*Sandbox, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open sandbox: %w", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open sandbox: there is none in %s (start one: muster sandbox up --dir %s)", dir, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open sandbox: %w", err)
	}
	s := &Sandbox{}
	if err := json.Unmarshal(data, &s.state); err != nil {
		return nil, fmt.Errorf("open sandbox: %s: %w", filepath.Join(dir, stateFile), err)
	}
	if s.state.Dir != dir { // Down removes what is written here: a folder that was copied or moved is not it
		resolved, err := filepath.EvalSymlinks(dir)
		if original, err2 := filepath.EvalSymlinks(s.state.Dir); err != nil || err2 != nil || resolved != original {
			return nil, fmt.Errorf("open sandbox: %s was built as %s and cannot be moved", dir, s.state.Dir)
		}
	}
	if s.state.Procs == nil {
		s.state.Procs = map[string]proc{}
	}
	return s, nil
}

// save replaces the sandbox's file; one that is cut off halfway never stands.
func (s *Sandbox) save() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, err := json.MarshalIndent(s.state, "", "  ")
	if err != nil {
		return fmt.Errorf("write the sandbox's state: %w", err)
	}
	path := filepath.Join(s.state.Dir, stateFile)
	if err := s.state.Owner.write(path+".new", string(data)+"\n", 0o644); err != nil {
		return fmt.Errorf("write the sandbox's state: %w", err)
	}
	return os.Rename(path+".new", path)
}

// setProc notes a process that was just started.
func (s *Sandbox) setProc(name string, p proc) error {
	s.mu.Lock()
	s.state.Procs[name] = p
	s.mu.Unlock()
	return s.save()
}

func memberName(system, site string) string { return system + "/" + site }
func routeName(system string) string        { return system + "-db" }
func hostName(site string) string           { return site + "-host" }

// slotName is the physical slot that the member at a site streams from when it is a standby.
func slotName(system, site string) string { return strings.ReplaceAll(system, "-", "_") + "_" + site }

// Dir returns the sandbox's folder.
func (s *Sandbox) Dir() string { return s.state.Dir }

// Runbooks returns the folder of shop.estate.yaml and its runbooks.
func (s *Sandbox) Runbooks() string { return filepath.Join(s.state.Dir, "runbooks") }

// Took returns how long Up took.
func (s *Sandbox) Took() time.Duration { return s.state.Took }

// Port returns the port of a member ("orders/east"), a route ("orders-db") or a host ("east-host"); 0 where there is none.
func (s *Sandbox) Port(name string) int { return s.state.Ports[name] }

func (s *Sandbox) runDir() string { return filepath.Join(s.state.Dir, "run") }

func (s *Sandbox) bin(program string) string { return filepath.Join(s.state.BinDirectory, program) }

package sandbox

import (
	"fmt"
	"maps"
	"os/user"
	"path/filepath"
	"slices"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/musterhq/muster/runbooks"
)

// EstateName is what the estate of every sandbox is called.
const EstateName = "shop"

// Estate returns the sandbox as muster sees it: what shop.estate.yaml says.
func (s *Sandbox) Estate() runbooks.Estate {
	rto, lost := runbooks.Duration(30*time.Second), int64(0)
	e := runbooks.Estate{
		Name:       EstateName,
		Sites:      map[string]runbooks.Site{East: {Description: "where the primaries start"}, West: {Description: "the other site"}},
		Hosts:      map[string]runbooks.Host{},
		Systems:    map[string]runbooks.System{},
		People:     s.people(),
		Objectives: runbooks.Objectives{RTO: &rto, LostWrites: &lost},
	}
	if !s.state.NoRoute {
		e.Routes = map[string]runbooks.Route{}
	}
	for _, site := range sites {
		e.Hosts[hostName(site)] = s.host(site)
	}
	for _, name := range s.state.Systems {
		system := runbooks.System{
			Kind: "postgresql",
			PostgreSQL: &runbooks.PostgreSQL{
				User: User, Password: secret(s.secretFile(User)), Database: database(name), SSLMode: "disable",
				ReplicationUser: ReplicationUser, ReplicationPassword: secret(s.secretFile(ReplicationUser)),
			},
			Members: map[string]runbooks.Member{},
		}
		for _, site := range sites {
			system.Members[site] = runbooks.Member{
				Address: loopback(s.Port(memberName(name, site))),
				Host:    hostName(site),
				PostgreSQL: &runbooks.PostgreSQLMember{
					DataDirectory: s.DataDirectory(name, site), BinDirectory: s.state.BinDirectory,
					ConfigFile: s.configFile(name, site), Slot: slotName(name, site),
				},
			}
		}
		if !s.state.NoRoute {
			system.Route = routeName(name)
			e.Routes[system.Route] = s.route(name)
		}
		e.Systems[name] = system
	}
	if s.state.Redis != "" {
		e.Systems[RedisSystem] = s.redisEstate()
		if s.redisRouted() {
			e.Routes[routeName(RedisSystem)] = s.route(RedisSystem)
		}
	}
	return e
}

func (s *Sandbox) host(site string) runbooks.Host {
	if s.state.SSH {
		return runbooks.Host{Kind: "ssh", Address: loopback(s.Port(hostName(site))), User: s.state.Owner.Name, Key: secret(s.SSHKey()), KnownHosts: s.KnownHosts()}
	}
	h := runbooks.Host{Kind: "local"}
	if s.state.Owner.Switch {
		h.RunAs = s.state.Owner.Name
	}
	return h
}

func (s *Sandbox) route(system string) runbooks.Route {
	runtime := "unix:" + s.RuntimeSocket()
	if s.state.RuntimeTCP {
		runtime = "tcp:" + loopback(s.Port("runtime"))
	}
	return runbooks.Route{Kind: "haproxy", Address: loopback(s.Port(routeName(system))), HAProxy: &runbooks.HAProxyRoute{
		Runtime: []string{runtime}, Backend: routeName(system), Servers: map[string]string{East: East, West: West},
	}}
}

func (s *Sandbox) people() map[string]runbooks.Person {
	people := map[string]runbooks.Person{
		"dana": {Name: "Dana, on call", Roles: []string{"operator", "approver"}},
		"kim":  {Name: "Kim, service owner", Roles: []string{"approver"}},
	}
	if u, err := user.Current(); err == nil {
		people[u.Username] = runbooks.Person{Name: "who started the sandbox", Roles: []string{"operator", "approver", "admin"}}
	}
	maps.Copy(people, s.state.People)
	return people
}

func secret(path string) runbooks.Secret { return runbooks.Secret("file:" + path) }

// runbookSet is every runbook of the sandbox, by name, with the comment that opens its file.
func (s *Sandbox) runbookSet() map[string]runbooks.Runbook {
	gate := runbooks.Gate{Roles: []string{"approver"}, Deadline: runbooks.Duration(time.Hour), Trust: s.state.Trust}
	move := func(name, description, from, to, kind, mode string) runbooks.Runbook {
		return runbooks.Runbook{
			Name: name, Description: description, Operation: "failover", Estate: EstateName, Trust: s.state.Trust,
			Failover: &runbooks.Failover{From: from, To: to, Kind: kind, Mode: mode, Order: [][]string{s.systemNames()}},
			Gates: map[string]runbooks.Gate{
				runbooks.GateApprove: gate, runbooks.GateDataLoss: gate, runbooks.GateNoFenceProof: gate, runbooks.GateTakeover: gate,
			},
			Writer: runbooks.Writer{Every: runbooks.Duration(20 * time.Millisecond), Off: s.state.NoRoute},
		}
	}
	set := map[string]runbooks.Runbook{}
	for _, r := range []runbooks.Runbook{
		move("failover-shop", "Move the shop from east to west; nothing may be lost", East, West, "planned", "execute"),
		move("failback-shop", "Move the shop back from west to east; nothing may be lost", West, East, "planned", "execute"),
		move("failover-shop-unplanned", "East is gone: carry on at west", East, West, "unplanned", "execute"),
		move("failback-shop-unplanned", "West is gone: carry on at east", West, East, "unplanned", "execute"),
		move("failover-shop-observe", "What moving the shop to west would do; changes nothing", East, West, "planned", "observe"),
		{
			Name: "watch-shop", Description: "Write through the route until stopped, and measure", Operation: "watch", Estate: EstateName, Trust: s.state.Trust,
			Watch:  &runbooks.Watch{Systems: s.watchedNames()},
			Writer: runbooks.Writer{Every: runbooks.Duration(20 * time.Millisecond)},
		},
	} {
		if r.Watch == nil || len(r.Watch.Systems) > 0 {
			set[r.Name] = r
		}
	}
	return set
}

// watchedNames are the systems whose clients a writer can be: those with a route, and a Redis whose clients find its primary.
func (s *Sandbox) watchedNames() []string {
	names := slices.Clone(s.routedNames())
	if s.state.Redis != "" && s.redisEstate().FindsPrimary() {
		names = append(names, RedisSystem)
	}
	return names
}

// writeFiles writes what muster reads, and what sshd reads.
func (s *Sandbox) writeFiles() error {
	own := s.state.Owner
	if err := own.mkdir(s.Runbooks(), 0o755); err != nil {
		return err
	}
	write := func(name, comment string, v any) error {
		text, err := yaml.MarshalWithOptions(v, yaml.IndentSequence(true))
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		return own.write(filepath.Join(s.Runbooks(), name), "# "+comment+"\n"+string(text), 0o644)
	}
	if err := write(EstateName+".estate.yaml", "The estate of a muster sandbox: two sites on one machine.", s.Estate()); err != nil {
		return err
	}
	for name, r := range s.runbookSet() {
		if err := write(name+".yaml", r.Description+".", r); err != nil {
			return err
		}
	}
	if s.state.SSH {
		return s.writeSSH()
	}
	return nil
}

package runbooks

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// checkEstate looks at what the types cannot say. It follows names from place to place, in one order, so that messages never swap.
func (d *document) checkEstate(e *Estate) {
	d.checkName("estate", e.Name)
	d.notEmpty("sites", len(e.Sites), "site")
	d.notEmpty("systems", len(e.Systems), "system")
	for _, name := range sorted(e.Hosts) {
		d.checkHost(join("hosts", name), e.Hosts[name])
	}
	d.checkRoutes(e)
	owners := owners{}
	for _, name := range sorted(e.Systems) {
		if d.full() {
			return
		}
		d.checkSystem(e, name, owners)
	}
	d.checkPeople(e)
	d.checkGateways(e)
	d.checkNotices(e)
	d.checkObjectives("objectives", e.Objectives)
}

func (d *document) checkName(key, name string) {
	if d.has(key) && !documentName.MatchString(name) {
		d.problem(key, "rename it", "%s is not a name; expected small letters, digits and '-', a letter or digit first, at most 63 of them", shown(name))
	}
}

func (d *document) notEmpty(path string, n int, what string) {
	if d.has(path) && n == 0 {
		d.problem(path, "add it", "it is empty; expected at least one %s", what)
	}
}

func (d *document) checkHost(path string, h Host) {
	ssh := map[string]bool{"address": h.Address != "", "user": h.User != "", "key": h.Key != "", "known_hosts": h.KnownHosts != ""}
	for _, key := range []string{"address", "user", "key", "known_hosts"} {
		at := join(path, key)
		switch {
		case d.bad[at] || !d.has(join(path, "kind")):
		case h.Kind == "ssh" && !ssh[key]:
			d.problem(at, "add it", "missing key %q; a host of kind ssh needs address, user, key and known_hosts", key)
		case h.Kind == "local" && ssh[key]:
			d.problem(at, "remove it, or write kind: ssh", "a host of kind local takes no %s", key)
		}
	}
	d.check(join(path, "address"), validAddress, h.Address)
	d.checkPath(join(path, "known_hosts"), h.KnownHosts)
	for key, name := range map[string]string{"user": h.User, "run_as": h.RunAs} {
		if at := join(path, key); d.has(at) && !loginName.MatchString(name) {
			d.problem(at, "", "%s is not the name of a user; expected letters, digits, '_', '.' and '-', a letter or '_' first", shown(name))
		}
	}
}

func (d *document) checkRoutes(e *Estate) {
	backends := owners{}
	for _, name := range sorted(e.Routes) {
		r, path := e.Routes[name], join("routes", name)
		d.check(join(path, "address"), validAddress, r.Address)
		if d.block(path, "haproxy", r.Kind == "haproxy", r.HAProxy == nil, "kind") && r.HAProxy != nil {
			d.checkHAProxy(e, join(path, "haproxy"), r.HAProxy, backends)
		}
	}
}

func (d *document) checkHAProxy(e *Estate, path string, h *HAProxyRoute, backends owners) {
	d.notEmpty(join(path, "runtime"), len(h.Runtime), "address of a runtime API")
	for i, address := range h.Runtime {
		at := item(join(path, "runtime"), i)
		d.check(at, validRuntime, address)
		d.unique(backends, at, "runtime API and backend", address+" "+h.Backend)
	}
	if at := join(path, "backend"); d.has(at) && !haproxyName.MatchString(h.Backend) {
		d.problem(at, "", "%s is not the name of an HAProxy backend; expected letters, digits and '_.:-'", shown(h.Backend))
	}
	d.notEmpty(join(path, "servers"), len(h.Servers), "site: server")
	servers := owners{}
	for _, site := range sorted(h.Servers) {
		at := join(join(path, "servers"), site)
		d.knownSite(e, at, site)
		if d.has(at) && !haproxyName.MatchString(h.Servers[site]) {
			d.problem(at, "", "%s is not the name of an HAProxy server; expected letters, digits and '_.:-'", shown(h.Servers[site]))
		}
		d.unique(servers, at, "server", h.Servers[site])
	}
}

func (d *document) checkSystem(e *Estate, name string, shared owners) {
	s, path := e.Systems[name], join("systems", name)
	d.block(path, "postgresql", s.Kind == "postgresql", s.PostgreSQL == nil, "kind")
	d.checkRedis(path, s)
	d.checkObjectives(join(path, "objectives"), s.Objectives)
	route, routed := e.Routes[s.Route]
	if at := join(path, "route"); d.has(at) {
		if !routed {
			d.unknown(at, "route", s.Route, sorted(e.Routes))
		}
		d.unique(shared, at, "route", s.Route)
	}
	d.notEmpty(join(path, "members"), len(s.Members), "site with its member")
	for _, site := range sorted(s.Members) {
		m, at := s.Members[site], join(join(path, "members"), site)
		d.knownSite(e, at, site)
		if routed && route.HAProxy != nil && len(route.HAProxy.Servers) > 0 && route.HAProxy.Servers[site] == "" {
			d.problem(at, "add the site to routes."+s.Route+".haproxy.servers", "route %s has no server at site %s; expected one for each member", shown(s.Route), shown(site))
		}
		d.check(join(at, "address"), validAddress, m.Address)
		d.unique(shared, join(at, "address"), "address", m.Address)
		if key := join(at, "host"); d.has(key) {
			if _, known := e.Hosts[m.Host]; !known {
				d.unknown(key, "host", m.Host, sorted(e.Hosts))
			}
		}
		d.checkPostgreSQLMember(at, s, m, shared)
		d.checkRedisMember(e, at, s, m, shared)
	}
}

func (d *document) checkPostgreSQLMember(path string, s System, m Member, shared owners) {
	at := join(path, "postgresql")
	if s.Kind != "postgresql" || d.bad[at] {
		return
	}
	if m.PostgreSQL == nil {
		if m.Host != "" {
			d.problem(at, "add it, with data_directory and bin_directory", "missing key %q; a member that has a host needs it", "postgresql")
		}
		return
	}
	p := m.PostgreSQL
	d.checkPath(join(at, "data_directory"), p.DataDirectory)
	d.checkPath(join(at, "bin_directory"), p.BinDirectory)
	d.checkPath(join(at, "config_file"), p.ConfigFile)
	d.check(join(at, "primary_address"), validAddress, p.PrimaryAddress)
	if key := join(at, "slot"); d.has(key) && !slotName.MatchString(p.Slot) {
		d.problem(key, "", "%s is not the name of a replication slot; expected small letters, digits and '_'", shown(p.Slot))
	}
	if m.Host != "" {
		d.unique(shared, join(at, "data_directory"), "data directory of a host", m.Host+" "+strings.TrimRight(p.DataDirectory, "/"))
	}
}

func (d *document) checkPeople(e *Estate) {
	keys, names := map[string]string{}, owners{}
	for _, name := range sorted(e.People) {
		p, path := e.People[name], join("people", name)
		d.notEmpty(join(path, "roles"), len(p.Roles), "role: viewer, operator, approver or admin")
		if at := join(path, "slack"); d.has(at) && !slackUser.MatchString(p.Slack) {
			d.problem(at, "", "%s does not name a Slack user; expected team and user, such as T0123ABCD/U0456EFGH", shown(p.Slack))
		}
		d.unique(names, join(path, "slack"), "Slack user", p.Slack)
		d.unique(names, join(path, "oidc"), "login", p.OIDC)
		d.unique(names, join(path, "email"), "e-mail address", strings.ToLower(p.Email))
		for i, key := range p.Keys {
			at := item(join(path, "keys"), i)
			if !d.has(at) {
				continue
			}
			print, err := fingerprint(key)
			switch owner, taken := keys[print]; {
			case err != nil:
				d.problem(at, "", "%s", err)
			case taken:
				d.problem(at, "give each person a key of their own", "the same key is listed for %s; a signature would not tell them apart", shown(owner))
			default:
				keys[print] = name
			}
		}
	}
}

func (d *document) checkObjectives(path string, o Objectives) {
	for key, n := range map[string]*int64{"lost_writes": o.LostWrites, "max_lag_bytes": o.MaxLagBytes} {
		if at := join(path, key); d.has(at) && n != nil && *n < 0 {
			d.problem(at, "remove the minus sign, or the key where nothing is promised", "an objective cannot be negative")
		}
	}
}

// owners remembers where a thing was named first, to find a second owner of what must have one.
type owners map[string]string

func (d *document) unique(seen owners, path, what, value string) {
	if !d.has(path) || value == "" {
		return
	}
	if first, taken := seen[what+" "+value]; taken {
		d.problem(path, "give each its own", "the same %s is at %s (line %d)", what, first, d.at[first].line)
		return
	}
	seen[what+" "+value] = path
}

// block checks that the keys of a kind are there, and are not there for another kind.
func (d *document) block(path, key string, wanted, missing bool, by string) bool {
	at := join(path, key)
	if d.bad[at] || !d.has(join(path, by)) {
		return false
	}
	if wanted && missing {
		d.problem(at, "add it", "missing key %q; %s: %s needs it", key, by, key)
	}
	if !wanted && !missing {
		d.problem(at, "remove it, or write "+by+": "+key, "the key belongs to %s: %s", by, key)
	}
	return wanted == !missing
}

func (d *document) knownSite(e *Estate, path, site string) {
	if _, known := e.Sites[site]; !known && d.has("sites") {
		d.unknown(path, "site", site, sorted(e.Sites))
	}
}

func (d *document) check(path string, valid func(string) error, value string) {
	if !d.has(path) {
		return
	}
	if err := valid(value); err != nil {
		d.problem(path, "", "%s", err)
	}
}

func (d *document) checkPath(path, value string) {
	if d.has(path) && !absolute(value) {
		d.problem(path, "begin it with /", "not an absolute path; expected one such as /var/lib/postgresql/15/main")
	}
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

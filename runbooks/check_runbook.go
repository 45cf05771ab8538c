package runbooks

import (
	"slices"
	"strings"
	"time"
)

// checkRunbook looks at what the types cannot say. Without its estate, e is nil, and what needs one is not checked;
// sound says that the estate has no problem of its own.
func (d *document) checkRunbook(r *Runbook, e *Estate, sound bool) {
	d.checkName("runbook", r.Name)
	if d.block("", "failover", r.Operation == "failover", r.Failover == nil, "operation") && r.Failover != nil {
		d.checkFailover(r.Failover, e)
	}
	if d.block("", "watch", r.Operation == "watch", r.Watch == nil, "operation") && r.Watch != nil {
		d.notEmpty("watch.systems", len(r.Watch.Systems), "system")
		d.checkSystems("watch.systems", r.Watch.Systems, e, map[string]string{})
	}
	if w := r.Window; w != nil {
		d.check("window.cron", validCron, w.Cron)
		d.check("window.time_zone", validZone, w.TimeZone)
		d.atLeast("window.for", w.For, time.Minute)
		if r.Operation == "watch" {
			d.problem("window", "remove it", "operation watch opens no gate, and waits for no window")
		}
	}
	d.checkGates(r, e, sound)
	d.checkObjectives("objectives", r.Objectives)
	d.atLeast("writer.every", r.Writer.Every, time.Millisecond)
	d.atLeast("writer.timeout", r.Writer.Timeout, time.Millisecond)
	if s := r.Schedule; s != nil {
		d.check("schedule.cron", validCron, s.Cron)
		d.check("schedule.time_zone", validZone, s.TimeZone)
		d.atLeast("schedule.catch_up", s.CatchUp, 10*time.Second) // Temporal's own minimum
	}
}

func (d *document) atLeast(path string, value Duration, minimum time.Duration) {
	if d.has(path) && value.D() < minimum {
		d.problem(path, "", "%s is too short; expected at least %s", value, minimum)
	}
}

func (d *document) checkFailover(f *Failover, e *Estate) {
	const from, to, order = "failover.from", "failover.to", "failover.order"
	if e != nil {
		for path, site := range map[string]string{from: f.From, to: f.To} {
			if _, known := e.Sites[site]; !known && d.has(path) {
				d.unknown(path, "site", site, sorted(e.Sites))
			}
		}
	}
	if d.has(from) && d.has(to) && f.From == f.To {
		d.problem(to, "name the site that takes over", "from and to are the same site %s; expected two sites", shown(f.To))
	}
	d.notEmpty(order, len(f.Order), "group of systems, such as [[orders]]")
	first := map[string]string{}
	for i, group := range f.Order {
		at := item(order, i)
		d.notEmpty(at, len(group), "system")
		d.checkSystems(at, group, e, first)
		if e == nil {
			continue
		}
		for j, name := range group {
			d.hasMember(item(at, j), name, "from", f.From, e)
			d.hasMember(item(at, j), name, "to", f.To, e)
		}
	}
}

// hasMember says once for each end of the move that a system cannot make it.
func (d *document) hasMember(path, system, end, site string, e *Estate) {
	s, known := e.Systems[system]
	_, siteKnown := e.Sites[site]
	if !known || !siteKnown || s.Members == nil || !d.has(path) {
		return
	}
	if _, member := s.Members[site]; !member {
		d.problem(path, "add the member to the estate, or leave the system out of the order",
			"system %s has no member at site %s (%s); its members are at: %s", shown(system), shown(site), end, strings.Join(sorted(s.Members), ", "))
	}
}

func (d *document) checkSystems(path string, names []string, e *Estate, first map[string]string) {
	for i, name := range names {
		at := item(path, i)
		if d.full() || !d.has(at) {
			continue
		}
		if e != nil {
			if _, known := e.Systems[name]; !known {
				d.unknown(at, "system", name, sorted(e.Systems))
				continue
			}
		}
		if before, twice := first[name]; twice {
			d.problem(at, "remove one of them", "system %s is there twice, first at %s (line %d)", shown(name), before, d.at[before].line)
			continue
		}
		first[name] = at
	}
}

func (d *document) checkGates(r *Runbook, e *Estate, sound bool) {
	for _, name := range sorted(r.Gates) {
		g, path := r.Gates[name], join("gates", name)
		switch {
		case !slices.Contains(gateNames, name):
			d.unknown(path, "gate", name, gateNames)
			continue
		case r.Operation == "watch":
			d.problem(path, "remove it", "operation watch opens no gate")
			continue
		case g.Skip && name != GateApprove:
			d.problem(join(path, "skip"), "remove it", "gate %s cannot be left out: it asks to accept a loss or a second writer", name)
		}
		if d.has(join(path, "count")) && g.Count < 1 {
			d.problem(join(path, "count"), "", "expected at least 1 approver; only gate approve can be left out, by skip: true")
		}
		d.atLeast(join(path, "deadline"), g.Deadline, time.Second)
		if g.Remind != 0 && g.Remind.D() >= g.Deadline.Or(time.Hour) {
			d.problem(join(path, "remind"), "write a shorter one", "people would be reminded after the deadline of %s", g.Deadline.Or(time.Hour))
		}
		if more := g.Escalate; more != nil {
			at := join(path, "escalate")
			d.atLeast(join(at, "deadline"), more.Deadline, time.Second)
			if e != nil {
				d.checkEscalation(at, *more, e)
			}
		}
		if e != nil {
			d.checkNamedApprovers(path, g, e)
		}
	}
	if !sound || r.Operation != "failover" || r.Failover == nil || r.Failover.Mode == "observe" || !d.decided() {
		return // nobody is asked, or it is not known who there is
	}
	for _, name := range gateNames {
		d.checkEnough(r, name, e)
	}
}

func (d *document) checkEscalation(path string, more Escalation, e *Estate) {
	d.checkNamedApprovers(path, Gate{Approvers: more.Approvers}, e)
	for i, name := range more.To {
		if _, known := e.Notifiers[name]; !known {
			d.unknown(item(join(path, "to"), i), "notifier", name, sorted(e.Notifiers))
		}
	}
}

// decided says that the gates could be read: a problem in them is told once, not again as too few approvers.
func (d *document) decided() bool {
	for path := range d.bad {
		if path == "trust" || strings.HasPrefix(path, "gates") {
			return false
		}
	}
	return true
}

func (d *document) checkNamedApprovers(path string, g Gate, e *Estate) {
	for i, name := range g.Approvers {
		at := item(join(path, "approvers"), i)
		if !d.has(at) {
			continue
		}
		person, known := e.People[name]
		if !known {
			d.unknown(at, "person", name, sorted(e.People))
		} else if !person.approves() {
			d.problem(at, "add the role approver to people."+name+" of the estate", "%s may not approve, the roles are: %s; expected the role approver or admin", shown(name), listed(person.Roles))
		}
	}
	for i, role := range g.Roles {
		at := item(join(path, "roles"), i)
		held := slices.ContainsFunc(sorted(e.People), func(name string) bool { return slices.Contains(e.People[name].Roles, role) })
		if d.has(at) && !held {
			d.problem(at, "give somebody the role in the estate", "nobody in estate %s has the role %s", shown(e.Name), shown(role))
		}
	}
}

// checkEnough refuses a gate that its people could never open: the run would wait for its deadline.
func (d *document) checkEnough(r *Runbook, name string, e *Estate) {
	g, path := r.Gates[name], join("gates", name)
	trust := r.GateTrust(name)
	if g.Skip || trust == "unsigned" && len(g.Approvers) == 0 && len(g.Roles) == 0 {
		return // left out, or anybody counts
	}
	people := g.Who(e.People)
	able := people
	if trust == "signed" {
		able = slices.DeleteFunc(slices.Clone(people), func(name string) bool { return !e.provable(e.People[name]) })
	}
	need := max(g.Count, 1)
	switch {
	case len(able) >= need:
	case name != GateApprove && !d.has(path) && !d.has(join("gates", GateApprove)):
		// neither is set: it was said for gate approve already
	case len(people) >= need:
		d.problem(path, "add an SSH public key to people.NAME.keys of the estate, or write trust: unsigned",
			"gate %s wants %d signed approval(s), and of those who may approve (%s) %d have a key", name, need, listed(people), len(able))
	default:
		d.problem(path, "give more people the role approver in the estate, or lower count",
			"gate %s wants %d approval(s), and %d people may give them: %s", name, need, len(people), listed(people))
	}
}

// provable says whether p can prove who decides: by an SSH key, or by a gateway's word.
func (e Estate) provable(p Person) bool {
	return len(p.Keys) > 0 || len(e.Gateways) > 0 && (p.Slack != "" || p.OIDC != "" || p.Email != "")
}

func listed(words []string) string {
	switch {
	case len(words) == 0:
		return "nobody"
	case len(words) > 10:
		return strings.Join(words[:10], ", ") + ", ..."
	}
	return strings.Join(words, ", ")
}

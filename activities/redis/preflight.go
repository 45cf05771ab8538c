package redis

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// The codes of this driver's findings. They are frozen: plans are approved by them.
const (
	codeTwoPrimaries   = "two-primaries"
	codeTargetPrimary  = "target-is-primary"
	codeSourceStandby  = "source-is-not-primary"
	codeSourceDown     = "source-unreachable"
	codeSourceHealthy  = "source-is-healthy"
	codeSourceFenced   = "source-is-fenced"
	codeHalfMoved      = "already-promoted"
	codeTargetDown     = "target-unreachable"
	codeTargetWritable = "replica-is-writable"
	codeLinkDown       = "replica-link-down"
	codeFollowsOther   = "standby-follows-someone-else"
	codeSync           = "sync-in-progress"
	codeReplid         = "different-replid"
	codeLag            = "lag-over-objective"
	codeEmpty          = "master-restarted-empty"
	codePassword       = "wrong-password"
	codeProtected      = "protected-mode"
	codeMasterAuth     = "missing-credentials"
	codeQuorum         = "quorum-missing"
	codeSentinelOther  = "sentinel-names-another-master"
	codeSlots          = "slots-uncovered"
	codeNoVote         = activities.FindingNoVote
	codeSibling        = "sibling-has-more"
	codeNoConfig       = "no-configuration-file"
	codeHost           = "host-unusable"
	codeFailover       = "failover-at-work"
	codeVersion        = "version-too-old"
	codeManager        = "another-manager"
)

// Preflight says what speaks against a move. It changes nothing.
func (d *Driver) Preflight(ctx context.Context, m activities.Move) (activities.PreflightResult, error) {
	if _, _, err := d.pair(m); err != nil {
		return activities.PreflightResult{}, err
	}
	all, err := d.seeSites(ctx, m.Target, true)
	if err != nil {
		return activities.PreflightResult{}, err
	}
	p := &preflight{move: m, from: all[m.From], to: all[m.To], all: all, state: state(m.Target, all)}
	p.answers()
	p.roles()
	for _, t := range p.to {
		p.replica(t)
	}
	p.lag()
	p.hosts()
	d.passwords(ctx, p)
	switch shape(m.Target) {
	case runbooks.RedisSentinel:
		d.sentinels(ctx, p)
	case runbooks.RedisCluster:
		p.cluster()
	}
	return activities.PreflightResult{State: p.state, Findings: p.found, LossBytes: p.loss()}, nil
}

type preflight struct {
	move     activities.Move
	from, to []seen
	all      map[string][]seen
	state    activities.SystemState
	found    []journal.Finding
}

func (p *preflight) add(code string, refuse bool, next, message string, args ...any) {
	p.found = append(p.found, journal.Finding{Code: code, System: p.move.Name, Refuse: refuse, Next: next, Message: fmt.Sprintf(message, args...)})
}

// answers checks who can be asked, and says why where somebody cannot.
func (p *preflight) answers() {
	for _, s := range slices.Concat(p.from, p.to) {
		if s.server != nil {
			if s.server.older(6, 2) {
				p.add(codeVersion, p.move.Planned, "upgrade it to 6.2, which brings FAILOVER", "the server at %s is version %s", s.node.addr, s.server.version())
			}
			if is := s.server.manager(); is != shape(p.move.Target) && is != runbooks.RedisReplication { // Sentinels that are down are quorum-missing
				p.add(codeManager, true, "write shape: "+is+" in the estate", "the server at %s is under %s, which would undo a move that is not its own", s.node.addr, is)
			}
			continue
		}
		source := s.node.site == p.move.From
		reason := oneLine(s.err)
		switch {
		case strings.Contains(reason, "DENIED"):
			p.add(codeProtected, true, "give it a password and bind, or set protected-mode no", "the server at %s is in protected mode: %s", s.node.addr, reason)
		case activities.TypeOf(s.err) == activities.ErrAuth:
			p.add(codePassword, true, "check user and password in the estate", "the server at %s does not let muster in: %s", s.node.addr, reason)
		case source && p.move.Planned:
			p.add(codeSourceDown, true, "a planned move needs the old primary: is it an unplanned one?", "the server at %s (%s) does not answer: %s", s.node.site, s.node.addr, reason)
		case !source:
			p.add(codeTargetDown, true, "start it, or choose another site", "the server at %s (%s) does not answer: %s", s.node.site, s.node.addr, reason)
		}
	}
}

func leads(s seen) bool {
	return s.server != nil && s.server.primary() && (!s.server.cluster.known || s.server.cluster.slots > 0)
}

func (p *preflight) roles() {
	var primaries []string
	for site, nodes := range p.all {
		if slices.ContainsFunc(nodes, leads) {
			primaries = append(primaries, site)
		}
	}
	slices.Sort(primaries)
	if len(primaries) > 1 && shape(p.move.Target) != runbooks.RedisCluster {
		p.add(codeTwoPrimaries, true, "find out which one holds the clients' writes, and stop the other", "%d members are primaries: %s", len(primaries), strings.Join(primaries, ", "))
	}
	if slices.Equal(primaries, []string{p.move.To}) && p.finished() {
		return
	}
	if slices.Contains(primaries, p.move.To) && !slices.Contains(primaries, p.move.From) {
		p.add(codeTargetPrimary, true, "was it moved already?", "the member at %s is a primary", p.move.To)
	}
	asked := slices.ContainsFunc(p.from, func(s seen) bool { return s.server != nil })
	if asked && !slices.Contains(primaries, p.move.From) {
		p.add(codeSourceStandby, p.move.Planned || slices.Contains(primaries, p.move.To), "was it moved already?", "the member at %s is a standby", p.move.From)
	}
	for _, s := range p.from {
		if !leads(s) {
			continue
		}
		if s.server.fenced() {
			p.add(codeSourceFenced, false, "left by an earlier run: CONFIG SET min-replicas-to-write takes it back", "the primary at %s refuses writes already", s.node.addr)
		}
		if !p.move.Planned {
			p.add(codeSourceHealthy, false, "a planned move would lose nothing", "the primary at %s answers, and would be fenced", s.node.addr)
		}
		if s.server.moving() {
			p.add(codeFailover, true, "wait for it, or FAILOVER ABORT", "the primary at %s hands its role over already", s.node.addr)
		}
		if s.server.info["config_file"] == "" {
			p.add(codeNoConfig, false, "start it with a configuration file", "the primary at %s has no configuration file: a restart takes the fence off", s.node.addr)
		}
	}
}

// finished says that the system is at To already, and whether what is at From follows it; false where a server at From is something else.
func (p *preflight) finished() bool {
	following := 0
	for _, s := range p.from {
		switch {
		case s.server == nil && (p.move.Planned || !stopped([]seen{s})):
			return false
		case s.server != nil && s.server.linked():
			following++
		}
	}
	if following == len(p.from) {
		p.add(activities.FindingMoved, true, "there is nothing left to move", "the primary is at %s already, and all at %s follows it", p.move.To, p.move.From)
		return true
	}
	p.add(codeHalfMoved, false, "", "the primary is at %s already, and not all at %s follows it: this run finishes a move that was stopped halfway", p.move.To, p.move.From)
	return true
}

// source finds the primary at m.From that a replica belongs to.
func (p *preflight) source(t seen) *server {
	if len(p.from) == 1 {
		return p.from[0].server
	}
	for _, s := range p.from {
		if s.server != nil && s.node.is(t.server.following()) {
			return s.server
		}
	}
	return nil
}

func (p *preflight) follows(t seen) bool {
	for _, s := range p.from {
		if s.node.is(t.server.following()) {
			return true
		}
		if s.server != nil {
			if _, online := replicaLine(*s.server, t.node, *t.server); online {
				return true // names differ by who looks; its own list of replicas does not
			}
		}
	}
	return false
}

// replica checks one standby. With the primary gone, a link that is down is no surprise.
func (p *preflight) replica(t seen) {
	if t.server == nil || t.server.primary() {
		return
	}
	s, at := p.source(t), t.node.addr
	up := s != nil && s.primary()
	switch {
	case t.server.syncing() || t.server.loading():
		p.add(codeSync, true, "wait until it is done", "the standby at %s is being synchronised and has no usable data", at)
	case !p.follows(t) && !clustered(t.node):
		p.add(codeFollowsOther, true, "make it follow the primary at "+p.move.From, "the standby at %s follows %s", at, t.server.following())
	case up && !t.server.linked():
		p.add(codeLinkDown, true, "see the standby's log", "the standby at %s has no link to its primary, for %s s", at, t.server.info["master_link_down_since_seconds"])
	}
	if t.server.writable() {
		p.add(codeTargetWritable, true, "CONFIG SET replica-read-only yes", "the standby at %s accepts writes of its own", at)
	}
	if !up {
		return
	}
	if s.keys() == 0 && t.server.keys() > 0 {
		p.add(codeEmpty, p.move.Planned, "it lost its data at a restart, and its replicas will, too: keep them from it, and move unplanned",
			"the primary at %s is empty, the standby at %s has %d keys", p.move.From, at, t.server.keys())
	}
	if s.info["master_replid"] != t.server.info["master_replid"] {
		p.add(codeReplid, p.move.Planned, "wait until it follows this primary", "the standby at %s is of another lineage (%s) than the primary (%s)", at,
			short(t.server.info["master_replid"]), short(s.info["master_replid"]))
	}
	if p.move.Planned {
		return
	}
	p.siblings(t)
}

// siblings refuses an unplanned move to a standby where another one of the same lineage has more.
func (p *preflight) siblings(t seen) {
	for _, site := range slices.Sorted(maps.Keys(p.all)) {
		nodes := p.all[site]
		if site == p.move.From || site == p.move.To || clustered(t.node) {
			continue
		}
		for _, o := range nodes {
			if o.server != nil && !o.server.primary() && o.server.info["master_replid"] == t.server.info["master_replid"] && o.server.offset() > t.server.offset() {
				p.add(codeSibling, true, "move to "+site, "the standby at %s has %d bytes more than the one at %s", site, o.server.offset()-t.server.offset(), p.move.To)
			}
		}
	}
}

func (p *preflight) lag() {
	member, o := p.state.Members[p.move.To], p.move.Objectives
	if o.MaxLagBytes != nil && member.LagBytes > *o.MaxLagBytes {
		p.add(codeLag, true, "wait until it caught up", "the standby at %s is %d bytes behind, %d are allowed", p.move.To, member.LagBytes, *o.MaxLagBytes)
	}
	if o.MaxLag != nil && member.LagSeconds > o.MaxLag.D().Seconds() {
		p.add(codeLag, true, "wait until it caught up", "the standby at %s is %.1f s behind, %s is allowed", p.move.To, member.LagSeconds, o.MaxLag)
	}
}

// hosts: a server that is up is fenced without its host, so that is only a warning.
func (p *preflight) hosts() {
	for _, s := range p.from {
		switch {
		case s.hostErr != nil:
			p.add(codeHost, false, "make the host usable, with config_file and start in the estate",
				"the host of %s cannot be used, so a server that is down could not be fenced or started: %s", s.node.addr, oneLine(s.hostErr))
		case s.machine != nil && s.server != nil && !s.machine.running():
			p.add(codeHost, true, "check host in the estate", "the server at %s answers, but host %s shows nobody at its port", s.node.addr, s.node.host)
		case s.machine != nil && !s.machine.Writable:
			p.add(codeHost, false, "check config_file and the host's user", "the configuration file of %s cannot be written on host %s", s.node.addr, s.node.host)
		case s.machine != nil && len(s.node.start) == 0:
			p.add(codeHost, false, "write start at the member", "nothing says how the server at %s is started", s.node.addr)
		}
	}
}

// passwords checks that the old primary can log in to the new one: only whether masterauth is set, never what it is.
func (d *Driver) passwords(ctx context.Context, p *preflight) {
	for _, s := range p.from {
		if s.server == nil || s.node.redis.Password == "" {
			continue
		}
		var set bool
		err := d.conns.use(ctx, s.node.login(), true, func(ctx context.Context, c *redis.Client) error {
			answer, err := c.ConfigGet(ctx, "masterauth").Result()
			set = answer["masterauth"] != ""
			return err
		})
		if err == nil && !set {
			p.add(codeMasterAuth, true, "CONFIG SET masterauth and masteruser, then CONFIG REWRITE", "the server at %s has no masterauth: it could not follow a new primary", s.node.addr)
		}
	}
}

func (d *Driver) sentinels(ctx context.Context, p *preflight) {
	r := p.move.System.Redis
	good, why := d.quorum(ctx, r)
	if len(good)*2 <= len(r.Sentinels) {
		p.add(codeQuorum, true, "start the Sentinels that are down", "%d of %d Sentinels say that they have a quorum: %s", len(good), len(r.Sentinels), oneLine(why))
	} else if why != nil {
		p.add(codeQuorum, false, "start the Sentinels that are down", "a Sentinel is missing: %s", oneLine(why))
	}
	if p.from[0].server == nil {
		return
	}
	if text := d.sentinelsDisagree(ctx, p.from[0].node); text != "" && leads(p.from[0]) {
		p.add(codeSentinelOther, true, "wait until they agree", "the Sentinels do not agree on the primary at %s: %s", p.move.From, text)
	}
}

// cluster checks what the servers of the new site know: they are the ones that ask for votes.
func (p *preflight) cluster() {
	for _, t := range p.to {
		if t.server == nil {
			continue
		}
		c := t.server.cluster
		if p.move.Planned && c.covered < allSlots {
			p.add(codeSlots, true, "CLUSTER NODES shows which masters are missing", "%s knows masters for %d of %d slots", t.node.addr, c.covered, allSlots)
			return
		}
		if !p.move.Planned && c.alive*2 <= c.masters && !p.move.Takeover {
			p.add(codeNoVote, false, "the promotion needs a person's consent to go without a vote: retry --set takeover=true",
				"%s knows %d of %d masters: too few to vote", t.node.addr, c.alive, c.masters)
			return
		}
	}
	for _, s := range p.from {
		if leads(s) && !slices.ContainsFunc(p.to, func(t seen) bool { return t.server != nil && s.node.is(t.server.following()) }) {
			p.add(codeSlots, true, "give the shard a replica there", "the master at %s has no replica at %s: its %d slots would stay", s.node.addr, p.move.To, s.server.cluster.slots)
		}
	}
}

// loss is how many bytes the standbys have not received: 0 for a planned move, which waits for them; -1 where that cannot be known, as
// after a crash: the offset of a server's last write dies with its process.
func (p *preflight) loss() int64 {
	if p.move.Planned {
		return 0
	}
	var total int64
	counted := false
	for _, t := range p.to {
		if t.server == nil || t.server.primary() && !p.onceReplica(t) {
			continue
		}
		s := p.source(t)
		if s == nil || !s.primary() {
			return -1
		}
		counted = true
		total = add(total, t.server.beyond(*s))
	}
	if !counted {
		return -1
	}
	return total
}

// onceReplica: a standby that was promoted already shows by second_repl_offset how far the old primary had reached it.
func (p *preflight) onceReplica(t seen) bool {
	s := p.source(t)
	return s != nil && t.server.info["master_replid2"] == s.info["master_replid"]
}

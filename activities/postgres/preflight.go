package postgres

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/internal/secret"
)

// The codes of this driver's findings. They are frozen: plans are approved by them.
const (
	codeTwoPrimaries    = "two-primaries"
	codeSystemID        = "different-system-identifier"
	codeTargetPrimary   = "target-is-primary"
	codeSourceStandby   = "source-is-not-primary"
	codeSourceDown      = "source-unreachable"
	codeSourceHealthy   = "source-is-healthy"
	codeTargetDown      = "target-unreachable"
	codeNotStreaming    = "standby-not-streaming"
	codeFollowsOther    = "standby-follows-someone-else"
	codeTimeline        = "timeline-mismatch"
	codeLag             = "lag-over-objective"
	codePaused          = "replay-paused"
	codeNoRewind        = "no-wal-to-rewind"
	codeMissingSlot     = "missing-slot"
	codeCredentials     = "missing-credentials"
	codeLogin           = "wrong-credentials"
	codeHalfMoved       = "already-promoted"
	codeSourceFenced    = "source-is-fenced"
	codeHost            = "host-unusable"
	codeDirectory       = "data-directory-cannot-be-renamed"
	codeTablespaces     = "tablespaces"
	codeArchiver        = "archiver-failing"
	codeSynchronous     = "synchronous-standby-missing"
	codeReadOnly        = "source-is-read-only"
	codeWALLost         = "slot-lost-wal"
	codeUnknownPosition = "position-unknown"
)

// Preflight says what speaks against a move. It changes nothing; it logs in with the credentials that the way back needs.
func (d *Driver) Preflight(ctx context.Context, m activities.Move) (activities.PreflightResult, error) {
	from, to, err := d.pair(m)
	if err != nil {
		return activities.PreflightResult{}, err
	}
	all, err := d.seeAll(ctx, m.Target, true)
	if err != nil {
		return activities.PreflightResult{}, err
	}
	source, target := all[m.From], all[m.To]
	p := &preflight{move: m, source: source, target: target, state: state(m.Target, all)}
	if source.server != nil && source.machine != nil {
		p.misplaced = d.samePlace(ctx, from, *source.server)
	}
	p.primaries(all)
	p.members()
	p.replication(to)
	p.hosts(from)
	d.credentials(ctx, p, from, to)
	p.wayBack(from, to)
	loss := d.loss(ctx, p, from)
	return activities.PreflightResult{State: p.state, Findings: p.found, LossBytes: loss}, nil
}

type preflight struct {
	move           activities.Move
	source, target seen
	state          activities.SystemState
	noBackup       bool  // the replication credentials do not work
	misplaced      error // the estate names another data directory than the server uses
	found          []journal.Finding
}

func (p *preflight) add(code string, refuse bool, next, message string, args ...any) {
	p.found = append(p.found, journal.Finding{
		Code: code, System: p.move.Name, Refuse: refuse, Next: next, Message: fmt.Sprintf(message, args...),
	})
}

func (p *preflight) primaries(all map[string]seen) {
	var sites []string
	for site, s := range all {
		if s.server != nil && !s.server.InRecovery {
			sites = append(sites, site)
		}
	}
	if len(sites) > 1 {
		p.add(codeTwoPrimaries, true, "find out which one holds the clients' writes, and stop the other",
			"%d members are primaries: %s", len(sites), strings.Join(slices.Sorted(slices.Values(sites)), ", "))
	}
}

// members checks what each of the two is.
func (p *preflight) members() {
	from, to := p.move.From, p.move.To
	s, t := p.source.server, p.target.server
	if p.halfMoved() {
		p.add(codeHalfMoved, false, "", "the member at %s is the primary already, and the one at %s does not follow it: this run finishes a move that was stopped halfway", to, from)
		return
	}
	if p.moved() {
		p.add(activities.FindingMoved, true, "there is nothing left to move", "the member at %s is the primary already, and the one at %s follows it", to, from)
		return
	}
	switch {
	case s == nil && activities.TypeOf(p.source.sqlErr) == activities.ErrAuth:
		p.add(codeLogin, true, "correct user or password in the estate", "the server at %s does not let muster in: %s", from, oneLine(p.source.sqlErr))
	case p.halfFenced():
		p.add(codeSourceFenced, false, "", "the primary at %s is stopped and fenced already: this run finishes a move that was stopped halfway", from)
	case s == nil && p.move.Planned:
		p.add(codeSourceDown, true, "a planned move needs the old primary: is it an unplanned one?", "the primary at %s does not answer: %s", from, oneLine(p.source.sqlErr))
	case s != nil && s.InRecovery:
		p.add(codeSourceStandby, true, "was it moved already?", "the member at %s is a standby", from)
	case s != nil && s.ReadOnly == "on":
		p.add(codeReadOnly, false, "ALTER SYSTEM RESET default_transaction_read_only", "the primary at %s is read-only", from)
	case s != nil && !p.move.Planned:
		p.add(codeSourceHealthy, false, "a planned move would lose nothing", "the primary at %s answers, and would be stopped", from)
	}
	switch {
	case t == nil && activities.TypeOf(p.target.sqlErr) == activities.ErrAuth:
		p.add(codeLogin, true, "correct user or password in the estate", "the server at %s does not let muster in: %s", to, oneLine(p.target.sqlErr))
	case t == nil:
		p.add(codeTargetDown, true, "start it, or choose another site", "the standby at %s does not answer: %s", to, oneLine(p.target.sqlErr))
	case !t.InRecovery:
		p.add(codeTargetPrimary, true, "was it moved already?", "the member at %s is a primary", to)
	}
	if a, b := p.state.Members[from].Identity, p.state.Members[to].Identity; a != "" && b != "" && a != b {
		p.add(codeSystemID, true, "one of the two addresses is wrong, or the standby was built from something else",
			"the member at %s is of system %s, the one at %s of system %s", from, a, to, b)
	}
}

// halfMoved reports a move that was aborted past its point of no return: every step that was done is met at its first look.
func (p *preflight) halfMoved() bool {
	t, s, old := p.target.server, p.source.server, p.source.machine
	if t == nil || t.InRecovery {
		return false
	}
	if s != nil {
		return s.InRecovery && !s.streams() && s.SystemID == t.SystemID
	}
	return old != nil && !old.running()
}

func (p *preflight) moved() bool {
	t, s := p.target.server, p.source.server
	return t != nil && !t.InRecovery && s != nil && s.InRecovery && s.streams() && s.SystemID == t.SystemID
}

// halfFenced reports a planned move that was aborted between its fence and the promotion: where the stopped primary's WAL ends is known.
func (p *preflight) halfFenced() bool {
	old := p.source.machine
	return p.move.Planned && p.source.server == nil && old != nil && !old.running() && old.Standby && old.Control.State == stateShutDown
}

// replication checks the standby's stream. With the primary gone, a stream that has ended is no surprise.
func (p *preflight) replication(to member) {
	s, t := p.source.server, p.target.server
	if t == nil || !t.InRecovery {
		return
	}
	site := p.move.To
	if t.Paused {
		p.add(codePaused, true, "find out who paused it and why, then SELECT pg_wal_replay_resume()", "replay is paused at %s", site)
	}
	if p.halfFenced() {
		return // catching up to the end of the old primary's WAL is held to, not to what the lag was before
	}
	up := s != nil && !s.InRecovery
	switch {
	case !t.streams() && up:
		p.add(codeNotStreaming, true, "see the standby's log", "the standby at %s streams from nobody", site)
	case t.streams() && up && !p.follows():
		p.add(codeFollowsOther, true, "check primary_address in the estate, or make it follow this primary",
			"the standby at %s streams from %s, which is not the member at %s", site, t.following(), p.move.From)
	case t.streams() && up && t.timeline() != s.timeline():
		p.add(codeTimeline, true, "rebuild the standby", "the standby at %s is on timeline %d, the primary on %d", site, t.timeline(), s.timeline())
	}
	member := p.state.Members[site]
	o := p.move.Objectives
	if o.MaxLagBytes != nil && member.LagBytes > *o.MaxLagBytes {
		p.add(codeLag, true, "wait until it caught up", "the standby at %s is %d bytes behind, %d are allowed", site, member.LagBytes, *o.MaxLagBytes)
	}
	if o.MaxLag != nil && member.LagSeconds > o.MaxLag.D().Seconds() {
		p.add(codeLag, true, "wait until it caught up", "the standby at %s is %.1f s behind, %s is allowed", site, member.LagSeconds, o.MaxLag)
	}
	if !up || to.own.Slot == "" {
		return
	}
	switch sl, ok := s.slot(to.own.Slot); {
	case !ok:
		p.add(codeMissingSlot, true, "make the slot, and let the standby use it", "the primary at %s has no slot %s for the standby at %s", p.move.From, to.own.Slot, site)
	case sl.WALStatus == "lost" || sl.WALStatus == "unreserved":
		p.add(codeWALLost, true, "rebuild the standby", "slot %s of the primary at %s lost WAL that the standby needs", to.own.Slot, p.move.From)
	case !sl.Active:
		p.add(codeMissingSlot, false, "set primary_slot_name at the standby", "the standby at %s does not use its slot %s", site, to.own.Slot)
	}
}

// follows reports whether the standby streams from the source: by address, or because the source has it among its standbys.
func (p *preflight) follows() bool {
	if sameServer(p.target.server.following(), p.source.member) {
		return true
	}
	slot := p.target.server.Receiver.Slot
	if sl, ok := p.source.server.slot(slot); ok && slot != "" && sl.Active {
		return true // names and addresses differ by who looks; a slot in use does not
	}
	// "localhost" and "127.0.0.1" are one machine.
	_, port, _ := net.SplitHostPort(p.target.server.following())
	host, _, _ := net.SplitHostPort(p.target.server.following())
	ownHost, ownPort, _ := net.SplitHostPort(p.source.member.streamAddress())
	return port == ownPort && loopback(host) && loopback(ownHost)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// hosts checks that the old primary can be stopped with proof.
func (p *preflight) hosts(from member) {
	if err := p.source.hostErr; err != nil {
		p.add(codeHost, p.move.Planned, "make the host usable: without it nothing can prove that the old primary is stopped",
			"the data directory at %s cannot be used: %s", from.site, oneLine(err))
		return
	}
	mc := p.source.machine
	if mc != nil && (mc.Mount || !mc.Parent) {
		p.add(codeDirectory, false, "use a folder inside the mount as data directory",
			"%s at %s is a mount point, or its parent cannot be written: pg_rewind and base backup are not possible there", from.own.DataDirectory, from.site)
	}
	if mc != nil && p.source.server != nil && len(mc.Processes) == 0 {
		p.add(codeHost, true, "check host and data_directory in the estate",
			"the server at %s answers, but host %s shows no process of it in %s", from.site, from.host, from.own.DataDirectory)
	}
	if err := p.misplaced; err != nil {
		p.add(codeHost, true, "correct data_directory in the estate", "%s", oneLine(err))
	}
}

// wayBack checks what the old primary needs to become a standby.
func (p *preflight) wayBack(from, to member) {
	if t := p.target.server; t != nil {
		if t.Tablespaces > 0 {
			p.add(codeTablespaces, false, "a base backup onto the same machine fails on them", "the system has %d tablespaces of its own", t.Tablespaces)
		}
		if t.SyncNames != "" && p.move.Planned {
			p.add(codeSynchronous, false, "a commit at the new primary waits for its synchronous standby, which is down until the old primary follows",
				"the standby at %s has synchronous_standby_names = %s", to.site, t.SyncNames)
		}
		if t.MaxSlots <= len(t.Slots) && from.own.Slot != "" {
			if _, ok := t.slot(from.own.Slot); !ok {
				p.add(codeMissingSlot, true, "raise max_replication_slots", "the standby at %s has no room for slot %s of the way back", to.site, from.own.Slot)
			}
		}
	}
	if from.own.Slot == "" {
		p.add(codeMissingSlot, false, "name a slot in the estate", "the member at %s has no slot: the new primary may recycle WAL that it needs", from.site)
	}
	rewindable, known := false, false
	if s := p.source.server; s != nil {
		rewindable, known = (s.Hints == "on" || s.Checksums == "on") && s.FullPages == "on", true
	} else if mc := p.source.machine; mc != nil && mc.Dir {
		rewindable, known = mc.Control.rewindable(), true
	}
	if known && !rewindable {
		next := "the way back is a base backup; wal_log_hints = on, or checksums, and full_page_writes = on would spare it"
		if p.noBackup {
			next = "turn wal_log_hints or checksums, and full_page_writes on, or make the replication credentials work"
		}
		p.add(codeNoRewind, p.noBackup, next, "pg_rewind is not possible at %s: its WAL holds too little to rewind from", from.site)
	}
	if s := p.source.server; s != nil && s.ArchiveMode != "off" && s.ArchiverLate {
		p.add(codeArchiver, false, "a stop waits for the archiver: repair archive_command", "the archiver at %s fails on %s", from.site, s.ArchiverWAL)
	}
}

// credentials logs in to the new primary as the way back will: from the old primary's host where that has psql, otherwise from here.
func (d *Driver) credentials(ctx context.Context, p *preflight, from, to member) {
	if p.target.server == nil {
		return
	}
	try := map[string]login{
		"the replication user": {
			address: to.addr, user: to.pg.ReplicationUser, database: database(to.pg), sslmode: to.pg.SSLMode,
			password: to.pg.ReplicationPassword, replication: true,
		},
	}
	if p.source.server != nil {
		same := try["the replication user"]
		same.address = from.addr
		try["the replication user at the old primary"] = same
	}
	failed := map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for who, l := range try {
		wg.Go(func() {
			err := d.logIn(ctx, from, to, l, p.source.machine != nil && l.address == to.addr)
			if err == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			failed[who] = err
		})
	}
	wg.Wait()
	for _, who := range slices.Sorted(maps.Keys(failed)) {
		err := failed[who]
		p.noBackup = p.noBackup || try[who].address == to.addr
		p.add(codeCredentials, p.move.Planned || try[who].address == to.addr, "check replication_user and its password in the estate, and pg_hba.conf of both members",
			"%s cannot log in: %s", who, oneLine(err))
	}
}

func (d *Driver) logIn(ctx context.Context, from, to member, l login, throughHost bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*connectTimeout)
	defer cancel()
	if throughHost {
		if done, err := d.logInFrom(ctx, from, to, l); done {
			return err
		}
	}
	conn, err := dial(ctx, l, 2*connectTimeout)
	if err != nil {
		return mapError("log in to "+l.address+" for replication", err)
	}
	defer closeConn(conn)
	_, err = conn.PgConn().Exec(ctx, "IDENTIFY_SYSTEM").ReadAll()
	return mapError("identify "+l.address, err)
}

// logInFrom tries from the host that will stream; done is false where it has no psql.
func (d *Driver) logInFrom(ctx context.Context, from, to member, l login) (done bool, err error) {
	host, port, err := net.SplitHostPort(to.streamAddress())
	if err != nil {
		return true, err
	}
	password, err := secret.Resolve(ctx, l.password)
	if err != nil {
		return true, err
	}
	info := conninfo("host", host, "port", port, "sslmode", l.sslmode, "user", l.user, "dbname", l.database, "replication", "true", "connect_timeout", "3")
	_, err = d.run(ctx, from, activities.Command{
		Args: []string{from.own.BinDirectory + "/psql", "-X", "-w", "-A", "-t", "-d", info, "-c", "IDENTIFY_SYSTEM"},
		Env:  map[string]string{"PGPASSWORD": password, "LC_ALL": "C", "PGSSLCERT": "", "PGSYSCONFDIR": "/nonexistent"},
	})
	if commandMissing(err) {
		return false, nil
	}
	return true, mapError(fmt.Sprintf("log in from host %s to %s for replication", from.host, to.streamAddress()), err)
}

// loss is how many bytes of WAL the standby has not received: 0 for a planned move, which waits for them; -1 where that cannot be known.
func (d *Driver) loss(ctx context.Context, p *preflight, from member) int64 {
	if p.move.Planned {
		return 0
	}
	t := p.target.server
	if t == nil || !t.InRecovery {
		return -1
	}
	if s := p.source.server; s != nil && !s.InRecovery {
		return distance(t.received(), s.written())
	}
	mc := p.source.machine
	if mc == nil || !mc.Dir || mc.running() || mc.Control.SystemID != t.SystemID || mc.Control.State == stateShutDownInRecovery {
		return -1
	}
	start, end, err := d.lastRecord(ctx, from, mc.Control)
	if err != nil {
		p.add(codeUnknownPosition, false, "", "where the WAL of the member at %s ends cannot be read: %s", from.site, oneLine(err))
		return -1
	}
	member := p.state.Members[from.site]
	member.Position = start.String()
	member.Facts["wal_end"] = end.String()
	p.state.Members[from.site] = member
	if t.replayed() > start {
		return 0
	}
	return distance(t.received(), end)
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// seen is one look at a member: by SQL, and from its host where the server does not answer.
type seen struct {
	member  member
	server  *server
	sqlErr  error
	machine *machine
	hostErr error
}

// see looks at a member. whole also asks the host of a server that answers.
func (d *Driver) see(ctx context.Context, m member, whole bool) seen {
	s := seen{member: m}
	answered, err := d.ask(ctx, m)
	if err == nil {
		s.server = &answered
		if !whole {
			return s
		}
	}
	s.sqlErr = err
	looked, err := d.probe(ctx, m)
	if err != nil {
		s.hostErr = err
		return s
	}
	s.machine = &looked
	return s
}

// Observe looks at all members at once: by SQL, and through their hosts where a server does not answer.
func (d *Driver) Observe(ctx context.Context, t activities.Target) (activities.SystemState, error) {
	all, err := d.seeAll(ctx, t, false)
	if err != nil {
		return activities.SystemState{}, err
	}
	return state(t, all), nil
}

func (d *Driver) seeAll(ctx context.Context, t activities.Target, whole bool) (map[string]seen, error) {
	members := map[string]member{}
	for site := range t.System.Members {
		m, err := d.member(t, site)
		if err != nil {
			return nil, err
		}
		members[site] = m
	}
	all := map[string]seen{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for site, m := range members {
		wg.Go(func() {
			s := d.see(ctx, m, whole)
			mu.Lock()
			defer mu.Unlock()
			all[site] = s
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("observe %s: %w", t.Name, err)
	}
	// A wrong estate is no state of the member.
	for _, s := range all {
		if s.sqlErr != nil && activities.TypeOf(s.sqlErr) == activities.ErrConfig {
			return nil, s.sqlErr
		}
	}
	return all, nil
}

func state(t activities.Target, all map[string]seen) activities.SystemState {
	result := activities.SystemState{System: t.Name, Kind: t.System.Kind, At: time.Now().UTC(), Members: map[string]activities.MemberState{}}
	primary := onlyPrimary(all)
	for site, s := range all {
		result.Members[site] = s.state(primary)
	}
	return result
}

// onlyPrimary is the one server that is a primary, nil where there is none or more than one.
func onlyPrimary(all map[string]seen) *server {
	var found *server
	for _, s := range all {
		if s.server != nil && !s.server.InRecovery {
			if found != nil {
				return nil
			}
			found = s.server
		}
	}
	return found
}

func (s seen) state(primary *server) activities.MemberState {
	m := activities.MemberState{Site: s.member.site, Role: activities.RoleUnknown, LagBytes: -1, LagSeconds: -1, Facts: journal.Facts{"role": "unknown"}}
	if s.machine != nil {
		m.HostReachable = true
	}
	switch {
	case s.server != nil:
		s.server.fill(&m, primary)
	case s.machine != nil:
		m.Unreachable = oneLine(s.sqlErr)
		s.machine.fill(&m)
	default:
		m.Unreachable = oneLine(errors.Join(s.sqlErr, s.hostErr))
		m.HostReachable = answered(s.hostErr)
	}
	return m
}

// answered reports whether a host that could not be used was there at all.
func answered(err error) bool {
	return err != nil && activities.TypeOf(err) != activities.ErrUnreachable
}

func (s *server) fill(m *activities.MemberState, primary *server) {
	m.Role, m.AcceptsWrites = activities.RolePrimary, s.acceptsWrites()
	m.Identity, m.Lineage = s.SystemID, fmt.Sprint(s.timeline())
	f := s.facts()
	if s.InRecovery {
		m.Role = activities.RoleStandby
		m.Position = s.replayed().String()
		m.Following = s.following()
		m.LagBytes, m.LagSeconds = s.lag(primary)
		f["lag_bytes"] = strconv.FormatInt(m.LagBytes, 10)
		f["lag_seconds"] = strconv.FormatFloat(m.LagSeconds, 'f', 1, 64)
	} else {
		m.Position = s.written().String()
		m.LagBytes, m.LagSeconds = 0, 0
	}
	m.Facts = f
}

// lag is how far a standby is behind: of the primary's own position where that answers, otherwise of what was received. An idle primary
// commits nothing, so the age of the last commit says nothing while all that was received is replayed.
func (s *server) lag(primary *server) (bytes int64, seconds float64) {
	bytes, seconds = -1, -1
	switch {
	case primary != nil && primary.SystemID == s.SystemID:
		bytes = distance(s.replayed(), primary.written())
	case s.streams():
		bytes = distance(s.replayed(), s.received())
	}
	switch {
	case bytes == 0, s.streams() && s.replayed() >= s.received():
		seconds = 0
	case s.ReplayAge != nil && bytes >= 0:
		seconds = max(0, *s.ReplayAge)
	}
	return bytes, seconds
}

// facts are what a running server shows, for people.
func (s *server) facts() journal.Facts {
	f := journal.Facts{"role": "primary", "timeline": fmt.Sprint(s.timeline()), "version": version(s.Version)}
	if s.InRecovery {
		f["role"] = "standby"
		f["replay"], f["receive"] = s.replayed().String(), s.received().String()
		f["following"] = s.following()
		if s.Receiver != nil {
			f["receiver"] = s.Receiver.Status
			f["flush"] = s.Receiver.Flushed
		}
		if s.Paused {
			f["replay_paused"] = "yes"
		}
	} else {
		f["write"] = s.written().String()
	}
	if s.ReadOnly == "on" {
		f["read_only"] = "yes"
	}
	var slots, standbys []string
	for _, sl := range s.Slots {
		word := "inactive"
		if sl.Active {
			word = "active"
		}
		slots = append(slots, strings.TrimSpace(sl.Name+" "+word+" "+sl.WALStatus))
	}
	for _, st := range s.Standbys {
		standbys = append(standbys, st.Name+" "+st.State+" "+st.SyncState)
	}
	if len(slots) > 0 {
		f["slots"] = strings.Join(slots, ", ")
	}
	if len(standbys) > 0 {
		f["standbys"] = strings.Join(standbys, ", ")
	}
	if s.ArchiveMode != "off" {
		f["archiver"] = "ok"
		if s.ArchiverLate {
			f["archiver"] = "failed on " + s.ArchiverWAL
		}
	}
	return f
}

func (mc *machine) fill(m *activities.MemberState) {
	m.Role = activities.RoleStopped
	if mc.running() {
		m.Role = activities.RoleUnknown // it runs and does not answer: starting, stopping, full or hung
	}
	m.Identity, m.Facts = mc.Control.SystemID, mc.facts()
	if mc.Dir {
		m.Lineage, m.Position = fmt.Sprint(mc.Control.Timeline), mc.Control.Checkpoint.String()
	}
}

func (mc *machine) facts() journal.Facts {
	f := journal.Facts{"role": "stopped"}
	if mc.running() {
		f["role"] = "unknown"
		f["processes"] = fmt.Sprint(len(mc.Processes))
	}
	if mc.Dir {
		f["control_state"] = mc.Control.State
		f["timeline"] = fmt.Sprint(mc.Control.Timeline)
		f["checkpoint"] = mc.Control.Checkpoint.String()
		f["starts_as"] = "primary"
		if mc.Standby {
			f["starts_as"] = "standby"
		}
	} else {
		f["data_directory"] = "set aside for pg_rewind"
	}
	if mc.Busy {
		f["job"] = "at work"
	}
	if mc.Old != "" {
		f["kept"] = mc.Old
	}
	return f
}

// version writes server_version_num as people do: 150014 is 15.14.
func version(number int) string { return fmt.Sprintf("%d.%d", number/10000, number%10000) }

func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

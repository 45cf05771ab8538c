// Package postgres drives PostgreSQL 13 to 18 with plain streaming replication.
//
// Its SQL user is a superuser. Commands on a member's host run as the owner of the data directory, whose parent they can write in.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

// Driver implements activities.System and keeps one connection per server for its looks.
type Driver struct {
	hosts activities.Hosts
	conns conns
}

var _ activities.System = (*Driver)(nil)

// New returns a driver that reaches the members' machines through hosts.
func New(hosts activities.Hosts) *Driver {
	return &Driver{hosts: hosts, conns: conns{kept: map[login]*kept{}}}
}

// Close ends the kept connections.
func (d *Driver) Close() { d.conns.close() }

// member is one server with all that is needed to reach it.
type member struct {
	system string
	site   string
	pg     *runbooks.PostgreSQL
	own    *runbooks.PostgreSQLMember
	addr   string
	host   string // name in the estate, empty where the member names none
	at     runbooks.Host
}

// member finds the member at a site.
func (d *Driver) member(t activities.Target, site string) (member, error) {
	op := fmt.Sprintf("find %s at %s", t.Name, site)
	m, ok := t.System.Members[site]
	switch {
	case !ok:
		return member{}, &activities.Error{Type: activities.ErrConfig, Op: op, Err: errors.New("the system has no member there")}
	case t.System.PostgreSQL == nil || m.PostgreSQL == nil:
		return member{}, &activities.Error{Type: activities.ErrConfig, Op: op, Err: errors.New("the estate has no postgresql section for it")}
	}
	// pg_ctl hands the data directory to a shell, in double quotes.
	for key, path := range map[string]string{"data_directory": m.PostgreSQL.DataDirectory, "bin_directory": m.PostgreSQL.BinDirectory} {
		if !strings.HasPrefix(path, "/") || len(path) < 2 || strings.HasSuffix(path, "/") || strings.ContainsAny(path, "\"$`\\\n") {
			return member{}, &activities.Error{
				Type: activities.ErrConfig, Op: op, Err: fmt.Errorf("%s %q is no path that can be used", key, path),
				Next: "write an absolute path without a slash at its end, and without quotes, $, ` and \\ in it",
			}
		}
	}
	found := member{system: t.Name, site: site, pg: t.System.PostgreSQL, own: m.PostgreSQL, addr: m.Address, host: m.Host}
	if m.Host != "" {
		if found.at, ok = t.Hosts[m.Host]; !ok {
			return member{}, &activities.Error{Type: activities.ErrConfig, Op: op, Err: fmt.Errorf("host %s is not in the estate", m.Host)}
		}
	}
	return found, nil
}

// pair finds both members of a move.
func (d *Driver) pair(m activities.Move) (from, to member, err error) {
	if m.From == m.To {
		return from, to, &activities.Error{
			Type: activities.ErrConfig, Op: "move " + m.Name, Err: fmt.Errorf("from and to are both %s", m.From),
		}
	}
	if from, err = d.member(m.Target, m.From); err != nil {
		return from, to, err
	}
	to, err = d.member(m.Target, m.To)
	return from, to, err
}

func (m member) op(verb string) string { return fmt.Sprintf("%s %s at %s", verb, m.system, m.site) }

// streamAddress is where the other member's walreceiver finds this server.
func (m member) streamAddress() string {
	if m.own.PrimaryAddress != "" {
		return m.own.PrimaryAddress
	}
	return m.addr
}

// run runs a command on the member's host.
func (d *Driver) run(ctx context.Context, m member, c activities.Command) (activities.Output, error) {
	if m.host == "" {
		return activities.Output{}, &activities.Error{
			Type: activities.ErrUnreachable, Op: m.op("reach the host of"), Err: errors.New("the estate names no host for this member"),
		}
	}
	h, err := d.hosts.Open(ctx, m.host, m.at)
	if err != nil {
		return activities.Output{}, err
	}
	defer func() { _ = h.Close() }()
	return h.Run(ctx, c)
}

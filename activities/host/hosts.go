// Package host runs commands on the machines of members: here (local), or over SSH.
package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

// BusyCode is the exit code of a command whose Lock somebody else holds.
const BusyCode = 75

// Hosts opens hosts. SSH connections are kept and shared by all who open the same host, and dialled anew once they broke.
type Hosts struct {
	// KeepAlive is how often an SSH connection is asked for a sign of life. One that stays silent for as long again is
	// given up, and with it every command that waits on it. Set it before the first Open; default 5 s.
	KeepAlive time.Duration

	mu    sync.Mutex
	conns map[string]*sshConn
}

// New returns Hosts without any connection.
func New() *Hosts { return &Hosts{KeepAlive: 5 * time.Second, conns: map[string]*sshConn{}} }

// Open returns the host. For SSH it connects, so that its errors are those of reaching the host:
// ErrUnreachable, ErrAuth (login refused, host key changed) and ErrConfig (host key not known, key not readable).
func (hs *Hosts) Open(ctx context.Context, name string, h runbooks.Host) (activities.Host, error) {
	switch h.Kind {
	case "local":
		return openLocal(name, h)
	case "ssh":
		return hs.openSSH(ctx, name, h)
	default:
		return nil, &activities.Error{
			Type: activities.ErrConfig, Op: "open host " + name,
			Err: fmt.Errorf("kind %q is neither local nor ssh", h.Kind),
		}
	}
}

// Close ends all connections. Commands that run on them fail as unreachable.
func (hs *Hosts) Close() {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for key, c := range hs.conns {
		c.close()
		delete(hs.conns, key)
	}
}

// Busy reports whether err says that somebody else holds the command's Lock.
func Busy(err error) bool {
	var failed *activities.CommandError
	return errors.As(err, &failed) && failed.Code == BusyCode
}

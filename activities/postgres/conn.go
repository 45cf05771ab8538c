package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/secret"
	"github.com/musterhq/muster/runbooks"
)

// How long a server may take to be connected to, and to answer a look.
const (
	connectTimeout = time.Second
	lookTimeout    = 1500 * time.Millisecond
)

// login is who connects where.
type login struct {
	address, user, database, sslmode string
	password                         runbooks.Secret
	replication                      bool // the replication protocol, to try its credentials
}

func adminLogin(s *runbooks.PostgreSQL, address string) login {
	return login{address: address, user: s.User, database: database(s), sslmode: s.SSLMode, password: s.Password}
}

func database(s *runbooks.PostgreSQL) string {
	if s.Database == "" {
		return "postgres"
	}
	return s.Database
}

// dial opens a connection. The password never enters a connection string, so that no error can print it, and nothing of the worker's own
// environment (PGHOST, PGSERVICE, ~/.pgpass) decides where it goes.
func dial(ctx context.Context, l login, timeout time.Duration) (*pgx.Conn, error) {
	host, port, err := net.SplitHostPort(l.address)
	if err != nil {
		return nil, &activities.Error{Type: activities.ErrConfig, Op: "connect to " + l.address, Err: err, Next: "write the address as host:port"}
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, &activities.Error{Type: activities.ErrConfig, Op: "connect to " + l.address, Err: fmt.Errorf("port: %w", err)}
	}
	password, err := secret.Resolve(ctx, l.password)
	if err != nil {
		return nil, &activities.Error{Type: activities.ErrConfig, Op: "connect to " + l.address, Err: err}
	}
	sslmode := l.sslmode
	if sslmode == "" {
		sslmode = "prefer"
	}
	config, err := pgx.ParseConfig(conninfo(
		"host", host, "port", port, "user", l.user, "dbname", l.database, "sslmode", sslmode, "password", "unset",
		"target_session_attrs", "any", "application_name", "muster",
	))
	if err != nil {
		return nil, &activities.Error{Type: activities.ErrConfig, Op: "connect to " + l.address, Err: err}
	}
	config.Password, config.Port = password, uint16(number)
	for _, fallback := range config.Fallbacks {
		fallback.Host, fallback.Port = config.Host, config.Port
	}
	config.ConnectTimeout = timeout
	config.DialFunc = (&net.Dialer{Timeout: timeout, KeepAlive: 5 * time.Second}).DialContext
	// Proxies and poolers in the clients' way, and the replication protocol, know no prepared statements.
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	delete(config.RuntimeParams, "options")
	if l.replication {
		config.RuntimeParams["replication"] = "true"
	}
	return pgx.ConnectConfig(ctx, config)
}

// conns keeps one connection per login, so that a look costs one round trip. A connection that failed is closed, never reused.
type conns struct {
	mu   sync.Mutex
	kept map[login]*kept
}

type kept struct {
	mu   sync.Mutex
	conn *pgx.Conn
}

// use runs do on a connection, within lookTimeout. Where a kept one turns out to be dead it is tried once more on a new one,
// so do must be safe to repeat.
func (cs *conns) use(ctx context.Context, l login, do func(context.Context, *pgx.Conn) error) error {
	cs.mu.Lock()
	k := cs.kept[l]
	if k == nil {
		k = &kept{}
		cs.kept[l] = k
	}
	cs.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if !k.mu.TryLock() { // another look is at it, maybe at a server that hangs: do not queue behind it
		conn, err := dial(ctx, l, connectTimeout)
		if err != nil {
			return err
		}
		defer closeConn(conn)
		return do(ctx, conn)
	}
	defer k.mu.Unlock()
	for {
		fresh := k.conn == nil
		if fresh {
			conn, err := dial(ctx, l, connectTimeout)
			if err != nil {
				return err
			}
			k.conn = conn
		}
		err := do(ctx, k.conn)
		var said *pgconn.PgError
		if err != nil && (!errors.As(err, &said) || k.conn.IsClosed()) {
			closeConn(k.conn)
			k.conn = nil
			if !fresh && ctx.Err() == nil {
				continue
			}
		}
		return err
	}
}

// close ends all kept connections.
func (cs *conns) close() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for l, k := range cs.kept {
		k.mu.Lock()
		if k.conn != nil {
			closeConn(k.conn)
		}
		k.mu.Unlock()
		delete(cs.kept, l)
	}
}

// closeConn says goodbye where the other side still listens, and does not wait for long where it does not.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = conn.Close(ctx)
}

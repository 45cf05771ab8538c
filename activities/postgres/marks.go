package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// makeMarks makes the table. IF NOT EXISTS does not save two who make it at the same moment from an error: see Marks.
const makeMarks = `CREATE SCHEMA IF NOT EXISTS muster;
CREATE TABLE IF NOT EXISTS muster.mark (
  writer text NOT NULL, seq bigint NOT NULL, written_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (writer, seq)
)`

type marks struct {
	conn *pgx.Conn
	op   string // subject of its errors
}

// Marks connects at address as a client would. The table muster.mark is made by the first write that misses it, not here: so a standby can be read.
// A connection that failed stays closed: open another one.
func (d *Driver) Marks(ctx context.Context, t activities.Target, address string) (activities.Marks, error) {
	if t.System.PostgreSQL == nil {
		return nil, &activities.Error{
			Type: activities.ErrConfig, Op: "open marks of " + t.Name, Err: errors.New("the estate has no postgresql section for it"),
		}
	}
	subject := fmt.Sprintf("of %s at %s", t.Name, address)
	conn, err := dial(ctx, adminLogin(t.System.PostgreSQL, address), 2*connectTimeout)
	if err != nil {
		return nil, mapError("open marks "+subject, err)
	}
	return &marks{conn: conn, op: subject}, nil
}

// Write is one INSERT, acknowledged as durable as the server's synchronous_commit says. The same mark may be written again.
func (m *marks) Write(ctx context.Context, writer string, seq int64) error {
	const insert = "INSERT INTO muster.mark (writer, seq) VALUES ($1, $2) ON CONFLICT DO NOTHING"
	_, err := m.conn.Exec(ctx, insert, writer, seq)
	if missing(err) {
		if err = m.make(ctx); err == nil {
			_, err = m.conn.Exec(ctx, insert, writer, seq)
		}
	}
	return mapError("write a mark "+m.op, err)
}

func (m *marks) make(ctx context.Context) error {
	_, err := m.conn.Exec(ctx, makeMarks)
	var said *pgconn.PgError
	if errors.As(err, &said) && (said.Code == "23505" || said.Code == "42P07" || said.Code == "42P06") {
		return nil // somebody else made it at the same moment
	}
	return err
}

// missing reports whether the table is not there.
func missing(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && (said.Code == "42P01" || said.Code == "3F000")
}

// Read finds nothing where no mark was ever written.
func (m *marks) Read(ctx context.Context, writer string, first, last int64) ([]int64, error) {
	rows, err := m.conn.Query(ctx, "SELECT seq FROM muster.mark WHERE writer = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq", writer, first, last)
	if err != nil {
		return nil, mapError("read marks "+m.op, err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if missing(err) {
		return nil, nil
	}
	return found, mapError("read marks "+m.op, err)
}

func (m *marks) Last(ctx context.Context, writer string) (int64, error) {
	var last int64
	err := m.conn.QueryRow(ctx, "SELECT coalesce(max(seq), 0) FROM muster.mark WHERE writer = $1", writer).Scan(&last)
	if missing(err) {
		return 0, nil
	}
	return last, mapError("read the last mark "+m.op, err)
}

func (m *marks) Forget(ctx context.Context, writer string, below int64) error {
	_, err := m.conn.Exec(ctx, "DELETE FROM muster.mark WHERE writer = $1 AND seq < $2", writer, below)
	if missing(err) {
		return nil
	}
	return mapError("forget marks "+m.op, err)
}

// Where tells members apart by port and data directory: behind a proxy all have the same address.
func (m *marks) Where(ctx context.Context) (journal.Facts, error) {
	var port, dir, role, timeline string
	err := m.conn.QueryRow(ctx, `SELECT current_setting('port'), current_setting('data_directory'),
  CASE WHEN r THEN 'standby' ELSE 'primary' END,
  CASE WHEN r THEN (SELECT timeline_id FROM pg_control_checkpoint()) ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END::text
FROM (SELECT pg_is_in_recovery() AS r OFFSET 0) x`).Scan(&port, &dir, &role, &timeline)
	if err != nil {
		return nil, mapError("ask which member answers "+m.op, err)
	}
	return journal.Facts{"port": port, "data_directory": dir, "role": role, "timeline": timeline}, nil
}

func (m *marks) Close() { closeConn(m.conn) }

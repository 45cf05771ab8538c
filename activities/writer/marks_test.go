package writer_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/writer"
	"github.com/musterhq/muster/internal/journal"
)

// TestMain lets SpawnSelf run this program as the writer process, as it runs muster-worker.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "writer" {
		if err := writer.Run(context.Background(), os.Args[3], openPostgres); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// pgMarks are marks in a real PostgreSQL. The driver has its own: a driver's room imports no sibling, tests included.
type pgMarks struct{ conn *pgx.Conn }

func openPostgres(ctx context.Context, t activities.Target, address string) (activities.Marks, error) {
	p := t.System.PostgreSQL
	config, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, err
	}
	password, err := os.ReadFile(strings.TrimPrefix(string(p.Password), "file:"))
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	config.Host, config.User, config.Database, config.Password = host, p.User, p.Database, strings.TrimSpace(string(password))
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		return nil, err
	}
	config.Port = uint16(n)
	config.Fallbacks = nil
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, typed(err)
	}
	m := &pgMarks{conn}
	if _, err := conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS mark (writer text, seq bigint, PRIMARY KEY (writer, seq))"); err != nil {
		m.Close()
		return nil, typed(err)
	}
	return m, nil
}

func typed(err error) error {
	if err == nil {
		return nil
	}
	e := &activities.Error{Type: activities.ErrUnreachable, Op: "marks", Err: err}
	if said := new(pgconn.PgError); errors.As(err, &said) {
		e.Type = activities.ErrRefused
	}
	return e
}

func (m *pgMarks) Write(ctx context.Context, writer string, seq int64) error {
	_, err := m.conn.Exec(ctx, "INSERT INTO mark VALUES ($1, $2)", writer, seq) // a number used twice is refused
	return typed(err)
}

func (m *pgMarks) Read(ctx context.Context, writer string, first, last int64) ([]int64, error) {
	rows, err := m.conn.Query(ctx, "SELECT seq FROM mark WHERE writer = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq", writer, first, last)
	if err != nil {
		return nil, typed(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	return found, typed(err)
}

func (m *pgMarks) Last(ctx context.Context, writer string) (last int64, err error) {
	err = m.conn.QueryRow(ctx, "SELECT coalesce(max(seq), 0) FROM mark WHERE writer = $1", writer).Scan(&last)
	return last, typed(err)
}

func (m *pgMarks) Forget(ctx context.Context, writer string, below int64) error {
	_, err := m.conn.Exec(ctx, "DELETE FROM mark WHERE writer = $1 AND seq < $2", writer, below)
	return typed(err)
}

func (m *pgMarks) Where(context.Context) (journal.Facts, error) {
	return nil, errors.New("not asked for here")
}

func (m *pgMarks) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = m.conn.Close(ctx)
}

package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/internal/journal"
)

func TestTCP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	facts, err := TCP(t.Context(), l.Addr().String())
	require.NoError(t, err)
	require.Contains(t, facts["tcp"], "connected in ")
	require.NoError(t, l.Close())
	nobody := bound(t)
	_, err = TCP(t.Context(), nobody)
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err), "%v", err)
	require.ErrorContains(t, err, nobody)
	_, err = TCP(t.Context(), "localhost")
	require.Equal(t, activities.ErrConfig, activities.TypeOf(err), "%v", err)
}

// bound is an address that nobody listens at, nor can begin to while the test runs: a socket has it.
func bound(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	return fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ready":
			w.WriteHeader(http.StatusNoContent)
		case "/moved":
			http.Redirect(w, r, "/ready", http.StatusFound)
		case "/secret":
			w.WriteHeader(http.StatusForbidden)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	for _, test := range []struct {
		path string
		want int
		typ  string
	}{
		{"/ready", 204, ""},
		{"/ready", 200, activities.ErrNotYet},
		{"/moved", 302, ""},
		{"/moved", 204, activities.ErrNotYet},
		{"/secret", 200, activities.ErrAuth},
		{"/other", 200, activities.ErrNotYet},
	} {
		facts, err := HTTP(t.Context(), server.URL+test.path, test.want)
		require.NotEmpty(t, facts["http"])
		if test.typ == "" {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, test.typ, activities.TypeOf(err), "%v", err)
	}
	for _, url := range []string{"", "host:80", "http://", "http://user:p4ss word@host/", "http://user:p4ssword@[::1"} {
		_, err := HTTP(t.Context(), url, 200)
		require.Equal(t, activities.ErrConfig, activities.TypeOf(err), "%s: %v", url, err)
		require.NotContains(t, err.Error(), "p4ss")
	}
	server.Close()
	address := "http://user:p4ssword@" + server.Listener.Addr().String()
	_, err := HTTP(t.Context(), address, 200)
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err), "%v", err)
	require.NotContains(t, err.Error(), "p4ssword")
}

// pgMarks are marks in a real PostgreSQL. The driver has its own: a room imports no sibling, tests included.
type pgMarks struct {
	*pgx.Conn
}

func opener(box *sandbox.Sandbox) Opener {
	return func(ctx context.Context, t activities.Target, address string) (activities.Marks, error) {
		url, err := box.URL(t.Name, "")
		if err != nil {
			return nil, err
		}
		config, err := pgx.ParseConfig(url)
		if err != nil {
			return nil, err
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		n, err := net.LookupPort("tcp", port)
		if err != nil {
			return nil, err
		}
		config.Host, config.Port = host, uint16(n)
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return nil, &activities.Error{Type: activities.ErrUnreachable, Op: "open marks", Err: err}
		}
		return pgMarks{conn}, nil
	}
}

func (m pgMarks) Write(ctx context.Context, writer string, seq int64) error {
	_, err := m.Exec(ctx, "CREATE TABLE IF NOT EXISTS mark (writer text, seq bigint, PRIMARY KEY (writer, seq))")
	if err == nil {
		_, err = m.Exec(ctx, "INSERT INTO mark VALUES ($1, $2)", writer, seq)
	}
	if err != nil {
		return &activities.Error{Type: activities.ErrRefused, Op: "write", Err: err}
	}
	return nil
}

func (m pgMarks) Read(ctx context.Context, writer string, first, last int64) ([]int64, error) {
	rows, err := m.Query(ctx, "SELECT seq FROM mark WHERE writer = $1 AND seq BETWEEN $2 AND $3", writer, first, last)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

func (m pgMarks) Last(ctx context.Context, writer string) (last int64, err error) {
	var there bool
	if err := m.QueryRow(ctx, "SELECT to_regclass('mark') IS NOT NULL").Scan(&there); err != nil || !there {
		return 0, err
	}
	return last, m.QueryRow(ctx, "SELECT coalesce(max(seq), 0) FROM mark WHERE writer = $1", writer).Scan(&last)
}

func (m pgMarks) Forget(ctx context.Context, writer string, below int64) error {
	_, err := m.Exec(ctx, "DELETE FROM mark WHERE writer = $1 AND seq < $2", writer, below)
	return err
}

func (m pgMarks) Where(ctx context.Context) (journal.Facts, error) {
	var port, dir string
	err := m.QueryRow(ctx, "SELECT current_setting('port'), current_setting('data_directory')").Scan(&port, &dir)
	return journal.Facts{"port": port, "data_directory": dir}, err
}

func (m pgMarks) Close() { _ = m.Conn.Close(context.Background()) }

func TestVerifyThroughARealRoute(t *testing.T) {
	t.Parallel()
	box := sandbox.ForTest(t)
	estate := box.Estate()
	system := estate.Systems["orders"]
	in := activities.VerifyInput{Target: activities.Target{Estate: estate.Name, Name: "orders", System: system},
		Route: activities.RouteTarget{Name: system.Route, Route: estate.Routes[system.Route]}, Site: sandbox.East, RequestID: "run/verify"}

	for range 2 { // safe to repeat
		result, err := Verify(t.Context(), opener(box), in)
		require.NoError(t, err)
		require.False(t, result.Changed)
		require.Equal(t, box.DataDirectory("orders", sandbox.East), result.After["data_directory"])
	}
	conn, err := box.Connect(t.Context(), "orders", sandbox.East)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	var left int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM mark").Scan(&left))
	require.Zero(t, left, "a probe leaves nothing behind")

	wrong := in
	wrong.Site = sandbox.West
	_, err = Verify(t.Context(), opener(box), wrong)
	require.Equal(t, activities.ErrNotYet, activities.TypeOf(err), "%v", err)
	require.ErrorContains(t, err, box.DataDirectory("orders", sandbox.East))
	require.ErrorContains(t, err, box.DataDirectory("orders", sandbox.West))

	standby := in
	standby.Route.Route.Address = system.Members[sandbox.West].Address
	_, err = Verify(t.Context(), opener(box), standby)
	require.Equal(t, activities.ErrRefused, activities.TypeOf(err), "a read-only server does not pass: %v", err)

	for name, edit := range map[string]func(*activities.VerifyInput){
		"no such site":  func(in *activities.VerifyInput) { in.Site = "north" },
		"no address":    func(in *activities.VerifyInput) { in.Route.Route.Address = "" },
		"no request ID": func(in *activities.VerifyInput) { in.RequestID = "" },
	} {
		bad := in
		edit(&bad)
		_, err = Verify(t.Context(), opener(box), bad)
		require.Equal(t, activities.ErrConfig, activities.TypeOf(err), "%s: %v", name, err)
	}
	_, err = box.Break(t.Context(), "route")
	require.NoError(t, err)
	_, err = Verify(t.Context(), opener(box), in)
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err), "%v", err)
}

// losing acknowledges writes and stores none: no real server does that on command.
type losing struct{ pgMarks }

func (losing) Where(context.Context) (journal.Facts, error)                { return journal.Facts{"port": "1"}, nil }
func (losing) Last(context.Context, string) (int64, error)                 { return 0, nil }
func (losing) Write(context.Context, string, int64) error                  { return nil }
func (losing) Read(context.Context, string, int64, int64) ([]int64, error) { return nil, nil }
func (losing) Forget(context.Context, string, int64) error                 { return errors.New("not reached") }

func TestAWriteThatCannotBeReadIsNoSuccess(t *testing.T) {
	t.Parallel()
	_, err := SQL(t.Context(), losing{}, "verify")
	require.Equal(t, activities.ErrNotYet, activities.TypeOf(err), "%v", err)
}

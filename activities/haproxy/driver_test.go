package haproxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
)

func TestPointMovesClientsAndCutsTheOthers(t *testing.T) {
	t.Parallel()
	p := startProxy(t, echo(t, "east"), echo(t, "west"))
	route := target(p.socket("admin"))
	conn, name := p.client(t)
	require.Equal(t, "east", name)

	state, err := Driver{}.Observe(t.Context(), route)
	require.NoError(t, err)
	require.True(t, state.Sites["east"].Open)
	require.Equal(t, 1, state.Sites["east"].Sessions)
	require.False(t, state.Sites["west"].Open)
	require.Equal(t, "maint", state.Sites["west"].Health)

	look := reach(t, Driver{}.Point(route, "west"))
	require.Equal(t, "closed, maint, 0 sessions", look.Facts["east"])
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err, "the old session is cut")
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	_, name = p.client(t)
	require.Equal(t, "west", name)

	state, err = Driver{}.Observe(t.Context(), route)
	require.NoError(t, err)
	require.False(t, state.Sites["east"].Open)
	require.True(t, state.Sites["west"].Open)
	require.Contains(t, state.Sites["west"].Raw, "scur=1")
	reach(t, Driver{}.Point(route, "east"))
}

func TestPointOverTCP(t *testing.T) {
	t.Parallel()
	east, west := echo(t, "east"), echo(t, "west")
	p := startProxy(t, east, west)
	// The runtime API over TCP: a plain relay to the socket is what a `stats socket ipv4@` listener is to the driver.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("unix", filepath.Join(p.dir, "admin.sock"))
			if err != nil {
				_ = conn.Close()
				continue
			}
			go func() { _, _ = io.Copy(up, conn) }()
			go func() { _, _ = io.Copy(conn, up); _ = conn.Close(); _ = up.Close() }()
		}
	}()
	reach(t, Driver{}.Point(target("tcp:"+l.Addr().String()), "west"))
}

func TestCloseCutsSessionsWhileClientsStorm(t *testing.T) {
	t.Parallel()
	p := startProxy(t, echo(t, "east"), echo(t, "west"))
	route := target(p.socket("admin"))
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer stop()
	for range 8 {
		clients.Go(func() {
			for ctx.Err() == nil {
				conn, err := net.Dial("tcp", p.listen)
				if err != nil {
					continue
				}
				undo := context.AfterFunc(ctx, func() { _ = conn.Close() })
				_, _ = io.Copy(io.Discard, conn)
				undo()
				_ = conn.Close()
			}
		})
	}
	require.Eventually(t, func() bool {
		state, err := Driver{}.Observe(t.Context(), route)
		return err == nil && state.Sites["east"].Sessions >= 8
	}, 5*time.Second, 5*time.Millisecond)

	look := reach(t, Driver{}.Close(route, "east"))
	require.Equal(t, "closed, maint, 0 sessions", look.Facts["east"])
	for range 50 { // new clients go on trying: none may get through
		state, err := Driver{}.Observe(t.Context(), route)
		require.NoError(t, err)
		require.Zero(t, state.Sites["east"].Sessions)
	}
}

func TestAllProcessesMustAgree(t *testing.T) {
	t.Parallel()
	east, west := echo(t, "east"), echo(t, "west")
	one, two := startProxy(t, east, west), startProxy(t, east, west)
	both := target(one.socket("admin"), two.socket("admin"))

	reach(t, Driver{}.Point(target(one.socket("admin")), "west"))
	state, err := Driver{}.Observe(t.Context(), both)
	require.NoError(t, err)
	require.True(t, state.Sites["east"].Open, "process two still sends clients to east")
	require.True(t, state.Sites["west"].Open)
	require.Equal(t, "maint | up", strings.ReplaceAll(state.Sites["east"].Health, "up (check not passed yet)", "up"))
	look, err := Driver{}.Point(both, "west").Look(t.Context())
	require.NoError(t, err)
	require.False(t, look.Met)
	require.Contains(t, look.Why, two.socket("admin"))
	require.NotContains(t, look.Why, one.socket("admin"))
	reach(t, Driver{}.Point(both, "west"))

	two.stop()
	_, err = Driver{}.Observe(t.Context(), both)
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err), "%v", err)
	require.ErrorContains(t, err, two.socket("admin"))
	require.NotContains(t, err.Error(), one.socket("admin"))

	err = Driver{}.Close(both, "west").Act(t.Context(), "request")
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err), "%v", err)
	state, err = Driver{}.Observe(t.Context(), target(one.socket("admin")))
	require.NoError(t, err)
	require.False(t, state.Sites["west"].Open, "the process that answers was closed all the same")

	one.stop()
	_, err = Driver{}.Observe(t.Context(), both)
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err), "%v", err)
	require.ErrorContains(t, err, one.socket("admin"))
	require.ErrorContains(t, err, two.socket("admin"))
}

func TestPointWaitsForTheHealthCheck(t *testing.T) {
	t.Parallel()
	dead := freePort(t)
	p := startProxy(t, echo(t, "east"), dead)
	point := Driver{}.Point(target(p.socket("admin")), "west")
	require.NoError(t, point.Act(t.Context(), "request"))
	require.Eventually(t, func() bool { // HAProxy believes in a server that leaves maintenance until its first check
		look, err := point.Look(t.Context())
		require.NoError(t, err)
		return !look.Met && strings.Contains(look.Why, "west takes no clients (down)")
	}, 5*time.Second, 10*time.Millisecond)
	l, err := net.Listen("tcp", dead)
	require.NoError(t, err)
	defer l.Close()
	require.Eventually(t, func() bool {
		look, err := point.Look(t.Context())
		require.NoError(t, err)
		return look.Met
	}, 5*time.Second, 10*time.Millisecond)
}

func TestPointRefusesServersOfNoSite(t *testing.T) {
	t.Parallel()
	east := echo(t, "east")
	p := startProxy(t, east, echo(t, "west"), "server db-north "+east+" backup")
	_, err := Driver{}.Point(target(p.socket("admin")), "west").Look(t.Context())
	require.Equal(t, activities.ErrConfig, activities.TypeOf(err), "%v", err)
	require.ErrorContains(t, err, "db-north")
}

func TestErrorsSayWhatNext(t *testing.T) {
	t.Parallel()
	p := startProxy(t, echo(t, "east"), echo(t, "west"))
	silent, err := net.Listen("unix", filepath.Join(p.dir, "silent.sock")) // accepts, and never answers
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	admin := p.socket("admin")
	tests := []struct {
		name  string
		edit  func(*activities.RouteTarget)
		site  string
		act   bool
		typ   string
		words []string
	}{
		{name: "unknown backend", edit: func(r *activities.RouteTarget) { r.Route.HAProxy.Backend = "order" },
			typ: activities.ErrConfig, words: []string{"no backend order", "did you mean orders?", "billing", admin}},
		{name: "unknown server", edit: func(r *activities.RouteTarget) { r.Route.HAProxy.Servers["west"] = "db-wets" },
			typ: activities.ErrConfig, words: []string{"no server db-wets", "did you mean db-west?", admin}},
		{name: "unknown backend in the act", edit: func(r *activities.RouteTarget) { r.Route.HAProxy.Backend = "order" }, act: true,
			typ: activities.ErrConfig, words: []string{"No such backend"}},
		{name: "unknown server in the act", edit: func(r *activities.RouteTarget) { r.Route.HAProxy.Servers["east"] = "nope" }, act: true,
			typ: activities.ErrConfig, words: []string{"No such server"}},
		{name: "unknown site", site: "wets", typ: activities.ErrConfig, words: []string{"no server for site wets", "did you mean west?"}},
		{name: "no section", edit: func(r *activities.RouteTarget) { r.Route.HAProxy = nil }, typ: activities.ErrConfig, words: []string{"no haproxy section"}},
		{name: "no process", edit: func(r *activities.RouteTarget) { r.Route.HAProxy.Runtime = nil }, typ: activities.ErrConfig, words: []string{"names no process"}},
		{name: "no servers", edit: func(r *activities.RouteTarget) { r.Route.HAProxy.Servers = nil }, typ: activities.ErrConfig, words: []string{"names no server"}},
		{name: "one server for two sites", edit: func(r *activities.RouteTarget) { r.Route.HAProxy.Servers["west"] = "db-east" },
			typ: activities.ErrConfig, words: []string{"east and west", "db-east"}},
		{name: "not an address", edit: func(r *activities.RouteTarget) { r.Route.HAProxy.Runtime[0] = "/run/haproxy.sock" },
			typ: activities.ErrConfig, words: []string{"neither unix:/path nor tcp:host:port"}},
		{name: "not a port", edit: func(r *activities.RouteTarget) { r.Route.HAProxy.Runtime[0] = "tcp:localhost" },
			typ: activities.ErrConfig, words: []string{"tcp:host:port"}},
		{name: "a command in a name", edit: func(r *activities.RouteTarget) { r.Route.HAProxy.Backend = "orders; disable frontend shop" },
			typ: activities.ErrConfig, words: []string{"not a name"}},
		{name: "level user", edit: func(r *activities.RouteTarget) { r.Route.HAProxy.Runtime[0] = p.socket("user") }, act: true,
			typ: activities.ErrAuth, words: []string{"Permission denied", "level admin"}},
		{name: "no socket", edit: func(r *activities.RouteTarget) { r.Route.HAProxy.Runtime[0] = "unix:/nowhere/haproxy.sock" },
			typ: activities.ErrUnreachable, words: []string{"unix:/nowhere/haproxy.sock", "is haproxy running"}},
		{name: "refused", edit: func(r *activities.RouteTarget) { r.Route.HAProxy.Runtime[0] = "tcp:" + freePort(t) },
			typ: activities.ErrUnreachable, words: []string{"connection refused"}},
		{name: "silent", edit: func(r *activities.RouteTarget) {
			r.Route.HAProxy.Runtime[0] = "unix:" + filepath.Join(p.dir, "silent.sock")
		}, typ: activities.ErrUnreachable, words: []string{"no answer within 1s"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			route := target(admin)
			if test.edit != nil {
				test.edit(&route)
			}
			if test.site == "" {
				test.site = "west"
			}
			action := Driver{}.Point(route, test.site)
			var err error
			if test.act {
				err = action.Act(t.Context(), "request")
			} else {
				_, err = action.Look(t.Context())
			}
			require.Error(t, err)
			require.Equal(t, test.typ, activities.TypeOf(err), "%v", err)
			for _, word := range test.words {
				require.ErrorContains(t, err, word)
			}
		})
	}
}

func TestSocketOfAnotherUser(t *testing.T) {
	t.Parallel()
	// root may open every socket: what the kernel says to others is given to the mapper as it says it.
	err := process{name: "unix:/run/haproxy.sock"}.mapErr("ask", "", &net.OpError{Op: "dial", Err: fmt.Errorf("connect: %w", os.ErrPermission)})
	require.Equal(t, activities.ErrAuth, activities.TypeOf(err))
	require.ErrorContains(t, err, "stats socket")
}

func TestCancelledContext(t *testing.T) {
	t.Parallel()
	p := startProxy(t, echo(t, "east"), echo(t, "west"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Driver{}.Observe(ctx, target(p.socket("admin")))
	require.ErrorIs(t, err, context.Canceled)
}

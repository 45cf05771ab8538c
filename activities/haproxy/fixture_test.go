package haproxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

// proxy is a real haproxy process of its own, in front of the servers of two sites.
type proxy struct {
	dir    string
	listen string
	cmd    *exec.Cmd
	log    bytes.Buffer
}

func (p *proxy) socket(level string) string { return "unix:" + filepath.Join(p.dir, level+".sock") }

// startProxy runs haproxy with east open and west in maintenance. extra is added to its backend.
func startProxy(t *testing.T, east, west string, extra ...string) *proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "muster-haproxy") // t.TempDir is too long a path for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &proxy{dir: dir}
	for try := 0; ; try++ { // another process may take the free port first
		p.listen = freePort(t)
		config := fmt.Sprintf(`global
  stats socket %[1]s/admin.sock mode 600 level admin
  stats socket %[1]s/user.sock mode 600 level user
defaults
  mode tcp
  timeout connect 1s
  timeout client 1m
  timeout server 1m
frontend shop
  bind %[2]s
  default_backend orders
backend orders
  server db-east %[3]s check inter 100ms fall 1 rise 1
  server db-west %[4]s check inter 100ms fall 1 rise 1 disabled
  %[5]s
backend billing
  server db-east %[3]s
`, dir, p.listen, east, west, strings.Join(extra, "\n  "))
		file := filepath.Join(dir, "haproxy.cfg")
		require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
		p.log.Reset()
		p.cmd = exec.Command("haproxy", "-db", "-f", file)
		p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
		require.NoError(t, p.cmd.Start(), "this test needs haproxy: apt-get install haproxy")
		if p.ready() {
			break
		}
		p.stop()
		require.Less(t, try, 3, "haproxy does not start: %s", &p.log)
	}
	t.Cleanup(p.stop)
	return p
}

func (p *proxy) ready() bool {
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("unix", filepath.Join(p.dir, "admin.sock")); err == nil {
			_ = conn.Close()
			return true
		}
	}
	return false
}

func (p *proxy) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// echo is a server that says its name and then repeats what it hears.
func echo(t *testing.T, name string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, name)
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}

// client connects through the route and returns the name of the server that answered.
func (p *proxy) client(t *testing.T) (net.Conn, string) {
	t.Helper()
	conn, err := net.Dial("tcp", p.listen)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	name := make([]byte, 4)
	n, _ := io.ReadFull(conn, name)
	return conn, string(name[:n])
}

func target(runtime ...string) activities.RouteTarget {
	return activities.RouteTarget{Name: "shop", Route: runbooks.Route{Kind: "haproxy", HAProxy: &runbooks.HAProxyRoute{
		Runtime: runtime, Backend: "orders", Servers: map[string]string{"east": "db-east", "west": "db-west"}}}}
}

// reach runs an action as package steps does: look, act, look until met.
func reach(t *testing.T, a activities.Action) activities.Look {
	t.Helper()
	look, err := a.Look(t.Context())
	require.NoError(t, err)
	require.False(t, look.Met, "the goal is met before the act")
	require.NotEmpty(t, look.Why)
	require.NoError(t, a.Act(t.Context(), "request"))
	require.Eventually(t, func() bool {
		look, err = a.Look(t.Context())
		require.NoError(t, err)
		return look.Met
	}, 5*time.Second, 5*time.Millisecond)
	require.Empty(t, look.Why)
	return look
}

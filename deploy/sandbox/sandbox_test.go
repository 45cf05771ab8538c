package sandbox

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain lets the test binary be another process that builds a sandbox: SANDBOX_UP names the folder.
func TestMain(m *testing.M) {
	dir := os.Getenv("SANDBOX_UP")
	if dir == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if _, err := Up(ctx, Options{Dir: dir}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// upElsewhere starts Up in another process, as another user where one is named.
func upElsewhere(t *testing.T, dir, as string) *exec.Cmd {
	t.Helper()
	program := os.Args[0]
	cmd := exec.Command(program)
	if as != "" {
		u, err := user.Lookup(as)
		require.NoError(t, err)
		o, err := ownerOf(u, true)
		require.NoError(t, err)
		// The test binary lies where only root may go.
		text, err := os.ReadFile(program)
		require.NoError(t, err)
		program = filepath.Join(filepath.Dir(dir), "sandbox.test")
		require.NoError(t, o.write(program, string(text), 0o755))
		cmd = o.command(context.Background(), "/", nil, program)
	}
	cmd.Env = append(cmd.Environ(), "SANDBOX_UP="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// folder returns a path that does not exist yet, in a folder that everybody may enter and that ends with the test.
func folder(t *testing.T) string {
	t.Helper()
	base, err := os.MkdirTemp("", "muster-test-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(base, 0o777))
	dir := filepath.Join(base, "shop")
	t.Cleanup(func() {
		if s, err := Open(dir); err == nil {
			require.NoError(t, s.Down(context.Background(), true))
		}
		require.NoError(t, os.RemoveAll(base))
	})
	return dir
}

func status(t *testing.T, s *Sandbox) (Status, map[string]Process) {
	t.Helper()
	st, err := s.Status(t.Context())
	require.NoError(t, err)
	by := map[string]Process{}
	for _, p := range st.Processes {
		by[p.Name] = p
	}
	return st, by
}

func TestUpStatusDown(t *testing.T) {
	t.Parallel()
	s := ForTest(t, Options{Systems: []string{"orders", "billing-two"}})
	t.Logf("two systems took %s", s.Took())
	st, by := status(t, s)
	var pids []int
	for _, system := range []string{"orders", "billing-two"} {
		require.Equal(t, "primary", by[system+"/east"].Role)
		require.Equal(t, "streams to west", by[system+"/east"].Detail)
		require.Equal(t, "standby", by[system+"/west"].Role)
		require.Equal(t, fmt.Sprintf("streams from 127.0.0.1:%d", s.Port(system+"/east")), by[system+"/west"].Detail)
	}
	for _, p := range st.Processes {
		require.Equal(t, "running", p.State, p.Name)
		pids = append(pids, p.PID)
	}
	require.Len(t, pids, 5)
	require.Len(t, st.Routes, 2)
	for _, r := range st.Routes {
		require.Equal(t, []string{"east"}, r.Open, r.Name)
	}
	require.Contains(t, st.String(), "billing-two-db")
	owner := s.state.Owner.Name
	require.NotEqual(t, "root", owner)

	require.NoError(t, s.Down(t.Context(), false))
	for _, pid := range pids {
		require.Zero(t, procOf(pid), "process %d outlived Down", pid)
	}
	require.Empty(t, inFolder(s.Dir()))
	st, _ = status(t, s)
	for _, p := range st.Processes {
		require.Equal(t, "stopped", p.State, p.Name)
	}
	require.NoError(t, s.Down(t.Context(), false), "Down again")
	require.NoError(t, s.Down(t.Context(), true), "and with purge")
	require.NoDirExists(t, s.Dir())
	require.NoError(t, s.Down(t.Context(), true), "and with nothing left")
}

func TestWriteThroughTheRouteReachesTheStandby(t *testing.T) {
	t.Parallel()
	s := ForTest(t)
	t.Logf("one system took %s", s.Took())
	ctx := t.Context()
	route, err := s.Connect(ctx, "orders", "")
	require.NoError(t, err)
	defer route.Close(context.Background())
	var port int
	require.NoError(t, route.QueryRow(ctx, "SELECT inet_server_port()").Scan(&port))
	require.Equal(t, s.Port("orders/east"), port)
	_, err = route.Exec(ctx, "CREATE TABLE t AS SELECT 42 AS n")
	require.NoError(t, err)
	west, err := s.Connect(ctx, "orders", West)
	require.NoError(t, err)
	defer west.Close(context.Background())
	require.NoError(t, await(ctx, 5*time.Second, func() error {
		var n int
		if err := west.QueryRow(ctx, "SELECT n FROM t").Scan(&n); err != nil || n != 42 {
			return fmt.Errorf("n is %d: %w", n, err)
		}
		return nil
	}))
	_, err = west.Exec(ctx, "INSERT INTO t VALUES (1)")
	require.ErrorContains(t, err, "read-only")
	for name, want := range map[string]string{"fsync": "on", "data_checksums": "on", "wal_log_hints": "on", "max_replication_slots": "10"} {
		var got string
		require.NoError(t, west.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&got))
		require.Equal(t, want, got, name)
	}
}

func TestOpenFromAnotherProcess(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	require.NoError(t, upElsewhere(t, dir, "").Run())
	s, err := Open(dir)
	require.NoError(t, err)
	_, by := status(t, s)
	for name, p := range by {
		require.Equal(t, "running", p.State, "%s: the sandbox outlives the process that built it", name)
	}
	broken, err := s.Break(t.Context(), "primary")
	require.NoError(t, err)
	require.Equal(t, by["orders/east"].PID, broken[0].PID)
	require.NoError(t, s.Down(t.Context(), true))
	require.Empty(t, inFolder(dir))
	for name, p := range by {
		require.Zero(t, procOf(p.PID), name)
	}
}

func TestAnUnprivilegedCallerIsTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("the other tests show that already")
		return
	}
	t.Parallel()
	dir := folder(t)
	require.NoError(t, upElsewhere(t, dir, "postgres").Run())
	s, err := Open(dir)
	require.NoError(t, err)
	require.False(t, s.state.Owner.Switch)
	require.Empty(t, s.Estate().Hosts["east-host"].RunAs)
	_, by := status(t, s)
	require.Equal(t, "streams to west", by["orders/east"].Detail)
}

func TestAnUpThatIsCutOffLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		signal os.Signal
		rolled bool // Up undoes it by itself; else Down finds what is left
	}{
		"interrupted": {os.Interrupt, true},
		"killed":      {syscall.SIGKILL, false},
	} {
		for _, milestone := range []string{"systems/orders/east/data", "systems/orders/east/data/postmaster.pid", "systems/orders/west/data"} {
			t.Run(name+" at "+filepath.Base(filepath.Dir(milestone))+" "+filepath.Base(milestone), func(t *testing.T) {
				dir := folder(t)
				cmd := upElsewhere(t, dir, "")
				require.NoError(t, cmd.Start())
				require.NoError(t, await(t.Context(), 20*time.Second, func() error {
					_, err := os.Stat(filepath.Join(dir, milestone))
					return err
				}))
				require.NoError(t, cmd.Process.Signal(test.signal))
				require.Error(t, cmd.Wait())
				if !test.rolled {
					s, err := Open(dir)
					require.NoError(t, err)
					require.NoError(t, s.Down(t.Context(), true))
				}
				require.Empty(t, inFolder(dir))
				require.NoDirExists(t, dir)
			})
		}
	}
}

func TestUpRefuses(t *testing.T) {
	t.Parallel()
	full := folder(t)
	require.NoError(t, os.MkdirAll(full, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(full, "thesis.txt"), []byte("mine"), 0o644))
	taken := folder(t)
	require.NoError(t, os.MkdirAll(taken, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(taken, stateFile), []byte("{}"), 0o644))
	shut := folder(t)
	require.NoError(t, os.MkdirAll(filepath.Join(shut, "inner"), 0o755))
	require.NoError(t, os.Chmod(shut, 0o700))
	for name, test := range map[string]struct {
		options Options
		want    []string
	}{
		"a folder with something in it": {Options{Dir: full}, []string{full, "is not empty", "thesis.txt"}},
		"a sandbox that is there":       {Options{Dir: taken}, []string{"holds a sandbox already", "down --dir " + taken}},
		"a parent that is shut":         {Options{Dir: filepath.Join(shut, "inner")}, []string{"may not enter " + shut, "chmod o+x"}},
		"another Redis that is missing": {Options{Redis: "sentinel", RedisBin: "/nowhere"}, []string{"/nowhere/redis-server", "/nowhere/redis-sentinel", "name the folder"}},
		"missing programs":              {Options{BinDirectory: "/nowhere/bin"}, []string{"not installed: /nowhere/bin/initdb", "apt-get install"}},
		"a bad system name":             {Options{Systems: []string{"Orders; rm"}}, []string{`"Orders; rm"`, "lower-case"}},
		"a system twice":                {Options{Systems: []string{"a", "a"}}, []string{"a is named twice"}},
		"a path too long for sockets":   {Options{Dir: filepath.Join(folder(t), strings.Repeat("x", 80))}, []string{"too long"}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.options.Dir == filepath.Join(shut, "inner") && os.Geteuid() != 0 {
				return // the caller made the parent and may enter it
			}
			_, err := Up(t.Context(), test.options)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
	require.FileExists(t, filepath.Join(full, "thesis.txt"))
}

func TestOpenWithoutASandbox(t *testing.T) {
	t.Parallel()
	_, err := Open(t.TempDir())
	require.ErrorContains(t, err, "muster sandbox up")
}

func TestSSH(t *testing.T) {
	t.Parallel()
	s := ForTest(t, Options{SSH: true})
	login := func(site, known string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "ssh", "-F", "none", "-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile="+known,
			"-i", s.SSHKey(), "-p", strconv.Itoa(s.Port(hostName(site))), s.state.Owner.Name+"@127.0.0.1", "id", "-un").CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	for _, site := range sites {
		out, err := login(site, s.KnownHosts())
		require.NoError(t, err, out)
		require.Equal(t, s.state.Owner.Name, out)
	}
	out, err := login(East, "/dev/null")
	require.Error(t, err, out)

	_, err = s.Break(t.Context(), "host")
	require.NoError(t, err)
	_, by := status(t, s)
	require.Equal(t, "stopped", by["east-host"].State)
	require.Equal(t, "running", by["west-host"].State)
	require.NoError(t, s.Mend(t.Context(), "host"))
	out, err = login(East, s.KnownHosts())
	require.NoError(t, err, out)
}

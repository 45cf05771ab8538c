package host_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/host"
	"github.com/musterhq/muster/runbooks"
)

// kinds are a local host and one behind a real sshd: both must do the same.
func kinds(t *testing.T) map[string]activities.Host {
	t.Helper()
	hosts := host.New()
	t.Cleanup(hosts.Close)
	opened := map[string]activities.Host{}
	for name, h := range map[string]runbooks.Host{"local": localHost(), "ssh": startSSHD(t).host()} {
		var err error
		opened[name], err = hosts.Open(t.Context(), name, h)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, opened[name].Close()) })
	}
	return opened
}

// localHost runs as another user where the tests run as root.
func localHost() runbooks.Host {
	h := runbooks.Host{Kind: "local"}
	if os.Getuid() == 0 {
		h.RunAs = unprivileged
	}
	return h
}

func each(t *testing.T, do func(t *testing.T, h activities.Host)) {
	t.Helper()
	for name, h := range kinds(t) {
		t.Run(name, func(t *testing.T) { do(t, h) })
	}
}

func TestArgumentsArriveAsTheyAre(t *testing.T) {
	nasty := []string{
		"plain", "", "two words", "a'b", `a"b`, "a\nb", "$(id)", "`id`", "$HOME", `back\slash`, "*", "~", "a;b", "a|b", "a&b", ">x", "#", "-n", "--", "ä€\t", "!x",
	}
	each(t, func(t *testing.T, h activities.Host) {
		out, err := h.Run(t.Context(), activities.Command{Args: append([]string{"printf", `<%s>`}, nasty...)})
		require.NoError(t, err)
		require.Equal(t, "<"+strings.Join(nasty, "><")+">", out.Stdout)
	})
}

func TestEnvironmentAndStdin(t *testing.T) {
	t.Setenv("MUSTER_WORKERS_OWN", "secret")
	each(t, func(t *testing.T, h activities.Host) {
		out, err := h.Run(t.Context(), activities.Command{
			Args:  []string{"sh", "-c", `printf '%s|%s|' "$A" "$B"; cat; printf '|%s' "$MUSTER_WORKERS_OWN"`},
			Env:   map[string]string{"A": "x=y z", "B": `'"$(id)\`},
			Stdin: "first\n\nC=not a variable\n",
		})
		require.NoError(t, err)
		require.Equal(t, `x=y z|'"$(id)\|`+"first\n\nC=not a variable\n|", out.Stdout)
	})
}

func TestBadCommands(t *testing.T) {
	each(t, func(t *testing.T, h activities.Host) {
		for name, c := range map[string]activities.Command{
			"no command":       {},
			"NUL":              {Args: []string{"echo", "a\x00b"}},
			"name of variable": {Args: []string{"true"}, Env: map[string]string{"A;B": "x"}},
			"line break":       {Args: []string{"true"}, Env: map[string]string{"A": "x\ny"}},
			"detached stdin":   {Args: []string{"true"}, Stdin: "x", Detach: true},
		} {
			_, err := h.Run(t.Context(), c)
			require.Equal(t, activities.ErrConfig, activities.TypeOf(err), name)
		}
	})
}

func TestFailures(t *testing.T) {
	each(t, func(t *testing.T, h activities.Host) {
		var failed *activities.CommandError
		out, err := h.Run(t.Context(), activities.Command{Args: []string{"sh", "-c", "echo out; echo err >&2; exit 3"}})
		require.ErrorAs(t, err, &failed)
		require.Equal(t, 3, failed.Code)
		require.Equal(t, "out\n", out.Stdout)
		require.Equal(t, "sh exited with 3: err", err.Error())

		_, err = h.Run(t.Context(), activities.Command{Args: []string{"muster-no-such-program"}})
		require.ErrorAs(t, err, &failed)
		require.Equal(t, 127, failed.Code)

		_, err = h.Run(t.Context(), activities.Command{Args: []string{"sh", "-c", "kill -9 $$"}})
		require.ErrorAs(t, err, &failed)
		require.Equal(t, 137, failed.Code)
	})
}

func TestOutputIsCappedAtItsEnd(t *testing.T) {
	each(t, func(t *testing.T, h activities.Host) {
		out, err := h.Run(t.Context(), activities.Command{Args: []string{"sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x; echo end"}})
		require.NoError(t, err)
		require.Len(t, out.Stdout, 1<<20)
		require.True(t, strings.HasSuffix(out.Stdout, "xend\n"))
	})
}

func TestRunsAsTheUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("not root: there is no user to become, the commands run as the caller")
	}
	each(t, func(t *testing.T, h activities.Host) {
		out, err := h.Run(t.Context(), activities.Command{Args: []string{"sh", "-c", "id -un; id -Gn; echo $HOME"}})
		require.NoError(t, err)
		lines := strings.Split(out.Stdout, "\n")
		if os.Getuid() == 0 {
			require.Equal(t, unprivileged, lines[0])
			require.NotContains(t, strings.Fields(lines[1]), "root")
			require.NotEqual(t, "/root", lines[2])
		}
	})
}

// A command that hangs ends with its context, and so do its children.
func TestContextEndsTheCommand(t *testing.T) {
	each(t, func(t *testing.T, h activities.Host) {
		file := scratch(t, "pid")
		ctx, end := context.WithCancel(t.Context())
		go func() {
			for ctx.Err() == nil {
				if text, _ := os.ReadFile(file); strings.HasSuffix(string(text), "\n") {
					end()
				}
				time.Sleep(time.Millisecond)
			}
		}()
		_, err := h.Run(ctx, activities.Command{Args: []string{"sh", "-c", "sleep 1000 & echo $! >" + file + "; wait"}})
		require.ErrorIs(t, err, context.Canceled)
		awaitGone(t, file)

		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err = h.Run(short, activities.Command{Args: []string{"sleep", "1000"}})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, time.Since(began), 5*time.Second)

		_, err = h.Run(t.Context(), activities.Command{Args: []string{"true"}})
		require.NoError(t, err, "the host is usable afterwards")
	})
}

func TestLock(t *testing.T) {
	each(t, func(t *testing.T, h activities.Host) {
		lock, started, release := scratch(t, "lock"), scratch(t, "started"), scratch(t, "release")
		done := make(chan error, 1)
		go func() {
			_, err := h.Run(t.Context(), activities.Command{
				Args: []string{"sh", "-c", "echo x >" + started + "; until [ -e " + release + " ]; do sleep 0.01; done"}, Lock: lock,
			})
			done <- err
		}()
		awaitFile(t, started)
		_, err := h.Run(t.Context(), activities.Command{Args: []string{"true"}, Lock: lock})
		require.True(t, host.Busy(err), "%v", err)
		require.NoError(t, os.WriteFile(release, nil, 0o644))
		require.NoError(t, <-done)
		_, err = h.Run(t.Context(), activities.Command{Args: []string{"true"}, Lock: lock})
		require.NoError(t, err)
		_, err = h.Run(t.Context(), activities.Command{Args: []string{"false"}, Lock: lock})
		require.Error(t, err)
		require.False(t, host.Busy(err), "a command that failed is not a lock that is held")

		looks := scratch(t, "looks")
		_, err = h.Run(t.Context(), activities.Command{Detach: true, Args: []string{"flock", "--shared", lock, "sh", "-c", "echo x >" + looks + "; sleep 0.2"}})
		require.NoError(t, err)
		awaitFile(t, looks)
		_, err = h.Run(t.Context(), activities.Command{Args: []string{"true"}, Lock: lock})
		require.NoError(t, err, "a look holds the lock for a moment only")
	})
}

func TestDetach(t *testing.T) {
	each(t, func(t *testing.T, h activities.Host) {
		file, lock, release := scratch(t, "out"), scratch(t, "lock"), scratch(t, "release")
		ctx, cancel := context.WithCancel(t.Context())
		_, err := h.Run(ctx, activities.Command{
			Args: []string{"sh", "-c", "ps -o sid= -p $$ >" + file + ".new; echo $$ $A >>" + file + ".new; mv " + file + ".new " + file +
				"; until [ -e " + release + " ]; do sleep 0.01; done"},
			Env: map[string]string{"A": "given"}, Lock: lock, Detach: true,
		})
		require.NoError(t, err)
		cancel() // it goes on all the same
		awaitFile(t, file)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		lines := strings.Fields(string(text)) // session, process, variable
		require.Len(t, lines, 3)
		require.Equal(t, "given", lines[2])
		own, err := sessionOf(os.Getpid())
		require.NoError(t, err)
		require.NotEqual(t, strconv.Itoa(own), lines[0], "it has a session of its own")
		_, err = h.Run(t.Context(), activities.Command{Args: []string{"true"}, Lock: lock})
		require.True(t, host.Busy(err), "it holds the lock: %v", err)
		require.NoError(t, os.WriteFile(release, nil, 0o644))
		require.Eventually(t, func() bool {
			_, err := h.Run(t.Context(), activities.Command{Args: []string{"true"}, Lock: lock})
			return err == nil
		}, 10*time.Second, 10*time.Millisecond)
	})
}

// While a command with a secret in its environment runs, no argument vector of this machine shows it.
func TestSecretsStandInNoArguments(t *testing.T) {
	const planted = "planted-8f2c6e"
	each(t, func(t *testing.T, h activities.Host) {
		started, release := scratch(t, "started"), scratch(t, "release")
		done := make(chan error, 1)
		go func() {
			_, err := h.Run(t.Context(), activities.Command{
				Args: []string{"sh", "-c", "echo x >" + started + "; until [ -e " + release + " ]; do sleep 0.01; done"},
				Env:  map[string]string{"PGPASSWORD": planted}, Stdin: planted,
			})
			done <- err
		}()
		awaitFile(t, started)
		lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		require.NoError(t, err)
		seen := false
		for _, path := range lines {
			text, _ := os.ReadFile(path) // processes come and go
			require.NotContains(t, string(text), planted)
			seen = seen || strings.Contains(string(text), release)
		}
		require.True(t, seen, "the command itself must be among them, or this proves nothing")
		require.NoError(t, os.WriteFile(release, nil, 0o644))
		require.NoError(t, <-done)
	})
}

func TestUnknownKindsAndUsers(t *testing.T) {
	for name, h := range map[string]runbooks.Host{
		"kind":   {Kind: "telnet"},
		"user":   {Kind: "local", RunAs: "muster-nobody-of-that-name"},
		"ssh":    {Kind: "ssh", Address: "no port", User: "x", Key: "env:X", KnownHosts: "/dev/null"},
		"no key": {Kind: "ssh", Address: "127.0.0.1:1", User: "x", KnownHosts: "/dev/null"},
	} {
		_, err := host.New().Open(t.Context(), name, h)
		require.Equal(t, activities.ErrConfig, activities.TypeOf(err), "%s: %v", name, err)
	}
}

// scratch is a path that the unprivileged user can write too.
func scratch(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "muster-host-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o777))
	return filepath.Join(dir, name)
}

// awaitFile may be called on any goroutine, which require may not.
func awaitFile(t *testing.T, path string) {
	t.Helper()
	assert.Eventually(t, func() bool { info, err := os.Stat(path); return err == nil && info.Size() > 0 }, 10*time.Second, time.Millisecond)
}

func awaitGone(t *testing.T, pidFile string) {
	t.Helper()
	text, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ")
	}, 10*time.Second, 5*time.Millisecond, "process %d lives on", pid)
}

func sessionOf(pid int) (int, error) {
	sid, _, errno := syscall.RawSyscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(sid), nil
}

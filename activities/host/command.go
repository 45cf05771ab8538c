package host

import (
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/musterhq/muster/activities"
)

// readEnv is the fixed program behind which a command runs where its environment cannot be handed over directly (SSH, sudo):
// it reads NAME=VALUE lines from stdin up to an empty line. So no value ever stands in an argument vector, which ps shows to everyone.
// POSIX has read take single bytes, so what follows the empty line is the command's own stdin.
const readEnv = `while IFS= read -r line && [ -n "$line" ]; do export "$line"; done; exec "$@"`

// detach is readEnv for a command that runs on by itself. The subshell has it adopted by init at once.
const detach = `while IFS= read -r line && [ -n "$line" ]; do export "$line"; done; (exec setsid -- "$@" </dev/null >/dev/null 2>&1 &)`

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// check refuses what no host can run.
func check(c activities.Command) error {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return fmt.Errorf("no command given")
	}
	for i, a := range c.Args {
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("argument %d of %s contains a NUL byte", i, c.Args[0])
		}
	}
	for name, value := range c.Env {
		if !envName.MatchString(name) {
			return fmt.Errorf("%q is no name for an environment variable", name)
		}
		if strings.ContainsAny(value, "\n\x00") {
			return fmt.Errorf("the value of %s contains a line break", name)
		}
	}
	if c.Detach && c.Stdin != "" {
		return fmt.Errorf("a detached command has no stdin: its input would die with the worker")
	}
	return nil
}

// A look that asks whether a lock is held holds it for a moment, shared: who then gave up at once would be refused for nothing, and
// where it runs detached nobody would hear of it.
const lockWaitSeconds = "2"

// locked puts flock(1) before the command where it has a Lock. Descendants hold the lock too: it is free when all of them ended.
func locked(c activities.Command) []string {
	if c.Lock == "" {
		return c.Args
	}
	return append([]string{"flock", "--wait", lockWaitSeconds, "--conflict-exit-code", strconv.Itoa(BusyCode), c.Lock}, c.Args...)
}

// wrapped is the command as a vector that takes environment and stdin from one stream, run as another user where asked.
func wrapped(c activities.Command, runAs string) (args []string, stdin string) {
	if runAs != "" {
		args = append(args, "sudo", "-n", "-u", runAs, "--")
	}
	program := readEnv
	if c.Detach {
		program = detach
	}
	args = append(args, "sh", "-c", program, "muster")
	return append(args, locked(c)...), envLines(c.Env) + "\n" + c.Stdin
}

func envLines(env map[string]string) string {
	var b strings.Builder
	for _, name := range sorted(env) {
		fmt.Fprintf(&b, "%s=%s\n", name, env[name])
	}
	return b.String()
}

func sorted(env map[string]string) []string {
	names := make([]string, 0, len(env))
	for name := range env {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

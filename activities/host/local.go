package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

// local runs commands on the worker's own machine.
type local struct {
	name string
	// How to become RunAs: as root by credential, otherwise by sudo. Neither where it is the worker's own user.
	credential *syscall.Credential
	sudo       string
	env        []string // not the worker's own, which may hold secrets
}

func openLocal(name string, h runbooks.Host) (*local, error) {
	me, err := user.Current()
	if err != nil {
		return nil, fmt.Errorf("open host %s: %w", name, err)
	}
	l := &local{name: name}
	as := me
	if h.RunAs != "" && h.RunAs != me.Username {
		as, err = user.Lookup(h.RunAs)
		if err != nil {
			return nil, &activities.Error{Type: activities.ErrConfig, Op: "open host " + name, Err: fmt.Errorf("run_as: %w", err)}
		}
		if me.Uid == "0" {
			l.credential, err = credential(as)
			if err != nil {
				return nil, fmt.Errorf("open host %s as %s: %w", name, h.RunAs, err)
			}
		} else {
			l.sudo = h.RunAs
		}
	}
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/bin:/usr/bin:/bin"
	}
	l.env = []string{"PATH=" + path, "HOME=" + as.HomeDir, "USER=" + as.Username, "LOGNAME=" + as.Username, "LC_ALL=C"}
	return l, nil
}

func credential(u *user.User) (*syscall.Credential, error) {
	ids, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	numbers := make([]uint32, 0, len(ids)+2)
	for _, id := range append([]string{u.Uid, u.Gid}, ids...) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user or group number %q: %w", id, err)
		}
		numbers = append(numbers, uint32(n))
	}
	return &syscall.Credential{Uid: numbers[0], Gid: numbers[1], Groups: numbers[2:]}, nil
}

// Run ends the command's whole process group with the context, except where it is detached.
func (l *local) Run(ctx context.Context, c activities.Command) (activities.Output, error) {
	if err := check(c); err != nil {
		return activities.Output{}, &activities.Error{Type: activities.ErrConfig, Op: "run on host " + l.name, Err: err}
	}
	if err := ctx.Err(); err != nil {
		return activities.Output{}, fmt.Errorf("run %s on host %s: %w", c.Args[0], l.name, err)
	}
	args, stdin, env := locked(c), c.Stdin, l.env
	background := c.Detach
	if l.sudo != "" {
		// sudo hands no environment on; and it stays the parent, so the detaching happens behind it.
		args, stdin = wrapped(c, l.sudo)
		background = false
	} else {
		for _, name := range sorted(c.Env) {
			env = append(env[:len(env):len(env)], name+"="+c.Env[name])
		}
	}

	if background {
		return activities.Output{}, l.start(args, env, c.Args[0])
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Dir = env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: l.credential}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // a child that left the group and kept our pipes must not hold us
	var stdout, stderr tail
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	out := activities.Output{Stdout: stdout.String(), Stderr: stderr.String()}
	if ctx.Err() != nil {
		return out, fmt.Errorf("run %s on host %s: %w", c.Args[0], l.name, ctx.Err())
	}
	return out, l.explain(c, out, err)
}

func (l *local) start(args, env []string, name string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Dir = env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: l.credential}
	if err := cmd.Start(); err != nil {
		return l.explain(activities.Command{Args: []string{name}}, activities.Output{}, err)
	}
	go func() { _ = cmd.Wait() }() // only so that it does not stay a zombie; its end is observed by its effect
	return nil
}

func (l *local) explain(c activities.Command, out activities.Output, err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case errors.As(err, &exit):
		code := exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			code = 128 + int(status.Signal())
		}
		return commandError(l.name, l.sudo, c, code, out)
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		// What a shell would say, so that local and SSH hosts fail alike.
		return &activities.CommandError{Args: c.Args, Code: 127, Output: activities.Output{Stderr: err.Error()}}
	default:
		return fmt.Errorf("run %s on host %s: %w", c.Args[0], l.name, err)
	}
}

// commandError tells sudo's refusal from the command's own failure.
func commandError(host, runAs string, c activities.Command, code int, out activities.Output) error {
	err := &activities.CommandError{Args: c.Args, Code: code, Output: out}
	if runAs != "" && code == 1 && strings.HasPrefix(out.Stderr, "sudo: ") {
		return &activities.Error{
			Type: activities.ErrAuth, Op: fmt.Sprintf("become %s on host %s", runAs, host), Err: err,
			Next: "let the login user run commands as " + runAs + " with sudo -n",
		}
	}
	return err
}

// Close has nothing to end: each command is a process of its own.
func (l *local) Close() error { return nil }

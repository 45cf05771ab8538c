package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// owner is the user that the sandbox's servers run as: the caller, or somebody unprivileged where the caller is root,
// because PostgreSQL refuses root.
type owner struct {
	Name   string `json:"name"`
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
	Switch bool   `json:"switch"` // the caller is root and becomes this user for every server
}

// findOwner returns the caller, or for root: postgres where it exists, else the system user muster, which it creates.
func findOwner(ctx context.Context) (owner, error) {
	if os.Geteuid() != 0 {
		u, err := user.Current()
		if err != nil {
			return owner{}, fmt.Errorf("find the current user: %w", err)
		}
		return ownerOf(u, false)
	}
	for _, name := range []string{"postgres", "muster"} {
		if u, err := user.Lookup(name); err == nil {
			return ownerOf(u, true)
		}
	}
	out, err := exec.CommandContext(ctx, "useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/sh", "muster").CombinedOutput()
	if err != nil {
		return owner{}, fmt.Errorf("PostgreSQL refuses to run as root, and the system user muster could not be created: %w: %s", err, lastLines(string(out), 3))
	}
	u, err := user.Lookup("muster")
	if err != nil {
		return owner{}, fmt.Errorf("look up the user muster that was just created: %w", err)
	}
	return ownerOf(u, true)
}

func ownerOf(u *user.User, change bool) (owner, error) {
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return owner{}, fmt.Errorf("user %s: uid %q is not a number: %w", u.Username, u.Uid, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return owner{}, fmt.Errorf("user %s: gid %q is not a number: %w", u.Username, u.Gid, err)
	}
	return owner{Name: u.Username, UID: uint32(uid), GID: uint32(gid), Switch: change}, nil
}

// command prepares a command as the owner, in a session of its own, so that a Ctrl-C in the terminal does not reach it.
// Its environment is clean: PGPORT, PGDATA and the like of the caller would mislead PostgreSQL's programs.
func (o owner) command(ctx context.Context, dir string, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=" + dir, "USER=" + o.Name, "LOGNAME=" + o.Name}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if o.Switch {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: o.UID, Gid: o.GID}
	}
	return cmd
}

// run runs a command as the owner to its end; its error has the last lines that it printed.
func (o owner) run(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	cmd := o.command(ctx, dir, env, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return out.String(), fmt.Errorf("%s: %w: %s", filepath.Base(args[0]), err, lastLines(out.String(), 5))
	}
	return out.String(), nil
}

// give hands a path over to the owner.
func (o owner) give(path string) error {
	if !o.Switch {
		return nil
	}
	return os.Lchown(path, int(o.UID), int(o.GID))
}

func (o owner) mkdir(path string, mode os.FileMode) error {
	if err := os.MkdirAll(path, mode); err != nil {
		return err
	}
	if err := os.Chmod(path, mode); err != nil { // the umask may have taken bits
		return err
	}
	return o.give(path)
}

func (o owner) write(path, text string, mode os.FileMode) error {
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		return err
	}
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return o.give(path)
}

// canReach fails where the owner may not enter dir or one of its parents, and names which.
func (o owner) canReach(ctx context.Context, dir string) error {
	var path string
	for _, part := range strings.SplitAfter(filepath.Clean(dir), "/") {
		path += part
		if out, err := o.run(ctx, "/", nil, "/usr/bin/test", "-x", path); err != nil {
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return fmt.Errorf("user %s, who runs the sandbox's servers, may not enter %s: choose a folder below /tmp, or: chmod o+x %s", o.Name, path, path)
			}
			return fmt.Errorf("check that %s may enter %s: %w%s", o.Name, path, err, out)
		}
	}
	return nil
}

// lastLines returns the last n lines of a text, on one line.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}

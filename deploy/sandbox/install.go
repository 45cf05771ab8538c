package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/musterhq/muster/runbooks"
)

// Package is a Debian package that the sandbox needs and the machine does not have.
type Package struct {
	Name string `json:"name"`
	For  string `json:"for"`
}

// Missing returns the Debian packages whose programs are not there; what o leaves out is not needed.
func Missing(o Options) []Package {
	var out []Package
	if len(BinDirectories()) == 0 {
		out = append(out, Package{"postgresql", "the systems"}) // the release's own version
	}
	if !o.NoRoute && !exists(haproxyProgram) {
		out = append(out, Package{"haproxy", "the route"})
	}
	if o.Redis != "" && o.RedisBin == "" && !exists(redisProgram("", "server")) {
		out = append(out, Package{"redis-server", "the Redis system"})
	}
	if o.Redis == runbooks.RedisSentinel && o.RedisBin == "" && !exists(redisProgram("", "sentinel")) {
		out = append(out, Package{"redis-sentinel", "the Redis system's Sentinels"})
	}
	if o.SSH && !exists(sshdProgram) {
		out = append(out, Package{"openssh-server", "the hosts"})
	}
	return out
}

// Install installs packages with apt-get after saying on out what it will do, and lets none of them start a service or
// make a cluster. It needs root; its error says what to type otherwise.
func Install(ctx context.Context, out io.Writer, packages []Package) error {
	i := installer{
		policy: "/usr/sbin/policy-rc.d", createCluster: "/etc/postgresql-common/createcluster.d/muster-sandbox.conf", root: os.Geteuid() == 0,
		apt: func(ctx context.Context, out io.Writer, args ...string) error {
			cmd := exec.CommandContext(ctx, "apt-get", args...)
			cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
			cmd.Stdout, cmd.Stderr = out, out
			return cmd.Run()
		},
	}
	if _, err := exec.LookPath("apt-get"); err != nil && len(packages) > 0 {
		return fmt.Errorf("install %s: this machine has no apt-get: install them your way", names(packages))
	}
	return i.install(ctx, out, packages)
}

// installer has what a test replaces.
type installer struct {
	policy        string // the program that Debian's packages ask before they start a service
	createCluster string // read by postgresql-common when a server package is installed
	root          bool
	apt           func(ctx context.Context, out io.Writer, args ...string) error
}

const (
	policyText  = "#!/bin/sh\n# muster sandbox: no service starts while its packages are installed\nexit 101\n"
	savedPolicy = ".before-muster"
)

func (i installer) install(ctx context.Context, out io.Writer, packages []Package) (err error) {
	if len(packages) == 0 {
		return nil
	}
	list := strings.Fields(names(packages))
	fmt.Fprintln(out, "The sandbox needs Debian packages that are not installed:")
	for _, p := range packages {
		fmt.Fprintf(out, "  %-15s for %s\n", p.Name, p.For)
	}
	if !i.root {
		return fmt.Errorf("installing them needs root; type: sudo apt-get update && sudo %s", installLine(list))
	}
	fmt.Fprintf(out, "About to run: apt-get update && %s\nNo service is started now, and no PostgreSQL cluster made outside the sandbox; at its next boot the machine may start\nhaproxy and ssh, as Debian enables what it installs (systemctl disable them if you do not want that).\n", installLine(list))
	restore, err := i.forbidServices()
	if err != nil {
		return fmt.Errorf("install %s: %w", names(packages), err)
	}
	defer func() { err = errors.Join(err, restore()) }()
	if err := i.apt(ctx, out, "update", "-q"); err != nil {
		return fmt.Errorf("apt-get update: %w", err)
	}
	if err := i.apt(ctx, out, append([]string{"install", "-q", "-y", "--no-install-recommends"}, list...)...); err != nil {
		return fmt.Errorf("%s: %w", installLine(list), err)
	}
	return nil
}

// forbidServices makes Debian's packages start nothing, and returns how to put back what was there.
func (i installer) forbidServices() (restore func() error, err error) {
	saved := i.policy + savedPolicy
	_, err = os.Lstat(saved)
	old, _ := os.ReadFile(i.policy)
	// An installation that was killed left its own policy behind, and beside it what had been there, if anything.
	if errors.Is(err, os.ErrNotExist) && string(old) != policyText {
		if err := os.Rename(i.policy, saved); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("set %s aside: %w", i.policy, err)
		}
	}
	restore = func() error {
		err := os.Remove(i.createCluster)
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		if _, missing := os.Lstat(saved); missing == nil {
			return errors.Join(err, os.Rename(saved, i.policy))
		}
		return errors.Join(err, os.Remove(i.policy))
	}
	err = errors.Join(
		os.WriteFile(i.policy, []byte(policyText), 0o755),
		os.Chmod(i.policy, 0o755),
		os.MkdirAll(filepath.Dir(i.createCluster), 0o755),
		os.WriteFile(i.createCluster, []byte("create_main_cluster = false\n"), 0o644),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("forbid services: %w", err), restore())
	}
	return restore, nil
}

func names(packages []Package) string {
	var out []string
	for _, p := range packages {
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}

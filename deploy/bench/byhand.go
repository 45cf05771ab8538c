package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/host"
	"github.com/musterhq/muster/activities/writer"
	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/runbooks"
)

// What all scripts begin with, and one for each kind of system.
var (
	//go:embed haproxy.sh
	proxyScript string
	//go:embed postgres.sh
	postgresScript string
)

// every is the writers' pace, by hand as in the sandbox's runbooks.
const every = 20 * time.Millisecond

// byHand fails one system of the sandbox over without muster, measured by the same numbered writer as muster's own runs.
type byHand struct {
	*bench
	system string
	// command moves the system by what people would type, and nothing else.
	command func(ctx context.Context, kind string, target activities.Target, here, there string) error
	hosts   *host.Hosts
	driver  driver
	keeper  *writer.Keeper
	number  int
}

type driver interface {
	activities.System
	Close()
}

func (h *byHand) open(open func(*host.Hosts) driver) {
	h.hosts = host.New()
	h.driver = open(h.hosts)
	h.keeper = writer.NewKeeper(filepath.Join(h.dir, "by-hand"), h.driver.Marks, func(config string) error {
		cmd := exec.Command(h.worker, "writer", "--config", config)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		err := cmd.Start()
		if err == nil {
			go func() { _ = cmd.Wait() }() // it ends when nobody wants it
		}
		return err
	})
}

func (h *byHand) close(ctx context.Context) error {
	ctx, cancel := afterwards(ctx)
	defer cancel()
	err := h.keeper.StopAll(ctx)
	h.driver.Close()
	h.hosts.Close()
	return err
}

func (h *byHand) target() (activities.Target, activities.RouteTarget) {
	e := h.estate.Estate()
	s := e.Systems[h.system]
	return activities.Target{Estate: e.Name, Name: h.system, System: s, Hosts: e.Hosts}, activities.RouteTarget{Name: s.Route, Route: e.Routes[s.Route]}
}

// planned returns the clients' outage in ms, and how many acknowledged writes are gone: each was one more moment without a write.
func (h *byHand) planned(ctx context.Context) (outage float64, missing int64, err error) {
	_, report, err := h.failover(ctx, "planned")
	if err != nil {
		return 0, 0, err
	}
	switch {
	case len(report.Outages) > 0:
		outage = ms(report.Outages[0].Duration())
	case report.Missing > 0: // writes went on, into nothing: only those that failed between were seen
		outage = float64(report.Failed) * ms(every)
	case report.Failed > 0:
		outage = ms(shortest)
	default:
		return 0, 0, fmt.Errorf("the script's failover was not measured: %+v", report)
	}
	return outage + float64(report.Missing)*ms(every), report.Missing, nil
}

// unplanned returns the time from the script's start to the first write in ms.
func (h *byHand) unplanned(ctx context.Context) (float64, error) {
	began, report, err := h.failover(ctx, "unplanned")
	if err != nil {
		return 0, err
	}
	if len(report.Outages) == 0 {
		return 0, fmt.Errorf("the script's failover was not measured: %+v", report)
	}
	return ms(report.Outages[0].To.Sub(began)), nil
}

func (h *byHand) failover(ctx context.Context, kind string) (began time.Time, report activities.WriterReport, err error) {
	here, there, err := h.sites(ctx, h.system)
	if err != nil {
		return began, report, err
	}
	h.number++
	target, route := h.target()
	in := activities.WriterInput{Target: target, Route: route, Run: fmt.Sprint("by-hand-", h.number), Since: time.Now().UTC(),
		Writer: runbooks.Writer{Every: runbooks.Duration(every)}}
	if _, err := h.keeper.Start(ctx, in); err != nil {
		return began, report, err
	}
	if _, err := h.keeper.Await(ctx, in); err != nil {
		return began, report, err
	}
	if kind == "unplanned" {
		if _, err := h.estate.Break(ctx, "primary:"+h.system); err != nil {
			return began, report, err
		}
	}
	began = time.Now()
	if err := h.command(ctx, kind, target, here, there); err != nil {
		return began, report, err
	}
	after := in
	after.Since = time.Now().UTC()
	if _, err := h.keeper.Await(ctx, after); err != nil {
		return began, report, err
	}
	if report, err = h.keeper.Stop(ctx, in); err != nil {
		return began, report, err
	}
	// The old primary follows as after any run: no part of what is measured.
	follow := h.driver.Follow(activities.Move{Target: target, From: here, To: there, Planned: kind == "planned"})
	return began, report, reach(ctx, follow)
}

// postgresScript runs the script as the owner of the data.
func (b *bench) postgresScript(ctx context.Context, kind string, target activities.Target, here, there string) error {
	password, err := b.estate.Password(sandbox.User)
	if err != nil {
		return err
	}
	from, user := target.System.Members[here], target.Hosts[target.System.Members[here].Host].RunAs
	return b.script(ctx, postgresScript, kind, user, target, here, there, "BIN="+from.PostgreSQL.BinDirectory, "FROM_DATA="+from.PostgreSQL.DataDirectory,
		"PGUSER="+sandbox.User, "PGDATABASE="+target.System.PostgreSQL.Database, "PGPASSWORD="+password)
}

// script runs a shell script that moves a system; user is empty for bench's own.
func (b *bench) script(ctx context.Context, text, kind, user string, target activities.Target, here, there string, env ...string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", proxyScript+text, "failover", kind)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "LC_ALL=C", "FROM="+here, "TO="+there,
		fmt.Sprint("FROM_PORT=", b.estate.Port(target.Name+"/"+here)), fmt.Sprint("TO_PORT=", b.estate.Port(target.Name+"/"+there)),
		fmt.Sprint("RUNTIME=", b.estate.Port("runtime")), "BACKEND="+target.System.Route) // the sandbox's backends are called as their routes
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if user != "" {
		if cmd.SysProcAttr.Credential, err = credential(user); err != nil {
			return err
		}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the script: %w: %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// reach acts once and looks until the goal is met.
func reach(ctx context.Context, goal activities.Action) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	acted := false
	for {
		look, err := goal.Look(ctx)
		if err == nil && look.Met {
			return nil
		}
		if err == nil && !acted && !look.Busy {
			acted = true
			err = goal.Act(ctx, "bench")
		}
		var typed *activities.Error
		if errors.As(err, &typed) && !typed.Retryable() {
			return err
		}
		if stopped := pause(ctx, 50*time.Millisecond); stopped != nil {
			return errors.Join(stopped, errors.New(look.Why), err)
		}
	}
}

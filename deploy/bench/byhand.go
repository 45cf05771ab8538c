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
	"github.com/musterhq/muster/activities/postgres"
	"github.com/musterhq/muster/activities/writer"
	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/runbooks"
)

//go:embed failover.sh
var script string

// byHand fails the sandbox over by a shell script, measured by the same numbered writer as muster's own runs.
type byHand struct {
	*bench
	hosts  *host.Hosts
	driver *postgres.Driver
	keeper *writer.Keeper
	number int
}

func (h *byHand) open() {
	h.hosts = host.New()
	h.driver = postgres.New(h.hosts)
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
	s := e.Systems[system]
	return activities.Target{Estate: e.Name, Name: system, System: s, Hosts: e.Hosts}, activities.RouteTarget{Name: s.Route, Route: e.Routes[s.Route]}
}

// planned returns the clients' outage in ms.
func (h *byHand) planned(ctx context.Context) (float64, error) {
	_, report, err := h.failover(ctx, "planned")
	if err != nil {
		return 0, err
	}
	if len(report.Outages) == 0 || report.Missing != 0 {
		return 0, fmt.Errorf("the script's failover was not measured, or lost writes: %+v", report)
	}
	return ms(report.Outages[0].Duration()), nil
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
	here, there, err := h.sites(ctx)
	if err != nil {
		return began, report, err
	}
	h.number++
	target, route := h.target()
	in := activities.WriterInput{Target: target, Route: route, Run: fmt.Sprint("by-hand-", h.number), Since: time.Now().UTC(),
		Writer: runbooks.Writer{Every: runbooks.Duration(20 * time.Millisecond)}} // as the sandbox's runbooks
	if _, err := h.keeper.Start(ctx, in); err != nil {
		return began, report, err
	}
	if _, err := h.keeper.Await(ctx, in); err != nil {
		return began, report, err
	}
	if kind == "unplanned" {
		if _, err := h.estate.Break(ctx, "primary:"+system); err != nil {
			return began, report, err
		}
	}
	began = time.Now()
	if err := h.run(ctx, kind, target, here, there); err != nil {
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

// run runs the script as the owner of the data.
func (h *byHand) run(ctx context.Context, kind string, target activities.Target, here, there string) error {
	password, err := h.estate.Password(sandbox.User)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	from, route := target.System.Members[here], h.estate.Estate().Routes[target.System.Route]
	cmd := exec.CommandContext(ctx, "bash", "-c", script, "failover", kind)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "LC_ALL=C", "BIN="+from.PostgreSQL.BinDirectory, "FROM="+here, "TO="+there, "FROM_DATA="+from.PostgreSQL.DataDirectory,
		fmt.Sprint("FROM_PORT=", h.estate.Port(system+"/"+here)), fmt.Sprint("TO_PORT=", h.estate.Port(system+"/"+there)),
		fmt.Sprint("RUNTIME=", h.estate.Port("runtime")), "BACKEND="+route.HAProxy.Backend,
		"PGUSER="+sandbox.User, "PGDATABASE="+target.System.PostgreSQL.Database, "PGPASSWORD="+password)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if name := target.Hosts[from.Host].RunAs; name != "" {
		if cmd.SysProcAttr.Credential, err = credential(name); err != nil {
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

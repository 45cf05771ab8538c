package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// Down stops all that runs in the sandbox, whoever started it since; safe to repeat, and after an Up that was cut off.
// With purge it stops without a checkpoint and removes the folder.
func (s *Sandbox) Down(ctx context.Context, purge bool) error {
	if err := s.stop(ctx, purge); err != nil {
		return fmt.Errorf("sandbox down: %w", err)
	}
	if purge {
		if err := s.purge(true); err != nil {
			return fmt.Errorf("sandbox down: %w", err)
		}
	}
	return nil
}

// stop stops route and hosts first, then the servers, then whatever else works in the folder (a base backup, a rewind).
func (s *Sandbox) stop(ctx context.Context, now bool) error {
	if s.proc("haproxy").alive() && !now {
		_ = s.saveServers(ctx) // a proxy that no longer answers is stopped all the same
	}
	for _, name := range append([]string{"haproxy"}, hostName(East), hostName(West)) {
		if err := s.killTree(ctx, s.proc(name)); err != nil {
			return fmt.Errorf("stop %s: %w", name, err)
		}
	}
	if !now {
		if err := s.stopRedis(ctx); err != nil {
			return fmt.Errorf("stop %s: %w", RedisSystem, err)
		}
	}
	// Helpers before servers: pg_ctl or pg_rewind could start one behind our back.
	servers := s.servers()
	var helpers []proc
	for _, p := range inFolder(s.state.Dir) {
		if !slices.Contains(servers, p) {
			helpers = append(helpers, p)
		}
	}
	if err := killAll(ctx, helpers); err != nil {
		return err
	}
	var group errgroup.Group
	for _, system := range s.state.Systems {
		group.Go(func() error {
			// The primary first: a clean stop waits until its standby has everything.
			err := s.stopPostgres(ctx, system, s.primarySite(system), now)
			for _, site := range sites {
				err = errors.Join(err, s.stopPostgres(ctx, system, site, now))
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	// What was being started while we looked shows up now.
	for range 10 {
		left := inFolder(s.state.Dir)
		if len(left) == 0 {
			return nil
		}
		if err := killAll(ctx, left); err != nil {
			return err
		}
	}
	return fmt.Errorf("somebody keeps starting servers in %s", s.state.Dir)
}

// servers returns the postmasters and all their children.
func (s *Sandbox) servers() []proc {
	var out []proc
	for _, system := range s.state.Systems {
		for _, site := range sites {
			if p := s.postmaster(system, site); p.alive() {
				out = append(append(out, p), descendants(p)...)
			}
		}
	}
	return out
}

// primarySite returns the site whose data says that it is no standby; east where both or none do.
func (s *Sandbox) primarySite(system string) string {
	for _, site := range sites {
		if !s.comesBackAsStandby(system, site) {
			return site
		}
	}
	return East
}

func (s *Sandbox) comesBackAsStandby(system, site string) bool {
	_, err := os.Stat(filepath.Join(s.DataDirectory(system, site), "standby.signal"))
	return err == nil
}

func (s *Sandbox) killTree(ctx context.Context, p proc) error {
	if !p.alive() {
		return nil
	}
	children := descendants(p)
	return killAll(ctx, append([]proc{p}, children...)) // the parent first, so that it starts no more of them
}

func killAll(ctx context.Context, procs []proc) error {
	for _, p := range procs {
		if err := p.signal(syscall.SIGKILL); err != nil {
			return err
		}
	}
	return awaitGone(ctx, procs, 10*time.Second)
}

// purge removes what is in the folder, and the folder where it is ours.
func (s *Sandbox) purge(folder bool) error {
	closeSockets(s.sockets)
	s.sockets = nil
	s.removeSegments()
	if err := s.unmount(); err != nil {
		return err
	}
	if folder {
		return os.RemoveAll(s.state.Dir)
	}
	entries, err := os.ReadDir(s.state.Dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(s.state.Dir, e.Name())))
	}
	return err
}

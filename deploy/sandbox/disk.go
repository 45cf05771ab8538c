package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Disk is a small file system of its own under one member's WAL.
type Disk struct {
	dir, ballast string
}

// SmallDisk puts the WAL of a standby on a file system of so many bytes: it stops the server, moves the files there and starts
// it again. It needs the right to mount, which root has.
func (s *Sandbox) SmallDisk(ctx context.Context, system, site string, bytes int64) (Disk, error) {
	fail := func(err error) (Disk, error) {
		return Disk{}, fmt.Errorf("put the WAL of %s on a small disk: %w", memberName(system, site), err)
	}
	if !s.comesBackAsStandby(system, site) {
		return fail(errors.New("it is the primary, which others stream from"))
	}
	if err := s.stopPostgres(ctx, system, site, false); err != nil {
		return fail(err)
	}
	own, wal := s.state.Owner, filepath.Join(s.DataDirectory(system, site), "pg_wal")
	d := Disk{dir: filepath.Join(s.memberDir(system, site), "wal-disk")}
	d.ballast = filepath.Join(d.dir, "ballast")
	if err := own.mkdir(d.dir, 0o700); err != nil {
		return fail(err)
	}
	options := fmt.Sprintf("size=%d,mode=0700,uid=%d,gid=%d", bytes, own.UID, own.GID)
	if err := syscall.Mount("muster-sandbox", d.dir, "tmpfs", 0, options); err != nil {
		return fail(fmt.Errorf("mount a tmpfs of %d bytes: %w (next: be root in a place that may mount, or in `unshare -rm`)", bytes, err))
	}
	moved := filepath.Join(d.dir, "pg_wal")
	if _, err := own.run(ctx, d.dir, nil, "cp", "-a", wal, moved); err != nil {
		return fail(err)
	}
	if err := errors.Join(os.RemoveAll(wal), os.Symlink(moved, wal), own.give(wal)); err != nil {
		return fail(err)
	}
	if err := s.startPostgres(ctx, system, site); err != nil {
		return fail(err)
	}
	return d, nil
}

// Fill leaves not a byte on the disk.
func (d Disk) Fill() error {
	file, err := os.OpenFile(d.ballast, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("fill the disk: %w", err)
	}
	defer func() { _ = file.Close() }()
	if _, err := io.Copy(file, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("fill the disk: it took more than it has, or failed: %w", err)
	}
	return nil
}

// Free takes away what Fill left.
func (d Disk) Free() error { return os.Remove(d.ballast) }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// StartStandby starts one member's server as an operator would. It refuses one that would come back as a primary.
func (s *Sandbox) StartStandby(ctx context.Context, system, site string) error {
	if !s.comesBackAsStandby(system, site) {
		return fmt.Errorf("start %s: it would come back as a primary", memberName(system, site))
	}
	if err := s.forgetZombie(ctx, system, site); err != nil {
		return fmt.Errorf("start %s: %w", memberName(system, site), err)
	}
	return s.startPostgres(ctx, system, site)
}

// unmount takes away the small disks below the sandbox's folder, whoever mounted them.
func (s *Sandbox) unmount() error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("look for small disks: %w", err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "muster-sandbox" && within(s.state.Dir, fields[1]) {
			err = errors.Join(err, syscall.Unmount(fields[1], 0))
		}
	}
	return err
}

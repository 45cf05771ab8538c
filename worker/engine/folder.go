package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/gofrs/flock"
)

// lockFile holds the pid of the process that runs an engine on the folder. The lock is the
// kernel's, on the file, and dies with the process; the pid is only for the message.
const lockFile = "engine.lock"

type folderLock struct{ flock *flock.Flock }

// lockFolder creates dir where it is missing. Nothing in SQLite or Temporal stops a second server
// on the same file, and two of them would corrupt each other's runs.
func lockFolder(dir string) (*folderLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, folderError(dir, "cannot be created", err)
	}
	path := filepath.Join(dir, lockFile)
	l := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR))
	locked, err := l.TryLock()
	if err != nil {
		return nil, folderError(dir, "cannot be written", err)
	}
	if !locked {
		return nil, fmt.Errorf("state folder %s is in use by %s: stop that one, or give this one a folder of its own", dir, holder(path))
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, errors.Join(folderError(dir, "cannot be written", err), l.Unlock())
	}
	return &folderLock{flock: l}, nil
}

// release leaves the file: removing it would let two processes lock two different inodes.
func (l *folderLock) release() error {
	if err := os.Truncate(l.flock.Path(), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, l.flock.Unlock())
	}
	return l.flock.Unlock()
}

func holder(path string) string {
	text, err := os.ReadFile(path)
	pid, convErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || convErr != nil {
		return "another process (it has not written its pid yet)"
	}
	return fmt.Sprintf("the engine of process %d", pid)
}

func folderError(dir, what string, err error) error {
	why := err
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		why = errno
	}
	return fmt.Errorf("state folder %s %s: %w: give a folder that user id %d may write", dir, what, why, os.Getuid())
}

package writer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

const spawnAgain = 3 * time.Second // a process that was spawned has the lock by then, or is spawned again

// running reports whether a process holds the lock. It takes the lock for a moment to find out: Run tries for longer.
func (f folder) running() (bool, error) {
	if _, err := os.Stat(string(f)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	lock := flock.New(f.lock(), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return false, fmt.Errorf("ask whether the numbered writer runs: %w", err)
	}
	if err := lock.Close(); err != nil {
		return false, fmt.Errorf("ask whether the numbered writer runs: %w", err)
	}
	return !locked, nil
}

// lastOutput is the last line of what the process printed: why it ended.
func (f folder) lastOutput() string {
	text, err := os.ReadFile(f.output())
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if err != nil || lines[len(lines)-1] == "" {
		return ""
	}
	return "; it said: " + lines[len(lines)-1]
}

// watcher sees to it that a process runs while its owner waits for it.
type watcher struct {
	keeper    *Keeper
	folder    folder
	run       string // that the process is started for; empty where it is only kept alive
	spawned   bool
	spawnedAt time.Time
	askedAt   time.Time
}

func (w *watcher) keepAlive() error {
	now := time.Now()
	if now.Sub(w.askedAt) < 100*time.Millisecond {
		return nil
	}
	w.askedAt = now
	runs, err := w.folder.running()
	if err != nil || runs || now.Sub(w.spawnedAt) < spawnAgain {
		return err
	}
	if w.run != "" { // before it is done: a worker that is killed meanwhile did it all the same
		if err := w.folder.markStarted(w.run); err != nil {
			return err
		}
	}
	if err := w.keeper.spawn(w.folder.config()); err != nil {
		return fmt.Errorf("start the numbered writer: %w", err)
	}
	w.spawned, w.spawnedAt = true, now
	return nil
}

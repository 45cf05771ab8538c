package writer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/musterhq/muster/activities"
)

const (
	defaultEvery   = 20 * time.Millisecond
	defaultTimeout = time.Second
	defaultLease   = 30 * time.Minute
)

// Config is what a writer process reads from its file. It holds references to secrets, never secrets.
type Config struct {
	Input   activities.WriterInput `json:"input"`
	Lease   time.Duration          `json:"lease_ns"`                // a run that gave no sign for so long no longer wants the writer
	Segment int64                  `json:"segment_bytes,omitempty"` // of the log; default 8 MiB
}

func (c Config) every() time.Duration   { return c.Input.Writer.Every.Or(defaultEvery) }
func (c Config) timeout() time.Duration { return c.Input.Writer.Timeout.Or(defaultTimeout) }

func (c Config) lease() time.Duration {
	if c.Lease == 0 {
		return defaultLease
	}
	return c.Lease
}

// connectTimeout is within the write timeout where that makes sense for a connection.
func (c Config) connectTimeout() time.Duration {
	return min(max(c.timeout(), 250*time.Millisecond), time.Second)
}

func readConfig(path string) (Config, []byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, nil, fmt.Errorf("read the writer's configuration: %w", err)
	}
	var c Config
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return Config{}, nil, fmt.Errorf("read the writer's configuration %s: %w", path, err)
	}
	return c, text, nil
}

// folder is where the writer of one system lives: config.json, lock, wants/, log/, missing.
type folder string

func folderOf(root string, in activities.WriterInput) (folder, error) {
	if in.Estate == "" || in.Name == "" || in.Run == "" {
		return "", &activities.Error{Type: activities.ErrConfig, Op: "find the numbered writer", Err: errors.New("estate, system or run is not named")}
	}
	return folder(filepath.Join(root, fileName(in.Estate)+"."+fileName(in.Name))), nil
}

// fileName makes a name a file's name; different names stay different.
func fileName(name string) string { return strings.ReplaceAll(url.PathEscape(name), ".", "%2E") }

func (f folder) config() string         { return filepath.Join(string(f), "config.json") }
func (f folder) lock() string           { return filepath.Join(string(f), "lock") }
func (f folder) log() string            { return filepath.Join(string(f), "log") }
func (f folder) wants() string          { return filepath.Join(string(f), "wants") }
func (f folder) missing() string        { return filepath.Join(string(f), "missing") }
func (f folder) output() string         { return filepath.Join(string(f), "output") }
func (f folder) want(run string) string { return filepath.Join(f.wants(), fileName(run)) }

// save replaces the configuration in one step; the writer that runs notices within a second.
func (f folder) save(c Config) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("write the writer's configuration: %w", err)
	}
	temp, err := os.CreateTemp(string(f), "config-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write the writer's configuration: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(text)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), f.config())
	}
	if err != nil {
		return fmt.Errorf("write the writer's configuration: %w", err)
	}
	return nil
}

// touch says that run wants the writer, from now until a lease has passed.
func (f folder) touch(run string) error {
	if err := os.MkdirAll(f.wants(), 0o700); err != nil {
		return fmt.Errorf("want the writer: %w", err)
	}
	file, err := os.OpenFile(f.want(run), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("want the writer: %w", err)
	}
	_ = file.Close()
	if err := os.Chtimes(f.want(run), time.Time{}, time.Now()); err != nil {
		return fmt.Errorf("want the writer: %w", err)
	}
	return nil
}

// markStarted notes that the process was started for run. It is forgotten with the want.
func (f folder) markStarted(run string) error {
	if err := os.WriteFile(f.want(run), []byte("started\n"), 0o600); err != nil {
		return fmt.Errorf("note who starts the writer: %w", err)
	}
	return nil
}

func (f folder) startedFor(run string) bool {
	info, err := os.Stat(f.want(run))
	return err == nil && info.Size() > 0
}

func (f folder) unwant(run string) error {
	if err := os.Remove(f.want(run)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stop wanting the writer: %w", err)
	}
	return nil
}

// wanted reports whether some run wants the writer, and removes what is older than the lease.
func (f folder) wanted(lease time.Duration) (bool, error) { return f.wantedSince(lease, signs{}) }

// signs are the signs of life that a process has seen: whose, as of when, and when it saw that by its own clock. A wall clock that
// is set forward by more than a lease makes every sign look old, and an outage just now must be measured on.
type signs map[string]sign

type sign struct{ at, seen time.Time }

// age is how long ago a run gave its last sign.
func (s signs) age(run string, at time.Time) time.Duration {
	last, known := s[run]
	if !known {
		s[run] = sign{at: at, seen: time.Now().Add(-max(0, time.Since(at)))}
	} else if !last.at.Equal(at) {
		s[run] = sign{at: at, seen: time.Now()}
	}
	return time.Since(s[run].seen)
}

func (f folder) wantedSince(lease time.Duration, seen signs) (bool, error) {
	files, err := os.ReadDir(f.wants())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("read who wants the writer: %w", err)
	}
	fresh := false
	for _, file := range files {
		info, err := file.Info()
		if err != nil {
			continue // it was removed meanwhile
		}
		if seen.age(file.Name(), info.ModTime()) < lease {
			fresh = true
		} else {
			_ = os.Remove(filepath.Join(f.wants(), file.Name()))
		}
	}
	return fresh, nil
}

// Package local is where a worker on this machine says how its engine is reached, and where the CLI looks for it.
package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// File is the name of the file in the state folder.
const File = "engine.json"

// Engine is how the engine of this machine's worker is reached. A worker that uses another cluster writes none.
type Engine struct {
	Address   string `json:"address"`            // gRPC, host:port
	UI        string `json:"ui,omitempty"`       // URL of Temporal's Web UI
	Namespace string `json:"namespace"`          // Temporal namespace
	PID       int    `json:"pid"`                // of the worker
	Runbooks  string `json:"runbooks,omitempty"` // absolute path of the folder that the worker serves
	Evidence  string `json:"evidence,omitempty"` // absolute path of the folder that the worker writes evidence to
	Gateway   string `json:"gateway,omitempty"`  // URL of the gateway that the worker serves
}

// StateDir returns the absolute path of $MUSTER_STATE, or of muster in $XDG_STATE_HOME or ~/.local/state. It creates nothing.
func StateDir() (string, error) {
	if dir := os.Getenv("MUSTER_STATE"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "muster"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the state folder: %w (next: set MUSTER_STATE)", err)
	}
	return filepath.Join(home, ".local", "state", "muster"), nil
}

// Path returns where the file is in a state folder.
func Path(stateDir string) string { return filepath.Join(stateDir, File) }

// Write puts e in the state folder, which it creates, in one step: a reader sees the old file or the new one.
func Write(stateDir string, e Engine) error {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", Path(stateDir), err)
	}
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", Path(stateDir), err)
	}
	f, err := os.CreateTemp(stateDir, "."+File+".*") // created with mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", Path(stateDir), err)
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), Path(stateDir))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", Path(stateDir), errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// Read returns what a worker wrote last; the error is fs.ErrNotExist where none did. The worker may be gone: see Running.
func Read(stateDir string) (Engine, error) {
	text, err := os.ReadFile(Path(stateDir))
	if err != nil {
		return Engine{}, err
	}
	var e Engine
	if err := json.Unmarshal(text, &e); err != nil {
		return Engine{}, fmt.Errorf("read %s: %w", Path(stateDir), err)
	}
	if e.Address == "" {
		return Engine{}, fmt.Errorf("read %s: it names no address", Path(stateDir))
	}
	return e, nil
}

// Remove deletes the file if the process pid wrote it; another worker's file stays. Safe to repeat.
func Remove(stateDir string, pid int) error {
	e, err := Read(stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if e.PID != pid {
		return nil
	}
	return os.Remove(Path(stateDir))
}

// Running reports whether a process with the worker's ID exists. It may be another one that got the same ID.
func (e Engine) Running() bool {
	err := syscall.Kill(e.PID, 0)
	return e.PID > 0 && (err == nil || errors.Is(err, syscall.EPERM))
}

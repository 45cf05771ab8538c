package writer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// SpawnSelf runs this very program as `<program> writer --config <path>` in a session of its own, so that neither the
// worker's end nor its terminal's takes it along. What it prints goes to the file `output` beside its configuration.
func SpawnSelf(configPath string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return spawn(exec.Command(self, "writer", "--config", configPath), configPath)
}

func spawn(cmd *exec.Cmd, configPath string) error {
	output, err := os.OpenFile(folder(filepath.Dir(configPath)).output(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the writer's output: %w", err)
	}
	defer func() { _ = output.Close() }()
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	go func() { _ = cmd.Wait() }() // no zombie while this process lives
	return nil
}

//go:build lint

package arrows

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLinterObjects runs golangci-lint with the project's configuration over a module of the same name, which crosses
// three arrows. `make lint` runs it (the build tag is lint), so that `make test` need not build the linter.
func TestLinterObjects(t *testing.T) {
	t.Parallel()
	linter := goTool(t, "golangci-lint")
	dir := t.TempDir()
	config, err := os.ReadFile(filepath.Join(root, ".golangci.yml"))
	require.NoError(t, err)
	for file, text := range map[string]string{
		".golangci.yml":                      string(config),
		"go.mod":                             "module " + module + "\n\ngo 1.26\n",
		"activities/contract.go":             "package activities\n",
		"activities/host/host.go":            "package host\n\nimport _ \"" + module + "/activities\"\n",
		"activities/postgres/promote.go":     "package postgres\n\nimport _ \"" + module + "/activities/host\"\n",
		"worker/engine/engine.go":            "package engine\n",
		"starter/run.go":                     "package starter\n\nimport _ \"" + module + "/worker/engine\"\n",
		"workflows/failover/workflow.go":     "package failover\n\nimport _ \"" + module + "/activities/postgres\"\n",
		"workflows/failover/testdata/x/x.go": "package x\n\nimport _ \"" + module + "/worker/engine\"\n",
	} {
		path := filepath.Join(dir, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}

	cmd := exec.CommandContext(t.Context(), linter, "run", "--enable-only=depguard", "--allow-parallel-runners",
		"--output.json.path=stdout", "--output.text.path=stderr", "--show-stats=false", "./...")
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "golangci-lint objected to nothing")
	require.Equal(t, 1, exit.ExitCode(), stderr.String())

	var report struct {
		Issues []struct {
			FromLinter string
			Text       string
			Pos        struct{ Filename string }
		}
	}
	require.NoError(t, json.Unmarshal(out, &report), "%s%s", out, stderr.String())
	found := map[string]string{}
	for _, issue := range report.Issues {
		require.Equal(t, "depguard", issue.FromLinter)
		_, rule, _ := strings.Cut(issue.Text, "from list '")
		rule, _, _ = strings.Cut(rule, "'")
		found[issue.Pos.Filename] = rule
	}
	require.Equal(t, map[string]string{
		"activities/postgres/promote.go": "drivers-know-no-sibling",
		"starter/run.go":                 "starter-never-links-the-engine",
		"workflows/failover/workflow.go": "workflows-know-no-driver",
	}, found)
}

// goTool returns the path of a tool that tools/go.mod pins, built where it is not in Go's cache.
func goTool(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-modfile=tools/go.mod", "-n", name)
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

// TestOneWriterIsChecked is the test of the checker: a move by a muster-worker whose fence lies must be found out. No production
// flag does that: the worker is built for the test, with two functions of the PostgreSQL driver replaced.
func TestOneWriterIsChecked(t *testing.T) {
	t.Parallel()
	unfenced := unfencedWorker(t)
	s := openShop(t)
	m := s.writeToMembers(t)
	here, there := s.sites(t)
	s.kill(t)
	s.program = unfenced
	s.start(t)
	mark := m.mark()
	awaited(t, "writes", 5*time.Second, func() (int, bool) { n := len(m.since(mark, here)); return n, n > 10 })
	require.Empty(t, m.since(mark, there))
	require.NoError(t, twoWriters(m.since(mark, here), m.since(mark, there)))

	// A lying fence alone makes no second writer: who promotes looks for himself.
	x := s.begin(t, runbook(here, ""))
	s.approve(t, x, "approve")
	hold := s.held(t, x)
	require.Equal(t, "promote/"+system, hold.Step)
	require.Contains(t, hold.Why, "accepts writes")
	for _, e := range s.journal(t, x) {
		if e.Kind == journal.StepEnded && e.Step == "fence/"+system {
			require.EqualValues(t, activities.ProofStopped, e.After["proof"], "the fence lies")
		}
	}
	m.requireStill(t, mark, there)

	// With that look switched off, too, there are two writers, and the checker says so.
	s.kill(t)
	s.extra = append(s.extra, blind+"=1")
	s.start(t)
	a := awaited(t, "the step to be tried again", 10*time.Second, func() (run.Answer, bool) {
		a, err := s.intervene(t.Context(), x, run.Intervention{Step: hold.Step, Action: run.ActionRetry, Author: "dana", Reason: "e2e"})
		return a, err == nil
	})
	require.True(t, a.Accepted, a.Message)
	objection := awaited(t, "the checker to see two writers", 20*time.Second, func() (string, bool) {
		err := twoWriters(m.since(mark, here), m.since(mark, there))
		return fmt.Sprint(err), err != nil
	})
	require.Contains(t, objection, "two writers for")
	require.NoError(t, s.temporal.TerminateWorkflow(t.Context(), x.WorkflowID, x.RunID, "the test has seen enough"))
}

// blind is known to the worker of unfencedWorker only.
const blind = "MUSTER_E2E_BLIND"

// unfencedWorker builds a muster-worker that claims to have fenced PostgreSQL and has not.
func unfencedWorker(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	dir := t.TempDir()
	overlay := map[string]string{}
	replace := func(file, imports, function, body string) {
		path := filepath.Join(root, "activities", "postgres", file)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		before, after, found := strings.Cut(string(text), function+" {\n")
		require.True(t, found, "%s has no %s any more: the test cannot switch the fence off", path, function)
		overlay[path] = filepath.Join(dir, file)
		require.NoError(t, os.WriteFile(overlay[path], []byte(strings.Replace(before, "import (\n", "import (\n"+imports, 1)+function+" {\n"+body+"\n"+after), 0o600))
	}
	replace("fence.go", "", "func (f *fencing) look(ctx context.Context) (activities.Look, error)",
		`	if from, err := f.driver.member(f.move.Target, f.move.From); err == nil {
		if s, err := f.driver.ask(ctx, from); err == nil {
			// A position that the standby has already: what is written from here on is for the checker.
			return activities.Look{Met: true, Proof: activities.ProofStopped, Position: (s.written() - 1).String(), Facts: s.facts()}, nil
		}
	}`)
	replace("promote.go", "\t\"os\"\n", "func (d *Driver) mustNotWrite(ctx context.Context, from, to member) error",
		fmt.Sprintf("\tif os.Getenv(%q) != \"\" {\n\t\treturn nil\n\t}", blind))
	names, err := json.Marshal(map[string]any{"Replace": overlay})
	require.NoError(t, err)
	list, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "muster-worker")
	require.NoError(t, os.WriteFile(list, names, 0o600))
	began := time.Now()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", list, "-ldflags", "-w", "-o", program, "./worker/muster-worker")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	t.Logf("built without a fence within %s", time.Since(began).Round(time.Second))
	return program
}

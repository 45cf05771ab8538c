package worker

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities/steps"
	"github.com/musterhq/muster/workflows"
	"github.com/musterhq/muster/workflows/run"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestNamesAreFrozen holds every name that stands in histories, or that people type, to one golden file. Changing a line of it
// breaks runs that are under way: add names, never change them.
func TestNamesAreFrozen(t *testing.T) {
	t.Parallel()
	var lines []string
	for _, e := range workflows.Registry() {
		lines = append(lines, "workflow "+e.Name)
	}
	for _, name := range (&steps.Steps{}).Names() {
		lines = append(lines, "activity "+name)
	}
	lines = append(lines, "task-queue "+run.TaskQueue)
	for _, name := range []string{run.UpdateDecide, run.UpdateIntervene} {
		lines = append(lines, "update "+name, "signal "+name)
	}
	for _, name := range []string{run.SignalGranted, run.SignalAcquire, run.SignalRelease} {
		lines = append(lines, "signal "+name)
	}
	for _, name := range []string{run.QueryStatus, run.QueryJournal, run.QueryPlan, run.QueryLock} {
		lines = append(lines, "query "+name)
	}
	for _, name := range run.SearchAttributes() {
		lines = append(lines, "search-attribute "+name)
	}
	got := strings.Join(lines, "\n") + "\n"
	const golden = "testdata/names.golden"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

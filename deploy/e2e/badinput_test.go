package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	"github.com/musterhq/muster/workflows/run"
)

const goodEstate = `estate: shop
sites:
  east: {}
  west: {}
hosts:
  here:
    kind: local
systems:
  orders:
    kind: postgresql
    postgresql:
      user: muster
      password: env:ORDERS_PASSWORD
      database: orders
      replication_user: replicator
      replication_password: env:REPLICATION_PASSWORD
    members:
      east:
        address: 127.0.0.1:1
        host: here
        postgresql:
          data_directory: /srv/east
          bin_directory: /usr/lib/postgresql/15/bin
      west:
        address: 127.0.0.1:2
        host: here
        postgresql:
          data_directory: /srv/west
          bin_directory: /usr/lib/postgresql/15/bin
`

const goodRunbook = `runbook: move-shop
operation: failover
estate: shop
trust: unsigned
failover:
  from: east
  to: west
  kind: planned
  order: [[orders]]
`

// TestBadInput gives wrong files to the CLI and to the worker: each is refused at once with what is wrong, and nothing is started.
func TestBadInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := startWorker(t, dir)
	write := func(t *testing.T, estate, runbook string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "shop.yaml"), []byte(estate), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "move.yaml"), []byte(runbook), 0o600))
	}
	write(t, goodEstate, goodRunbook)
	w.ok(t, "validate", dir) // what follows is wrong for its own reason only

	change := func(text, old, with string) string {
		require.Equal(t, 1, strings.Count(text, old), old)
		return strings.Replace(text, old, with, 1)
	}
	var many, bomb strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, "  system-%d: {kind: postgresql}\n", i)
	}
	bomb.WriteString("a: &a [x, x, x, x, x, x, x, x, x]\n")
	for c := 'b'; c < 'j'; c++ {
		fmt.Fprintf(&bomb, "%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for _, test := range []struct {
		name, estate, runbook string
		want                  []string // in every message
	}{
		{"unknown key", goodEstate, change(goodRunbook, "  kind: planned", "  kindd: planned"), []string{"move.yaml:8", "kindd", "kind"}},
		{"unknown key of the estate", change(goodEstate, "    kind: postgresql", "    kind: postgresql\n    rout: x"), goodRunbook, []string{"shop.yaml:11", "rout"}},
		{"wrong type", goodEstate, change(goodRunbook, "[[orders]]", "orders"), []string{"move.yaml:9", "failover.order"}},
		{"wrong word", goodEstate, change(goodRunbook, "kind: planned", "kind: plannd"), []string{"move.yaml:8", "plannd", "planned"}},
		{"unknown site", goodEstate, change(goodRunbook, "to: west", "to: wset"), []string{"move.yaml:7", "wset", "west"}},
		{"from = to", goodEstate, change(goodRunbook, "to: west", "to: east"), []string{"move.yaml:7", "same site"}},
		{"no member at the target", goodEstate[:strings.Index(goodEstate, "      west:\n")], goodRunbook, []string{"move.yaml:9", "orders", "no member", "west"}},
		{"10,000 systems", change(goodEstate, "systems:\n", "systems:\n"+many.String()), goodRunbook, []string{"shop.yaml:8", "10001 systems", "split"}},
		{"5 MiB", goodEstate + "# " + strings.Repeat("x", 5<<20) + "\n", goodRunbook, []string{"shop.yaml", "limit of 2 MiB"}},
		{"alias bomb", goodEstate + bomb.String(), goodRunbook, []string{fmt.Sprintf("shop.yaml:%d", strings.Count(goodEstate, "\n")+1), "alias"}},
		{"a secret in the file", change(goodEstate, "env:ORDERS_PASSWORD", "hunter2Hunter2"), goodRunbook, []string{"shop.yaml:13", "password"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			write(t, test.estate, test.runbook)
			before := len(w.all(t))
			refused := func(args ...string) {
				t.Helper()
				s := w.muster(t, args...)
				require.Equal(t, 1, s.code, s.String())
				for _, text := range test.want {
					require.Contains(t, s.out+s.err, text)
				}
				require.NotContains(t, s.out+s.err, "hunter2", "what may be a secret is not repeated")
				require.Less(t, s.took, 5*time.Second)
			}
			refused("validate", dir)
			refused("run", "move-shop")
			require.Len(t, w.all(t), before, "nothing was started")

			// Where only the worker has the files, the run is started, and fails with the same words before it locks anything.
			refused("run", "move-shop", "--operation", "failover", "--estate", "shop")
			runs := w.all(t)
			require.Len(t, runs, before+1)
			d, err := w.temporal.DescribeWorkflowExecution(t.Context(), "failover:shop", "")
			require.NoError(t, err)
			require.Equal(t, enums.WORKFLOW_EXECUTION_STATUS_FAILED, d.GetWorkflowExecutionInfo().GetStatus())
			for _, x := range runs {
				require.Equal(t, "failover:shop", x.WorkflowID, "nothing is locked")
			}
			w.save(t, "failover:shop", "", "failover-refused")
		})
	}

	t.Run("a wrong file keeps no other runbook from being run", func(t *testing.T) {
		other := filepath.Join(dir, "other.yaml")
		require.NoError(t, os.WriteFile(other, []byte("runbook: other\nnonsense: [\n"), 0o600))
		defer func() { require.NoError(t, os.Remove(other)) }()
		write(t, goodEstate, goodRunbook)
		require.Equal(t, 1, w.muster(t, "validate", dir).code)
		x := w.begin(t, "move-shop", "--mode", "observe")
		w.await(t, x, "the run to look at the estate", func(st run.Status) bool { return len(st.Steps) > 0 })
		require.NoError(t, w.temporal.TerminateWorkflow(t.Context(), x.WorkflowID, x.RunID, "enough"))
	})

	write(t, goodEstate, goodRunbook)
	before := len(w.all(t))
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"run", "mvoe-shop"}, 1, "move-shop"},
		{[]string{"run", "move-shop", "--to", "wset"}, 1, "wset"},
		{[]string{"run", "move-shop", "--from", "east", "--to", "east"}, 2, "nothing to move"},
		{[]string{"run", "move-shop", "--kind", "maybe"}, 2, "planned or unplanned"},
		{[]string{"run"}, 2, "arg"},
		{[]string{"rnu"}, 2, "unknown command"},
		{[]string{"approve", "failover:nobody", "--yes"}, 1, "failover:nobody"},
	} {
		s := w.muster(t, test.args...)
		require.Equal(t, test.code, s.code, s.String())
		require.Contains(t, s.err, test.want)
	}
	require.Len(t, w.all(t), before)
}

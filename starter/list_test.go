package starter

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/journal"
)

func someRuns() []*fakeRun {
	lock := newFakeRun("lock:shop/orders", "0000-lock")
	lock.kind = "Lock"
	named := newFakeRun("watch:bank", "bbbb-2222").end(journal.PassedWithSkips)
	named.runbook = "watch-bank"
	return []*fakeRun{newFakeRun("failover:shop", "aaaa-3333"), lock, named, newFakeRun("failover:shop", "aaaa-1111").end(journal.Passed)}
}

func TestFind(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, run, want, wantErr string }{
		{"workflow ID is the newest run of it", "failover:shop", "aaaa-3333", ""},
		{"run ID", "bbbb-2222", "bbbb-2222", ""},
		{"beginning of a run ID", "bbbb", "bbbb-2222", ""},
		{"too little of a run ID", "bbb", "", `no run is called "bbb" at fake:7233`},
		{"not unique", "aaaa-", "", "several run IDs begin with aaaa-: aaaa-3333, aaaa-1111"},
		{"runbook", "watch-bank", "bbbb-2222", ""},
		{"latest", "latest", "aaaa-3333", ""},
		{"the only open one, which is no lock", "", "aaaa-3333", ""},
		{"unknown", "nope-nope", "", "next: muster list"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"show", "-o", "json"}
			if tt.run != "" {
				args = append(args, tt.run)
			}
			code, out, stderr := newCLI(t, someRuns()...).run(args...)
			if tt.wantErr != "" {
				require.Equal(t, codeError, code)
				require.Contains(t, stderr, tt.wantErr)
				return
			}
			require.Equal(t, codeDone, code, stderr)
			var got shown
			require.NoError(t, json.Unmarshal([]byte(out), &got))
			require.Equal(t, tt.want, got.Status.Header.RunID)
		})
	}
}

func TestFindWithoutAName(t *testing.T) {
	t.Parallel()
	code, _, stderr := newCLI(t).run("show")
	require.Equal(t, codeError, code)
	require.Contains(t, stderr, "no run is open at fake:7233")
	code, _, stderr = newCLI(t, newFakeRun("failover:shop", "r-1"), newFakeRun("watch:bank", "r-2")).run("show")
	require.Equal(t, codeUsage, code)
	require.Contains(t, stderr, "2 runs are open, name one: failover:shop, watch:bank")
	code, _, stderr = newCLI(t).run("show", "latest")
	require.Equal(t, codeError, code)
	require.Contains(t, stderr, "there is no run yet")
}

func TestList(t *testing.T) {
	t.Parallel()
	for _, attributes := range []bool{true, false} {
		c := newCLI(t, someRuns()...)
		c.fake.attributes = attributes
		list := func(args ...string) []string {
			code, out, stderr := c.run(append([]string{"list", "-o", "json"}, args...)...)
			require.Equal(t, codeDone, code, stderr)
			var got struct{ Runs []listed }
			require.NoError(t, json.Unmarshal([]byte(out), &got))
			ids := []string{}
			for _, l := range got.Runs {
				ids = append(ids, l.RunID)
			}
			return ids
		}
		require.Equal(t, []string{"aaaa-3333", "bbbb-2222", "aaaa-1111"}, list())
		require.Equal(t, []string{"aaaa-3333"}, list("--open"))
		require.Equal(t, []string{"aaaa-3333", "aaaa-1111"}, list("--estate", "shop"))
		require.Equal(t, []string{"bbbb-2222"}, list("--operation", "watch", "--state", "ended"))
		require.Equal(t, []string{"aaaa-3333"}, list("--limit", "1"))
		require.Empty(t, list("--estate", "nope"))
	}
	c := newCLI(t, someRuns()...)
	code, _, stderr := c.run("list", "--estate", "a' OR ''='")
	require.Equal(t, codeUsage, code)
	require.Contains(t, stderr, "cannot be searched for")
	require.Empty(t, c.fake.queries)
	code, out, _ := c.run("list", "--verdict", "passed-with-skips")
	require.Equal(t, codeDone, code)
	require.Regexp(t, `^RUN +STATE +STARTED +TOOK +PLAN +RUN ID\nwatch:bank +passed-with-skips +2026-01-\d\d \d\d:30:00 +42s +9f2c9f2c9f2c +bbbb-2222\n$`, out)
	code, out, _ = newCLI(t).run("list")
	require.Equal(t, codeDone, code)
	require.Contains(t, out, "no runs")
}

func TestShow(t *testing.T) {
	t.Parallel()
	code, out, _ := newCLI(t, newFakeRun("failover:shop", "r-1").openGate("signed")).run("show", "--plan", "--journal")
	require.Equal(t, codeDone, code)
	require.Contains(t, out, "failover:shop  awaiting-decision\n  failover of shop by failover-shop, planned from east to west, mode execute\n  run ID r-1\n  requested by dana via cli at ")
	require.Contains(t, out, "Gate approve: Move the shop\n  plan 9f2c9f2c9f2c, 0 of 1 approvals, until ")
	require.Contains(t, out, "next: muster approve failover:shop --gate approve --plan 9f2c9f2c9f2c")
	require.Contains(t, out, "Steps\n    1. fence       fence orders at east  (undo: unfence)\n    2. promote     promote orders at west  <- point of no return\n")
	require.Contains(t, out, "run-started")
	code, out, _ = newCLI(t, newFakeRun("failover:shop", "r-1").end(journal.MissedObjective)).run("show", "latest")
	require.Equal(t, codeDone, code, "show shows; only watch, run and demo end with the verdict's code")
	require.Contains(t, out, "Verdict: missed-objectives\n  done\n")
}

func TestCompletionOfRuns(t *testing.T) {
	t.Parallel()
	_, out, _ := newCLI(t, someRuns()...).run("__complete", "show", "")
	require.Equal(t, "latest\nfailover:shop\trunning\nwatch:bank\tended passed-with-skips\n:4\n", out[:len("latest\nfailover:shop\trunning\nwatch:bank\tended passed-with-skips\n:4\n")])
	_, out, _ = newCLI(t, someRuns()...).run("__complete", "approve", "")
	require.NotContains(t, out, "watch:bank", "only open runs can be decided")
}

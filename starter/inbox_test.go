package starter

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

func TestInbox(t *testing.T) {
	t.Parallel()
	gated := newFakeRun("failover:shop", "r-1").openGate("signed")
	gated.status.Gates[0].People = []string{"dana", "kim"}
	gated.status.Gates[0].Risk = "writes may be lost"
	held := newFakeRun("failover:bank", "r-2")
	held.status.Holds = []run.HoldStatus{{Step: "fence/ledger", Why: "the disk is full", Since: started.Add(-time.Hour)}, {Why: "paused by dana", Since: started.Add(time.Minute)}}
	held.status.Operators = []string{"dana"}
	over := newFakeRun("failover:old", "r-3").end(journal.Passed)
	for _, test := range []struct {
		name string
		args []string
		want []string // workflow and what, the oldest first
	}{
		{"operator and approver", []string{"--as", "dana"}, []string{"failover:bank fence/ledger", "failover:shop approve", "failover:bank "}},
		{"approver", []string{"--as", "kim"}, []string{"failover:shop approve"}},
		{"nobody of theirs", []string{"--as", "lee"}, nil},
		{"anybody's", []string{"--as", "lee", "--all"}, []string{"failover:bank fence/ledger", "failover:shop approve", "failover:bank "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, out, stderr := newCLI(t, gated, held, over).run(append([]string{"inbox", "-o", "json"}, test.args...)...)
			require.Equal(t, codeDone, code, stderr)
			var got struct{ Waiting []waiting }
			require.NoError(t, json.Unmarshal([]byte(out), &got))
			var found []string
			for _, w := range got.Waiting {
				found = append(found, w.WorkflowID+" "+w.Gate+w.Step)
			}
			require.Equal(t, test.want, found)
		})
	}
	code, out, _ := newCLI(t, gated, held).run("inbox", "--as", "dana")
	require.Equal(t, codeDone, code)
	require.Contains(t, out, "failover:shop  gate approve: Move the shop\n  risk: writes may be lost\n")
	require.Contains(t, out, "next: muster approve failover:shop --gate approve\n")
	require.Contains(t, out, "failover:bank  held at fence/ledger: the disk is full\n")
	require.Contains(t, out, "next: muster retry failover:bank --step fence/ledger\n")
	require.Contains(t, out, "failover:bank  held: paused by dana\n")
	silent := newFakeRun("failover:shop", "r-1").openGate("signed")
	silent.silent = true
	code, out, stderr := newCLI(t, silent).run("inbox", "--as", "dana")
	require.Equal(t, codeDone, code)
	require.Equal(t, "nothing waits for dana\n", out)
	require.Contains(t, stderr, "run failover:shop is left out")
}

func TestAudit(t *testing.T) {
	t.Parallel()
	first := newFakeRun("failover:shop", "r-1")
	first.record(journal.Entry{Kind: journal.Refused, Action: "approve", Gate: "approve", Author: "lee", Channel: "slack", Message: "lee has the roles [viewer]"})
	first.record(journal.Entry{Kind: journal.Decided, Action: "approve", Gate: "approve", Author: "kim", Channel: "cli", Identity: "signed:SHA256:abc", Reason: "change 4711"})
	first.record(journal.Entry{Kind: journal.Noted, Title: "no decision"})
	second := newFakeRun("failover:bank", "r-2").end(journal.Aborted)
	second.record(journal.Entry{Kind: journal.Intervened, Action: "abort", Author: "dana", Channel: "cli", Identity: "claimed"})
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{"all", nil, []string{"lee approve false", "kim approve true", "dana abort true"}},
		{"refused", []string{"--refused"}, []string{"lee approve false"}},
		{"of an estate", []string{"--estate", "bank"}, []string{"dana abort true"}},
		{"of a run", []string{"--run", "r-1"}, []string{"lee approve false", "kim approve true"}},
		{"by somebody", []string{"--by", "kim"}, []string{"kim approve true"}},
		{"by channel and action", []string{"--channel", "cli", "--action", "abort"}, []string{"dana abort true"}},
		{"of late", []string{"--since", "1h"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, out, stderr := newCLI(t, first, second).run(append([]string{"audit", "-o", "json"}, test.args...)...)
			require.Equal(t, codeDone, code, stderr)
			var found []string
			for line := range strings.Lines(out) {
				var a audited
				require.NoError(t, json.Unmarshal([]byte(line), &a), "each line is one")
				found = append(found, a.Author+" "+a.Action+map[bool]string{true: " true", false: " false"}[a.Accepted])
			}
			require.Equal(t, test.want, found)
		})
	}
	code, out, _ := newCLI(t, first, second).run("audit")
	require.Equal(t, codeDone, code)
	require.Regexp(t, `^AT +RUN +WHAT +WHERE +WHO +VIA +PROOF +ANSWER\n`, out)
	require.Contains(t, out, "refused: lee has the roles [viewer]")
	require.Contains(t, out, "accepted (reason: change 4711)")
	code, _, stderr := newCLI(t, first, second).run("audit", "--limit", "1")
	require.Equal(t, codeDone, code)
	require.Contains(t, stderr, "only the newest 1 runs were looked at")
}

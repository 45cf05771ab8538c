package run

import (
	"crypto/ed25519"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/workflow"
	"golang.org/x/crypto/ssh"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/internal/sshsig"
	"github.com/musterhq/muster/runbooks"
)

const hash = "abc123"

func gated(ctx workflow.Context, r *Run) error {
	r.SetPlan(ctx, journal.Plan{Hash: hash})
	return r.Gate(ctx, GateSpec{Name: runbooks.GateApprove, Title: "go?"})
}

func withGate(g runbooks.Gate) runbooks.Runbook {
	return runbooks.Runbook{Gates: map[string]runbooks.Gate{runbooks.GateApprove: g}}
}

func approve(who string) Decision {
	return Decision{Gate: runbooks.GateApprove, PlanHash: hash, Decision: "approve", Approver: who}
}

func TestGate(t *testing.T) {
	two := runbooks.Gate{Trust: "unsigned", Count: 2, Roles: []string{"approver"}}
	tests := []struct {
		name    string
		gate    runbooks.Gate
		send    []Decision
		answers []string // empty: accepted; else the reason of the refusal
		verdict journal.Verdict
	}{
		{"approved", runbooks.Gate{Trust: "unsigned"}, []Decision{approve("kim")}, []string{""}, journal.Passed},
		{"rejected", runbooks.Gate{Trust: "unsigned"}, []Decision{{PlanHash: hash, Decision: "reject", Approver: "kim"}}, []string{""}, journal.RejectedVerdict},
		{"nobody decides", runbooks.Gate{Trust: "unsigned"}, nil, nil, journal.RejectedVerdict},
		{"two of two", two, []Decision{approve("kim"), approve("dana")}, []string{"", ""}, journal.Passed},
		{"the same twice", two, []Decision{approve("kim"), approve("kim")}, []string{"", "has approved"}, journal.RejectedVerdict},
		{"wrong hash", runbooks.Gate{Trust: "unsigned"}, []Decision{{PlanHash: "old", Decision: "approve", Approver: "kim"}}, []string{"look at the plan again"}, journal.RejectedVerdict},
		{"no hash", runbooks.Gate{Trust: "unsigned"}, []Decision{{Decision: "approve", Approver: "kim"}}, []string{"look at the plan again"}, journal.RejectedVerdict},
		{"viewer", runbooks.Gate{Trust: "unsigned"}, []Decision{approve("lee")}, []string{"needs approver"}, journal.RejectedVerdict},
		{"not named", runbooks.Gate{Trust: "unsigned", Approvers: []string{"dana"}}, []Decision{approve("kim")}, []string{"may not decide"}, journal.RejectedVerdict},
		{"stranger where roles are asked for", two, []Decision{approve("mallory")}, []string{"may not decide"}, journal.RejectedVerdict},
		{"four eyes", runbooks.Gate{Trust: "unsigned", FourEyes: true}, []Decision{approve("dana")}, []string{"other eyes"}, journal.RejectedVerdict},
		{"reason wanted", runbooks.Gate{Trust: "unsigned", Reason: true}, []Decision{approve("kim")}, []string{"wants a reason"}, journal.RejectedVerdict},
		{"unsigned", runbooks.Gate{}, []Decision{approve("kim")}, []string{"not signed"}, journal.RejectedVerdict},
		{"unknown gate", runbooks.Gate{Trust: "unsigned"}, []Decision{{Gate: "lunch", PlanHash: hash, Decision: "approve", Approver: "kim"}}, []string{"no open gate"}, journal.RejectedVerdict},
		{"unknown decision", runbooks.Gate{Trust: "unsigned"}, []Decision{{PlanHash: hash, Decision: "maybe", Approver: "kim"}}, []string{"approve or reject"}, journal.RejectedVerdict},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, withGate(tt.gate), gated)
			wanted := 0
			for i, d := range tt.send {
				then := accepted(t)
				if tt.answers[i] != "" {
					then, wanted = refused(t, tt.answers[i]), wanted+1
				}
				b.after(time.Duration(i+1)*time.Minute, UpdateDecide, d, then)
			}
			result, err := b.run(Input{RequestedBy: "dana"})
			require.NoError(t, err)
			require.Equal(t, tt.verdict, result.Verdict, result.Summary)
			require.Len(t, kinds(b.journal(), journal.Refused), wanted)
			require.Empty(t, b.status().Gates)
		})
	}
}

func TestSignedDecision(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	authorized, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	signed := func(d Decision, runID string) Decision {
		d.Signature, err = sshsig.Sign(signer, SignatureNamespace, d.SigningText("default-test-workflow-id", runID))
		require.NoError(t, err)
		return d
	}
	good := approve("kim")
	good.Nonce = "n1"
	tests := []struct {
		name string
		send Decision
		want string
	}{
		{"good", signed(good, "default-test-run-id"), ""},
		{"of another run", signed(good, "other"), "signature is not one of kim"},
		{"changed after signing", func() Decision { d := signed(good, "default-test-run-id"); d.Reason = "x"; return d }(), "signature is not one of kim"},
		{"somebody else's name", func() Decision { d := good; d.Approver = "dana"; return signed(d, "default-test-run-id") }(), "signature is not one of dana"},
		{"without nonce", func() Decision { d := good; d.Nonce = ""; return signed(d, "default-test-run-id") }(), "nonce"},
		{"forged", func() Decision { d := good; d.Signature = "-----BEGIN SSH SIGNATURE-----"; return d }(), "signature is not one of kim"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, withGate(runbooks.Gate{Count: 2}), gated)
			b.env.OnActivity(activities.LoadRunbook, anything, anything).Return(activities.LoadRunbookResult{Resolved: runbooks.Resolved{
				Runbook: b.book, Estate: runbooks.Estate{Name: "shop", People: map[string]runbooks.Person{
					"kim":  {Roles: []string{"approver"}, Keys: []string{string(ssh.MarshalAuthorizedKey(authorized))}},
					"dana": {Roles: []string{"approver"}},
				}},
			}}, nil)
			if tt.want != "" {
				b.after(time.Minute, UpdateDecide, tt.send, refused(t, tt.want))
			} else {
				b.after(time.Minute, UpdateDecide, tt.send, accepted(t))
				b.after(2*time.Minute, UpdateDecide, tt.send, refused(t, "nonce"))
			}
			result, err := b.run(Input{})
			require.NoError(t, err)
			require.Equal(t, journal.RejectedVerdict, result.Verdict, "one of two approvals is not enough")
			if tt.want == "" {
				decided := kinds(b.journal(), journal.Decided)
				require.Len(t, decided, 1)
				require.Equal(t, "signed:"+ssh.FingerprintSHA256(authorized), decided[0].Identity)
			}
		})
	}
}

func TestDecisionBySignal(t *testing.T) {
	b := newBench(t, withGate(runbooks.Gate{Trust: "unsigned"}), gated)
	b.env.RegisterDelayedCallback(func() { b.env.SignalWorkflow(UpdateDecide, approve("kim")) }, time.Minute)
	result, err := b.run(Input{})
	require.NoError(t, err)
	require.Equal(t, journal.Passed, result.Verdict)
	require.Equal(t, "claimed", kinds(b.journal(), journal.Decided)[0].Identity)
}

func TestGateDeadlineIsTheRunbooks(t *testing.T) {
	b := newBench(t, withGate(runbooks.Gate{Trust: "unsigned", Deadline: runbooks.Duration(10 * time.Minute)}), gated)
	b.after(11*time.Minute, UpdateDecide, approve("kim"), func(Answer) { t.Error("the run had ended") })
	result, err := b.run(Input{})
	require.NoError(t, err)
	require.Equal(t, journal.RejectedVerdict, result.Verdict)
	require.Contains(t, result.Summary, "ran out")
}

func TestOversizedFieldsAreTurnedAway(t *testing.T) {
	require.Error(t, wellFormed(string(make([]byte, maxText+1))))
	require.NoError(t, wellFormed(string(make([]byte, maxText))))
}

func TestJournalPages(t *testing.T) {
	t.Parallel()
	var entries []journal.Entry
	for i := range 450 {
		entries = append(entries, journal.Entry{Seq: i + 1})
	}
	require.Len(t, pageOf(entries, JournalPage{}), pageLimit)
	require.Len(t, pageOf(entries, JournalPage{After: 400}), 50)
	require.Empty(t, pageOf(entries, JournalPage{After: 450}))
	large := []journal.Entry{{Seq: 1, Message: strings.Repeat("x", pageBytes)}, {Seq: 2, Message: strings.Repeat("x", pageBytes/2)}, {Seq: 3}}
	require.Len(t, pageOf(large, JournalPage{}), 1, "one entry at least, however large")
	require.Len(t, pageOf(large, JournalPage{After: 1}), 2)
	require.Empty(t, pageOf(entries, JournalPage{After: 9999}))
	require.Len(t, pageOf(entries, JournalPage{After: -1, Limit: 3}), 3)
	_, err := json.Marshal(pageOf(entries, JournalPage{Limit: 1}))
	require.NoError(t, err)
}

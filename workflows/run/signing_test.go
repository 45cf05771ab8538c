package run_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/workflows/run"
)

func decision() run.Decision {
	return run.Decision{
		Gate: "approve", PlanHash: "9f2c", Decision: "approve", Approver: "ada", Reason: "change \"4711\"\nreject\t<ü>", Channel: "cli",
		Time: time.Date(2026, 1, 31, 10, 30, 0, 0, time.FixedZone("CET", 3600)), Nonce: "b1946ac9", Signature: "not covered",
	}
}

func TestDecisionSigningText(t *testing.T) {
	t.Parallel()
	require.Equal(t, `muster decision v1
workflow "failover:shop"
run "r-1"
gate "approve"
plan "9f2c"
decision "approve"
approver "ada"
reason "change \"4711\"\nreject\t<ü>"
channel "cli"
time "2026-01-31T09:30:00Z"
nonce "b1946ac9"
`, string(decision().SigningText("failover:shop", "r-1")))
}

func TestInterventionSigningText(t *testing.T) {
	t.Parallel()
	i := run.Intervention{Step: "fence/orders", Action: run.ActionRetry, Set: map[string]string{"timeout": "2m", "b": "x\ny"}, Author: "bob", Signature: "not covered"}
	require.Equal(t, `muster intervention v1
workflow "failover:shop"
run "r-1"
step "fence/orders"
action "retry"
set "b" "x\ny"
set "timeout" "2m"
author "bob"
reason ""
channel ""
time ""
nonce ""
`, string(i.SigningText("failover:shop", "r-1")))
}

func TestSigningTextSurvivesTransport(t *testing.T) {
	t.Parallel()
	before := decision()
	payload, err := json.Marshal(before)
	require.NoError(t, err)
	var after run.Decision
	require.NoError(t, json.Unmarshal(payload, &after))
	require.Equal(t, before.SigningText("w", "r"), after.SigningText("w", "r"))
}

func TestSigningTextCoversEveryField(t *testing.T) {
	t.Parallel()
	// Every field but the signature, set one at a time, makes another text: none is left out, none can stand for another.
	seen := map[string]string{}
	add := func(name string, text []byte) {
		require.NotContains(t, seen, string(text), "%s and %s make the same text", name, seen[string(text)])
		seen[string(text)] = name
	}
	fields := func(v any) map[string]json.RawMessage {
		text, err := json.Marshal(v)
		require.NoError(t, err)
		var m map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(text, &m))
		delete(m, "signature")
		return m
	}
	add("empty decision", run.Decision{}.SigningText("", ""))
	for name, value := range fields(decision()) {
		var d run.Decision
		require.NoError(t, json.Unmarshal([]byte(`{"`+name+`": `+string(value)+`}`), &d))
		add("decision."+name, d.SigningText("", ""))
	}
	add("empty intervention", run.Intervention{}.SigningText("", ""))
	all := run.Intervention{Step: "s", Action: "a", Set: map[string]string{"k": "v"}, Author: "b", Reason: "r", Channel: "c", Time: time.Unix(1, 0), Nonce: "n"}
	for name, value := range fields(all) {
		var i run.Intervention
		require.NoError(t, json.Unmarshal([]byte(`{"`+name+`": `+string(value)+`}`), &i))
		add("intervention."+name, i.SigningText("", ""))
	}
	add("workflow", run.Decision{}.SigningText("w", ""))
	add("run", run.Decision{}.SigningText("", "w"))
}

func FuzzSigningTextIsUnambiguous(f *testing.F) {
	f.Add("a", "b\nnonce \"x\"", "a\"", "b\\")
	f.Fuzz(func(t *testing.T, gate, reason, otherGate, otherReason string) {
		a := run.Decision{Gate: gate, Reason: reason}.SigningText("w", "r")
		b := run.Decision{Gate: otherGate, Reason: otherReason}.SigningText("w", "r")
		require.Equal(t, gate == otherGate && reason == otherReason, string(a) == string(b))
		require.Equal(t, 11, strings.Count(string(a), "\n"), "one line per field, whatever is in it")
	})
}

package journal_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/journal"
)

var t0 = time.Date(2026, 3, 14, 9, 26, 53, 589_793_238, time.UTC)

func chain(t testing.TB, entries ...journal.Entry) []journal.Entry {
	t.Helper()
	prev := journal.Genesis
	for i, e := range entries {
		e.Seq = i + 1
		linked, err := journal.Link(e, prev)
		require.NoError(t, err)
		entries[i], prev = linked, linked.Hash
	}
	return entries
}

func sample(t testing.TB) []journal.Entry {
	rto := int64(30_000)
	out := journal.Band{From: t0, To: t0.Add(time.Second)}
	plan, err := samplePlan().Seal()
	require.NoError(t, err)
	return chain(t,
		journal.Entry{At: t0, Kind: journal.RunStarted, Header: &journal.Header{WorkflowID: "failover:shop", RTOMs: &rto}},
		journal.Entry{At: t0.Add(1), Kind: journal.Planned, Plan: &plan, PlanHash: plan.Hash},
		journal.Entry{At: t0.Add(2), Kind: journal.GateOpened, Gate: "approve", Deadline: t0.Add(time.Hour)},
		journal.Entry{At: t0.Add(3), Kind: journal.Decided, Author: "bo", Action: "approve", Reason: "<ok> & \"fine\"\u2028"},
		journal.Entry{At: t0.Add(4), Kind: journal.StepEnded, Step: "fence/orders", Before: journal.Facts{"a": "1", "b": "2"}, After: journal.Facts{"proof": "stopped"}},
		journal.Entry{At: t0.Add(5), Kind: journal.Measured, Measure: &journal.Measure{System: "orders", Measured: true, Outage: &out, MissingSeqs: []int64{7}}},
		journal.Entry{At: t0.Add(6), Kind: journal.RunEnded, Verdict: journal.Passed})
}

func TestVerifyReturnsTheLastHash(t *testing.T) {
	t.Parallel()
	digest, err := journal.Verify(nil)
	require.NoError(t, err)
	require.Equal(t, journal.Genesis, digest)

	entries := sample(t)
	digest, err = journal.Verify(entries)
	require.NoError(t, err)
	require.Equal(t, entries[len(entries)-1].Hash, digest)
	require.Len(t, digest, 64)
}

// The hash stands in evidence that people keep: the same entry has it in every later version.
func TestHashIsFrozen(t *testing.T) {
	t.Parallel()
	e, err := journal.Link(journal.Entry{Seq: 1, At: t0, Kind: journal.Noted, Title: "a"}, journal.Genesis)
	require.NoError(t, err)
	require.Equal(t, "a5ac46f372cdc999fe21e8e89b60e6bc05a532d4ca25df0a5f795b61ddb6efaa", e.Hash)
}

func TestVerifyNamesTheEntryThatDoesNotFit(t *testing.T) {
	t.Parallel()
	relink := func(e journal.Entry, prev string) journal.Entry {
		linked, err := journal.Link(e, prev)
		require.NoError(t, err)
		return linked
	}
	for name, c := range map[string]struct {
		change func([]journal.Entry) []journal.Entry
		want   string
	}{
		"text":          {func(e []journal.Entry) []journal.Entry { e[3].Reason = "no"; return e }, "entry 4 was changed"},
		"time":          {func(e []journal.Entry) []journal.Entry { e[2].At = e[2].At.Add(1); return e }, "entry 3 was changed"},
		"fact":          {func(e []journal.Entry) []journal.Entry { e[4].After["proof"] = "none"; return e }, "entry 5 was changed"},
		"fact added":    {func(e []journal.Entry) []journal.Entry { e[4].After["more"] = ""; return e }, "entry 5 was changed"},
		"plan":          {func(e []journal.Entry) []journal.Entry { e[1].Plan.To = "west"; return e }, "entry 2 was changed"},
		"objective":     {func(e []journal.Entry) []journal.Entry { *e[0].Header.RTOMs++; return e }, "entry 1 was changed"},
		"missing write": {func(e []journal.Entry) []journal.Entry { e[5].Measure.MissingSeqs[0]++; return e }, "entry 6 was changed"},
		"hash":          {func(e []journal.Entry) []journal.Entry { e[6].Hash = journal.Genesis; return e }, "entry 7 was changed"},
		"removed":       {func(e []journal.Entry) []journal.Entry { return slices.Delete(e, 2, 3) }, "entry 3 is numbered 4"},
		"first removed": {func(e []journal.Entry) []journal.Entry { return e[1:] }, "entry 1 is numbered 2"},
		"swapped":       {func(e []journal.Entry) []journal.Entry { e[2], e[3] = e[3], e[2]; return e }, "entry 3 is numbered 4"},
		"renumbered": {func(e []journal.Entry) []journal.Entry {
			e = slices.Delete(e, 2, 3)
			for i := range e {
				e[i].Seq = i + 1
			}
			return e
		}, "entry 3 does not follow entry 2"},
		"changed and linked again": {func(e []journal.Entry) []journal.Entry {
			e[3].Reason = "no"
			e[3] = relink(e[3], e[2].Hash)
			return e
		}, "entry 5 does not follow entry 4"},
	} {
		_, err := journal.Verify(c.change(sample(t)))
		require.ErrorContains(t, err, c.want, name)
	}
}

func TestACutTailKeepsTheChainAndChangesTheDigest(t *testing.T) {
	t.Parallel()
	entries := sample(t)
	whole, err := journal.Verify(entries)
	require.NoError(t, err)
	cut, err := journal.Verify(entries[:len(entries)-1])
	require.NoError(t, err)
	require.NotEqual(t, whole, cut)
}

// Each byte of the journal's JSON is changed once. Either it is not the same journal any more, or it says the very same thing.
func TestOneChangedByteIsFoundAnywhere(t *testing.T) {
	t.Parallel()
	entries := sample(t)
	text, err := json.Marshal(entries)
	require.NoError(t, err)
	for i := range text {
		for _, b := range []byte{text[i] ^ 1, text[i] ^ 0x20, '0', ' '} {
			checkByte(t, entries, text, i, b)
		}
	}
}

func FuzzOneChangedByte(f *testing.F) {
	entries := sample(f)
	text, err := json.Marshal(entries)
	require.NoError(f, err)
	f.Add(0, byte('x'))
	f.Fuzz(func(t *testing.T, at int, b byte) { checkByte(t, entries, text, max(0, at)%len(text), b) })
}

func checkByte(t *testing.T, entries []journal.Entry, text []byte, i int, b byte) {
	t.Helper()
	if b == text[i] {
		return
	}
	changed := bytes.Clone(text)
	changed[i] = b
	var back []journal.Entry
	if json.Unmarshal(changed, &back) != nil {
		return
	}
	digest, err := journal.Verify(back)
	if err != nil {
		return
	}
	// encoding/json reads keys in either case, so a byte may change without changing what is read: not so the digest.
	require.Equal(t, entries[len(entries)-1].Hash, digest)
	again, err := json.Marshal(back)
	require.NoError(t, err)
	require.Equal(t, string(text), string(again), "byte %d made %q went unnoticed", i, b)
}

// An entry is hashed in the workflow and checked after it went through JSON, whatever its texts hold.
func FuzzChainSurvivesJSON(f *testing.F) {
	f.Add("plain", "key", int64(0))
	f.Add("latin-1 \xe9 of some command", "\xff", int64(1))
	f.Add("\u2028 <b> \\ufffd \ufffd", `\ufffd`, int64(-1))
	f.Fuzz(func(t *testing.T, text, key string, ns int64) {
		entries := chain(t,
			journal.Entry{At: t0.Add(time.Duration(ns % int64(time.Hour))), Kind: journal.Noted, Message: text, After: journal.Facts{key: text}},
			journal.Entry{At: t0, Kind: journal.Planned, Plan: &journal.Plan{Estate: text, Findings: []journal.Finding{{Code: key}}}})
		want, err := journal.Verify(entries)
		require.NoError(t, err)
		wire, err := json.Marshal(entries)
		require.NoError(t, err)
		var back []journal.Entry
		require.NoError(t, json.Unmarshal(wire, &back))
		got, err := journal.Verify(back)
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

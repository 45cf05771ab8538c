package starter

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities/evidence"
	"github.com/musterhq/muster/internal/journal"
)

// reportable is a run that has ended, with a journal whose chain is whole and evidence in dir.
func reportable(t *testing.T, dir string) *fakeRun {
	t.Helper()
	r := newFakeRun("failover:shop", "0199c1f4-5d0e-7cc1-b2a8-3a1a3d0e5a31")
	r.journal[0].Header = &r.status.Header
	r.end(journal.Passed)
	prev := journal.Genesis
	for i := range r.journal {
		linked, err := journal.Link(r.journal[i], prev)
		require.NoError(t, err)
		r.journal[i], prev = linked, linked.Hash
	}
	r.status.Digest, r.result.Digest = prev, prev
	written, err := evidence.Write(dir, r.journal)
	require.NoError(t, err)
	r.status.JSON, r.status.HTML = written.JSON, written.HTML
	return r
}

func TestReportVerifies(t *testing.T) {
	t.Parallel()
	r := reportable(t, t.TempDir())
	c := newCLI(t, r)
	code, out, stderr := c.run("report", "latest", "--verify")
	require.Equal(t, codeDone, code, stderr)
	require.Contains(t, out, "Verdict: passed")
	require.Contains(t, out, r.status.HTML)
	require.Contains(t, out, "verified: every byte follows from the journal, and the chain is whole; its digest is the one that Temporal keeps")

	code, out, _ = c.run("report", r.status.JSON, "-o", "json")
	require.Equal(t, codeDone, code)
	var got reported
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Equal(t, r.status.Digest, got.Verified.Digest)

	text, err := os.ReadFile(r.status.JSON)
	require.NoError(t, err)
	for at := 0; at < len(text); at += len(text)/20 + 1 {
		changed := bytes.Clone(text)
		changed[at] ^= 1
		require.NoError(t, os.WriteFile(r.status.JSON, changed, 0o600))
		for _, name := range []string{"latest", r.status.JSON} {
			code, _, stderr = c.run("report", name, "--verify")
			require.Equal(t, codeError, code, "byte %d", at)
			require.Contains(t, stderr, "next: ")
		}
	}

	code, out, _ = c.run("report", "latest", "--verify", "--dir", filepath.Join(t.TempDir(), "anew"))
	require.Equal(t, codeDone, code, "the journal makes it anew")
	require.Contains(t, out, "verified")
}

func TestReplacedEvidenceIsFoundOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := reportable(t, dir)
	forged := append([]journal.Entry{}, r.journal...)
	forged[1].Message = "nothing happened"
	prev := journal.Genesis
	for i := range forged {
		var err error
		forged[i], err = journal.Link(forged[i], prev)
		require.NoError(t, err)
		prev = forged[i].Hash
	}
	_, err := evidence.Write(dir, forged)
	require.NoError(t, err)
	c := newCLI(t, r)
	code, _, _ := c.run("report", r.status.JSON)
	require.Equal(t, codeDone, code, "by itself the file is whole")
	code, _, stderr := c.run("report", "failover:shop", "--verify")
	require.Equal(t, codeError, code)
	require.Contains(t, stderr, "was replaced: it is whole")
}

func TestReportRefuses(t *testing.T) {
	t.Parallel()
	c := newCLI(t, newFakeRun("failover:shop", "r-1"))
	code, _, stderr := c.run("report")
	require.Equal(t, codeError, code)
	require.Contains(t, stderr, "run failover:shop has not ended: it is running, phase observe")
	code, _, stderr = c.run("report", "nowhere.json")
	require.Equal(t, codeError, code)
	require.Contains(t, stderr, "nowhere.json")

	dir := t.TempDir()
	r := reportable(t, dir)
	require.NoError(t, os.RemoveAll(dir))
	code, _, stderr = newCLI(t, r).run("report", "latest", "--verify")
	require.Equal(t, codeError, code)
	require.Contains(t, stderr, "is not on this machine")
	code, _, stderr = newCLI(t, r).run("report", "latest", "--open")
	require.Equal(t, codeError, code)
	require.Contains(t, stderr, "there is no page to open on this machine")
}

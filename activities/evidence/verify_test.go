package evidence

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/journal"
)

func TestWriteIsRepeatableAndVerifies(t *testing.T) {
	t.Parallel()
	for name, make := range runs {
		dir := filepath.Join(t.TempDir(), "new")
		first, err := Write(dir, make(t))
		require.NoError(t, err, name)
		before, err := os.ReadFile(first.JSON)
		require.NoError(t, err)
		again, err := Write(dir, make(t))
		require.NoError(t, err, name)
		require.Equal(t, first, again)
		after, err := os.ReadFile(first.JSON)
		require.NoError(t, err)
		require.True(t, bytes.Equal(before, after))
		require.Equal(t, dir, filepath.Dir(first.JSON))

		for _, path := range []string{first.JSON, first.HTML} {
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
			report, err := VerifyFile(path)
			require.NoError(t, err, name)
			require.Equal(t, first.Digest, report.SHA256)
			require.Equal(t, first.HTML, report.HTML)
		}
		left, err := filepath.Glob(filepath.Join(dir, ".*"))
		require.NoError(t, err)
		require.Empty(t, left, "temporary files are gone")
	}
}

func TestWriteReplacesWhatAKillLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, err := Write(dir, success(t))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(r.HTML, []byte("half"), 0o600))
	_, err = Write(dir, success(t))
	require.NoError(t, err)
	_, err = VerifyFile(r.HTML)
	require.NoError(t, err)
}

// Two runs of one workflow ID within a second: their UUIDv7 run IDs share the first eight digits.
func TestFileName(t *testing.T) {
	t.Parallel()
	require.Equal(t, "failover-shop-0195a2b4-7c31", FileName("failover:shop", runID))
	require.NotEqual(t, FileName("a", "0195a2b4-7c31-7e2a"), FileName("a", "0195a2b4-7d02-7e2a"))
	require.Equal(t, "run-run", FileName("../..", ""))
	require.Less(t, len(FileName(strings.Repeat("x", 4000), runID)), 200)
	require.NotContains(t, FileName("a/../../etc/passwd", "x/y"), "/")
}

// Every single byte of the file counts: each is changed once, in a bit and into a space.
func TestOneChangedByteIsFound(t *testing.T) {
	t.Parallel()
	text, err := encode(build(t, empty(t)))
	require.NoError(t, err)
	_, err = verifyJSON(text)
	require.NoError(t, err)
	for i := range text {
		for _, b := range []byte{text[i] ^ 1, ' ', '0'} {
			if b == text[i] {
				continue
			}
			changed := bytes.Clone(text)
			changed[i] = b
			_, err := verifyJSON(changed)
			require.Error(t, err, "byte %d, %q made %q, near %q", i, text[i], b, around(text, i))
		}
	}
	for i := 0; i < len(text); i += 7 {
		_, err := verifyJSON(append(bytes.Clone(text[:i]), text[i+1:]...))
		require.Error(t, err, "byte %d left out", i)
	}
	_, err = verifyJSON(append(bytes.Clone(text), '\n'))
	require.ErrorContains(t, err, "was changed at byte")
}

func TestOneChangedByteOfThePageIsFound(t *testing.T) {
	t.Parallel()
	r, err := Write(t.TempDir(), empty(t))
	require.NoError(t, err)
	page, err := os.ReadFile(r.HTML)
	require.NoError(t, err)
	for i := 0; i < len(page); i += 97 {
		changed := bytes.Clone(page)
		changed[i] ^= 1
		require.NoError(t, os.WriteFile(r.HTML, changed, 0o600))
		_, err := VerifyFile(r.HTML)
		require.Error(t, err, "byte %d", i)
	}
}

func TestVerifySaysWhere(t *testing.T) {
	t.Parallel()
	text, err := encode(build(t, success(t)))
	require.NoError(t, err)
	for name, c := range map[string]struct{ old, new, want string }{
		"verdict":     {`"verdict": "passed",`, `"verdict": "failed",`, `it says "  \"verdict\": \"failed\",", its journal makes "  \"verdict\": \"passed\","`},
		"a key twice": {`"version": 1,`, `"version": 1, "version": 1,`, "line 2"},
		"journal":     {`"title": "holds orders, fencing token 7"`, `"title": "holds orders, fencing token 8"`, "journal entry 12 was changed"},
		"version":     {`"version": 1,`, `"version": 2,`, "another version"},
		"not JSON":    {`"version": 1,`, `"version" 1,`, "(line 2)"},
	} {
		require.Contains(t, string(text), c.old, name)
		_, err := verifyJSON([]byte(strings.Replace(string(text), c.old, c.new, 1)))
		require.ErrorContains(t, err, c.want, name)
	}
	_, err = VerifyFile(filepath.Join(t.TempDir(), "none.json"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A journal whose tail was cut, with everything derived from it made anew, verifies in itself: its digest tells.
func TestCutJournalHasAnotherDigest(t *testing.T) {
	t.Parallel()
	whole := success(t)
	a, b := build(t, whole), build(t, whole[:len(whole)-1])
	require.NotEqual(t, a.Digest, b.Digest)
}

func FuzzVerifyJSON(f *testing.F) {
	text, err := encode(must(Build(rejected(f))))
	require.NoError(f, err)
	f.Add(10, byte('x'))
	f.Fuzz(func(t *testing.T, at int, b byte) {
		at = max(0, at) % len(text)
		changed := bytes.Clone(text)
		changed[at] = b
		if _, err := verifyJSON(changed); b != text[at] {
			require.Error(t, err)
		} else {
			require.NoError(t, err)
		}
	})
}

func must(ev Evidence, err error) Evidence {
	if err != nil {
		panic(err)
	}
	return ev
}

func TestJSONEndsWithJournalAndDigest(t *testing.T) {
	t.Parallel()
	ev := build(t, success(t))
	text, err := encode(ev)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(text), "\"digest\": \""+ev.Digest+"\"\n}\n"))
	var back Evidence
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, ev, back)
	require.Equal(t, journal.Passed, back.Verdict)
}

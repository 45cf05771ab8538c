package writer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func write(t *testing.T, dir string, limit int64, attempts int) *ledger {
	t.Helper()
	l, _, err := openLedger(dir, limit, "a/b/1", 20*time.Millisecond)
	require.NoError(t, err)
	t.Cleanup(l.close)
	next := l.head.Next
	require.NoError(t, l.note(note{Start: true, Next: next, Writer: l.head.Writer}))
	for i := range int64(attempts) {
		require.NoError(t, l.attempt(attempt{seq: next + i, sent: 100, done: 200, outcome: ack}))
	}
	return l
}

func read(t *testing.T, dir string) []int64 {
	t.Helper()
	entries, err := (&reader{dir: dir}).next()
	require.NoError(t, err)
	var seqs []int64
	for _, e := range entries {
		if e.note == nil {
			seqs = append(seqs, e.attempt.seq)
		}
	}
	return seqs
}

func last(t *testing.T, dir string) string {
	t.Helper()
	names, err := segments(dir)
	require.NoError(t, err)
	return filepath.Join(dir, names[len(names)-1])
}

func TestNumbersAreNeverReused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, segmentBytes, 3).close()
	require.Equal(t, []int64{1, 2, 3}, read(t, dir))
	// Killed with 4 in flight, and its line torn.
	file, err := os.OpenFile(last(t, dir), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString("4 100 2")
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.Equal(t, []int64{1, 2, 3}, read(t, dir), "a torn line is not there")
	write(t, dir, segmentBytes, 0).close() // starts with 5, and is killed with 5 in flight before any line
	l := write(t, dir, segmentBytes, 1)
	require.Equal(t, "a/b/1", l.head.Writer)
	require.Equal(t, []int64{1, 2, 3, 6}, read(t, dir))
}

func TestAnEmptyTornSegmentIsRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, segmentBytes, 3).close()
	torn := filepath.Join(dir, "99999999999999999999.log")
	require.NoError(t, os.WriteFile(torn, []byte(`#{"next":4`), 0o600))
	l, _, err := openLedger(dir, segmentBytes, "a/b/2", time.Second)
	require.NoError(t, err)
	l.close()
	require.Equal(t, "a/b/1", l.head.Writer, "its numbers are the old name's")
	require.EqualValues(t, 5, l.head.Next)
	require.NoFileExists(t, torn)
}

func TestSegmentsRotate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, 500, 1000)
	names, err := segments(dir)
	require.NoError(t, err)
	require.Len(t, names, segmentsKept)
	seqs := read(t, dir)
	require.EqualValues(t, 1000, seqs[len(seqs)-1])
	for i := 1; i < len(seqs); i++ {
		require.Equal(t, seqs[i-1]+1, seqs[i])
	}
	r, err := fromLast(dir)
	require.NoError(t, err)
	entries, err := r.next()
	require.NoError(t, err)
	require.Equal(t, "a/b/1", entries[0].note.Writer, "every segment says whose numbers it holds")
}

func TestReaderFollows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := &reader{dir: dir}
	entries, err := r.next()
	require.NoError(t, err)
	require.Empty(t, entries)
	l := write(t, dir, 400, 2)
	seen := 0
	for i := int64(3); i < 100; i++ {
		require.NoError(t, l.attempt(attempt{seq: i, sent: 1, done: 2, outcome: "Timeout"}))
		entries, err = r.next()
		require.NoError(t, err)
		for _, e := range entries {
			if e.note == nil {
				seen++
			}
		}
	}
	require.Equal(t, 99, seen, "every line once, over many segments")
}

func TestAForeignLineIsAnErrorThatSaysWhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "1.log"), []byte("1 1 2 0 ack\nhello\n2 3 4 0 ack\n"), 0o600))
	_, err := (&reader{dir: dir}).next()
	require.ErrorContains(t, err, "1.log:2: ")
	_, _, err = openLedger(dir, segmentBytes, "a", time.Second)
	require.ErrorContains(t, err, "1.log:2: ")
}

func TestParseLineIsStrict(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"", " ", "1", "1 1 2 0", "1 1 2 0 ", "1 1 2 0 a b", "0 1 2 0 ack", "-1 1 2 0 ack", "1 2 1 0 ack", "1 -2 1 0 ack", "x 1 2 0 ack",
		"1  1 2 0 ack", "1 1 2 0 ack ", "99999999999999999999 1 2 0 ack", "#", "#{", `#{"a":1}`, `#{"next":-1}`, `#{} {}`, "#[]"} {
		_, err := parseLine(line)
		require.Error(t, err, "%q", line)
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add("12 1767348000000000000 1767348000001000000 -17 ack")
	f.Add(`#{"start":true,"next":1,"every_ns":20000000,"writer":"shop/orders/1","pid":7}`)
	f.Add(`#{"forgot":7}`)
	f.Fuzz(func(t *testing.T, line string) {
		e, err := parseLine(line)
		if err != nil {
			return
		}
		text := e.attempt.line()
		if e.note != nil {
			text, err = e.note.line()
			require.NoError(t, err)
		}
		again, err := parseLine(strings.TrimSuffix(text, "\n"))
		require.NoError(t, err)
		require.Equal(t, e, again)
		_ = compute([]entry{e, e}, time.Unix(0, 0), time.Unix(1, 0)) // any line, and it does not panic
	})
}

package e2e

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

// TestUnplanned kills primaries while writers write, and counts what was lost by itself.
func TestUnplanned(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	watch := s.begin(t, "watch-shop")
	s.step(t, watch, "watch/"+system, "done")
	for _, test := range []struct {
		name string
		lose bool
	}{{"killed", false}, {"killed when the standby was behind", true}} {
		if !t.Run(test.name, func(t *testing.T) { unplanned(t, s, test.lose) }) {
			return
		}
	}
	s.ok(t, "abort", watch.WorkflowID, "--reason", "seen enough")
	r, _ := s.ended(t, watch, journal.MissedObjective) // what it watched lost writes, which the estate promises not to
	require.EqualValues(t, len(s.writerLog(t).lost(t, s)), r.Measures[0].Missing)
	s.save(t, watch.WorkflowID, watch.RunID, "watch-stopped")
	awaited(t, "the writer to end", 10*time.Second, func() ([]process, bool) {
		left := processes(filepath.Join(s.state, "writers"))
		return left, len(left) == 0
	})
}

func unplanned(t *testing.T, s *shop, lose bool) {
	here, there := s.sites(t)
	timeline := s.timeline(t)
	before := s.writerLog(t)
	known := len(before.lost(t, s))
	grown := func(by int) {
		start := len(s.writerLog(t).acked)
		awaited(t, "the writer to go on", 20*time.Second, func() (int, bool) {
			n := len(s.writerLog(t).acked) - start
			return n, n >= by
		})
	}
	c := s.startClients(t)
	grown(25)
	sender := 0
	if lose { // what is acknowledged from here on never reaches the standby
		sender, _ = s.stall(t, here)
		grown(50)
	}
	s.breakPrimary(t, here, sender)

	x := s.begin(t, runbook(here, "-unplanned"))
	gates := s.approveAll(t, x)
	r := s.result(t, x)
	acked, lost := s.lost(t, c)

	after := s.writerLog(t)
	count := int64(len(after.lost(t, s)) - known)
	require.Len(t, r.Measures, 1)
	m := r.Measures[0]
	require.True(t, m.Measured)
	require.Equal(t, count, m.Missing, "acknowledged writes that are gone: this test's count, and muster's")
	want := journal.Passed
	if count > 0 { // the estate promises that none is lost
		want = journal.MissedObjective
		require.Equal(t, 7, s.muster(t, "watch", x.WorkflowID).code)
	}
	s.ended(t, x, want)
	outage := after.longestGap(before)
	require.InDelta(t, outage.Milliseconds(), m.OutageMs, 100, "the outage: this test's measure, and muster's")
	if lose {
		require.Positive(t, count)
		require.Positive(t, lost)
		require.Contains(t, strings.Join(gates, " "), "data-loss/")
	}
	require.Equal(t, timeline+1, s.timeline(t))
	s.requireSettled(t, there)
	t.Logf("%s to %s: outage %s (counted %s), lost %d of the numbered writes (counted %d), %d of %d of the test's own; gates %v", here, there,
		time.Duration(m.OutageMs)*time.Millisecond, outage, m.Missing, count, lost, acked, gates)
	if lose {
		s.save(t, x.WorkflowID, x.RunID, "failover-data-loss")
	} else {
		s.save(t, x.WorkflowID, x.RunID, "failover-unplanned")
	}
}

// breakPrimary kills the primary as `muster sandbox break` does, and the stalled process with it: that would otherwise send
// what it has before it notices that its server is gone. 0 is none.
func (s *shop) breakPrimary(t *testing.T, site string, stalled int) {
	t.Helper()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for stalled != 0 && s.sandbox.PID(system, site) != 0 && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if stalled != 0 {
			_ = syscall.Kill(stalled, syscall.SIGKILL)
		}
	}()
	s.ok(t, "sandbox", "break", "primary", "--dir", s.sandbox.Dir())
	<-gone
}

// approveAll approves every gate that opens until the run ends, and returns their names.
func (s *shop) approveAll(t *testing.T, x execution) []string {
	t.Helper()
	var gates []string
	for {
		st := s.await(t, x, "a gate or the end", func(st run.Status) bool { return len(st.Gates) > 0 || st.State == run.StateEnded })
		if st.State == run.StateEnded {
			return gates
		}
		name := st.Gates[0].Name
		if !slices.Contains(gates, name) {
			gates = append(gates, name)
			s.approve(t, x, name)
		}
	}
}

// writerLog is what the numbered writer wrote down, read by this test itself.
type writerLog struct {
	writer string
	acked  []write
}

type write struct {
	seq  int64
	done time.Time
}

func (s *shop) writerLog(t *testing.T) writerLog {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.state, "writers", "*", "log", "*.log"))
	require.NoError(t, err)
	var l writerLog
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if note, ok := strings.CutPrefix(line, "#"); ok {
				var n struct {
					Writer string `json:"writer"`
				}
				require.NoError(t, json.Unmarshal([]byte(note), &n))
				l.writer = cmp.Or(n.Writer, l.writer)
				continue
			}
			fields := strings.Fields(line) // number, sent, done, clock's skew, outcome
			if len(fields) == 5 && fields[4] == "ack" {
				var n [4]int64
				for i := range n {
					n[i], err = strconv.ParseInt(fields[i], 10, 64)
					require.NoError(t, err)
				}
				l.acked = append(l.acked, write{n[0], time.Unix(0, n[2]+n[3])})
			}
		}
	}
	return l
}

// lost returns the acknowledged numbers that the table does not have.
func (l writerLog) lost(t *testing.T, s *shop) []int64 {
	t.Helper()
	there := s.numbers(t, "SELECT seq FROM muster.mark WHERE writer = $1 ORDER BY seq", l.writer)
	var lost []int64
	for _, w := range l.acked {
		if _, found := slices.BinarySearch(there, w.seq); !found {
			lost = append(lost, w.seq)
		}
	}
	return lost
}

// longestGap is the longest time between two acknowledged writes since an earlier reading.
func (l writerLog) longestGap(since writerLog) time.Duration {
	var longest time.Duration
	for i := max(1, len(since.acked)); i < len(l.acked); i++ {
		longest = max(longest, l.acked[i].done.Sub(l.acked[i-1].done))
	}
	return longest
}

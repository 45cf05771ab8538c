package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"

	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

// allBoundaries is the number of kills (MUSTER_KILLS) from which on every boundary of every step is tried too, not a few of them.
const allBoundaries = 50

func kills() int { return number("MUSTER_KILLS", 4) }

// luck is this run's own; MUSTER_SEED repeats another one's.
func luck(t *testing.T) *rand.Rand {
	seed := uint64(number("MUSTER_SEED", int(time.Now().UnixNano()&0xffffff)))
	t.Logf("MUSTER_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// sequence is what a journal says, without what a repetition may change: times, counts of attempts, and answers to those who asked twice.
// Systems that move side by side are each in order, and not among each other.
func sequence(entries []journal.Entry) []string {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b journal.Entry) int { return strings.Compare(a.System, b.System) })
	var lines []string
	for _, e := range entries {
		if e.Kind != journal.Refused && e.Kind != journal.Noted {
			if e.Phase == "prepare" { // whether there is anything to prepare is the database's business
				e.Outcome = ""
			}
			lines = append(lines, strings.TrimSpace(fmt.Sprintln(e.Kind, e.Step, e.Gate, e.Outcome)))
		}
	}
	return lines
}

// moved is what one disturbed run showed.
type moved struct {
	entries []journal.Entry
	took    time.Duration
	steps   int // activities of its history
	resumed time.Duration
	effect  tally
	alone   time.Duration // nobody accepted writes, of one system, the longest
}

// disturbed carries out a whole move, kills worker and engine at the blow, starts them again, and holds the run to what is true of every run.
func (s *shop) disturbed(t *testing.T, clients []*members, planned bool, b *blow) moved {
	t.Helper()
	here, there := s.sites(t)
	before, book := s.tally(t, here, there), runbook(here, "")
	if !planned {
		book = runbook(here, "-unplanned")
		for _, m := range clients {
			m.rest() // a primary that dies loses what is under way; that is counted elsewhere
		}
		s.replayed(t, here, there)
		s.breakPrimary(t, here, 0)
		for _, m := range clients {
			m.goOn()
		}
	}
	marks := make([]time.Duration, len(clients))
	for i, m := range clients {
		marks[i] = m.mark()
	}
	x := s.begin(t, book)
	began := time.Now()
	struckOrNever := func() {}
	if b != nil {
		ctx, cancel := context.WithCancel(t.Context())
		victim := s.worker
		if b.apart {
			victim = s.cluster
		}
		process, exited := victim.cmd.Process, victim.exited
		struck := s.strike(ctx, x, *b, func() { _ = process.Kill(); <-exited })
		struckOrNever = func() { cancel(); <-struck }
		defer struckOrNever()
	}
	var restarted time.Time
	revived := func() bool {
		select {
		case <-s.exited:
			s.temporal.Close()
			restarted = time.Now()
			s.start(t)
		case <-s.engineExited():
			s.cluster.temporal.Close()
			restarted = time.Now()
			s.cluster.start(t)
		default:
			return false
		}
		return true
	}
	for over := false; !over; {
		if !revived() {
			over = s.drive(t, x)
		}
	}
	struckOrNever() // the blow may fall when the run has just ended
	revived()
	m := moved{took: time.Since(began)}
	h := s.history(t, x.WorkflowID, x.RunID)
	m.steps = count(h, enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
	m.resumed = resumed(h, restarted)
	var r run.Result
	r, m.entries = s.endedAfter(t, x, journal.Passed, restarted.Add(m.resumed))
	require.Len(t, r.Measures, len(s.sandbox.Estate().Systems), "outage and loss of each system")
	for _, measured := range r.Measures {
		require.True(t, measured.Measured, measured.System)
		require.Zero(t, measured.Missing, measured.System)
		t.Logf("%s: outage %d ms, 0 of %d writes lost", measured.System, measured.OutageMs, measured.Acknowledged)
	}
	s.requireSettled(t, there)
	m.effect = s.tally(t, here, there).since(before)
	for i, c := range clients {
		m.alone = max(m.alone, c.requireOneWriter(t, marks[i], here, there))
		if planned {
			c.requireNothingLost(t, marks[i], here)
		}
	}
	return m
}

// requireSoon holds a run to going on within three seconds of the restart. A machine with three times more to do than it has cores
// is no measure: there it is 30 seconds, and the log says what it was.
func (m moved) requireSoon(t *testing.T) {
	t.Helper()
	limit := 3 * time.Second
	text, err := os.ReadFile("/proc/loadavg")
	require.NoError(t, err)
	var load float64
	_, err = fmt.Sscan(string(text), &load)
	require.NoError(t, err)
	if load > 3*float64(runtime.NumCPU()) {
		limit *= 10
	}
	require.LessOrEqual(t, m.resumed, limit, "from the restart to the run going on, at a load of %v", load)
}

// replayed waits until the standby has all that the primary logged. What is logged without a commit is written a moment later: a primary
// that is killed in between has more than its standby, and people are rightly asked about bytes that are nobody's.
func (s *shop) replayed(t *testing.T, here, there string) {
	t.Helper()
	awaited(t, there+" to have replayed all", 10*time.Second, func() (string, bool) {
		at := s.query(t, here, "SELECT pg_current_wal_insert_lsn()::text").(string)
		return at, s.query(t, there, "SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", at).(bool)
	})
	if s.hasRedis() {
		s.awaitRedisReplayed(t, here, there)
	}
}

func count(h *history.History, kind enums.EventType) (n int) {
	for _, e := range h.GetEvents() {
		if e.GetEventType() == kind {
			n++
		}
	}
	return n
}

// resumed is when the run was at work again: an activity was attempted, or the workflow went on, after the restart. 0 where nothing was left to do.
func resumed(h *history.History, restarted time.Time) time.Duration {
	if restarted.IsZero() {
		return 0
	}
	var first time.Time
	for _, e := range h.GetEvents() {
		at := e.GetEventTime().AsTime()
		switch e.GetEventType() {
		case enums.EVENT_TYPE_ACTIVITY_TASK_STARTED, enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
			if at.After(restarted) && (first.IsZero() || at.Before(first)) {
				first = at
			}
		}
	}
	if first.IsZero() {
		return 0
	}
	return first.Sub(restarted)
}

// TestKillAnywhere kills worker and engine, which are one process, at boundaries of steps and at instants of no meaning, and
// starts them again on the same state folder: same end, same journal, no effect twice, one writer.
func TestKillAnywhere(t *testing.T) {
	s := openShop(t)
	s.killAnywhere(t, kills(), s.writeToMembers(t))
}

func (s *shop) killAnywhere(t *testing.T, kills int, members ...*members) {
	t.Helper()
	dice := luck(t)
	var undisturbed [2]moved
	for i, planned := range []bool{true, false} {
		undisturbed[i] = s.disturbed(t, members, planned, nil)
		t.Logf("undisturbed, planned %v: %s, %d activities, %+v", planned, undisturbed[i].took, undisturbed[i].steps, undisturbed[i].effect)
		require.Equal(t, 1, undisturbed[i].effect.Timeline)
		require.Equal(t, 1, undisturbed[i].effect.Promotions)
		require.Positive(t, undisturbed[i].effect.Starts)
		if s.hasRedis() {
			require.Equal(t, 1, undisturbed[i].effect.RedisPromotions)
			require.Equal(t, planned, undisturbed[i].effect.RedisStarts == 0, "only a primary that died is started")
		}
	}
	type kill struct {
		planned bool
		blow
	}
	var plan []kill
	for i, planned := range []bool{true, false} {
		all := boundaries(undisturbed[i].steps)
		dice.Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
		if kills < allBoundaries {
			all = all[:min(len(all), max(1, kills/3-i))]
		}
		for _, b := range all {
			plan = append(plan, kill{planned, b})
		}
	}
	for n := range max(1, kills-kills/2) {
		planned := n%3 != 2
		took := undisturbed[slices.Index([]bool{true, false}, planned)].took
		plan = append(plan, kill{planned, blow{after: time.Duration(dice.Int64N(int64(took)))}})
	}
	if kills >= allBoundaries { // the other half of the instants
		for range kills / 2 {
			plan = append(plan, kill{true, blow{after: time.Duration(dice.Int64N(int64(undisturbed[0].took)))}})
		}
	}
	var waits []time.Duration
	for n, k := range plan {
		name := fmt.Sprintf("%d planned %v %s", n+1, k.planned, k.blow)
		ok := t.Run(name, func(t *testing.T) {
			want := undisturbed[slices.Index([]bool{true, false}, k.planned)]
			got := s.disturbed(t, members, k.planned, &k.blow)
			require.Equal(t, want.effect, got.effect, "what was done to the systems")
			require.Equal(t, sequence(want.entries), sequence(got.entries), "the journal")
			got.requireSoon(t)
			if got.resumed > 0 {
				waits = append(waits, got.resumed)
			}
			t.Logf("resumed %s after the restart, no member accepted writes for %s", got.resumed.Round(time.Millisecond), got.alone.Round(time.Millisecond))
		})
		if !ok && s.sandboxBroken(t) {
			return
		}
	}
	slices.Sort(waits)
	if len(waits) > 0 {
		t.Logf("%d kills; resumed after %s at the median, %s at most", len(plan), waits[len(waits)/2].Round(time.Millisecond), waits[len(waits)-1].Round(time.Millisecond))
	}
}

// sandboxBroken says whether the next move would find something else than a healthy estate and a worker.
func (s *shop) sandboxBroken(t *testing.T) bool {
	t.Helper()
	select {
	case <-s.exited:
		return true
	default:
	}
	st, err := s.sandbox.Status(t.Context())
	if err != nil || slices.ContainsFunc(st.Routes, func(r sandbox.RouteStatus) bool { return len(r.Open) != 1 }) {
		return true
	}
	for _, p := range st.Processes {
		if p.State != "running" || strings.Contains(p.Detail, "nobody") || strings.Contains(p.Detail, "does not stream") {
			return true
		}
	}
	return false
}

package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

// TestDiskFull fills the disk under the new primary's WAL in the middle of a move: no space is left for the new timeline's first
// segment. The run holds and says what it saw, and completes when there is space and somebody has started the server again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	m := s.writeToMembers(t)
	here, there := s.sites(t)
	disk, err := s.sandbox.SmallDisk(t.Context(), system, there, 128<<20)
	require.NoError(t, err)
	s.replayed(t, here, there)
	mark := m.mark()
	x := s.begin(t, runbook(here, ""))
	s.approve(t, x, "approve")
	s.activity(t, x, "Fence", func() { require.NoError(t, disk.Fill()) })
	awaited(t, "the step's retries to be spent", 2*time.Minute, func() (run.Status, bool) {
		st, ok := s.status(t, x)
		return st, ok && len(st.Holds) > 0
	})
	s.heldThenMended(t, x, "on that of its WAL: 0M", func() {
		m.requireStill(t, mark, there)
		require.Positive(t, s.inLog(t, there, "No space left on device"), "it was the disk")
		require.NoError(t, disk.Free())
		require.NoError(t, s.sandbox.StartStandby(t.Context(), system, there))
	})
	r := s.result(t, x)
	require.Contains(t, []journal.Verdict{journal.Passed, journal.MissedObjective}, r.Verdict, r.Summary) // people took their time
	s.requireSettled(t, there)
	m.requireOneWriter(t, mark, here, there)
	m.requireNothingLost(t, mark, here)
}

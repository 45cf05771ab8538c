package steps

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
)

func TestAWindowIsTakenOnOnesOwnClock(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	in := activities.WriterInput{Since: since, Until: since.Add(time.Minute)}
	require.Equal(t, in, shifted(in, time.Second), "a task that was under way for a moment is no other clock")
	got := shifted(in, time.Hour)
	require.Equal(t, since.Add(-time.Hour), got.Since)
	require.Equal(t, since.Add(-time.Hour).Add(time.Minute), got.Until)
	require.Zero(t, shifted(activities.WriterInput{Since: since}, -time.Hour).Until, "no end is no end")
}

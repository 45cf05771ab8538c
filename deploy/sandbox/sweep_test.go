package sandbox

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheSandboxOfAKilledTestIsSweptAway(t *testing.T) {
	s := ForTest(t, Options{NoRoute: true})
	kept := ForTest(t, Options{NoRoute: true})
	s.state.Test.Start = 1 // as if its process were gone: pids are told apart by their start
	require.NoError(t, s.save())
	sweep(t)
	// Another package's tests may sweep it at the same time and be at it still.
	require.NoError(t, await(t.Context(), time.Minute, func() error {
		if _, err := os.Stat(s.Dir()); !os.IsNotExist(err) {
			return fmt.Errorf("%s is still there", s.Dir())
		}
		return nil
	}))
	require.Empty(t, inFolder(s.Dir()))
	require.DirExists(t, kept.Dir())
	require.NotZero(t, kept.PID("orders", East))
}

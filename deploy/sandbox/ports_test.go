package sandbox

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPortsStayReservedWhileTheFolderExists(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	one, other := t.TempDir(), t.TempDir()
	ports, err := reservePorts(t.Context(), one, 40)
	require.NoError(t, err)
	more, err := reservePorts(t.Context(), other, 40)
	require.NoError(t, err)
	require.NotSubset(t, ports, more)

	path := os.Getenv("TMPDIR") + "/muster-ports-of-" + strconv.Itoa(os.Geteuid()) + "/ports"
	taken, _, err := reserved(path)
	require.NoError(t, err)
	require.Len(t, taken, 80, "nobody listens on them, and nobody else gets them")
	require.NoError(t, os.RemoveAll(one))
	taken, _, err = reserved(path)
	require.NoError(t, err)
	require.Len(t, taken, 40)
	for _, port := range more {
		require.True(t, taken[port])
	}
}

package evidence

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files")

func TestGolden(t *testing.T) {
	t.Parallel()
	for name, make := range runs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ev, err := Build(make(t))
			require.NoError(t, err)
			var text, page bytes.Buffer
			require.NoError(t, WriteJSON(&text, ev))
			require.NoError(t, WriteHTML(&page, ev))
			golden(t, name+".json", text.Bytes())
			golden(t, name+".html", page.Bytes())
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run with -update")
	require.Equal(t, string(want), string(got), "%s differs; look at it, then run with -update", path)
}

package local

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStateDir(t *testing.T) {
	home, xdg, own := t.TempDir(), t.TempDir(), t.TempDir()
	tests := []struct{ name, own, xdg, want string }{
		{"home", "", "", filepath.Join(home, ".local", "state", "muster")},
		{"xdg", "", xdg, filepath.Join(xdg, "muster")},
		{"relative xdg is ignored, as its specification asks", "", "state", filepath.Join(home, ".local", "state", "muster")},
		{"own", own, xdg, own},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("HOME", home)
			t.Setenv("MUSTER_STATE", tt.own)
			t.Setenv("XDG_STATE_HOME", tt.xdg)
			got, err := StateDir()
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
}

func TestWriteReadRemove(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state", "deep")
	_, err := Read(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, Remove(dir, 1))

	want := Engine{Address: "127.0.0.1:7233", UI: "http://127.0.0.1:8233", Namespace: "default", PID: os.Getpid(), Runbooks: "/srv/runbooks"}
	require.NoError(t, Write(dir, Engine{Address: "127.0.0.1:1", PID: 1}))
	require.NoError(t, Write(dir, want))
	got, err := Read(dir)
	require.NoError(t, err)
	require.Equal(t, want, got)

	info, err := os.Stat(Path(dir))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file stays")

	require.NoError(t, Remove(dir, want.PID+1))
	require.FileExists(t, Path(dir), "another worker's file stays")
	require.NoError(t, Remove(dir, want.PID))
	require.NoFileExists(t, Path(dir))
}

func TestReadRefusesBrokenFiles(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "{}", `{"address": 1}`} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(Path(dir), []byte(text), 0o600))
		_, err := Read(dir)
		require.ErrorContains(t, err, Path(dir), "%q", text)
	}
}

func TestRunning(t *testing.T) {
	t.Parallel()
	require.True(t, Engine{PID: os.Getpid()}.Running())
	gone := exec.Command("true")
	require.NoError(t, gone.Run())
	require.False(t, Engine{PID: gone.Process.Pid}.Running())
	require.False(t, Engine{}.Running())
}

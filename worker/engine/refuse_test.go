package engine

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	e := startEngine(t, Options{Dir: dir, UIPort: -1})

	var stderr bytes.Buffer
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=try", childDirEnv+"="+dir)
	cmd.Stderr = &stderr
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Run(), &exit)
	line := strings.TrimSuffix(stderr.String(), "\n")
	require.NotContains(t, line, "\n")
	require.Contains(t, line, "state folder "+dir+" is in use")
	require.Contains(t, line, fmt.Sprintf("process %d", os.Getpid()))

	_, err := Start(t.Context(), Options{Dir: dir, UIPort: -1})
	requireClear(t, err, "is in use")

	require.NoError(t, e.Stop())
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=try", childDirEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "a folder that was let go is free: %s", out)
}

func TestForeignSchemaIsRefused(t *testing.T) {
	ours, err := currentSchema()
	require.NoError(t, err)
	newer, older, changed, dated := ours, ours, ours, ours
	newer.Schema = "0.111"
	older.Schema = "0.9"
	changed.Fingerprint, changed.Server = "0", "1.33.0"
	dated.Fingerprint, dated.Server = "0", "1.9.0"
	for name, c := range map[string]struct {
		version schemaVersion
		says    string
	}{
		"newer":                  {newer, "newer than this program's"},
		"older":                  {older, "cannot use and does not migrate"},
		"same number, newer SQL": {changed, "newer than this program's"},
		"same number, older SQL": {dated, "cannot use and does not migrate"},
		"damaged":                {schemaVersion{}, "is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, writeSchemaVersion(filepath.Join(dir, versionFile), c.version))
			_, err := Start(t.Context(), Options{Dir: dir})
			requireClear(t, err, dir, c.says)
			require.NoFileExists(t, filepath.Join(dir, databaseFile))
		})
	}
}

func TestUnknownDatabaseIsRefused(t *testing.T) {
	t.Run("no version beside it", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, databaseFile), []byte("SQLite format 3"), 0o600))
		_, err := Start(t.Context(), Options{Dir: dir})
		requireClear(t, err, dir, "without a schema-version file")
	})
	t.Run("not a database", func(t *testing.T) {
		dir := t.TempDir()
		ours, err := currentSchema()
		require.NoError(t, err)
		require.NoError(t, writeSchemaVersion(filepath.Join(dir, versionFile), ours))
		require.NoError(t, os.WriteFile(filepath.Join(dir, databaseFile), bytes.Repeat([]byte("no "), 5000), 0o600))
		_, err = Start(t.Context(), Options{Dir: dir})
		requireClear(t, err, filepath.Join(dir, databaseFile), "not a database")
	})
}

func TestPortInUseIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	taken := l.Addr().(*net.TCPAddr).Port

	for name, opts := range map[string]Options{
		"Temporal cannot listen":        {Port: taken, UIPort: -1},
		"the Temporal UI cannot listen": {UIPort: taken},
	} {
		opts.Dir = t.TempDir()
		_, err = Start(t.Context(), opts)
		requireClear(t, err, name, l.Addr().String(), "another process has that port")
	}

	// The same folder starts once the cause is gone.
	opts := Options{Dir: t.TempDir(), Port: taken, UIPort: -1}
	_, err = Start(t.Context(), opts)
	require.Error(t, err)
	require.NoError(t, l.Close())
	e := startEngine(t, opts)
	require.Equal(t, l.Addr().String(), e.Address())
}

// The server's own answer to a lost race is to exit the process.
func TestPortLostInARaceIsAnError(t *testing.T) {
	opts, err := Options{Dir: t.TempDir()}.withDefaults()
	require.NoError(t, err)
	db, err := openDatabase(opts)
	require.NoError(t, err)
	p, err := choosePorts(opts.Host, 0)
	require.NoError(t, err)
	l, err := listen(opts.Host, p.worker, "the thief")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()

	_, err = boot(t.Context(), serverConfig(opts, p, db), newServerLogger(opts, newFate()))
	require.ErrorIs(t, err, errPortTaken)
	require.NotContains(t, err.Error(), "\n")
}

func TestUnwritableFolderIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a-file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Start(t.Context(), Options{Dir: filepath.Join(file, "state")})
	requireClear(t, err, filepath.Join(file, "state"), "cannot be created", "not a directory")
	_, err = Start(t.Context(), Options{Dir: file})
	requireClear(t, err, file, "not a directory")

	if os.Getuid() == 0 {
		t.Log("root may write anywhere: the read-only folder is not tried")
		return
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o500))
	_, err = Start(t.Context(), Options{Dir: dir})
	requireClear(t, err, dir, "cannot be written", "permission denied")
}

func TestOptionsAreRefused(t *testing.T) {
	for says, opts := range map[string]Options{
		"no state folder":        {},
		"not a loopback address": {Dir: "x", Host: "0.0.0.0"},
		"is not a port":          {Dir: "x", Port: 70000},
		"each its own":           {Dir: "x", Port: 7233, UIPort: 7233},
		"too short":              {Dir: "x", Retention: time.Minute},
	} {
		_, err := Start(t.Context(), opts)
		requireClear(t, err, says)
	}
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	_, err := Start(ctx, Options{Dir: dir, UIPort: -1})
	require.ErrorIs(t, err, context.Canceled)
	startEngine(t, Options{Dir: dir, UIPort: -1})
}

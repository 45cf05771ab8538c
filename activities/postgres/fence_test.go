package postgres_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/drivertest"
	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/runbooks"
)

// A stop that outlives the worker that began it may take effect any time later. Unfence is not met before it has, or never will.
func TestUnfenceWaitsForAStopThatIsStillOnItsWay(t *testing.T) {
	s := sandbox.ForTest(t, sandbox.Options{NoRoute: true})
	f := fixtureOf(t, s)
	m := activities.Move{Target: f.Target, From: f.From, To: f.To, Planned: true}
	own := m.System.Members[f.From].PostgreSQL
	exists := func(path string) func() bool {
		return func() bool { _, err := os.Stat(path); return err == nil }
	}
	fence := func(m activities.Move) chan error {
		ended := make(chan error, 1)
		go func() { ended <- f.Driver.Fence(m).Act(t.Context(), "test") }()
		return ended
	}

	t.Run("it holds the lock", func(t *testing.T) {
		dir, err := os.MkdirTemp("", "muster-test-") // the server's user has to get there
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
		require.NoError(t, os.Chmod(dir, 0o777))
		slow := fmt.Sprintf("#!/bin/sh\n: >%s/there\nuntil [ -e %[1]s/go ]; do sleep 0.01; done\nexec %s/pg_ctl \"$@\"\n", dir, own.BinDirectory)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "pg_ctl"), []byte(slow), 0o755)) //nolint:gosec // a program
		require.NoError(t, os.Symlink(filepath.Join(own.BinDirectory, "pg_controldata"), filepath.Join(dir, "pg_controldata")))
		slowly := m
		withMember(&slowly, f.From, func(member *runbooks.Member) { member.PostgreSQL.BinDirectory = dir })
		ended := fence(slowly)
		require.Eventually(t, exists(filepath.Join(dir, "there")), wait, time.Millisecond)

		err = f.Driver.Unfence(m).Act(t.Context(), "test")
		require.Equal(t, activities.ErrNotYet, activities.TypeOf(err), "%v", err)
		require.ErrorContains(t, err, "a stop is still on its way")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
		drivertest.Run(t, f.Driver.Unfence(m))
		require.NoError(t, <-ended)
		sql(t, s, f.From, "CREATE TABLE taken_back ()")
	})
	t.Run("it has not got the lock yet", func(t *testing.T) {
		lock, err := os.Open(own.DataDirectory)
		require.NoError(t, err)
		defer func() { require.NoError(t, lock.Close()) }()
		require.NoError(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
		ended := fence(m)
		mark := filepath.Join(own.DataDirectory, "standby.signal")
		require.Eventually(t, exists(mark), wait, time.Millisecond)
		require.NoError(t, os.Remove(mark))
		require.NoError(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_UN))
		err = <-ended
		require.Equal(t, activities.ErrNotYet, activities.TypeOf(err), "%v", err)
		require.ErrorContains(t, err, "the fence was taken back meanwhile")
		sql(t, s, f.From, "DROP TABLE taken_back")
	})
	drivertest.Run(t, f.Driver.Fence(m))
}

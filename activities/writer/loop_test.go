package writer

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// fakeSystem stands in for a database: these tests are of the loop, and need failures on command. The real parts are in
// real_test.go.
type fakeSystem struct {
	mu      sync.Mutex
	stored  []int64
	opened  int
	inUse   int
	fail    error
	hang    bool
	forgot  int64
	address string
}

func (s *fakeSystem) open(_ context.Context, _ activities.Target, address string) (activities.Marks, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	s.address = address
	if s.fail != nil {
		return nil, s.fail
	}
	return &fakeMarks{s}, nil
}

func (s *fakeSystem) set(change func(*fakeSystem)) { s.mu.Lock(); defer s.mu.Unlock(); change(s) }

type fakeMarks struct{ *fakeSystem }

func (m *fakeMarks) Write(ctx context.Context, _ string, seq int64) error {
	m.mu.Lock()
	hang, fail := m.hang, m.fail
	m.inUse++
	if m.inUse > 1 || slices.Contains(m.stored, seq) {
		panic("two writes in flight, or a number used twice")
	}
	m.mu.Unlock()
	if hang {
		<-ctx.Done()
		fail = ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inUse--
	if fail == nil {
		m.stored = append(m.stored, seq)
	}
	return fail
}

func (m *fakeMarks) Read(_ context.Context, _ string, first, last int64) ([]int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.stored), func(n int64) bool { return n < first || n > last }), nil
}

func (m *fakeMarks) Last(context.Context, string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Max(append([]int64{0}, m.stored...)), nil
}

func (m *fakeMarks) Forget(_ context.Context, _ string, below int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgot = below
	return nil
}

func (m *fakeMarks) Where(context.Context) (journal.Facts, error) { return nil, nil }
func (m *fakeMarks) Close()                                       {}

func input(run string) activities.WriterInput {
	return activities.WriterInput{Target: activities.Target{Estate: "shop", Name: "orders"}, Run: run,
		Route:  activities.RouteTarget{Name: "orders-db", Route: runbooks.Route{Address: "127.0.0.1:1"}},
		Writer: runbooks.Writer{Every: runbooks.Duration(5 * time.Millisecond), Timeout: runbooks.Duration(100 * time.Millisecond)}}
}

// inProcess keeps writers that run in this process.
func inProcess(t *testing.T, s *fakeSystem) (*Keeper, string) {
	t.Helper()
	dir := t.TempDir()
	ctx, stop := context.WithCancel(context.Background())
	var runs sync.WaitGroup
	t.Cleanup(runs.Wait)
	t.Cleanup(stop)
	return NewKeeper(dir, s.open, func(path string) error {
		runs.Go(func() {
			if err := Run(ctx, path, s.open); err != nil {
				t.Error(err)
			}
		})
		return nil
	}), dir
}

func TestStartSaysThatThePrimaryIsDead(t *testing.T) {
	t.Parallel()
	s := &fakeSystem{fail: &activities.Error{Type: activities.ErrUnreachable, Op: "open", Err: errors.New("refused")}}
	k, _ := inProcess(t, s)
	result, err := k.Start(t.Context(), input("run"))
	require.NoError(t, err)
	require.True(t, result.Changed)
	require.Equal(t, "1 failed: Unreachable", result.After["first attempt"])

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = k.Await(ctx, input("run"))
	require.Equal(t, activities.ErrNotYet, activities.TypeOf(err), "%v", err)
	require.ErrorContains(t, err, "Unreachable")

	s.set(func(s *fakeSystem) { s.fail = nil })
	in := input("run")
	in.Since = time.Now()
	_, err = k.Await(t.Context(), in)
	require.NoError(t, err)
	in.Since = time.Time{}
	report, err := k.Stop(t.Context(), in)
	require.NoError(t, err)
	require.Len(t, report.Outages, 1)
	require.Zero(t, report.Missing)
	require.Positive(t, report.Failed)
	require.Equal(t, 5*time.Millisecond, report.Every)
}

func TestHangingWritesTimeOutAndTheConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	s := &fakeSystem{hang: true}
	k, _ := inProcess(t, s)
	start := time.Now()
	result, err := k.Start(t.Context(), input("run"))
	require.NoError(t, err)
	require.Equal(t, "1 failed: Timeout", result.After["first attempt"])
	require.GreaterOrEqual(t, time.Since(start), 100*time.Millisecond)
	require.Eventually(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.opened >= 3 }, 5*time.Second, time.Millisecond)
	// Measured in the middle of a hanging write: the outage is open, not unknown.
	in := input("run")
	in.Since = start
	in.Until = time.Now()
	report, err := k.Measure(t.Context(), in)
	require.NoError(t, err)
	require.Len(t, report.Outages, 1)
	require.WithinDuration(t, in.Until, report.Outages[0].To, 0)
	require.NoError(t, k.StopAll(t.Context()))
}

func TestLastMarkWins(t *testing.T) {
	t.Parallel()
	s := &fakeSystem{stored: []int64{41}}
	k, _ := inProcess(t, s)
	result, err := k.Start(t.Context(), input("run"))
	require.NoError(t, err)
	require.Equal(t, "42 acknowledged", result.After["first attempt"])
	_, err = k.Stop(t.Context(), func() activities.WriterInput { in := input("run"); in.Gone = true; return in }())
	require.NoError(t, err)
}

func TestWriterEndsWhenTheLeaseRunsOut(t *testing.T) {
	t.Parallel()
	s := &fakeSystem{}
	k, dir := inProcess(t, s)
	k.lease = 500 * time.Millisecond
	_, err := k.Start(t.Context(), input("run"))
	require.NoError(t, err)
	f, err := folderOf(dir+"/writers", input("run"))
	require.NoError(t, err)
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		require.NoError(t, k.Touch(t.Context(), input("run")))
		runs, err := f.running()
		require.NoError(t, err)
		require.True(t, runs, "renewed leases keep it")
	}
	require.Eventually(t, func() bool { runs, err := f.running(); return err == nil && !runs }, 5*time.Second, 10*time.Millisecond)
	require.NoFileExists(t, f.want("run"))
}

func TestAChangedConfigurationIsTaken(t *testing.T) {
	t.Parallel()
	s := &fakeSystem{}
	k, _ := inProcess(t, s)
	_, err := k.Start(t.Context(), input("one"))
	require.NoError(t, err)
	two := input("two")
	two.Route.Route.Address = "127.0.0.1:2"
	_, err = k.Start(t.Context(), two)
	require.NoError(t, err)
	require.Eventually(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.address == "127.0.0.1:2" }, 5*time.Second, time.Millisecond)
	require.NoError(t, k.StopAll(t.Context()))
}

func TestFilesAreThisUsersOnly(t *testing.T) {
	t.Parallel()
	k, dir := inProcess(t, &fakeSystem{})
	in := input("../../run")
	in.Estate, in.Name = "..", "a/b.c"
	_, err := k.Start(t.Context(), in)
	require.NoError(t, err)
	f, err := folderOf(dir+"/writers", in)
	require.NoError(t, err)
	require.Equal(t, dir+"/writers/%2E%2E.a%2Fb%2Ec", string(f))
	for _, path := range []string{f.config(), f.lock(), f.want(in.Run), last(t, f.log())} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.EqualValues(t, 0o600, info.Mode().Perm(), path)
	}
	require.NoError(t, k.StopAll(t.Context()))
	_, err = k.Start(t.Context(), activities.WriterInput{})
	require.Equal(t, activities.ErrConfig, activities.TypeOf(err))
}

func TestOldMarksAreForgottenAndTheLogSaysSoFirst(t *testing.T) {
	t.Parallel()
	s := &fakeSystem{}
	ledger, _, err := openLedger(t.TempDir(), segmentBytes, "a/b/1", time.Second)
	require.NoError(t, err)
	defer ledger.close()
	l := &loop{ledger: ledger, marks: &fakeMarks{s}, config: Config{Input: input("run")}}
	now := time.Now()
	for i := range int64(130) {
		l.remember(now.Add(time.Duration(i)*time.Minute), i*100+1)
	}
	require.NoError(t, l.forget(t.Context(), now.Add(90*time.Minute)))
	require.EqualValues(t, 3001, s.forgot)
	entries, err := (&reader{dir: ledger.dir}).next()
	require.NoError(t, err)
	require.EqualValues(t, 3001, entries[len(entries)-1].note.Forgot)
	require.NoError(t, l.forget(t.Context(), now.Add(90*time.Minute)))
	again, err := (&reader{dir: ledger.dir}).next()
	require.NoError(t, err)
	require.Len(t, again, len(entries), "nothing more to forget")
}

func TestKeeperWithNothingToDo(t *testing.T) {
	t.Parallel()
	k, _ := inProcess(t, &fakeSystem{})
	in := input("run")
	in.Since, in.Until = time.Now().Add(-time.Second), time.Now()
	report, err := k.Stop(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, []journal.Band{{From: in.Since.UTC(), To: in.Until.UTC()}}, utc(report.Unwatched), "no writer ran: nothing is known")
	require.NoError(t, k.StopAll(t.Context()))
	in.Writer.Off = true
	report, err = k.Measure(t.Context(), in)
	require.NoError(t, err)
	require.Len(t, report.Unwatched, 1)
	_, err = k.Start(t.Context(), in)
	require.NoError(t, err)
}

func utc(bands []journal.Band) []journal.Band {
	for i, b := range bands {
		bands[i] = journal.Band{From: b.From.UTC().Round(0), To: b.To.UTC().Round(0)}
	}
	return bands
}

// Package steps carries out activities: it finds the driver, and holds every action to look, act once, look again.
package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// Steps holds the drivers by kind, and what else activities need. The worker fills it; it is read-only afterwards.
type Steps struct {
	Systems map[string]activities.System
	Routes  map[string]activities.Route
	// Notifiers are the channels to people, by kind.
	Notifiers map[string]activities.Notifier
	Writers   Writers
	Load      func(activities.LoadRunbookInput) (activities.LoadRunbookResult, error)
	Verify    func(context.Context, activities.VerifyInput) (activities.ActResult, error)
	Write     func([]journal.Entry) (activities.EvidenceResult, error)
	Runs      Runs
}

// Writers keeps numbered writers. All methods are safe to repeat.
type Writers interface {
	Start(context.Context, activities.WriterInput) (activities.ActResult, error)
	Await(context.Context, activities.WriterInput) (activities.ActResult, error)
	Stop(context.Context, activities.WriterInput) (activities.WriterReport, error)
}

// Runs is what activities ask Temporal about runs and locks.
type Runs interface {
	// Acquire asks the lock workflow for the lock, starting it where there is none; the grant comes to the run by signal.
	Acquire(context.Context, activities.LockInput) (activities.LockResult, error)
	// Holds returns nil where the lease is the lock's current one.
	Holds(context.Context, activities.Lease) error
	// Closed returns those of the holders whose runs have closed.
	Closed(context.Context, []journal.Holder) ([]journal.Holder, error)
	// Journal reads a run's whole journal, page by page.
	Journal(context.Context, activities.EvidenceInput) ([]journal.Entry, error)
}

// Register registers every activity under its frozen name.
func (s *Steps) Register(r worker.ActivityRegistry) {
	for _, a := range s.all() {
		r.RegisterActivityWithOptions(a.function, activity.RegisterOptions{Name: a.name})
	}
}

// Names lists the activities in the order of their registration.
func (s *Steps) Names() []string {
	var names []string
	for _, a := range s.all() {
		names = append(names, a.name)
	}
	return names
}

type named struct {
	name     string
	function any
}

func (s *Steps) all() []named {
	return []named{
		{activities.LoadRunbook, beat(func(_ context.Context, in activities.LoadRunbookInput) (activities.LoadRunbookResult, error) {
			return s.Load(in)
		})},
		{activities.Preflight, beat(s.preflight)},
		{activities.Prepare, s.act(activities.Prepare, prepare)},
		{activities.Fence, s.act(activities.Fence, activities.System.Fence)},
		{activities.Unfence, s.act(activities.Unfence, activities.System.Unfence)},
		{activities.CatchUp, s.act(activities.CatchUp, activities.System.CatchUp)},
		{activities.Promote, s.act(activities.Promote, activities.System.Promote)},
		{activities.Follow, s.act(activities.Follow, activities.System.Follow)},
		{activities.ObserveRoute, beat(s.observeRoute)},
		{activities.CloseRoute, s.actRoute(activities.CloseRoute, activities.Route.Close)},
		{activities.PointRoute, s.actRoute(activities.PointRoute, activities.Route.Point)},
		{activities.VerifyRoute, beat(func(ctx context.Context, in activities.VerifyInput) (activities.ActResult, error) {
			return s.Verify(ctx, in)
		})},
		{activities.StartWriter, beat(s.startWriter)},
		{activities.AwaitWriter, beat(func(ctx context.Context, in activities.WriterInput) (activities.ActResult, error) {
			return s.Writers.Await(ctx, in)
		})},
		{activities.StopWriter, beat(func(ctx context.Context, in activities.WriterInput) (activities.WriterReport, error) {
			return s.Writers.Stop(ctx, onOwnClock(ctx, in))
		})},
		{activities.AcquireLock, beat(func(ctx context.Context, in activities.LockInput) (activities.LockResult, error) {
			return s.Runs.Acquire(ctx, in)
		})},
		{activities.CheckHolders, beat(func(ctx context.Context, in []journal.Holder) ([]journal.Holder, error) {
			return s.Runs.Closed(ctx, in)
		})},
		{activities.WriteEvidence, beat(s.writeEvidence)},
		{activities.Announce, beat(s.announce)},
	}
}

// prepare has nothing to do for a system that cannot be prepared.
func prepare(driver activities.System, m activities.Move) activities.Action {
	if p, ok := driver.(activities.Preparer); ok {
		return p.Prepare(m)
	}
	return activities.Action{Look: func(context.Context) (activities.Look, error) { return activities.Look{Met: true}, nil }}
}

func (s *Steps) preflight(ctx context.Context, m activities.Move) (activities.PreflightResult, error) {
	driver, err := s.system(m.Target)
	if err != nil {
		return activities.PreflightResult{}, err
	}
	return driver.Preflight(ctx, m)
}

func (s *Steps) observeRoute(ctx context.Context, t activities.RouteTarget) (activities.RouteState, error) {
	driver, err := s.route(t)
	if err != nil {
		return activities.RouteState{}, err
	}
	return driver.Observe(ctx, t)
}

// startWriter starts a numbered writer.
func (s *Steps) startWriter(ctx context.Context, in activities.WriterInput) (activities.ActResult, error) {
	result, err := s.Writers.Start(ctx, in)
	result.Changed = result.Changed || startedEarlier(activity.GetInfo(ctx).Attempt, in.Run, result)
	return result, err
}

// startedEarlier counts what an attempt did whose worker was killed before it could say so.
func startedEarlier(attempt int32, run string, result activities.ActResult) bool {
	return attempt > 1 && run != "" && result.After[activities.FactStartedBy] == run
}

func (s *Steps) announce(ctx context.Context, in activities.AnnounceInput) (activities.Receipt, error) {
	n, known := s.Notifiers[in.Notifier.Kind]
	if !known {
		return activities.Receipt{}, &activities.Error{Type: activities.ErrConfig, Op: "tell " + in.Name,
			Err: fmt.Errorf("this worker has no notifier of kind %q", in.Notifier.Kind), Next: "use a worker of the release that the estate is written for"}
	}
	return n.Announce(ctx, in)
}

func (s *Steps) writeEvidence(ctx context.Context, in activities.EvidenceInput) (activities.EvidenceResult, error) {
	entries, err := s.Runs.Journal(ctx, in)
	if err != nil {
		return activities.EvidenceResult{}, err
	}
	return s.Write(entries)
}

func (s *Steps) act(name string, goal func(activities.System, activities.Move) activities.Action) func(context.Context, activities.ActInput) (activities.ActResult, error) {
	return func(ctx context.Context, in activities.ActInput) (activities.ActResult, error) {
		driver, err := s.system(in.Target)
		if err != nil {
			return activities.ActResult{}, activities.ToTemporal(err)
		}
		call := act{Op: strings.ToLower(name) + " " + in.Name, RequestID: in.RequestID, Lease: in.Lease, Runs: s.Runs}
		return call.do(ctx, goal(driver, in.Move))
	}
}

func (s *Steps) actRoute(name string, goal func(activities.Route, activities.RouteTarget, string) activities.Action) func(context.Context, activities.RouteInput) (activities.ActResult, error) {
	return func(ctx context.Context, in activities.RouteInput) (activities.ActResult, error) {
		driver, err := s.route(in.RouteTarget)
		if err != nil {
			return activities.ActResult{}, activities.ToTemporal(err)
		}
		call := act{Op: strings.ToLower(name) + " " + in.Name, RequestID: in.RequestID, Lease: in.Lease, Runs: s.Runs}
		return call.do(ctx, goal(driver, in.RouteTarget, in.Site))
	}
}

func (s *Steps) system(t activities.Target) (activities.System, error) {
	if driver, ok := s.Systems[t.System.Kind]; ok {
		return driver, nil
	}
	return nil, noDriver("system "+t.Name, t.System.Kind, s.Systems)
}

func (s *Steps) route(t activities.RouteTarget) (activities.Route, error) {
	if driver, ok := s.Routes[t.Route.Kind]; ok {
		return driver, nil
	}
	return nil, noDriver("route "+t.Name, t.Route.Kind, s.Routes)
}

func noDriver[D any](subject, kind string, drivers map[string]D) error {
	var kinds []string
	for k := range drivers {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	return &activities.Error{Type: activities.ErrConfig, Op: "find the driver of " + subject,
		Err: fmt.Errorf("this worker has none for the kind %q; it has %v", kind, kinds)}
}

// Marks opens marks by a system's kind; it is what writers and probes use to act as clients do.
func (s *Steps) Marks(ctx context.Context, t activities.Target, address string) (activities.Marks, error) {
	driver, err := s.system(t)
	if err != nil {
		return nil, err
	}
	return driver.Marks(ctx, t, address)
}

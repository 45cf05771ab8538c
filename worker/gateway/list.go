package gateway

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/musterhq/muster/workflows/run"
)

const (
	maxListed = 500 // runs of the start page
	together  = 16  // queries at once
)

// listView is the start page: what waits for people, then what runs by itself.
type listView struct {
	Gates  []waiting // the nearest deadline first
	Holds  []waiting // the longest held first
	Others []OpenRun
	Mute   []OpenRun // runs that should say what they wait for, and do not answer
	More   bool
}

// waiting is an open gate or a hold, of a run.
type waiting struct {
	Run  run.Status
	Gate *run.GateStatus
	Hold *run.HoldStatus
}

func (g *Gateway) list(w http.ResponseWriter, r *http.Request, s session) {
	r, done := bounded(r)
	defer done()
	v, err := g.lookAround(r.Context(), s)
	if err != nil {
		g.silent(w, r, s, err)
		return
	}
	g.render(w, r, http.StatusOK, page{Title: "What waits for people", Body: "list", Session: &s, List: v})
}

// lookAround asks all open runs that wait for people, and leaves out those of estates where s is nobody.
func (g *Gateway) lookAround(ctx context.Context, s session) (*listView, error) {
	open, more, err := g.opts.Runs.Open(ctx, maxListed)
	if err != nil {
		return nil, err
	}
	mine := estates{load: g.opts.Estate, who: s.Who, is: map[string]bool{}}
	v := &listView{More: more}
	var ask []OpenRun
	for _, o := range open {
		switch {
		case o.State == "" || ((o.State == run.StateAwaiting || o.State == run.StateHeld) && mine.has(o.Estate)):
			ask = append(ask, o)
		case o.State != run.StateAwaiting && o.State != run.StateHeld && mine.has(o.Estate):
			v.Others = append(v.Others, o)
		}
	}
	statuses, mute := g.askAll(ctx, ask)
	for _, o := range mute {
		if mine.has(o.Estate) {
			v.Mute = append(v.Mute, o)
		}
	}
	for _, status := range statuses {
		if mine.has(status.Header.Estate) {
			v.add(status)
		}
	}
	slices.SortStableFunc(v.Gates, func(a, b waiting) int { return a.Gate.Deadline.Compare(b.Gate.Deadline) })
	slices.SortStableFunc(v.Holds, func(a, b waiting) int { return a.Hold.Since.Compare(b.Hold.Since) })
	byID := func(a, b OpenRun) int { return cmp.Compare(a.WorkflowID, b.WorkflowID) }
	slices.SortStableFunc(v.Others, byID)
	slices.SortStableFunc(v.Mute, byID)
	return v, nil
}

func (v *listView) add(status run.Status) {
	for i := range status.Gates {
		v.Gates = append(v.Gates, waiting{Run: status, Gate: &status.Gates[i]})
	}
	for i := range status.Holds {
		v.Holds = append(v.Holds, waiting{Run: status, Hold: &status.Holds[i]})
	}
	if len(status.Gates)+len(status.Holds) == 0 && status.State != run.StateEnded {
		h := status.Header
		v.Others = append(v.Others, OpenRun{WorkflowID: h.WorkflowID, RunID: h.RunID, Operation: h.Operation, Estate: h.Estate, State: status.State, Started: status.Started})
	}
}

// askAll asks some runs at once. A run that does not answer hides no other.
func (g *Gateway) askAll(ctx context.Context, ask []OpenRun) (statuses []run.Status, mute []OpenRun) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout-2*time.Second)
	defer cancel()
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(together)
	for _, o := range ask {
		group.Go(func() error {
			status, err := g.opts.Runs.Status(ctx, o.WorkflowID, o.RunID)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				statuses = append(statuses, status)
			case !errors.Is(err, ErrNoRun): // it ended meanwhile
				g.log.Debug("a run does not answer", "workflow", o.WorkflowID, "why", err.Error())
				mute = append(mute, o)
			}
			return nil
		})
	}
	_ = group.Wait() // its functions return no error
	return statuses, mute
}

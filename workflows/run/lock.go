package run

import (
	"fmt"
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// LockID names the workflow that is the lock of a system, across all operations.
func LockID(estate, system string) string { return "lock:" + estate + "/" + system }

// Lock takes the locks of the systems, in the order of their names, so that two runs cannot wait for each other.
func (r *Run) Lock(ctx workflow.Context, systems []string) error {
	names := slices.Clone(systems)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := r.lock(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) lock(ctx workflow.Context, system string) error {
	id := LockID(r.header.Estate, system)
	me := journal.Holder{WorkflowID: r.header.WorkflowID, RunID: r.header.RunID, Operation: r.header.Operation, By: r.header.RequestedBy}
	// Registered before it is asked for: a run that is stopped while it waits leaves the queue too.
	r.leases[system] = activities.Lease{LockWorkflow: id, Holder: me.RunID}
	asked, _, err := Step[activities.LockResult](ctx, r, Spec{Phase: "lock", System: system, Title: "lock " + system,
		Activity: activities.AcquireLock, Intent: Probe, Input: activities.LockInput{LockWorkflow: id, Holder: me}})
	if err != nil {
		return err
	}
	if _, granted := r.grants[id]; !granted {
		if by := asked.HeldBy; by != nil && by.RunID != me.RunID {
			r.Note(ctx, system, fmt.Sprintf("waits for %s of %s, which holds %s", by.Operation, by.WorkflowID, system))
		}
		r.setState(ctx, StateWaiting)
		err := workflow.Await(ctx, func() bool { return r.grants[id] != 0 || r.abort != nil })
		if stopped := r.stopped(ctx, err); stopped != nil {
			return stopped
		}
		r.setState(ctx, StateRunning)
	}
	r.leases[system] = activities.Lease{LockWorkflow: id, Holder: me.RunID, Token: r.grants[id]}
	r.Record(ctx, journal.Entry{Kind: journal.Locked, Phase: "lock", System: system, Title: fmt.Sprintf("holds %s, fencing token %d", system, r.grants[id])})
	return nil
}

// release frees every lock that the run holds or waits for. A lock that cannot be told finds out by itself that its holder has closed.
func (r *Run) release(ctx workflow.Context) {
	for _, system := range workflow.DeterministicKeys(r.leases) {
		lease := r.leases[system]
		err := workflow.SignalExternalWorkflow(ctx, lease.LockWorkflow, "", SignalRelease, lease.Holder).Get(ctx, nil)
		if err == nil && lease.Token != 0 {
			r.Record(ctx, journal.Entry{Kind: journal.Unlocked, Phase: "unlock", System: system, Title: "freed " + system})
		}
	}
	r.leases = map[string]activities.Lease{}
}

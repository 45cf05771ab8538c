package run

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// holderCheck is how often a lock that somebody waits for looks whether its holder still runs.
const holderCheck = time.Second

// LockState is what a lock carries over when it continues as new.
type LockState struct {
	Holder *journal.Holder  `json:"holder,omitempty"`
	Token  int64            `json:"token"`
	Queue  []journal.Holder `json:"queue,omitempty"`
}

// Lock is the workflow that is the lock of one system: first come, first served. It is freed by its holder, or when its
// holder has closed, and never by time alone. Tokens rise with every grant.
func Lock(ctx workflow.Context, s LockState) error {
	if s.Token == 0 {
		// A lock that somebody terminated starts above every token it can have granted.
		s.Token = workflow.Now(ctx).UnixMilli()
	}
	err := workflow.SetQueryHandler(ctx, QueryLock, func() (LockStatus, error) {
		return LockStatus(s), nil
	})
	if err != nil {
		return err
	}
	acquire := workflow.GetSignalChannel(ctx, SignalAcquire)
	release := workflow.GetSignalChannel(ctx, SignalRelease)
	for {
		s.drain(ctx, acquire, release)
		if s.Holder == nil && len(s.Queue) > 0 {
			s.grant(ctx)
			continue
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			return workflow.NewContinueAsNewError(ctx, Lock, s)
		}
		if s.Holder != nil && len(s.Queue) > 0 && s.holderClosed(ctx) {
			s.Holder = nil
			continue
		}
		wait, cancel := workflow.WithCancel(ctx)
		selector := workflow.NewSelector(ctx)
		selector.AddReceive(acquire, func(c workflow.ReceiveChannel, _ bool) {})
		selector.AddReceive(release, func(c workflow.ReceiveChannel, _ bool) {})
		if len(s.Queue) > 0 {
			selector.AddFuture(workflow.NewTimer(wait, holderCheck), func(workflow.Future) {})
		}
		selector.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {})
		selector.Select(ctx)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (s *LockState) drain(ctx workflow.Context, acquire, release workflow.ReceiveChannel) {
	var wants journal.Holder
	for acquire.ReceiveAsync(&wants) {
		s.want(ctx, wants)
		wants = journal.Holder{}
	}
	var runID string
	for release.ReceiveAsync(&runID) {
		if s.Holder != nil && s.Holder.RunID == runID {
			s.Holder = nil
		}
		kept := s.Queue[:0]
		for _, w := range s.Queue {
			if w.RunID != runID {
				kept = append(kept, w)
			}
		}
		s.Queue = kept
	}
}

// want queues a run. A run that holds the lock already asks again because its worker was killed: it is told again.
func (s *LockState) want(ctx workflow.Context, h journal.Holder) {
	if s.Holder != nil && s.Holder.RunID == h.RunID {
		s.tell(ctx)
		return
	}
	for _, w := range s.Queue {
		if w.RunID == h.RunID {
			return
		}
	}
	s.Queue = append(s.Queue, h)
}

func (s *LockState) grant(ctx workflow.Context) {
	next := s.Queue[0]
	s.Queue = s.Queue[1:]
	s.Holder = &next
	s.Token++
	if !s.tell(ctx) {
		s.Holder = nil
	}
}

// tell reports false where the holder could not be told because it has closed.
func (s *LockState) tell(ctx workflow.Context) bool {
	grant := Grant{LockWorkflow: workflow.GetInfo(ctx).WorkflowExecution.ID, Token: s.Token}
	return workflow.SignalExternalWorkflow(ctx, s.Holder.WorkflowID, s.Holder.RunID, SignalGranted, grant).Get(ctx, nil) == nil
}

func (s *LockState) holderClosed(ctx workflow.Context) bool {
	var closed []journal.Holder
	call := workflow.ExecuteActivity(Probe.options(ctx, "does the holder still run?"), activities.CheckHolders, []journal.Holder{*s.Holder})
	return call.Get(ctx, &closed) == nil && len(closed) == 1
}

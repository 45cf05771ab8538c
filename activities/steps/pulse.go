package steps

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/musterhq/muster/activities"
)

// beatEvery is well below the heartbeat timeout of 2 seconds, so that a slow machine loses no step.
const beatEvery = 400 * time.Millisecond

var (
	errCanceled = errors.New("the run was stopped")
	errGone     = errors.New("another attempt is at work: Temporal gave this one up")
)

// pulse heartbeats past the SDK's batching: an intent must be stored before its act starts, and no beat may overwrite it.
type pulse struct {
	attempt int32
	send    func(ctx context.Context, details any) error
	cancel  context.CancelCauseFunc
	found   *activities.Intent // of an earlier attempt; nil where there is none
	last    any

	mu   sync.Mutex
	done chan struct{}
	wait sync.WaitGroup
	ctx  context.Context
}

func startPulse(parent context.Context) (*pulse, context.Context) {
	ctx, cancel := context.WithCancelCause(parent)
	p := &pulse{cancel: cancel, done: make(chan struct{}), ctx: parent, attempt: 1}
	info := activity.GetInfo(parent)
	p.attempt = info.Attempt
	client := activity.GetClient(parent)
	p.send = func(ctx context.Context, details any) error {
		return client.RecordActivityHeartbeat(ctx, info.TaskToken, details)
	}
	if p.found = intentOf(parent); p.found != nil {
		p.last = *p.found
	}
	p.wait.Add(1)
	go p.beat()
	return p, ctx
}

// intentOf returns what an earlier attempt of this activity wrote down before it acted.
func intentOf(ctx context.Context) *activities.Intent {
	if !activity.HasHeartbeatDetails(ctx) {
		return nil
	}
	var i activities.Intent
	if err := activity.GetHeartbeatDetails(ctx, &i); err != nil || i.RequestID == "" {
		return nil
	}
	return &i
}

// record stores an intent. It returns after Temporal has it.
func (p *pulse) record(ctx context.Context, i activities.Intent) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.send(ctx, i); err != nil {
		p.judge(err)
		return err
	}
	p.last = i
	return nil
}

func (p *pulse) beat() {
	defer p.wait.Done()
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second)
		err := p.send(ctx, p.last)
		cancel()
		p.mu.Unlock()
		p.judge(err)
	}
}

// judge stops the work where Temporal says that this attempt is over. Anything else may pass: an engine that is away comes back.
func (p *pulse) judge(err error) {
	var canceled *temporal.CanceledError
	var notFound *serviceerror.NotFound
	switch {
	case errors.As(err, &canceled):
		p.cancel(errCanceled)
	case errors.As(err, &notFound):
		p.cancel(errGone)
	}
}

func (p *pulse) stop() {
	close(p.done)
	p.wait.Wait()
	p.cancel(context.Canceled)
}

package slack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	api "github.com/slack-go/slack"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

// Config is what Incoming needs. Secrets are references, resolved for each use, so that a rotated one is seen at once.
type Config struct {
	SigningSecret runbooks.Secret // of the app; needed by Handler only
	AppToken      runbooks.Secret // app-level token with connections:write; needed by Socket only
	BotToken      runbooks.Secret // opens modals, looks people up, answers them: chat:write and users:read
	Teams         []string        // IDs of the workspaces whose members may click: T0123ABCD
	API           string          // URL of the Web API; empty: Slack's own
	Hear          activities.Hear // called again with the same Nonce where nobody knows whether it was heard
	Log           *slog.Logger    // nil: nothing is logged
}

const (
	maxPending = 4096 // clicks that were acknowledged and are not done; one more is not acknowledged, and its person sees that
	maxAtWork  = 32   // of them, at work at once; and as many modals being opened
	// triggerLife is how long Slack takes a click's trigger_id for opening a modal.
	triggerLife = 3 * time.Second
	hearTimeout = 15 * time.Second
)

// Incoming hears what people click in Slack and takes it to Config.Hear. Both ways in, Handler and Socket, may be open at once.
type Incoming struct {
	Config
	people   people
	seen     seen
	patience time.Duration // how long a click is tried when its run, or Slack, does not answer

	ctx     context.Context // of the work that was acknowledged: it outlives its request
	cancel  context.CancelFunc
	closing chan struct{}
	mu      sync.Mutex // orders begin and Drain
	work    sync.WaitGroup
	pending atomic.Int64
	atWork  chan struct{}
	opening chan struct{}
}

// New checks the configuration; secrets are not resolved yet.
func New(config Config) (*Incoming, error) {
	if config.Hear == nil {
		return nil, errors.New("configure Slack: Hear is missing")
	}
	if len(config.Teams) == 0 {
		return nil, errors.New("configure Slack: no team is allowed; name the workspace's ID, such as T0123ABCD")
	}
	for _, team := range config.Teams {
		if !teamID.MatchString(team) {
			return nil, fmt.Errorf("configure Slack: %q is not the ID of a workspace, such as T0123ABCD", team)
		}
	}
	if err := config.BotToken.Valid(); err != nil {
		return nil, fmt.Errorf("configure Slack: bot token: %w", err)
	}
	if _, err := checkEndpoint(config.API); err != nil {
		return nil, fmt.Errorf("configure Slack: %w", err)
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	i := &Incoming{Config: config, patience: time.Minute, closing: make(chan struct{}),
		atWork: make(chan struct{}, maxAtWork), opening: make(chan struct{}, maxAtWork)}
	i.ctx, i.cancel = context.WithCancel(context.Background())
	return i, nil
}

// errBusy: the click is not acknowledged, so that Slack tells its person.
var errBusy = errors.New("too many clicks are being worked on, or the gateway is stopping")

// take is the one way in for both transports. It returns at once: what it took is acted upon later, whatever becomes of the
// request. reply is the body of the acknowledgement, nil for none. An error means: do not acknowledge.
func (i *Incoming) take(body []byte, at time.Time) (reply any, err error) {
	c, err := parse(body)
	var field fieldError
	switch {
	case errors.Is(err, errIgnore):
		return nil, nil
	case errors.As(err, &field):
		return api.NewErrorsViewSubmissionResponse(map[string]string{field.block: field.text}), nil
	case err != nil:
		return nil, err
	}
	c.at = at
	if !i.seen.first(c.nonce, at) {
		return nil, nil // delivered before, and taken then
	}
	if !i.begin(c) {
		i.seen.forget(c.nonce)
		return nil, errBusy
	}
	return nil, nil
}

// begin puts a click to work, unless there is too much of it.
func (i *Incoming) begin(c click) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.closing:
		return false
	default:
	}
	if i.pending.Load() >= maxPending {
		return false
	}
	i.pending.Add(1)
	i.work.Go(func() {
		defer i.pending.Add(-1)
		lane := i.opening
		if c.submitted {
			lane = i.atWork // a slow run keeps nobody from opening a modal
		}
		lane <- struct{}{}
		defer func() { <-lane }()
		if c.submitted {
			i.decide(i.ctx, c)
		} else {
			i.open(i.ctx, c)
		}
	})
	return true
}

// Drain takes no more clicks and waits until those that were acknowledged are done. Where ctx ends first it gives them up
// and says how many they were. Call it once, after Socket's context has ended.
func (i *Incoming) Drain(ctx context.Context) error {
	i.mu.Lock()
	close(i.closing)
	i.mu.Unlock()
	done := make(chan struct{})
	go func() {
		i.work.Wait()
		close(done)
	}()
	defer i.cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop hearing Slack: %d clicks were acknowledged and are not done: %w", i.pending.Load(), ctx.Err())
	}
}

// seen remembers nonces for one to two generations.
type seen struct {
	mu       sync.Mutex
	now, old map[string]struct{}
	since    time.Time
}

const generation = 10 * time.Minute // more than twice the age that a signature may have

// first says whether nonce was not seen before, and remembers it.
func (s *seen) first(nonce string, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil || at.Sub(s.since) > generation {
		s.old, s.now, s.since = s.now, map[string]struct{}{}, at
	}
	_, now := s.now[nonce]
	_, old := s.old[nonce]
	s.now[nonce] = struct{}{}
	return !now && !old
}

func (s *seen) forget(nonce string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.now, nonce)
}

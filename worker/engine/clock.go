package engine

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.temporal.io/server/chasm"
	"go.temporal.io/server/common/clock"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/persistence/serialization"
	"go.temporal.io/server/common/pprof"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/common/resource"
	"go.temporal.io/server/service/history"
	"go.temporal.io/server/service/history/replication"
	"go.temporal.io/server/temporal"
	"go.uber.org/fx"
)

// steadyClock is the clock of Temporal's timers: the wall clock, but where that is set back this one goes on, a little slower, until
// the wall clock has caught up. Temporal gives no timer a time before the latest that it has seen: without this, a clock set back by
// an hour keeps every retry, timeout and deadline waiting for an hour, in silence.
type steadyClock struct {
	clock.RealTimeSource
	file string
	log  *slog.Logger

	mu   sync.Mutex
	last time.Time     // as the machine said, wall and monotonic
	lead time.Duration // of this clock over the wall clock
}

const (
	leadFile  = "clock-lead"          // outlives a restart: so do the timers
	jitter    = 50 * time.Millisecond // between reading the wall clock and the monotonic one
	slowdown  = 8                     // a lead shrinks by an eighth of the time that passes
	leadWorth = time.Second           // of a line in the log
)

func newSteadyClock(dir string, log *slog.Logger) *steadyClock {
	c := &steadyClock{file: filepath.Join(dir, leadFile), log: log, last: time.Now()}
	var lead time.Duration
	var at int64
	if text, err := os.ReadFile(c.file); err == nil {
		if _, err := fmt.Sscanf(string(text), "%d %d", &lead, &at); err == nil {
			c.lead = lead - time.Since(time.Unix(0, at))/slowdown
			c.lead = min(max(c.lead, 0), lead)
		}
	}
	return c
}

// Now never goes back by more than the jitter.
func (c *steadyClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	passed := now.Sub(c.last)                          // monotonic
	step := now.Round(0).Sub(c.last.Round(0)) - passed // of the wall clock
	if before := c.lead; step < -jitter || (step > jitter && c.lead > 0) {
		c.lead = max(0, c.lead-step)
		c.stepped(step, before)
	}
	c.lead -= min(c.lead, passed/slowdown)
	c.last = now
	return now.Add(c.lead).UTC()
}

// Since is by this clock.
func (c *steadyClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// stepped says so, and writes the lead down. Where that fails, it fails to outlive the process only.
func (c *steadyClock) stepped(step, before time.Duration) {
	if max(step, -step) < leadWorth {
		return
	}
	c.log.Warn("this machine's clock was set", "by", step.String(), "lead of Temporal's timers", c.lead.String(), "before", before.String())
	text := fmt.Sprintf("%d %d\n", c.lead, time.Now().UnixNano())
	if err := os.WriteFile(c.file, []byte(text), 0o600); err != nil {
		c.log.Warn("the lead of Temporal's timers is lost at the next start", "why", err.Error())
	}
}

// topLevel is temporal.TopLevelModule with a history service, which has the timers, on the steady clock.
func (c *steadyClock) topLevel() fx.Option {
	historyService := func(params temporal.ServiceProviderParamsCommon) (temporal.ServicesGroupOut, error) {
		app := fx.New(params.GetCommonServiceOptions(primitives.HistoryService), history.QueueModule, history.Module, replication.Module,
			fx.Decorate(func(clock.TimeSource) clock.TimeSource { return c }))
		return temporal.NewService(app, primitives.HistoryService, params.Logger), app.Err()
	}
	return fx.Options(
		fx.Provide(
			temporal.NewServerFxImpl,
			temporal.ServerOptionsProvider,
			resource.ArchivalMetadataProvider,
			temporal.TaskCategoryRegistryProvider,
			historyService,
			temporal.MatchingServiceProvider,
			temporal.FrontendServiceProvider,
			temporal.InternalFrontendServiceProvider,
			temporal.WorkerServiceProvider,
			temporal.ApplyClusterMetadataConfigProvider,
		),
		dynamicconfig.Module,
		pprof.Module,
		temporal.TraceExportModule,
		chasm.Module,
		serialization.Module,
		temporal.FxLogAdapter,
		fx.Invoke(temporal.ServerLifetimeHooks),
	)
}

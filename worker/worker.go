package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/email"
	"github.com/musterhq/muster/activities/evidence"
	"github.com/musterhq/muster/activities/haproxy"
	"github.com/musterhq/muster/activities/host"
	"github.com/musterhq/muster/activities/pagerduty"
	"github.com/musterhq/muster/activities/postgres"
	"github.com/musterhq/muster/activities/probe"
	"github.com/musterhq/muster/activities/redis"
	"github.com/musterhq/muster/activities/slack"
	"github.com/musterhq/muster/activities/steps"
	"github.com/musterhq/muster/activities/webhook"
	"github.com/musterhq/muster/activities/writer"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/internal/local"
	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/worker/engine"
	"github.com/musterhq/muster/workflows"
	"github.com/musterhq/muster/workflows/run"
)

// Run serves until ctx ends: it starts the engine where no cluster is configured, and polls for work. ready is called once
// with where the engine is; for a configured cluster, its UI is empty.
func Run(ctx context.Context, c Config, log *slog.Logger, ready func(local.Engine)) (err error) {
	c, err = c.withDefaults()
	if err != nil {
		return err
	}
	options, configured, err := c.cluster()
	if err != nil {
		return err
	}
	at := local.Engine{PID: os.Getpid(), Runbooks: c.Runbooks, Evidence: c.Evidence}
	failed := make(<-chan error)
	if !configured {
		server, err := engine.Start(ctx, engine.Options{Dir: c.State, Port: c.Port, UIPort: c.UIPort, Logger: log})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, server.Stop()) }()
		failed = server.Failed()
		options.HostPort, options.Namespace = server.Address(), "default"
		at.UI = server.UIAddress()
	}
	options.Logger = sdklog.NewStructuredLogger(log)
	options.ConnectionOptions.DialOptions = append(options.ConnectionOptions.DialOptions, reconnect)
	temporal, err := client.DialContext(ctx, options)
	if err != nil {
		return fmt.Errorf("connect to Temporal at %s: %w (next: check TEMPORAL_ADDRESS, TLS and the API key; without them the worker starts Temporal itself)", options.HostPort, err)
	}
	defer temporal.Close()
	at.Address, at.Namespace = options.HostPort, orDefault(options.Namespace)

	attributes, err := registerAttributes(ctx, temporal, at.Namespace)
	if err != nil {
		log.Warn("runs will not be searchable by muster's attributes", "why", err.Error())
	}
	activitySteps, closeSteps := c.steps(temporal, attributes)
	defer closeSteps()
	w := newWorker(temporal, activitySteps)
	if err := w.Start(); err != nil {
		return fmt.Errorf("start polling %s: %w", run.TaskQueue, err)
	}
	defer w.Stop()
	door, err := c.openGateway(ctx, temporal, at.Namespace, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, door.stop()) }()
	at.Gateway = door.url()
	if !configured {
		if err := local.Write(c.State, at); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, local.Remove(c.State, at.PID)) }()
	}
	ready(at)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("the engine failed: %w", err)
	case err := <-door.failed():
		return fmt.Errorf("gateway %s failed: %w", c.Gateway, err)
	}
}

// reconnect tries at once and often where Temporal is away: the default waits one second, then more, while clients are cut off.
var reconnect = grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second,
	Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.3, Jitter: 0.2, MaxDelay: time.Second}})

func orDefault(namespace string) string {
	if namespace == "" {
		return "default"
	}
	return namespace
}

func newWorker(temporal client.Client, s *steps.Steps) worker.Worker {
	w := worker.New(temporal, run.TaskQueue, worker.Options{
		// After a crash a run waits this long for the worker that knew it, then any worker replays it.
		StickyScheduleToStartTimeout: time.Second,
		// Steps of a thousand waiting runs must not starve the one that is failing over.
		MaxConcurrentActivityExecutionSize: 200,
		// An activity that is told to stop has this long to say what it did.
		WorkerStopTimeout: 3 * time.Second,
	})
	for _, entry := range workflows.Registry() {
		w.RegisterWorkflowWithOptions(entry.Func, workflow.RegisterOptions{Name: entry.Name, VersioningBehavior: entry.Versioning})
	}
	s.Register(w)
	return w
}

// steps composes the drivers. This is the only place that knows them all.
func (c Config) steps(temporal client.Client, attributes bool) (*steps.Steps, func()) {
	hosts := host.New()
	databases, caches := postgres.New(hosts), redis.New(hosts)
	s := &steps.Steps{
		Systems: map[string]activities.System{"postgresql": databases, "redis": caches},
		Routes:  map[string]activities.Route{"haproxy": haproxy.Driver{}},
		Notifiers: map[string]activities.Notifier{
			"slack": &slack.Notifier{}, "pagerduty": pagerduty.New(), "email": email.New(), "webhook": webhook.New(),
		},
		Runs: runs{client: temporal},
		Load: func(in activities.LoadRunbookInput) (activities.LoadRunbookResult, error) {
			resolved, err := c.load(in)
			return activities.LoadRunbookResult{Resolved: resolved, SearchAttributes: attributes}, err
		},
		Write: func(entries []journal.Entry) (activities.EvidenceResult, error) {
			return evidence.Write(c.Evidence, entries)
		},
	}
	s.Verify = func(ctx context.Context, in activities.VerifyInput) (activities.ActResult, error) {
		return probe.Verify(ctx, s.Marks, in)
	}
	s.Writers = writer.NewKeeper(c.State, s.Marks, writer.SpawnSelf)
	return s, func() { caches.Close(); databases.Close(); hosts.Close() }
}

// load reads the folder anew for each run, so that an edited runbook counts from the next run on.
func (c Config) load(in activities.LoadRunbookInput) (runbooks.Resolved, error) {
	folder, err := runbooks.Load(c.Runbooks)
	if folder == nil {
		return runbooks.Resolved{}, &activities.Error{Type: activities.ErrConfig, Op: "read the runbooks in " + c.Runbooks, Err: err, Next: "muster validate"}
	}
	// A mistake in another file of the folder is no reason to refuse this runbook: Resolve knows which are wrong.
	resolved, err := folder.Resolve(in.Runbook, runbooks.Overrides{Mode: in.Mode, From: in.From, To: in.To, Kind: in.Kind})
	if err != nil {
		return runbooks.Resolved{}, &activities.Error{Type: activities.ErrConfig, Op: "resolve runbook " + in.Runbook, Err: err, Next: "muster validate " + c.Runbooks}
	}
	return resolved, nil
}

// RunWriter is the body of the writer process.
func RunWriter(ctx context.Context, config string) error {
	hosts := host.New()
	defer hosts.Close()
	databases, caches := postgres.New(hosts), redis.New(hosts)
	defer databases.Close()
	defer caches.Close()
	s := &steps.Steps{Systems: map[string]activities.System{"postgresql": databases, "redis": caches}}
	return writer.Run(ctx, config, s.Marks)
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/temporal"
	"go.uber.org/dig"
)

const (
	clusterName  = "active"
	startTimeout = 30 * time.Second
)

// serverSetup is everything that temporal.NewServer takes from us.
type serverSetup struct {
	config *config.Config
	hosts  map[primitives.ServiceName]static.Hosts
	clock  *steadyClock
}

func serverConfig(opts Options, p ports, db database) serverSetup {
	frontend := net.JoinHostPort(opts.Host, strconv.Itoa(p.frontend))
	setup := serverSetup{
		config: &config.Config{
			Persistence: config.Persistence{
				DefaultStore:     sqlite.PluginName,
				VisibilityStore:  sqlite.PluginName,
				NumHistoryShards: 1, // more gain nothing over one writer; fixed for the life of the file
				DataStores:       map[string]config.DataStore{sqlite.PluginName: {SQL: db.sql}},
			},
			ClusterMetadata: &cluster.Config{
				FailoverVersionIncrement: 10,
				MasterClusterName:        clusterName,
				CurrentClusterName:       clusterName,
				ClusterInformation: map[string]cluster.ClusterInformation{
					clusterName: {Enabled: true, InitialFailoverVersion: 1, RPCAddress: frontend},
				},
			},
			DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
			PublicClient:        config.PublicClient{HostPort: frontend},
			Archival: config.Archival{
				History:    config.HistoryArchival{State: "disabled"},
				Visibility: config.VisibilityArchival{State: "disabled"},
			},
			NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
				History:    config.HistoryArchivalNamespaceDefaults{State: "disabled"},
				Visibility: config.VisibilityArchivalNamespaceDefaults{State: "disabled"},
			}},
			Services: map[string]config.Service{},
		},
		hosts: map[primitives.ServiceName]static.Hosts{},
		clock: newSteadyClock(opts.Dir, opts.Logger),
	}
	for name, port := range map[primitives.ServiceName]int{
		primitives.FrontendService: p.frontend,
		primitives.HistoryService:  p.history,
		primitives.MatchingService: p.matching,
		primitives.WorkerService:   p.worker,
	} {
		setup.config.Services[string(name)] = config.Service{RPC: config.RPC{GRPCPort: port, BindOnIP: opts.Host}}
		// Fixed addresses in place of a gossip ring: no second port per service, no time to join.
		setup.hosts[name] = static.SingleLocalHost(net.JoinHostPort(opts.Host, strconv.Itoa(port)))
	}
	return setup
}

// boot starts the four services. The server reports its worst errors by exiting the process; its
// logger ends the goroutine instead (see fate), and boot returns that error.
func boot(ctx context.Context, setup serverSetup, logger *serverLogger) (temporal.Server, error) {
	type outcome struct {
		server temporal.Server
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		out := outcome{err: errors.New("the start was cut short")} // what a fatal error leaves behind
		defer func() {
			if p := recover(); p != nil {
				out.err = fmt.Errorf("panic: %v", p)
			}
			done <- out
		}()
		out.server, out.err = newServer(setup, logger)
		if out.err == nil {
			out.err = out.server.Start()
		}
	}()

	var out outcome
	var ended bool
	var err error
	select {
	case out = <-done:
		ended, err = true, out.err
		select {
		case err = <-logger.fate.errs: // the cause behind "cut short"
		default:
		}
	case err = <-logger.fate.errs:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(startTimeout):
		err = fmt.Errorf("not ready within %s", startTimeout)
	}
	if err == nil {
		return out.server, nil
	}
	logger.fate.ending.Store(true)
	if !ended { // whatever did start must not outlive the failure
		select {
		case out = <-done:
		case <-time.After(stopTimeout):
		}
	}
	if out.server != nil {
		_ = stopServer(out.server)
	}
	return nil, bootError(err)
}

func newServer(setup serverSetup, logger *serverLogger) (temporal.Server, error) {
	return temporal.NewServerFx(
		setup.clock.topLevel(),
		temporal.WithConfig(setup.config),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(setup.hosts),
		temporal.WithDynamicConfigClient(tuning()),
		temporal.WithLogger(logger),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return authorization.NewNoopClaimMapper() }),
	)
}

func bootError(err error) error {
	err = dig.RootCause(err) // without the dependency injector's call stack
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: %w: another process took it a moment ago: start again", errPortTaken, err)
	}
	return fmt.Errorf("the Temporal server cannot start: %w", err)
}

package starter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"

	"github.com/musterhq/muster/internal/local"
)

const dialTimeout = 5 * time.Second

// engine is a connection to the Temporal that runs the runs.
type engine struct {
	client.Client
	address   string
	namespace string
	source    string       // where the address comes from, for errors
	local     local.Engine // zero where the engine is not this machine's worker's
}

// lookup follows the app's environment, so that tests have one of their own.
type lookup struct{ getenv func(string) string }

func (l lookup) Environ() []string { return os.Environ() }

func (l lookup) LookupEnv(key string) (string, bool) {
	value := l.getenv(key)
	return value, value != ""
}

func dial(ctx context.Context, a *app) (*engine, error) {
	options, e, err := a.target()
	if err != nil {
		return nil, err
	}
	options.Logger = quiet()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	e.Client, err = client.DialContext(ctx, options)
	if err != nil {
		next := "check the address, the network and the worker, or start one: muster-worker"
		if e.local.PID > 0 {
			next = "start the worker: muster-worker"
			if !e.local.Running() {
				err = fmt.Errorf("the worker that wrote it (process %d) is gone", e.local.PID)
			}
		}
		return nil, fail(next, "no Temporal answers at %s, namespace %s (from %s): %w", e.address, e.namespace, e.source, err)
	}
	return e, nil
}

// dialAt connects to a worker's engine whatever the environment says.
func dialAt(ctx context.Context, at local.Engine, options client.Options) (*engine, error) {
	options.HostPort, options.Namespace, options.Logger = at.Address, at.Namespace, quiet()
	c, err := client.DialContext(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("connect to the engine at %s: %w", at.Address, err)
	}
	return &engine{Client: c, address: at.Address, namespace: at.Namespace, source: "the worker", local: at}, nil
}

// quiet drops the SDK's log: what matters of it comes back as errors.
func quiet() log.Logger { return log.NewStructuredLogger(slog.New(slog.DiscardHandler)) }

// target says which Temporal to talk to: flags, then the environment and the profile, then this machine's worker.
func (a *app) target() (client.Options, *engine, error) {
	request := envconfig.LoadClientConfigProfileOptions{ConfigFileProfile: a.options.profile, EnvLookup: lookup{a.getenv}}
	profile, err := envconfig.LoadClientConfigProfile(request)
	if err != nil {
		return client.Options{}, nil, fail("check --profile, TEMPORAL_PROFILE and TEMPORAL_CONFIG_FILE", "read Temporal's client configuration: %w", err)
	}
	e := &engine{source: "TEMPORAL_ADDRESS or the profile"}
	if a.options.address != "" {
		profile.Address, e.source = a.options.address, "--address"
	}
	if profile.Address == "" {
		if profile.APIKey != "" || profile.TLS != nil || a.options.profile != "" {
			return client.Options{}, nil, fail("set --address or TEMPORAL_ADDRESS", "Temporal's client configuration has a profile, TLS or an API key, and no address")
		}
		if e.local, e.source, err = a.localEngine(); err != nil {
			return client.Options{}, nil, err
		}
		profile.Address = e.local.Address
		if profile.Namespace == "" {
			profile.Namespace = e.local.Namespace
		}
	}
	if a.options.namespace != "" {
		profile.Namespace = a.options.namespace
	}
	options, err := profile.ToClientOptions(envconfig.ToClientOptionsRequest{})
	if err != nil {
		return client.Options{}, nil, fail("check the TLS files and the API key that the profile names", "read Temporal's client configuration: %w", err)
	}
	options.Identity = "muster:" + a.user()
	e.address, e.namespace = options.HostPort, options.Namespace
	if e.namespace == "" {
		e.namespace = client.DefaultNamespace
	}
	return options, e, nil
}

// localEngine reads what this machine's worker wrote, and returns the path of the file.
func (a *app) localEngine() (local.Engine, string, error) {
	dir, err := local.StateDir()
	if err != nil {
		return local.Engine{}, "", err
	}
	path := local.Path(dir)
	e, err := local.Read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return local.Engine{}, path, fail("start the worker with muster-worker, or name another Temporal with --address or TEMPORAL_ADDRESS",
			"no Temporal to talk to: no address is configured, and no worker of this machine has written %s", path)
	}
	if err != nil {
		return local.Engine{}, path, fail("restart muster-worker, which writes it anew", "%w", err)
	}
	return e, path, nil
}

// with connects, runs f and closes the connection.
func (a *app) with(ctx context.Context, f func(e *engine) error) error {
	e, err := a.dial(ctx, a)
	if err != nil {
		return err
	}
	defer e.Close()
	return f(e)
}

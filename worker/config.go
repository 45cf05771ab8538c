// Package worker is the daemon, and the only place where drivers, workflows, the engine and configuration meet.
package worker

import (
	"fmt"
	"os"
	"path/filepath"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/musterhq/muster/internal/local"
)

// Config is what a worker is told by flags and environment.
type Config struct {
	State    string // folder for the engine's database, writers' logs and evidence; default $MUSTER_STATE or ~/.local/state/muster
	Runbooks string // folder of estates and runbooks; default $MUSTER_RUNBOOKS or ./runbooks
	Evidence string // folder for evidence; default State/evidence
	Port     int    // the engine's gRPC port; 0 takes a free one
	UIPort   int    // the engine's Web UI port; 0 takes a free one, -1 runs none
	Address  string // a Temporal cluster's host:port; overrides environment and profile
	Profile  string // envconfig profile
	Gateway  string // which of the estates' gateways to serve; empty: none
}

// DefaultPort and DefaultUIPort are Temporal's own, so that its CLI finds the engine without a word.
const (
	DefaultPort   = 7233
	DefaultUIPort = 8233
)

func (c Config) withDefaults() (Config, error) {
	var err error
	if c.State == "" {
		if c.State, err = local.StateDir(); err != nil {
			return c, err
		}
	}
	if c.State, err = filepath.Abs(c.State); err != nil {
		return c, fmt.Errorf("state folder %s: %w", c.State, err)
	}
	if c.Runbooks == "" {
		c.Runbooks = os.Getenv("MUSTER_RUNBOOKS")
	}
	if c.Runbooks == "" {
		c.Runbooks = "runbooks"
	}
	if c.Runbooks, err = filepath.Abs(c.Runbooks); err != nil {
		return c, fmt.Errorf("runbooks folder %s: %w", c.Runbooks, err)
	}
	if c.Evidence == "" {
		c.Evidence = filepath.Join(c.State, "evidence")
	}
	c.Evidence, err = filepath.Abs(c.Evidence)
	return c, err
}

// cluster returns how a configured Temporal cluster is reached, and false where none is configured.
func (c Config) cluster() (client.Options, bool, error) {
	profile, err := envconfig.LoadClientConfigProfile(envconfig.LoadClientConfigProfileOptions{ConfigFileProfile: c.Profile})
	if err != nil {
		return client.Options{}, false, fmt.Errorf("read Temporal's client configuration: %w (next: check TEMPORAL_PROFILE and the file that TEMPORAL_CONFIG_FILE names)", err)
	}
	if c.Address != "" {
		profile.Address = c.Address
	}
	if profile.Address == "" && profile.APIKey == "" {
		return client.Options{}, false, nil
	}
	options, err := profile.ToClientOptions(envconfig.ToClientOptionsRequest{})
	if err != nil {
		return client.Options{}, false, fmt.Errorf("use Temporal's client configuration: %w", err)
	}
	return options, true, nil
}

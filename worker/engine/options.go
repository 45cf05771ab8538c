package engine

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"
)

// DefaultRetention is how long a closed run stays in the database. Temporal's own default of 24
// hours loses a Friday night's failover before Monday's review; 30 days outlasts a monthly drill
// and its review. Evidence files live on without it, and a run takes well under a megabyte.
const DefaultRetention = 30 * 24 * time.Hour

// Options describe one engine. Only Dir is required.
type Options struct {
	// Dir is the state folder, created where it is missing. One engine at a time may hold it.
	Dir string
	// Host is a loopback address, 127.0.0.1 by default: the engine authenticates nobody.
	Host string
	// Port of the frontend (gRPC); 0 takes a free one.
	Port int
	// UIPort of the Web UI; 0 takes a free one, -1 runs no UI.
	UIPort int
	// Namespace is created where it is missing; "default" by default.
	Namespace string
	// Retention of closed runs, DefaultRetention by default, at least one hour. It is applied on
	// every start, also to a namespace that exists.
	Retention time.Duration
	// Logger receives the server's log; slog.Default() by default.
	Logger *slog.Logger
	// LogLevel is the least level that reaches Logger; slog.LevelWarn by default.
	LogLevel slog.Leveler
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("no state folder given: name a folder on a local disk that outlives the process")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, fmt.Errorf("state folder %s: %w", o.Dir, err)
	}
	o.Dir = dir
	if o.Host, err = loopback(o.Host); err != nil {
		return o, err
	}
	for _, p := range []struct {
		name string
		port int
	}{{"port", o.Port}, {"UI port", max(o.UIPort, 0)}} {
		if p.port < 0 || p.port > 65535 {
			return o, fmt.Errorf("%s %d is not a port: give 0 (any free one) to 65535", p.name, p.port)
		}
	}
	if o.Port != 0 && o.Port == o.UIPort {
		return o, fmt.Errorf("port %d is given to both Temporal and its UI: give each its own", o.Port)
	}
	o.Namespace = cmp.Or(o.Namespace, "default")
	o.Retention = cmp.Or(o.Retention, DefaultRetention)
	if o.Retention < time.Hour {
		return o, fmt.Errorf("retention %s is too short: Temporal keeps closed runs for one hour at least", o.Retention)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.LogLevel == nil {
		o.LogLevel = slog.LevelWarn
	}
	return o, nil
}

// loopback returns the IP to listen on: whoever reaches the engine may do anything with it.
func loopback(host string) (string, error) {
	if host == "" || host == "localhost" {
		return "127.0.0.1", nil
	}
	ip := net.ParseIP(host)
	if ip == nil || !ip.IsLoopback() {
		return "", fmt.Errorf("host %s is not a loopback address: the built-in Temporal has no authentication, "+
			"so it listens on 127.0.0.1 only; to share one, run a Temporal cluster and set TEMPORAL_ADDRESS", host)
	}
	return ip.String(), nil
}

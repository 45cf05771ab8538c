// Package gateway is muster's HTTP door for people: the page where they sign in and decide, and the one function that all channels
// hand decisions to (Hear). It proves who somebody is to the run by its own SSH signature.
package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

// Options describe one gateway. Name, Key, Runs and Estate are required; Address too where it is to be started.
type Options struct {
	// Name is this gateway's name in the gateways of the estates, which hold its public key.
	Name string
	// Key is the file of its SSH private key, in OpenSSH's format and without a passphrase.
	Key string
	// Runs is how runs are asked and told: FromTemporal.
	Runs Runs
	// Estate returns an estate by its name, as it is now: a person who was taken out of it is out. It is called for each request.
	Estate func(name string) (runbooks.Estate, error)

	// Address is host:port to listen on; port 0 takes a free one. Without TLS it is a loopback address.
	Address string
	// Cert and CertKey are PEM files. They are read anew when they change, so a renewed certificate needs no restart.
	Cert, CertKey string
	// URL is where people reach the gateway; default its address. Set it behind a reverse proxy, and where Address is no name.
	URL string
	// Forwarded takes the source of a request from the last entry of X-Forwarded-For. Only behind a proxy that writes it.
	Forwarded bool

	// OIDC is how people sign in; nil: there are no pages.
	OIDC *OIDC
	// Session is how long a sign-in lasts, at most; default 8 hours.
	Session time.Duration

	// Mounts are the handlers of drivers, by pattern ("POST /slack/interactions", "/pagerduty/"). They verify what arrives themselves.
	Mounts map[string]http.Handler
	// AnswerTimeout bounds how long Hear waits for a run; default 10 seconds.
	AnswerTimeout time.Duration
	// Pages and Drivers limit requests by source: of people's pages, and of mounts, whose senders (Slack) have few addresses.
	Pages, Drivers Rate

	Logger *slog.Logger     // default slog.Default()
	Now    func() time.Time // default time.Now
}

const (
	maxForm     = 64 << 10 // bytes of a page's form
	maxBody     = 1 << 20  // bytes of what a driver's sender posts
	maxHeader   = 16 << 10
	stopTimeout = 5 * time.Second
)

// Gateway hears people. Hear works without Start: a driver in Socket Mode needs no door.
type Gateway struct {
	opts     Options
	signer   ssh.Signer
	log      *slog.Logger
	now      func() time.Time
	metrics  *metrics
	sessions *sessions
	signIn   *signIn // nil without OIDC
	ready    readiness
	mounts   map[string]http.Handler

	url      string
	secure   bool // people reach it by https
	server   *http.Server
	listener net.Listener
	failed   chan error
	stop     sync.Once
	stopErr  error
}

// New checks the options and reads the key; nothing listens yet.
func New(o Options) (*Gateway, error) {
	g, err := newGateway(o)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return g, nil
}

func newGateway(o Options) (*Gateway, error) {
	switch {
	case o.Name == "":
		return nil, errors.New("it has no name (next: name it as the estate's gateways do)")
	case o.Runs == nil:
		return nil, errors.New("no Runs are set")
	case o.Estate == nil:
		return nil, errors.New("no function Estate is set")
	}
	o.Session = cmp.Or(o.Session, 8*time.Hour)
	o.AnswerTimeout = cmp.Or(o.AnswerTimeout, 10*time.Second)
	o.Pages = o.Pages.or(Rate{PerSecond: 20, Burst: 60})
	o.Drivers = o.Drivers.or(Rate{PerSecond: 500, Burst: 1000})
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.Now == nil {
		o.Now = time.Now
	}
	signer, text, err := readKey(o.Key)
	if err != nil {
		return nil, err
	}
	if o.Address != "" {
		if err := checkAddress(o); err != nil {
			return nil, err
		}
	}
	g := &Gateway{opts: o, signer: signer, log: o.Logger, now: o.Now, metrics: newMetrics(), failed: make(chan error, 1), mounts: map[string]http.Handler{}}
	if g.sessions, err = newSessions(text, o.Session, o.Now); err != nil {
		return nil, err
	}
	if o.OIDC != nil {
		if g.signIn, err = newSignIn(*o.OIDC, o.Now); err != nil {
			return nil, err
		}
	}
	for pattern, handler := range o.Mounts {
		g.Mount(pattern, handler)
	}
	return g, nil
}

// Mount adds a driver's handler, before Start. It is how a driver that needs the gateway's Hear gets its door.
func (g *Gateway) Mount(pattern string, handler http.Handler) { g.mounts[pattern] = handler }

// PublicKey is the gateway's key as the estate's gateways list it, in authorized_keys format.
func (g *Gateway) PublicKey() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(g.signer.PublicKey())))
}

// Start listens and serves until Stop. What breaks the server later arrives at Failed.
func (g *Gateway) Start(ctx context.Context) error {
	if g.opts.Address == "" {
		return errors.New("gateway: it has no address to listen on")
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", g.opts.Address)
	if err != nil {
		return fmt.Errorf("gateway: listen on %s: %w (next: choose another address)", g.opts.Address, err)
	}
	g.listener = listener
	scheme := "http"
	if g.opts.Cert != "" {
		certificate := &certificate{cert: g.opts.Cert, key: g.opts.CertKey}
		listener = tls.NewListener(listener, certificate.config())
		scheme = "https"
	}
	g.url = strings.TrimSuffix(cmp.Or(g.opts.URL, scheme+"://"+g.listener.Addr().String()), "/")
	g.secure = strings.HasPrefix(g.url, "https://")
	handler, err := g.handler()
	if err != nil {
		_ = g.listener.Close()
		return fmt.Errorf("gateway: %w", err)
	}
	g.server = &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 60 * time.Second, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := g.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			g.failed <- fmt.Errorf("gateway: serve on %s: %w", g.listener.Addr(), err)
		}
	}()
	return nil
}

// URL is where people reach the gateway, once it is started, without a slash at its end.
func (g *Gateway) URL() string { return g.url }

// Address is host:port that it listens on, once it is started.
func (g *Gateway) Address() string { return g.listener.Addr().String() }

// Failed delivers what made the server end by itself.
func (g *Gateway) Failed() <-chan error { return g.failed }

// Stop lets requests that are under way end for a few seconds, then closes. It is safe to repeat, and before Start.
func (g *Gateway) Stop() error {
	g.stop.Do(func() {
		if g.server == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := g.server.Shutdown(ctx); err != nil {
			g.stopErr = fmt.Errorf("gateway: stop: requests were cut off after %s: %w", stopTimeout, errors.Join(err, g.server.Close()))
		}
	})
	return g.stopErr
}

var _ activities.Hear = (*Gateway)(nil).Hear

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/temporalio/ui-server/v2/server/api"
	"github.com/temporalio/ui-server/v2/server/config"
	"github.com/temporalio/ui-server/v2/server/csrf"
	"github.com/temporalio/ui-server/v2/server/headers"
	"github.com/temporalio/ui-server/v2/server/route"
	"github.com/temporalio/ui-server/v2/ui"
)

// webUI serves Temporal's Web UI from the embedded assets. It uses the routes of ui-server but not
// its Server, whose Start exits the process where the port is taken: here the port is held from
// the beginning, and a failure is an error.
type webUI struct {
	listener net.Listener
	server   *http.Server
}

func reserveUI(opts Options) (*webUI, error) {
	l, err := listen(opts.Host, opts.UIPort, "the Temporal UI")
	if err != nil {
		return nil, err
	}
	return &webUI{listener: l}, nil
}

func (u *webUI) serve(frontend, namespace string, log *slog.Logger) error {
	handler, err := uiHandler(&config.Config{
		TemporalGRPCAddress: frontend,
		EnableUI:            true,
		DefaultNamespace:    namespace,
		DisableNewsFetch:    true,                              // the UI asks no server but this one
		CORS:                config.CORS{CookieInsecure: true}, // loopback speaks plain http
		HideLogs:            true,
	})
	if err != nil {
		return fmt.Errorf("the Temporal UI cannot start: %w", err)
	}
	u.server = &http.Server{
		Handler:           localOnly(handler),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go func() {
		if err := u.server.Serve(u.listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the Temporal UI stopped", "address", u.listener.Addr().String(), "error", err)
		}
	}()
	return nil
}

// stop waits one second for requests that are being answered.
func (u *webUI) stop() error {
	if u.server == nil {
		return u.listener.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := u.server.Shutdown(ctx); err != nil {
		return u.server.Close()
	}
	return nil
}

// uiHandler is what ui-server's NewServer assembles, less sign-in.
func uiHandler(cfg *config.Config) (http.Handler, error) {
	provider, err := config.NewConfigProviderWithRefresh(cfg)
	if err != nil {
		return nil, err
	}
	assets, err := ui.Assets()
	if err != nil {
		return nil, err
	}
	local, err := fs.Sub(assets, "local")
	if err != nil {
		return nil, err
	}
	e := echo.New()
	e.Logger.SetOutput(io.Discard)
	secure := !cfg.CORS.CookieInsecure
	e.Use(middleware.Recover(), middleware.Gzip(), middleware.Secure(),
		csrf.EnsureTokenCookie(secure), middleware.CSRFWithConfig(csrf.MiddlewareConfig(provider, secure)))
	route.SetHealthRoute(e)
	if err := route.SetAPIRoutes(e, provider, []api.Middleware{headers.WithForwardHeaders([]string{"Caller-Type"})}); err != nil {
		return nil, err
	}
	if err := route.SetUIRoutes(e, cfg.PublicPath, local, provider); err != nil {
		return nil, err
	}
	route.SetRenderRoute(e, "/")
	return e, nil
}

// localOnly refuses what a browser was tricked into: a foreign name that resolves to loopback
// (DNS rebinding) reaches the listener, but its Host header tells. It also closes the one route
// that asks the internet, for newer releases.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if _, err := loopback(host); err != nil || host == "" {
			http.Error(w, "the Temporal UI answers on loopback names only", http.StatusForbidden)
			return
		}
		if r.URL.Path == "/api/v1/releases" {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"sync"
	"time"
)

//go:embed style.css
var style string

// policy allows the one style sheet that stands in the page, forms to the gateway, and nothing else: no script at all.
var policy = fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'", hashOf(style))

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// handler puts the routes together, each behind its guards.
func (g *Gateway) handler() (http.Handler, error) {
	mux := http.NewServeMux()
	pages, drivers := newLimiter(g.opts.Pages, g.now), newLimiter(g.opts.Drivers, g.now)
	mux.Handle("GET /healthz", g.limited(pages, maxForm, http.HandlerFunc(healthz)))
	mux.Handle("GET /readyz", g.limited(pages, maxForm, http.HandlerFunc(g.readyz)))
	mux.Handle("GET /metrics", g.limited(pages, maxForm, g.metrics.handler()))
	protection := http.NewCrossOriginProtection()
	if err := protection.AddTrustedOrigin(g.url); err != nil { // behind a proxy, Host may be another than the browser's
		return nil, fmt.Errorf("trust %s: %w", g.url, err)
	}
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.problem(w, r, nil, http.StatusForbidden, "This form came from another site", "Nothing was done. Open the page again here, and decide there.")
	}))
	for pattern, handler := range g.routes() {
		mux.Handle(pattern, g.limited(pages, maxForm, protection.Handler(handler)))
	}
	if err := mount(mux, g.mounts, func(h http.Handler) http.Handler { return g.limited(drivers, maxBody, h) }); err != nil {
		return nil, err
	}
	mux.Handle("/", g.limited(pages, maxForm, http.HandlerFunc(g.notFound)))
	return g.watched(mux), nil
}

// mount turns the panic of a pattern that is wrong, or taken, into an error.
func mount(mux *http.ServeMux, mounts map[string]http.Handler, guard func(http.Handler) http.Handler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("mount the drivers' handlers: %v", p)
		}
	}()
	for pattern, handler := range mounts {
		mux.Handle(pattern, guard(handler))
	}
	return nil
}

// limited refuses sources that ask too often, and bodies that are too big.
func (g *Gateway) limited(l *limiter, most int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !l.allow(sourceOf(r, g.opts.Forwarded)) {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests from this address: wait a second", http.StatusTooManyRequests)
			return
		}
		if r.ContentLength > most {
			http.Error(w, fmt.Sprintf("the body has %d bytes, at most %d are read", r.ContentLength, most), http.StatusRequestEntityTooLarge)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		next.ServeHTTP(w, r)
	})
}

// watched is around everything: the request's ID, headers, the log and metrics. Neither has query strings, cookies or bodies.
func (g *Gateway) watched(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started, id := g.now(), requestID()
		h := w.Header()
		h.Set("X-Request-Id", id)
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin") // no-referrer would make a form's Origin "null"
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		if g.secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		answer := &recorder{ResponseWriter: w}
		defer func() {
			p := recover()
			if p != nil && answer.code == 0 {
				http.Error(answer, "internal error, request "+id, http.StatusInternalServerError)
			}
			pattern, took := r.Pattern, g.now().Sub(started)
			if pattern == "" {
				pattern = "other" // a wrong method: the mux answered by itself
			}
			g.metrics.served(pattern, answer.status(), took)
			log := g.log.With("id", id, "method", r.Method, "path", pattern, "code", answer.status(), "took", took, "from", sourceOf(r, g.opts.Forwarded))
			if p != nil {
				log.Error("request failed", "panic", fmt.Sprint(p))
				return
			}
			log.Info("request")
		}()
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, id))
		mux.ServeHTTP(answer, r)
	})
}

type requestKey struct{}

func requestID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails: crypto/rand.Read says so
	return hex.EncodeToString(b)
}

// recorder remembers the status code.
type recorder struct {
	http.ResponseWriter
	code int
}

func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.code == 0 {
		r.code = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController and MaxBytesReader reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) status() int {
	if r.code == 0 {
		return http.StatusOK
	}
	return r.code
}

func healthz(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// readiness remembers for a moment what Temporal answered, so that a probe gone wild does not reach it.
type readiness struct {
	mu    sync.Mutex
	asked time.Time
	err   error
}

func (g *Gateway) readyz(w http.ResponseWriter, r *http.Request) {
	g.ready.mu.Lock()
	defer g.ready.mu.Unlock()
	if g.ready.asked.IsZero() || g.now().Sub(g.ready.asked) >= time.Second {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 2*time.Second)
		defer cancel()
		g.ready.err, g.ready.asked = g.opts.Runs.Ready(ctx), g.now()
		if g.ready.err != nil {
			g.log.Warn("not ready", "why", g.ready.err.Error())
		}
	}
	if g.ready.err != nil {
		http.Error(w, "runs cannot be asked: Temporal does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

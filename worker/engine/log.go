package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"

	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
)

// harmless are warnings that the server writes on a healthy single process.
var harmless = map[string]bool{
	"HTTP API port has not been set. Nexus HTTP endpoints will not be available. To enable Nexus, follow these instructions: https://github.com/temporalio/temporal/blob/main/docs/architecture/nexus.md#enabling-nexus.": true,
}

// fate is what the engine and its server's logger tell each other.
type fate struct {
	errs   chan error  // the error for which the server would have exited the process
	ending atomic.Bool // from now on every refused connection and cancelled call is expected
}

func newFate() *fate { return &fate{errs: make(chan error, 1)} }

func (f *fate) report(err error) {
	select {
	case f.errs <- err:
	default: // the first one is the cause
	}
}

// serverLogger passes the server's log to slog. Its Fatal ends the calling goroutine, where
// Temporal's own ends the process.
type serverLogger struct {
	slog *slog.Logger
	tags []tag.Tag
	fate *fate
}

var (
	_ log.Logger      = (*serverLogger)(nil)
	_ log.WithLogger  = (*serverLogger)(nil)
	_ log.SLogWrapper = (*serverLogger)(nil)
)

func newServerLogger(opts Options, f *fate) *serverLogger {
	return &serverLogger{
		slog: slog.New(&filter{Handler: opts.Logger.Handler(), level: opts.LogLevel, ending: &f.ending}),
		fate: f,
	}
}

func (l *serverLogger) Debug(msg string, tags ...tag.Tag)  { l.log(slog.LevelDebug, msg, tags) }
func (l *serverLogger) Info(msg string, tags ...tag.Tag)   { l.log(slog.LevelInfo, msg, tags) }
func (l *serverLogger) Warn(msg string, tags ...tag.Tag)   { l.log(slog.LevelWarn, msg, tags) }
func (l *serverLogger) Error(msg string, tags ...tag.Tag)  { l.log(slog.LevelError, msg, tags) }
func (l *serverLogger) DPanic(msg string, tags ...tag.Tag) { l.log(slog.LevelError, msg, tags) }

// Panic panics, since the server's callers count on not going on.
func (l *serverLogger) Panic(msg string, tags ...tag.Tag) {
	l.log(slog.LevelError, msg, tags)
	panic(msg)
}

// Fatal reports the error and ends the goroutine: deferred calls run, locks are freed, and fx
// notices a hook that ends so.
func (l *serverLogger) Fatal(msg string, tags ...tag.Tag) {
	err := errors.New(msg)
	for _, t := range tags {
		if zap, ok := t.(tag.ZapTag); ok {
			if cause, ok := zap.Field().Interface.(error); ok {
				err = fmt.Errorf("%s: %w", msg, cause)
			}
		}
	}
	l.fate.report(err)
	runtime.Goexit()
}

// With keeps the tags as they are: the server makes a logger for every task and rarely uses it.
func (l *serverLogger) With(tags ...tag.Tag) log.Logger {
	return &serverLogger{slog: l.slog, tags: slices.Concat(l.tags, tags), fate: l.fate}
}

// SLog is for the SDK clients inside the server, and the UI.
func (l *serverLogger) SLog() *slog.Logger { return l.slog }

func (l *serverLogger) log(level slog.Level, msg string, tags []tag.Tag) {
	ctx := context.Background()
	if !l.slog.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, len(l.tags)+len(tags))
	for _, t := range slices.Concat(l.tags, tags) {
		attrs = append(attrs, slog.Any(t.Key(), t.Value()))
	}
	l.slog.LogAttrs(ctx, level, msg, attrs...)
}

// filter keeps the server's noise from a handler that others share.
type filter struct {
	slog.Handler
	level  slog.Leveler
	ending *atomic.Bool
}

func (f *filter) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= f.level.Level() && !f.ending.Load() && f.Handler.Enabled(ctx, level)
}

func (f *filter) Handle(ctx context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn && harmless[r.Message] {
		return nil
	}
	return f.Handler.Handle(ctx, r)
}

func (f *filter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &filter{Handler: f.Handler.WithAttrs(attrs), level: f.level, ending: f.ending}
}

func (f *filter) WithGroup(name string) slog.Handler {
	return &filter{Handler: f.Handler.WithGroup(name), level: f.level, ending: f.ending}
}

// Package engine runs Temporal inside the worker's own process: four services, a SQLite file and
// the Web UI, on loopback only. It is the one package that imports go.temporal.io/server, which
// makes a binary 120 MB larger: only worker/ links it, and only where no Temporal address is configured.
package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.temporal.io/server/temporal"
)

// stopTimeout bounds the server's orderly stop. It drains for one second; whatever takes longer
// is stuck, and the database is safe without an orderly stop.
const stopTimeout = 10 * time.Second

// Engine is a running Temporal server with its state folder locked.
type Engine struct {
	opts   Options
	addr   string
	lock   *folderLock
	db     database
	server temporal.Server
	fate   *fate
	ui     *webUI // nil where the UI is off

	stop    sync.Once
	stopErr error
}

// Start locks the state folder, opens or creates its database, and returns once the namespace
// answers (about half a second). Every failure is one line that says what, where, why and what to
// do next; it never panics or exits the process. A folder that a killed engine left resumes.
func Start(ctx context.Context, opts Options) (*Engine, error) {
	e, err := start(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("engine: %w", oneLine(err))
	}
	return e, nil
}

func start(ctx context.Context, opts Options) (_ *Engine, err error) {
	opts, err = opts.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{opts: opts}
	defer func() {
		if err != nil {
			_ = e.Stop()
		}
	}()

	if e.lock, err = lockFolder(opts.Dir); err != nil {
		return nil, err
	}
	if e.db, err = openDatabase(opts); err != nil {
		return nil, err
	}
	if opts.UIPort >= 0 {
		if e.ui, err = reserveUI(opts); err != nil {
			return nil, err
		}
	}
	identifyBinary()
	if err = e.startServer(ctx); err != nil {
		return nil, err
	}
	if err = awaitNamespace(ctx, e.addr, opts, e.fate); err != nil {
		return nil, err
	}
	if e.ui != nil {
		if err = e.ui.serve(e.addr, opts.Namespace, newServerLogger(opts, e.fate).SLog()); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// startServer tries again on other ports where another process took a free one in between.
func (e *Engine) startServer(ctx context.Context) error {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		ports, err := choosePorts(e.opts.Host, e.opts.Port)
		if err != nil {
			return err
		}
		e.addr = net.JoinHostPort(e.opts.Host, strconv.Itoa(ports.frontend))
		e.fate = newFate()
		e.server, err = boot(ctx, serverConfig(e.opts, ports, e.db), newServerLogger(e.opts, e.fate))
		if err == nil {
			return nil
		}
		if retry := errors.Is(err, errPortTaken) && e.opts.Port == 0; !retry || attempt == attempts {
			return err
		}
	}
}

// Address is the host:port of the frontend, for client.Options.HostPort.
func (e *Engine) Address() string { return e.addr }

// UIAddress is the http URL of the Web UI, empty where it is off.
func (e *Engine) UIAddress() string {
	if e.ui == nil {
		return ""
	}
	return "http://" + e.ui.listener.Addr().String()
}

// Failed delivers at most one error: the reason for which the server would have exited the
// process had it been on its own. The engine is of no use from then on: stop and exit.
func (e *Engine) Failed() <-chan error { return e.fate.errs }

// Stop ends the UI, then the server after a drain of one second, and unlocks the folder. Stop
// workers and clients first: their polls are what the drain waits for. Safe to repeat; later
// calls wait for the first and return its error. Running workflows stay in the database.
func (e *Engine) Stop() error {
	e.stop.Do(func() { e.stopErr = e.shutdown() })
	return e.stopErr
}

func (e *Engine) shutdown() error {
	if e.fate != nil {
		e.fate.ending.Store(true)
	}
	var errs []error
	if e.ui != nil {
		errs = append(errs, e.ui.stop())
	}
	if e.server != nil {
		errs = append(errs, stopServer(e.server))
	}
	if e.db.sql != nil {
		errs = append(errs, e.db.checkpoint())
	}
	if e.lock != nil {
		errs = append(errs, e.lock.release())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("engine: stop: %w", oneLine(err))
	}
	return nil
}

func stopServer(server temporal.Server) error {
	done := make(chan error, 1)
	go func() { done <- server.Stop() }()
	select {
	case err := <-done:
		return err
	case <-time.After(stopTimeout):
		return fmt.Errorf("the Temporal server did not stop within %s; nothing is lost, end the process", stopTimeout)
	}
}

// oneLine keeps the chain of err and folds its text into one line.
func oneLine(err error) error {
	if !strings.ContainsAny(err.Error(), "\n\t") {
		return err
	}
	return &folded{err}
}

type folded struct{ error }

func (f *folded) Error() string { return strings.Join(strings.Fields(f.error.Error()), " ") }
func (f *folded) Unwrap() error { return f.error }

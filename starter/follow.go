package starter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/musterhq/muster/workflows/run"
)

const (
	pollEvery = 250 * time.Millisecond
	endGrace  = 10 * time.Second
)

// follower shows a run until it ends.
type follower struct {
	a       *app
	e       *engine
	x       execution
	quiet   bool      // shows only where people are needed
	noWait  bool      // end where people are needed
	decider *identity // asks at gates, in the foreground; nil: only shows what to type
	auto    bool      // approves the plan for the decider instead of asking, and gives up at a hold

	seen    int             // journal entries printed
	asked   map[string]bool // gates and holds that were shown
	drawn   int             // lines of the live view on the screen
	silent  bool            // a failing query was reported
	planned string          // hash of the plan that was shown
}

// errAwaiting ends following with --no-wait where a decision or an operator is awaited.
var errAwaiting = errors.New("awaiting people")

// follow shows the run's progress and returns its result.
func (a *app) follow(ctx context.Context, f follower) (run.Result, error) {
	f.a, f.asked = a, map[string]bool{}
	type ending struct {
		result run.Result
		err    error
	}
	ended := make(chan ending, 1)
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		r, err := f.e.result(waiting, f.x)
		ended <- ending{r, err}
	}()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case end := <-ended:
			if ctx.Err() == nil && !f.quiet {
				f.last(ctx)
			}
			f.wipe()
			return end.result, end.err
		case <-ctx.Done():
			f.wipe()
			return run.Result{}, ctx.Err()
		case <-tick.C:
			if err := f.step(ctx); err != nil {
				f.wipe()
				return run.Result{}, err
			}
		}
	}
}

// step looks once and shows what is new.
func (f *follower) step(ctx context.Context) error {
	s, err := f.e.status(ctx, f.x)
	if err != nil {
		if !f.silent && ctx.Err() == nil {
			f.wipe()
			f.a.say("waiting: %s\n", printable(err.Error()))
			f.silent = true
		}
		return nil // the run goes on without us: so do we without its worker
	}
	f.silent = false
	if f.quiet {
		return f.people(ctx, s)
	}
	if f.a.live() {
		f.draw(s)
	} else if err := f.lines(ctx, s); err != nil {
		return nil
	}
	return f.people(ctx, s)
}

// lines prints the journal's new entries.
func (f *follower) lines(ctx context.Context, s run.Status) error {
	if s.Entries <= f.seen {
		return nil
	}
	entries, err := f.e.journal(ctx, f.x, f.seen)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if line := f.a.entryLine(e); line != "" {
			f.a.say("%s\n", line)
		}
		f.seen = e.Seq
	}
	return nil
}

// last shows what happened since the last look. The run has ended: without a worker its result still tells the outcome.
func (f *follower) last(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, endGrace)
	defer cancel()
	s, err := f.e.status(ctx, f.x)
	if err != nil {
		return
	}
	if f.a.live() {
		f.wipe()
		f.a.showStatus(f.a.people(), s, time.Now())
		return
	}
	_ = f.lines(ctx, s) // shown as far as it could be read
}

// people shows gates and holds once each, and asks where it may.
func (f *follower) people(ctx context.Context, s run.Status) error {
	for _, g := range s.Gates {
		key := "gate " + g.Name + " " + g.PlanHash
		if f.asked[key] {
			continue
		}
		f.asked[key] = true
		f.wipe()
		if f.planned != g.PlanHash {
			if p, err := f.e.plan(ctx, f.x); err == nil {
				f.a.showPlan(f.a.people(), p)
				f.planned = p.Hash
			}
		}
		f.a.showGate(f.a.people(), g)
		if f.decider != nil && f.planned == g.PlanHash {
			if err := f.decide(ctx, g); err != nil {
				return err
			}
			continue
		}
		f.a.say("  next: %s\n", printable(gateHint(f.x.WorkflowID, g)))
	}
	for _, h := range s.Holds {
		key := "hold " + h.Step + h.Since.String()
		if !f.asked[key] {
			f.asked[key] = true
			f.wipe()
			if f.auto {
				return fmt.Errorf("held: %s: %s", h.Step, h.Why)
			}
			f.a.say("held: %s: %s\n  next: %s\n", printable(h.Step), printable(h.Why), printable(holdHint(f.x.WorkflowID, h)))
		}
	}
	if f.noWait && (len(s.Gates) > 0 || len(s.Holds) > 0) {
		return errAwaiting
	}
	return nil
}

// decide asks the person at the terminal. Somebody else may decide meanwhile: then the question is withdrawn.
func (f *follower) decide(ctx context.Context, g run.GateStatus) error {
	asking, withdraw := context.WithCancel(ctx)
	defer withdraw()
	go f.watchGate(asking, withdraw, g)
	o := decideOptions{identity: *f.decider}
	if f.auto {
		o.decision, o.reason = "approve", "decided by --auto"
		if g.Risk != "" {
			o.decision, o.reason = "reject", "--auto takes no risk"
		}
	}
	if !f.auto && !f.asks(asking, g, &o) {
		return ctx.Err()
	}
	withdraw()
	answer, _, err := f.a.decide(ctx, f.e, f.x, g, o)
	switch {
	case err != nil && f.auto:
		return err
	case err != nil:
		f.a.say("%s\n  next: %s\n", printable(err.Error()), printable(gateHint(f.x.WorkflowID, g)))
	case !answer.Accepted && f.auto:
		return fmt.Errorf("%s of %s was refused: %s", o.decision, g.Name, answer.Message)
	case !answer.Accepted:
		f.a.say("%s: %s\n  next: %s\n", f.a.paint(red, "refused"), printable(answer.Message), printable(gateHint(f.x.WorkflowID, g)))
	default:
		f.a.say("%s\n", printable(answer.Message))
	}
	return ctx.Err()
}

// asks gets decision and reason; false where nothing is to be sent.
func (f *follower) asks(asking context.Context, g run.GateStatus, o *decideOptions) bool {
	for o.decision == "" {
		answer, ok := f.a.ask(asking, fmt.Sprintf("Decide on plan %s: approve, reject or later?", short(g.PlanHash)))
		switch {
		case !ok:
			f.a.say("\n")
			return false
		case answer == "approve" || answer == "reject":
			o.decision = answer
		case answer == "later":
			f.a.say("  next: %s\n", printable(gateHint(f.x.WorkflowID, g)))
			return false
		}
	}
	reason, ok := f.a.ask(asking, "Reason:")
	if !ok {
		f.a.say("\n")
	}
	o.reason = reason
	return ok
}

func (f *follower) watchGate(ctx context.Context, withdraw func(), g run.GateStatus) {
	tick := time.NewTicker(2 * pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s, err := f.e.status(ctx, f.x)
			if err != nil {
				continue
			}
			if _, err := openGate(s, g.Name); err != nil {
				withdraw()
				return
			}
		}
	}
}

// draw paints the live view over the one before.
func (f *follower) draw(s run.Status) {
	width, height := f.a.size()
	now := time.Now()
	s.Gates, s.Holds = nil, nil // shown once, above: they must stay readable
	var b bytes.Buffer
	f.a.showStatus(&b, s, now)
	fmt.Fprintf(&b, "  %s %s\n", f.a.paint(faint, "running for"), now.Sub(s.Started).Round(time.Second))
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	if extra := len(lines) - (height - 2); extra > 0 {
		lines = append(lines[:1], lines[1+extra:]...) // the newest steps are at the end
	}
	f.wipe()
	for _, line := range lines {
		fmt.Fprintln(f.a.out, cut(line, width))
	}
	f.drawn = len(lines)
}

func (f *follower) wipe() {
	if f.drawn > 0 {
		fmt.Fprintf(f.a.out, "\x1b[%dA\x1b[J", f.drawn)
	}
	f.drawn = 0
}

// cut shortens a line to the terminal's width; colours take no width.
func cut(line string, width int) string {
	n, inColour := 0, false
	for i, r := range line {
		switch {
		case r == '\x1b':
			inColour = true
		case inColour:
			inColour = r != 'm'
		default:
			if n++; n > width-1 {
				return line[:i] + "…\x1b[0m"
			}
		}
	}
	return line
}

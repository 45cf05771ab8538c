package starter

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
	"golang.org/x/crypto/ssh"

	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/internal/local"
	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/workflows/run"
)

// presenter is the person of the demo's estate whose key the demo makes.
const presenter = "you"

type demoOptions struct {
	auto   bool
	worker string
	dir    string
}

// demoRun is one run of the demo's JSON output.
type demoRun struct {
	execution
	Runbook string     `json:"runbook"`
	Result  run.Result `json:"result"`
}

func newDemo(a *app) *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "A real estate fails over and back while clients write; nothing is left behind but the evidence",
		Long: `A real two-site estate, PostgreSQL and Redis, fails over and back on this machine while clients write to both.

The demo starts muster-worker with Temporal inside and a sandbox (PostgreSQL, Redis, HAProxy; what is missing is installed from Debian's
packages, after saying so), shows the plan, asks you, moves the estate, moves it back, and prints what clients saw of it. When it
ends, or is interrupted, it stops everything and keeps only the evidence.

` + exitCodes,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runDemo(cmd.Context(), o) },
	}
	c.Flags().BoolVar(&o.auto, "auto", false, "approve without asking, with the demo's own key: for scripts")
	c.Flags().StringVar(&o.worker, "worker", "", "the muster-worker binary (default: beside muster, or in PATH)")
	c.Flags().StringVar(&o.dir, "dir", "", "folder for the evidence (default: demo in the state folder)")
	return c
}

func (a *app) runDemo(ctx context.Context, o demoOptions) (err error) {
	if !o.auto && !isTerminal(a.in) {
		return usagef("the demo asks for your approval, and stdin is no terminal: let it decide with --auto")
	}
	d := demo{app: *a, o: o}
	if d.worker, err = findWorker(o.worker); err != nil {
		return err
	}
	if d.evidence, err = demoEvidence(o.dir); err != nil {
		return err
	}
	if err := sandbox.Install(ctx, a.people(), sandbox.Missing(sandbox.Options{Redis: runbooks.RedisReplication})); err != nil {
		return err
	}
	defer func() {
		a.say("\nStopping everything ...\n")
		// Also after an interrupt: nothing may be left running.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if stopErr := d.stop(ctx); stopErr != nil {
			var code *exit
			if errors.As(err, &code) || errors.Is(err, context.Canceled) {
				err = nil // the exit code of a verdict or an interrupt would hide that something is left
			}
			err = errors.Join(err, stopErr)
		}
	}()
	if err := d.start(ctx); err != nil {
		return err
	}
	return d.tell(ctx)
}

// demo is the story, and all that must be stopped when it ends.
type demo struct {
	app
	o        demoOptions
	worker   string
	dir      string
	evidence string
	identity identity
	sandbox  *sandbox.Sandbox
	process  *process
	engine   local.Engine
}

func demoEvidence(dir string) (string, error) {
	if dir == "" {
		state, err := local.StateDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(state, "demo")
	}
	return filepath.Abs(dir)
}

// start builds the estate and starts the worker, in a folder of its own.
func (d *demo) start(ctx context.Context) error {
	var err error
	if d.dir, err = os.MkdirTemp("", "muster-demo-"); err != nil {
		return fmt.Errorf("make the demo's folder: %w", err)
	}
	// The sandbox's servers run as a user of their own, who must get to their folder below.
	if err := os.Chmod(d.dir, 0o711); err != nil { //nolint:gosec // it holds folders only, each with its own mode
		return fmt.Errorf("open the demo's folder: %w", err)
	}
	public, err := d.makeKey()
	if err != nil {
		return err
	}
	d.say("Building an estate: PostgreSQL (orders) and Redis (sessions), primaries at east, standbys at west, HAProxy in front ...\n")
	d.sandbox, err = sandbox.Up(ctx, sandbox.Options{
		Dir: filepath.Join(d.dir, "sandbox"), Trust: "signed", Redis: runbooks.RedisReplication,
		People: map[string]runbooks.Person{presenter: {Name: "who watches the demo", Roles: []string{"operator", "approver"}, Keys: []string{public}}},
	})
	if err != nil {
		return err
	}
	d.say("  up after %s\nStarting muster-worker with Temporal inside ...\n", round(d.sandbox.Took()))
	began := time.Now()
	state := filepath.Join(d.dir, "state")
	d.process, err = startProcess(filepath.Join(d.dir, "worker.log"), d.worker,
		"--state", state, "--runbooks", d.sandbox.Runbooks(), "--evidence", d.evidence, "--port", "0", "--ui-port", "0")
	if err != nil {
		return err
	}
	if d.engine, err = d.process.awaitEngine(ctx, state); err != nil {
		return err
	}
	d.say("  ready after %s; Temporal's UI: %s\n", round(time.Since(began)), d.engine.UI)
	d.dial = func(ctx context.Context, _ *app) (*engine, error) {
		return dialAt(ctx, d.engine, client.Options{Identity: "muster:demo"})
	}
	return nil
}

// makeKey makes the SSH key that the demo's decisions are signed with, and returns its public part.
func (d *demo) makeKey() (string, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", fmt.Errorf("make the demo's SSH key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "muster demo")
	if err != nil {
		return "", fmt.Errorf("make the demo's SSH key: %w", err)
	}
	path := filepath.Join(d.dir, "key")
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return "", fmt.Errorf("make the demo's SSH key: %w", err)
	}
	d.identity = identity{as: presenter, key: path}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("make the demo's SSH key: %w", err)
	}
	return string(ssh.MarshalAuthorizedKey(key)), nil
}

// tell moves the estate there and back, and sums up.
func (d *demo) tell(ctx context.Context) error {
	var done []demoRun
	code := codeDone
	for _, chapter := range []struct{ runbook, title string }{
		{"failover-shop", "Failover: east to west, while clients write"},
		{"failback-shop", "Failback: west to east, by the same operation"},
	} {
		d.say("\n%s\n", d.paint(bold, "== "+chapter.title))
		r, err := d.move(ctx, chapter.runbook)
		if err != nil {
			return err
		}
		done = append(done, r)
		if code = max(code, codeOf(r.Result.Verdict)); code != codeDone && code != codeMissed {
			break // what did not arrive cannot be moved back
		}
	}
	err := d.print(map[string]any{"runs": done, "evidence": d.evidence, "ui": d.engine.UI}, func(w io.Writer) { d.sumUp(w, done) })
	if err != nil {
		return err
	}
	if !d.o.auto {
		d.say("\nLook around: %s\n", d.engine.UI)
		d.ask(ctx, "Enter stops the demo.")
	}
	return exitWith(code)
}

func (d *demo) move(ctx context.Context, runbook string) (demoRun, error) {
	out := demoRun{Runbook: runbook}
	err := d.with(ctx, func(e *engine) error {
		x, err := d.app.start(ctx, e, runOptions{identity: d.identity, input: run.Input{Runbook: runbook}})
		if err != nil {
			return err
		}
		out.execution = x
		d.say("started %s%s\n", x.WorkflowID, e.link(x))
		out.Result, err = d.follow(ctx, follower{e: e, x: x, decider: &d.identity, auto: d.o.auto})
		return err
	})
	if err == nil {
		d.showResult(d.people(), out.Result)
	}
	return out, err
}

func (d *demo) sumUp(w io.Writer, done []demoRun) {
	fmt.Fprintf(w, "\n%s\n", d.paint(bold, "== What clients saw"))
	rows := [][]string{{"RUNBOOK", "SYSTEM", "OUTAGE", "LOST WRITES", "VERDICT"}}
	for _, r := range done {
		for _, m := range r.Result.Measures {
			outage, lost := "not measured", "not measured"
			if m.Measured {
				outage, lost = round(time.Duration(m.OutageMs)*time.Millisecond).String(), fmt.Sprintf("%d of %d", m.Missing, m.Acknowledged)
			}
			rows = append(rows, []string{r.Runbook, m.System, outage, lost, string(r.Result.Verdict)})
		}
		if len(r.Result.Measures) == 0 {
			rows = append(rows, []string{r.Runbook, "-", "-", "-", string(r.Result.Verdict)})
		}
	}
	table(w, rows)
	fmt.Fprintln(w)
	for _, r := range done {
		fmt.Fprintf(w, "report of %s: %s\n  evidence: %s\n", r.Runbook, r.Result.HTML, r.Result.JSON)
	}
	fmt.Fprintf(w, "Temporal's UI: %s\n", d.engine.UI)
}

// stop stops the worker first, then what it left behind, then the estate, and removes the folder.
func (d *demo) stop(ctx context.Context) error {
	var err error
	if d.process != nil {
		err = d.process.stop()
	}
	if d.dir != "" {
		err = errors.Join(err, stopWorkersIn(ctx, d.dir)) // writers are processes of their own, which outlive their worker
	}
	if d.sandbox != nil {
		err = errors.Join(err, d.sandbox.Down(ctx, true))
	}
	if d.dir != "" {
		err = errors.Join(err, os.RemoveAll(d.dir))
	}
	return err
}

package starter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/musterhq/muster/workflows"
	"github.com/musterhq/muster/workflows/run"
)

// taskTimeout is how soon a worker that died in the middle of a decision is replaced.
const taskTimeout = 2 * time.Second

type runOptions struct {
	identity
	input     run.Input
	operation string
	estate    string
	detach    bool
	noWait    bool
}

func newRun(a *app) *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use:   "run RUNBOOK",
		Short: "Start a runbook and follow it",
		Long: `Start a runbook and follow it to its end.

One run of an operation on an estate is open at a time: its workflow ID is <operation>:<estate>, such as failover:shop.
While another one is open, muster says who started it and exits with 1.

At a gate, muster shows the plan and asks where stdin is a terminal; otherwise it says what to type and keeps waiting.
With --no-wait it ends there with exit code 3, and the run goes on. Ctrl-C stops following, never the run.

The operation and the estate are read from the runbook in the folder of --runbooks, MUSTER_RUNBOOKS, the local worker's
or ./runbooks. What is carried out is the worker's own copy. Without the folder, name them: --operation and --estate.

` + exitCodes,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: completeRunbooks(a),
		RunE: func(cmd *cobra.Command, given []string) error {
			o.input.Runbook = given[0]
			return a.with(cmd.Context(), func(e *engine) error { return a.runRun(cmd.Context(), e, o) })
		},
	}
	o.flags(c)
	o.inputFlags(c)
	c.Flags().StringVar(&o.input.Mode, "mode", "", "execute, or observe: look and plan, move nothing (default: the runbook's)")
	c.Flags().BoolVarP(&o.detach, "detach", "d", false, "start it and return")
	c.Flags().BoolVar(&o.noWait, "no-wait", false, "end with exit code 3 where a decision or an operator is awaited")
	c.MarkFlagsMutuallyExclusive("detach", "no-wait")
	must(c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"execute", "observe"}, cobra.ShellCompDirectiveNoFileComp)))
	return c
}

func (o *runOptions) inputFlags(c *cobra.Command) {
	c.Flags().StringVar(&o.input.From, "from", "", "site to move from (default: the runbook's)")
	c.Flags().StringVar(&o.input.To, "to", "", "site to move to (default: the runbook's)")
	c.Flags().StringVar(&o.input.Kind, "kind", "", "planned or unplanned (default: the runbook's)")
	c.Flags().StringVar(&o.operation, "operation", "", "operation, where the runbook's file is not here")
	c.Flags().StringVar(&o.estate, "estate", "", "estate, where the runbook's file is not here")
	must(c.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"planned", "unplanned"}, cobra.ShellCompDirectiveNoFileComp)))
}

func (o *runOptions) check() error {
	for _, f := range []struct{ flag, value, words string }{
		{"--mode", o.input.Mode, "execute observe"}, {"--kind", o.input.Kind, "planned unplanned"},
	} {
		words := strings.Fields(f.words)
		if f.value != "" && f.value != words[0] && f.value != words[1] {
			return usagef("%s is %s or %s, not %q", f.flag, words[0], words[1], f.value)
		}
	}
	if o.input.From != "" && o.input.From == o.input.To {
		return usagef("--from and --to are both %s: there is nothing to move", o.input.From)
	}
	return nil
}

func (a *app) runRun(ctx context.Context, e *engine, o runOptions) error {
	x, err := a.start(ctx, e, o)
	if err != nil {
		return err
	}
	if o.detach {
		return a.print(finished{execution: x, State: run.StateRunning}, func(w io.Writer) {
			fmt.Fprintf(w, "started %s\n  run ID %s\n  next: muster watch %s\n", x.WorkflowID, x.RunID, x.WorkflowID)
		})
	}
	a.say("started %s, run ID %s%s\n", x.WorkflowID, x.RunID, e.link(x))
	f := follower{e: e, x: x, noWait: o.noWait}
	if isTerminal(a.in) && !a.json() && !o.noWait {
		f.decider = &o.identity
	}
	return a.followToEnd(ctx, f)
}

// link is where the run stands in the Temporal UI, where that is known.
func (e *engine) link(x execution) string {
	if e.local.UI == "" {
		return ""
	}
	return fmt.Sprintf("\n%s/namespaces/%s/workflows/%s/%s", strings.TrimSuffix(e.local.UI, "/"), e.namespace, x.WorkflowID, x.RunID)
}

// start starts a runbook, unless its operation is at work on the estate already.
func (a *app) start(ctx context.Context, e *engine, o runOptions) (execution, error) {
	if err := o.check(); err != nil {
		return execution{}, err
	}
	operation, estate, err := a.operationOf(o, e.local.Runbooks)
	if err != nil {
		return execution{}, err
	}
	o.input.RequestedBy, o.input.Channel = o.name(a), "cli"
	id := operation + ":" + estate
	if o.input.Mode == "observe" {
		id = "plan:" + id // moves nothing, so it need not wait for the run that moves, nor stand in its way
	}
	started, err := e.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: id, TaskQueue: run.TaskQueue, WorkflowTaskTimeout: taskTimeout,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		// Without this the SDK returns the open run as if it had been started.
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		Memo:                                     map[string]any{run.MemoRunbook: o.input.Runbook, run.MemoRequestedBy: o.input.RequestedBy},
		StaticSummary:                            fmt.Sprintf("%.60s, by %.60s", o.input.Runbook, o.input.RequestedBy),
	}, workflows.TypeOf(operation), o.input)
	var running *serviceerror.WorkflowExecutionAlreadyStarted
	if errors.As(err, &running) {
		return execution{}, e.alreadyRunning(ctx, execution{id, running.RunId})
	}
	if err != nil {
		return execution{}, fmt.Errorf("start %s at %s, namespace %s: %w", id, e.address, e.namespace, err)
	}
	return execution{started.GetID(), started.GetRunID()}, nil
}

// alreadyRunning says who started the open run; Temporal itself knows only when.
func (e *engine) alreadyRunning(ctx context.Context, x execution) error {
	next := fmt.Sprintf("follow it with muster watch %s, or stop it with muster abort %s", x.WorkflowID, x.WorkflowID)
	if s, err := e.status(ctx, x); err == nil {
		h := s.Header
		return fail(next, "%s is running already: %s started it with runbook %s via %s at %s; it is %s (run ID %s)",
			x.WorkflowID, h.RequestedBy, h.Runbook, h.Channel, s.Started.Local().Format(time.DateTime), s.State, x.RunID)
	}
	since := "an unknown time"
	if d, err := e.DescribeWorkflowExecution(ctx, x.WorkflowID, x.RunID); err == nil {
		since = d.GetWorkflowExecutionInfo().GetStartTime().AsTime().Local().Format(time.DateTime)
	}
	return fail(next, "%s is running already, since %s; no worker answers who started it (run ID %s)", x.WorkflowID, since, x.RunID)
}

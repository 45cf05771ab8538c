package starter

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/internal/local"
	"github.com/musterhq/muster/workflows/run"
)

var (
	hash    = strings.Repeat("9f2c", 16)
	started = time.Date(2026, 1, 31, 9, 30, 0, 0, time.UTC)
)

// fakeTemporal is a Temporal with runs in it. What a test does not use panics: the embedded interface is nil.
type fakeTemporal struct {
	client.Client
	mu         sync.Mutex
	runs       []*fakeRun // the newest first
	attributes bool       // the cluster knows muster's search attributes
	queries    []string   // of the listings
	starts     []client.StartWorkflowOptions
	types      []any
	inputs     []any
	startErr   error
	onStart    func() *fakeRun
	schedules  *fakeSchedules
}

// fakeRun answers like a run whose gate is open: a decision with its hash ends it.
type fakeRun struct {
	id, runID string
	kind      string
	runbook   string
	status    run.Status
	plan      journal.Plan
	journal   []journal.Entry
	result    run.Result
	resultErr error
	done      chan struct{}
	silent    bool // no worker answers
	decisions []run.Decision
	signals   []any
	acts      []run.Intervention
	answer    *run.Answer
}

func newFakeRun(id, runID string) *fakeRun {
	operation, estate, _ := strings.Cut(id, ":")
	h := journal.Header{WorkflowID: id, RunID: runID, Operation: operation, Estate: estate, Runbook: "failover-shop", Mode: "execute",
		From: "east", To: "west", MoveKind: "planned", RequestedBy: "dana", Channel: "cli"}
	r := &fakeRun{id: id, runID: runID, kind: "Failover", done: make(chan struct{}),
		status: run.Status{Header: h, State: run.StateRunning, Phase: "observe", Started: started, Plan: hash},
		plan: journal.Plan{Operation: operation, Estate: estate, Runbook: "failover-shop", From: "east", To: "west", MoveKind: "planned",
			Systems:      []journal.PlanSystem{{Name: "orders", Kind: "postgresql", Group: 1, Route: "orders-db", Members: map[string]journal.Facts{"east": {"role": "primary"}}}},
			Steps:        []journal.PlanStep{{ID: "fence/orders", Phase: "fence", Title: "fence orders at east", Undo: "unfence"}, {ID: "promote/orders", Phase: "promote", Title: "promote orders at west", NoReturn: true}},
			ExpectedLoss: "none", LossClass: "none", Hash: hash},
		result: run.Result{Verdict: journal.Passed, Summary: "done", Measures: []journal.Measure{{System: "orders", Measured: true, OutageMs: 812, Acknowledged: 412}},
			JSON: "/evidence/x.json", HTML: "/evidence/x.html"},
	}
	r.record(journal.Entry{Kind: journal.RunStarted, Title: operation + " of " + estate})
	return r
}

func (r *fakeRun) record(e journal.Entry) {
	e.Seq, e.At = len(r.journal)+1, started
	r.journal = append(r.journal, e)
	r.status.Entries = len(r.journal)
}

func (r *fakeRun) openGate(trust string) *fakeRun {
	r.status.State = run.StateAwaiting
	r.status.Gates = []run.GateStatus{{Name: "approve", Title: "Move the shop", PlanHash: hash, Opened: started, Deadline: started.Add(time.Hour), Need: 1, Who: []string{"approver"}, Trust: trust}}
	r.record(journal.Entry{Kind: journal.GateOpened, Gate: "approve", Title: "Move the shop", Deadline: started.Add(time.Hour)})
	return r
}

func (r *fakeRun) end(v journal.Verdict) *fakeRun {
	r.result.Verdict, r.status.Verdict, r.status.State, r.status.Gates, r.status.Holds = v, v, run.StateEnded, nil, nil
	r.status.Summary, r.status.Measures, r.status.JSON, r.status.HTML = r.result.Summary, r.result.Measures, r.result.JSON, r.result.HTML
	r.record(journal.Entry{Kind: journal.RunEnded, Verdict: v, Message: string(v)})
	close(r.done)
	return r
}

func (r *fakeRun) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (f *fakeTemporal) find(id, runID string) (*fakeRun, error) {
	for _, r := range f.runs {
		if r.id == id && (runID == "" || r.runID == runID) {
			return r, nil
		}
	}
	return nil, serviceerror.NewNotFound("workflow not found for ID: " + id)
}

func (f *fakeTemporal) Close() {}

func (f *fakeTemporal) ExecuteWorkflow(_ context.Context, o client.StartWorkflowOptions, workflow any, in ...any) (client.WorkflowRun, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts, f.types, f.inputs = append(f.starts, o), append(f.types, workflow), append(f.inputs, in[0])
	if f.startErr != nil {
		return nil, f.startErr
	}
	r := f.onStart()
	f.runs = append([]*fakeRun{r}, f.runs...)
	return handle{r}, nil
}

func (f *fakeTemporal) QueryWorkflow(_ context.Context, id, runID, name string, in ...any) (converter.EncodedValue, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.find(id, runID)
	if err != nil {
		return nil, err
	}
	if r.silent {
		return nil, serviceerror.NewDeadlineExceeded("context deadline exceeded")
	}
	var answer any
	switch name {
	case run.QueryStatus:
		answer = r.status
	case run.QueryPlan:
		answer = r.plan
	case run.QueryJournal:
		page := in[0].(run.JournalPage)
		const most = 2 // a short page is not the last one
		answer = r.journal[page.After:min(len(r.journal), page.After+most)]
	default:
		return nil, fmt.Errorf("unknown query %s", name)
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(answer)
	return client.NewValue(payloads), err
}

func (f *fakeTemporal) UpdateWorkflow(_ context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.find(o.WorkflowID, o.RunID)
	if err != nil || r.ended() {
		return nil, serviceerror.NewNotFound("workflow execution already completed")
	}
	switch v := o.Args[0].(type) {
	case run.Decision:
		r.decisions = append(r.decisions, v)
		if r.answer != nil {
			return updated{answer: *r.answer}, nil
		}
		if len(r.status.Gates) == 0 || v.PlanHash != r.status.Gates[0].PlanHash {
			return updated{answer: run.Answer{Message: "the plan is another one"}}, nil
		}
		verdict := journal.Passed
		if v.Decision == "reject" {
			verdict = journal.RejectedVerdict
		}
		r.end(verdict)
		return updated{answer: run.Answer{Accepted: true, Message: v.Decision + ": approve"}}, nil
	case run.Intervention:
		r.acts = append(r.acts, v)
		return updated{answer: run.Answer{Accepted: true, Message: v.Action}}, nil
	}
	return nil, fmt.Errorf("unknown update %T", o.Args[0])
}

func (f *fakeTemporal) SignalWorkflow(_ context.Context, id, runID, _ string, payload any) error {
	r, err := f.find(id, runID)
	if err == nil {
		r.signals = append(r.signals, payload)
	}
	return err
}

func (f *fakeTemporal) GetWorkflow(_ context.Context, id, runID string) client.WorkflowRun {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.find(id, runID)
	if err != nil {
		panic(err)
	}
	return handle{r}
}

func (f *fakeTemporal) DescribeWorkflowExecution(_ context.Context, id, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.find(id, runID)
	if err != nil {
		return nil, err
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: f.info(r)}, nil
}

func (f *fakeTemporal) ListWorkflow(_ context.Context, in *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queries = append(f.queries, in.GetQuery())
	if strings.Contains(in.GetQuery(), "Muster") && !f.attributes {
		return nil, serviceerror.NewInvalidArgument("invalid query: column name 'MusterEstate' is not defined")
	}
	var out workflowservice.ListWorkflowExecutionsResponse
	for _, r := range f.runs {
		if !r.ended() || !strings.Contains(in.GetQuery(), "ExecutionStatus = 'Running'") {
			out.Executions = append(out.Executions, f.info(r))
		}
	}
	return &out, nil
}

func (f *fakeTemporal) info(r *fakeRun) *workflow.WorkflowExecutionInfo {
	payload := func(v string) *common.Payload {
		p, err := converter.GetDefaultDataConverter().ToPayload(v)
		if err != nil {
			panic(err)
		}
		return p
	}
	info := &workflow.WorkflowExecutionInfo{
		Execution: &common.WorkflowExecution{WorkflowId: r.id, RunId: r.runID}, Type: &common.WorkflowType{Name: r.kind},
		StartTime: timestamppb.New(started), Status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING,
	}
	if r.runbook != "" {
		info.Memo = &common.Memo{Fields: map[string]*common.Payload{run.MemoRunbook: payload(r.runbook)}}
	}
	if r.ended() {
		info.Status, info.CloseTime = enums.WORKFLOW_EXECUTION_STATUS_COMPLETED, timestamppb.New(started.Add(42*time.Second))
	}
	if f.attributes && r.kind != "Lock" {
		h := r.status.Header
		info.SearchAttributes = &common.SearchAttributes{IndexedFields: map[string]*common.Payload{
			run.AttributeEstate: payload(h.Estate), run.AttributeOperation: payload(h.Operation), run.AttributeState: payload(string(r.status.State)),
			run.AttributeVerdict: payload(string(r.status.Verdict)), run.AttributePlanHash: payload(r.status.Plan),
		}}
	}
	return info
}

func (f *fakeTemporal) ScheduleClient() client.ScheduleClient { return f.schedules }

// handle is a started run.
type handle struct{ *fakeRun }

func (h handle) GetID() string    { return h.id }
func (h handle) GetRunID() string { return h.runID }

func (h handle) GetFirstExecutionRunID() string { return h.runID }

func (h handle) Get(ctx context.Context, into any) error {
	select {
	case <-h.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if h.resultErr != nil {
		return fmt.Errorf("workflow execution error: %w", h.resultErr)
	}
	*into.(*run.Result) = h.result
	return nil
}

func (h handle) GetWithOptions(ctx context.Context, into any, _ client.WorkflowRunGetOptions) error {
	return h.Get(ctx, into)
}

type updated struct {
	client.WorkflowUpdateHandle
	answer run.Answer
}

func (u updated) Get(_ context.Context, into any) error {
	*into.(*run.Answer) = u.answer
	return nil
}

// cli is one command line against a fake Temporal.
type cli struct {
	t     *testing.T
	fake  *fakeTemporal
	env   map[string]string
	stdin io.Reader
}

func newCLI(t *testing.T, runs ...*fakeRun) *cli {
	t.Helper()
	return &cli{t: t, fake: &fakeTemporal{runs: runs, attributes: true}, env: map[string]string{"MUSTER_USER": "dana", "MUSTER_RUNBOOKS": "../runbooks"}, stdin: strings.NewReader("")}
}

func (c *cli) app(stdout, stderr io.Writer) *app {
	a := newApp(c.stdin, stdout, stderr)
	a.getenv = func(key string) string { return c.env[key] }
	a.dial = func(context.Context, *app) (*engine, error) {
		return &engine{Client: c.fake, address: "fake:7233", namespace: "default", source: "the test", local: local.Engine{UI: "http://ui"}}, nil
	}
	return a
}

func (c *cli) run(args ...string) (code int, stdout, stderr string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	var out, err bytes.Buffer
	code = c.app(&out, &err).execute(ctx, args)
	require.NotErrorIs(c.t, ctx.Err(), context.DeadlineExceeded, "muster %v did not end; stdout: %s stderr: %s", args, out.String(), err.String())
	require.NotContains(c.t, out.String()+err.String(), "\x1b", "no colours where there is no terminal")
	return code, out.String(), err.String()
}

package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/internal/sshsig"
	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/workflows/run"
)

// fakeRuns stands for the runs of a Temporal. Like the kernel, a run checks signature, nonce, person and plan; what it was sent is kept.
type fakeRuns struct {
	mu       sync.Mutex
	down     error // nothing answers
	late     error // what is sent is not answered
	open     []OpenRun
	status   map[string]run.Status // by workflow ID
	plan     map[string]journal.Plan
	journal  map[string][]journal.Entry
	estates  map[string]runbooks.Estate
	nonces   map[string]run.Answer
	decided  []run.Decision
	told     []run.Intervention
	statuses int // status queries
}

func (f *fakeRuns) Ready(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}

func (f *fakeRuns) Open(_ context.Context, limit int) ([]OpenRun, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open[:min(limit, len(f.open))], len(f.open) > limit, f.down
}

func (f *fakeRuns) Status(_ context.Context, workflowID, runID string) (run.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.statuses++
	s, ok := f.status[workflowID]
	if f.down == nil && (!ok || (runID != "" && runID != s.Header.RunID)) {
		return run.Status{}, fmt.Errorf("ask run %s: %w", workflowID, ErrNoRun)
	}
	return s, f.down
}

func (f *fakeRuns) Plan(_ context.Context, workflowID, _ string) (journal.Plan, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.plan[workflowID], f.down
}

func (f *fakeRuns) Journal(_ context.Context, workflowID, _ string, after int) ([]journal.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	entries := f.journal[workflowID]
	return entries[min(after, len(entries)):], f.down
}

func (f *fakeRuns) Decide(_ context.Context, workflowID, runID string, d run.Decision) (run.Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.decided = append(f.decided, d)
	return f.take(workflowID, d.Nonce, func(s *run.Status) string {
		if why := f.proven(s, d.Approver, d.Gateway, d.Signature, d.SigningText(workflowID, runID), run.MayDecide); why != "" {
			return why
		}
		if len(s.Gates) == 0 {
			return "no gate is open"
		}
		if d.PlanHash != s.Gates[0].PlanHash {
			return "the decision is for another plan"
		}
		s.Gates, s.State = nil, run.StateRunning
		return ""
	}, d.Decision+" counted")
}

func (f *fakeRuns) Intervene(_ context.Context, workflowID, runID string, v run.Intervention) (run.Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, v)
	return f.take(workflowID, v.Nonce, func(s *run.Status) string {
		if why := f.proven(s, v.Author, v.Gateway, v.Signature, v.SigningText(workflowID, runID), run.MayIntervene); why != "" {
			return why
		}
		if v.Step != "" {
			s.Holds, s.State = nil, run.StateRunning
		}
		return ""
	}, v.Action+" counted")
}

func (f *fakeRuns) take(workflowID, nonce string, check func(*run.Status) string, good string) (run.Answer, error) {
	if err := errors.Join(f.down, f.late); err != nil {
		return run.Answer{}, err
	}
	if answer, known := f.nonces[nonce]; known {
		return answer, nil
	}
	s := f.status[workflowID]
	answer := run.Answer{Accepted: true, Message: good}
	kind := journal.Decided
	if why := check(&s); why != "" {
		answer, kind = run.Answer{Message: why}, journal.Refused
	}
	f.journal[workflowID] = append(f.journal[workflowID], journal.Entry{Seq: len(f.journal[workflowID]) + 1, At: noon, Kind: kind, Message: answer.Message})
	s.Entries = len(f.journal[workflowID])
	f.status[workflowID], f.nonces[nonce] = s, answer
	return answer, nil
}

func (f *fakeRuns) proven(s *run.Status, name, gateway, signature string, text []byte, what run.Permission) string {
	estate := f.estates[s.Header.Estate]
	keys, err := sshsig.ParseKeys([]string{estate.Gateways[gateway].Key})
	if err != nil {
		return "no such gateway: " + err.Error()
	}
	if _, err := sshsig.Verify(signature, sshsig.Namespace, text, keys); err != nil {
		return err.Error()
	}
	person, known := estate.People[name]
	if !known {
		return "the estate lists nobody called " + name
	}
	if !what.To(person.Roles) {
		return fmt.Sprintf("%s may not %s", name, what)
	}
	return ""
}

func (f *fakeRuns) estate(name string) (runbooks.Estate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.estates[name]
	if !ok {
		return e, fmt.Errorf("no estate %s", name)
	}
	return e, nil
}

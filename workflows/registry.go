// Package workflows is the only list of muster's workflows.
package workflows

import (
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/workflows/failover"
	"github.com/musterhq/muster/workflows/run"
	"github.com/musterhq/muster/workflows/watch"
)

// Entry is one workflow: the name in histories, the function, and how it meets a new release of the worker.
type Entry struct {
	Name       string
	Operation  string // as runbooks call it; empty for the kernel's own workflows
	Func       any
	Versioning workflow.VersioningBehavior
}

// LockName is the workflow type of a system's lock. It is frozen.
const LockName = "Lock"

// Registry lists every workflow. Runs stay with the release that started them where a cluster uses worker deployments;
// locks, which never end, move on.
func Registry() []Entry {
	return []Entry{
		{Name: failover.Name, Operation: failover.Operation, Func: failover.Failover, Versioning: workflow.VersioningBehaviorPinned},
		{Name: watch.Name, Operation: watch.Operation, Func: watch.Watch, Versioning: workflow.VersioningBehaviorPinned},
		{Name: run.NoticesName, Func: run.Notices, Versioning: workflow.VersioningBehaviorAutoUpgrade},
		{Name: LockName, Func: run.Lock, Versioning: workflow.VersioningBehaviorAutoUpgrade},
	}
}

// TypeOf is the workflow type of an operation, as runbooks call it: Failover of failover. A newer worker may have operations that
// this list does not.
func TypeOf(operation string) string {
	words := strings.Split(operation, "-")
	for i, w := range words {
		if w != "" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "")
}

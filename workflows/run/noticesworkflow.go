package run

import (
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/workflow"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

const (
	// NoticesName is the workflow type of what a run left to be told. It is frozen.
	NoticesName = "Notices"
	// noticesLast is how long a notifier that is down is tried after its run has ended.
	noticesLast = 24 * time.Hour
	// grace is for an attempt that was under way when the run ended: it has ended by then, and is known where the channel can tell.
	grace = 3 * time.Second
)

// NoticesInput is what a run had not told when it ended.
type NoticesInput struct {
	Mailboxes []Mailbox `json:"mailboxes"`
	After     bool      `json:"after,omitempty"` // an attempt was under way
}

// Mailbox is one notifier's part of it.
type Mailbox struct {
	Name     string                        `json:"name"`
	Notifier runbooks.Notifier             `json:"notifier"`
	Waiting  []activities.Notice           `json:"waiting"`
	Receipts map[string]activities.Receipt `json:"receipts,omitempty"`
	Thread   activities.Receipt            `json:"thread,omitzero"`
}

// NoticesResult says, by notifier, what never arrived.
type NoticesResult struct {
	Arrived int                 `json:"arrived"`
	Lost    map[string][]string `json:"lost,omitempty"` // titles
}

// Notices tells people what a run has left to tell, for a day at most.
func Notices(ctx workflow.Context, in NoticesInput) (NoticesResult, error) {
	result := NoticesResult{}
	if in.After {
		if err := workflow.Sleep(ctx, grace); err != nil {
			return result, err
		}
	}
	limited, cancel := workflow.WithCancel(ctx)
	boxes := make([]*mailbox, 0, len(in.Mailboxes))
	for _, m := range in.Mailboxes {
		box := &mailbox{name: m.Name, notifier: m.Notifier, waiting: m.Waiting, receipts: map[string]activities.Receipt{}, thread: m.Thread}
		for _, subject := range workflow.DeterministicKeys(m.Receipts) {
			box.receipts[subject] = m.Receipts[subject]
		}
		boxes = append(boxes, box)
		workflow.GoNamed(limited, "notices-"+m.Name, func(ctx workflow.Context) {
			box.deliver(ctx, func(_ activities.Notice, why string) {
				if why == "" {
					result.Arrived++
				}
			})
		})
	}
	_, err := workflow.AwaitWithTimeout(ctx, noticesLast, func() bool {
		waiting := 0
		for _, box := range boxes {
			waiting += len(box.waiting)
		}
		return waiting == 0
	})
	cancel()
	for _, box := range boxes {
		for _, n := range box.waiting {
			if result.Lost == nil {
				result.Lost = map[string][]string{}
			}
			result.Lost[box.name] = append(result.Lost[box.name], n.Title)
		}
	}
	return result, err
}

func noticesOptions(h journal.Header) workflow.ChildWorkflowOptions {
	return workflow.ChildWorkflowOptions{
		WorkflowID:               "notices:" + h.WorkflowID + ":" + h.RunID,
		ParentClosePolicy:        enums.PARENT_CLOSE_POLICY_ABANDON,
		WorkflowExecutionTimeout: noticesLast + time.Hour,
		WorkflowTaskTimeout:      2 * time.Second,
		TaskQueue:                TaskQueue,
	}
}

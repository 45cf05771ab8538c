package starter

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/internal/journal"
)

type auditOptions struct {
	estate, run, by, channel, action string
	since                            time.Duration
	refused                          bool
	limit                            int
}

// audited is one decision or intervention: the journal's entry, and whose it is.
type audited struct {
	execution
	Estate   string    `json:"estate"`
	Seq      int       `json:"seq"`
	At       time.Time `json:"at"`
	Accepted bool      `json:"accepted"`
	Action   string    `json:"action"`
	Gate     string    `json:"gate,omitempty"`
	Step     string    `json:"step,omitempty"`
	PlanHash string    `json:"plan_hash,omitempty"`
	Author   string    `json:"author"`
	Channel  string    `json:"channel,omitempty"`
	Identity string    `json:"identity,omitempty"` // what proved it; empty where it was refused before that
	Reason   string    `json:"reason,omitempty"`
	Message  string    `json:"message,omitempty"`
	Hash     string    `json:"hash"` // of the journal's entry
}

func newAudit(a *app) *cobra.Command {
	var o auditOptions
	c := &cobra.Command{
		Use:   "audit",
		Short: "List who decided and intervened over all runs, refused ones included",
		Long: `List who decided and intervened over all runs, refused ones included, the newest run first.

With --output json each line is one of them. Runs that Temporal has forgotten (its retention) are not here: their evidence is.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(e *engine) error { return a.runAudit(cmd.Context(), e, o) })
		},
	}
	f := c.Flags()
	f.StringVar(&o.estate, "estate", "", "only in runs of this estate")
	f.StringVar(&o.run, "run", "", "only in runs of this workflow ID, or in the run of this run ID")
	f.StringVar(&o.by, "by", "", "only of this person")
	f.StringVar(&o.channel, "channel", "", "only through this channel: cli, slack, page, temporal, ...")
	f.StringVar(&o.action, "action", "", "only approve, reject, retry, skip, abort, pause or resume")
	f.DurationVar(&o.since, "since", 0, "only of runs that started this long ago or later, such as 720h")
	f.BoolVar(&o.refused, "refused", false, "only what was refused")
	f.IntVar(&o.limit, "limit", 1000, "look at this many runs at most")
	return c
}

func (a *app) runAudit(ctx context.Context, e *engine, o auditOptions) error {
	if o.limit < 1 {
		return usagef("--limit is 1 or more, not %d", o.limit)
	}
	var runs []listed
	more := false
	err := e.each(ctx, onQueue(), func(l listed) bool {
		if o.since > 0 && time.Since(l.Started) > o.since {
			return false
		}
		if o.wants(l) {
			if len(runs) == o.limit {
				more = true
				return false
			}
			runs = append(runs, l)
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("list the runs at %s, namespace %s: %w", e.address, e.namespace, err)
	}
	found := []audited{}
	for _, l := range runs {
		entries, err := e.journal(ctx, l.execution, 0)
		if err != nil {
			fmt.Fprintf(a.err, "muster: run %s (%s) is left out: %v\n", l.WorkflowID, l.RunID, err)
			continue
		}
		for _, entry := range entries {
			if audit, ok := o.audit(l, entry); ok {
				found = append(found, audit)
			}
		}
	}
	if more {
		fmt.Fprintf(a.err, "muster: only the newest %d runs were looked at; see --limit\n", o.limit)
	}
	if a.json() {
		lines := json.NewEncoder(a.out)
		lines.SetEscapeHTML(false)
		for _, f := range found {
			if err := lines.Encode(f); err != nil {
				return err
			}
		}
		return nil
	}
	printAudit(a.out, found)
	return nil
}

func (o auditOptions) wants(l listed) bool {
	return (o.estate == "" || l.Estate == o.estate) && (o.run == "" || l.WorkflowID == o.run || l.RunID == o.run)
}

func (o auditOptions) audit(l listed, e journal.Entry) (audited, bool) {
	switch e.Kind {
	case journal.Decided, journal.Intervened, journal.Refused:
	default:
		return audited{}, false
	}
	is := func(want, have string) bool { return want == "" || want == have }
	if !is(o.by, e.Author) || !is(o.channel, e.Channel) || !is(o.action, e.Action) || o.refused && e.Kind != journal.Refused {
		return audited{}, false
	}
	return audited{execution: l.execution, Estate: l.Estate, Seq: e.Seq, At: e.At, Accepted: e.Kind != journal.Refused, Action: e.Action, Gate: e.Gate, Step: e.Step,
		PlanHash: e.PlanHash, Author: e.Author, Channel: e.Channel, Identity: e.Identity, Reason: e.Reason, Message: e.Message, Hash: e.Hash}, true
}

func printAudit(w io.Writer, found []audited) {
	if len(found) == 0 {
		fmt.Fprintln(w, "nobody decided or intervened")
		return
	}
	rows := [][]string{{"AT", "RUN", "WHAT", "WHERE", "WHO", "VIA", "PROOF", "ANSWER"}}
	for _, f := range found {
		answer := "accepted"
		if !f.Accepted {
			answer = "refused: " + f.Message
		}
		if f.Reason != "" {
			answer += " (reason: " + f.Reason + ")"
		}
		rows = append(rows, []string{f.At.Local().Format(time.DateTime), f.WorkflowID, f.Action, cmp.Or(f.Gate, f.Step, "-"), f.Author, cmp.Or(f.Channel, "-"), cmp.Or(f.Identity, "-"), answer})
	}
	table(w, rows)
}

package starter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"

	"github.com/musterhq/muster/workflows/run"
)

type listOptions struct {
	open      bool
	estate    string
	operation string
	state     string
	verdict   string
	limit     int
}

func newList(a *app) *cobra.Command {
	var o listOptions
	c := &cobra.Command{
		Use:   "list",
		Short: "List runs, the newest first",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(e *engine) error { return a.runList(cmd.Context(), e, o) })
		},
	}
	c.Flags().BoolVar(&o.open, "open", false, "only runs that have not ended")
	c.Flags().StringVar(&o.estate, "estate", "", "only runs of this estate")
	c.Flags().StringVar(&o.operation, "operation", "", "only runs of this operation, such as failover")
	c.Flags().StringVar(&o.state, "state", "", "only runs in this state: running, awaiting-decision, held, waiting-for-lock, undoing, ended")
	c.Flags().StringVar(&o.verdict, "verdict", "", "only runs that ended with this verdict, such as passed")
	c.Flags().IntVar(&o.limit, "limit", 30, "at most this many")
	return c
}

func (a *app) runList(ctx context.Context, e *engine, o listOptions) error {
	if o.limit < 1 {
		return usagef("--limit is 1 or more, not %d", o.limit)
	}
	query, err := o.query()
	if err != nil {
		return err
	}
	found := []listed{}
	collect := func(l listed) bool {
		if o.wants(l) {
			found = append(found, l)
		}
		return len(found) < o.limit
	}
	err = e.each(ctx, query, collect)
	var unknown *serviceerror.InvalidArgument
	if errors.As(err, &unknown) {
		// A cluster that does not know muster's search attributes lists all the same: look through all of it.
		found = found[:0]
		err = e.each(ctx, o.plainQuery(), collect)
	}
	if err != nil {
		return fmt.Errorf("list the runs at %s, namespace %s: %w", e.address, e.namespace, err)
	}
	return a.print(map[string]any{"runs": found}, func(w io.Writer) {
		if len(found) == 0 {
			fmt.Fprintln(w, "no runs (next: muster run RUNBOOK)")
			return
		}
		rows := [][]string{{"RUN", "STATE", "STARTED", "TOOK", "PLAN", "RUN ID"}}
		for _, l := range found {
			end := time.Now()
			if l.Ended != nil {
				end = *l.Ended
			}
			state := cmp.Or(l.Verdict, l.State)
			if l.open() {
				state = l.State
			}
			rows = append(rows, []string{l.WorkflowID, state, l.Started.Local().Format(time.DateTime), round(end.Sub(l.Started)).String(), cmp.Or(short(l.PlanHash), "-"), l.RunID})
		}
		table(w, rows)
	})
}

func (o listOptions) plainQuery() string {
	if o.open {
		return openOnQueue()
	}
	return onQueue()
}

func (o listOptions) query() (string, error) {
	query := o.plainQuery()
	for _, f := range []struct{ attribute, value string }{
		{run.AttributeEstate, o.estate}, {run.AttributeOperation, o.operation}, {run.AttributeState, o.state}, {run.AttributeVerdict, o.verdict},
	} {
		if strings.ContainsAny(f.value, `'"\`) {
			return "", usagef("%q cannot be searched for: it contains a quote or a backslash", f.value)
		}
		if f.value != "" {
			query += fmt.Sprintf(" AND %s = '%s'", f.attribute, f.value)
		}
	}
	return query, nil
}

func (o listOptions) wants(l listed) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return is(o.estate, l.Estate) && is(o.operation, l.Operation) && is(o.state, l.State) && is(o.verdict, l.Verdict) && (!o.open || l.open())
}

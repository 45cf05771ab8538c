package starter

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/workflows/run"
)

type inboxOptions struct {
	as  string
	all bool
}

// waiting is one thing that waits for somebody.
type waiting struct {
	execution
	Gate     string     `json:"gate,omitempty"` // a gate, or
	Step     string     `json:"step,omitempty"` // a held step; both empty: the run was paused
	What     string     `json:"what"`
	Risk     string     `json:"risk,omitempty"`
	PlanHash string     `json:"plan_hash,omitempty"`
	Since    time.Time  `json:"since"`
	Deadline *time.Time `json:"deadline,omitempty"`
	People   []string   `json:"people"`
	Next     string     `json:"next"` // the command that answers it
}

func newInbox(a *app) *cobra.Command {
	var o inboxOptions
	c := &cobra.Command{
		Use:   "inbox",
		Short: "List what waits for you: open gates and held runs",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(e *engine) error { return a.runInbox(cmd.Context(), e, o) })
		},
	}
	c.Flags().StringVar(&o.as, "as", "", "your name among the estates' people (MUSTER_USER; default: the login name)")
	c.Flags().BoolVar(&o.all, "all", false, "what waits for anybody")
	return c
}

func (a *app) runInbox(ctx context.Context, e *engine, o inboxOptions) error {
	var open []listed
	err := e.each(ctx, openOnQueue(), func(l listed) bool { open = append(open, l); return true })
	if err != nil {
		return fmt.Errorf("list the open runs at %s, namespace %s: %w", e.address, e.namespace, err)
	}
	me := cmp.Or(o.as, a.user())
	found := []waiting{}
	for _, l := range open {
		s, err := e.status(ctx, l.execution)
		if err != nil {
			fmt.Fprintf(a.err, "muster: run %s is left out: %v\n", l.WorkflowID, err)
			continue
		}
		for _, w := range waitingOf(l.execution, s) {
			if o.all || slices.Contains(w.People, me) {
				found = append(found, w)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b waiting) int { return a.Since.Compare(b.Since) })
	return a.print(map[string]any{"waiting": found, "for": me}, func(w io.Writer) {
		if len(found) == 0 {
			fmt.Fprintf(w, "nothing waits for %s\n", me)
			return
		}
		for _, item := range found {
			item.print(w)
		}
	})
}

func waitingOf(x execution, s run.Status) []waiting {
	var all []waiting
	for _, g := range s.Gates {
		deadline := g.Deadline
		all = append(all, waiting{execution: x, Gate: g.Name, What: g.Title, Risk: g.Risk, PlanHash: g.PlanHash, Since: g.Opened, Deadline: &deadline,
			People: g.People, Next: fmt.Sprintf("muster approve %s --gate %s", x.WorkflowID, g.Name)})
	}
	for _, h := range s.Holds {
		next := "muster resume " + x.WorkflowID
		if h.Step != "" {
			next = fmt.Sprintf("muster retry %s --step %s", x.WorkflowID, h.Step)
		}
		all = append(all, waiting{execution: x, Step: h.Step, What: h.Why, Since: h.Since, People: s.Operators, Next: next})
	}
	return all
}

func (w waiting) print(out io.Writer) {
	what := "held: " + w.What
	switch {
	case w.Gate != "":
		what = fmt.Sprintf("gate %s: %s", w.Gate, w.What)
	case w.Step != "":
		what = fmt.Sprintf("held at %s: %s", w.Step, w.What)
	}
	fmt.Fprintf(out, "%s  %s\n", printable(w.WorkflowID), printable(what))
	if w.Risk != "" {
		fmt.Fprintf(out, "  risk: %s\n", printable(w.Risk))
	}
	if w.Deadline != nil {
		fmt.Fprintf(out, "  since %s, until %s, plan %s\n", w.Since.Local().Format(time.DateTime), w.Deadline.Local().Format(time.DateTime), short(w.PlanHash))
	} else {
		fmt.Fprintf(out, "  since %s\n", w.Since.Local().Format(time.DateTime))
	}
	fmt.Fprintf(out, "  next: %s\n", printable(w.Next))
}

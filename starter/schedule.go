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
	"go.temporal.io/sdk/temporal"

	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/workflows"
	"github.com/musterhq/muster/workflows/run"
)

const schedulePrefix = "muster:"

// scheduled is a runbook's schedule, as the JSON output says it.
type scheduled struct {
	ID       string      `json:"id"`
	Runbook  string      `json:"runbook"`
	Cron     string      `json:"cron,omitempty"`
	TimeZone string      `json:"time_zone,omitempty"`
	CatchUp  string      `json:"catch_up,omitempty"`
	Paused   bool        `json:"paused"`
	Next     []time.Time `json:"next,omitempty"`
	Action   string      `json:"action,omitempty"` // apply: created, updated; delete: deleted
}

func newSchedule(a *app) *cobra.Command {
	apply := &cobra.Command{
		Use:   "apply RUNBOOK",
		Short: "Create or update the Temporal Schedule of a runbook, as its schedule: says",
		Long: `Create or update the Temporal Schedule of a runbook, as its schedule: says. Safe to repeat.

A start that was missed is made up for within the catch-up time (default 5m), and dropped later. While a run of the schedule
is open, the next start is skipped. Pausing is the file's word too: apply pauses or resumes as schedule.paused says.`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: completeRunbooks(a),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.with(cmd.Context(), func(e *engine) error { return a.runScheduleApply(cmd.Context(), e, given[0]) })
		},
	}
	list := &cobra.Command{
		Use:   "list",
		Short: "List muster's Temporal Schedules",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(e *engine) error { return a.runScheduleList(cmd.Context(), e) })
		},
	}
	remove := &cobra.Command{
		Use:               "delete RUNBOOK",
		Short:             "Delete the Temporal Schedule of a runbook; open runs go on",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: completeRunbooks(a),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.with(cmd.Context(), func(e *engine) error { return a.runScheduleDelete(cmd.Context(), e, given[0]) })
		},
	}
	return group("schedule", "Start runbooks by Temporal's scheduler", apply, list, remove)
}

func (a *app) runScheduleApply(ctx context.Context, e *engine, name string) error {
	dir, _ := a.folder(e.local.Runbooks)
	if dir == "" {
		return fail("name it with --runbooks or MUSTER_RUNBOOKS", "the schedule of runbook %s is not known here: there is no folder of runbooks", name)
	}
	folder, err := load(dir)
	if err != nil {
		return err
	}
	r, err := folder.Resolve(name, runbooks.Overrides{})
	if err != nil {
		return fail("muster validate "+dir, "runbook %s cannot be scheduled: %w", name, err)
	}
	s := r.Runbook.Schedule
	if s == nil {
		return fail("add schedule: with cron: to it", "runbook %s in %s has no schedule", name, dir)
	}
	options := scheduleOptions(r)
	out := scheduled{ID: options.ID, Runbook: name, Cron: s.Cron, TimeZone: options.Spec.TimeZoneName, CatchUp: options.CatchupWindow.String(), Paused: s.Paused, Action: "created"}
	_, err = e.ScheduleClient().Create(ctx, options)
	if errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		out.Action = "updated"
		err = updateSchedule(ctx, e.ScheduleClient().GetHandle(ctx, options.ID), options)
	}
	if err != nil {
		return fmt.Errorf("schedule %s at %s, namespace %s: %w", name, e.address, e.namespace, err)
	}
	return a.print(out, func(w io.Writer) {
		paused := ""
		if s.Paused {
			paused = ", paused"
		}
		fmt.Fprintf(w, "%s schedule %s: %s %s, catch-up %s%s\n", out.Action, out.ID, out.Cron, out.TimeZone, out.CatchUp, paused)
	})
}

func scheduleOptions(r runbooks.Resolved) client.ScheduleOptions {
	s := r.Runbook.Schedule
	zone := s.TimeZone
	if zone == "" {
		zone = "UTC"
	}
	return client.ScheduleOptions{
		ID:   schedulePrefix + r.Runbook.Name,
		Spec: client.ScheduleSpec{CronExpressions: []string{s.Cron}, TimeZoneName: zone},
		Action: &client.ScheduleWorkflowAction{
			// Temporal appends the time to the ID, so it is no lock between starts: the locks of the systems are.
			ID:       r.Runbook.Operation + ":" + r.Estate.Name,
			Workflow: workflows.TypeOf(r.Runbook.Operation), TaskQueue: run.TaskQueue, WorkflowTaskTimeout: taskTimeout,
			Args: []any{run.Input{Runbook: r.Runbook.Name, Channel: "schedule", RequestedBy: "schedule"}},
			Memo: map[string]any{run.MemoRunbook: r.Runbook.Name, run.MemoRequestedBy: "schedule"},
		},
		Overlap:       enums.SCHEDULE_OVERLAP_POLICY_SKIP,
		CatchupWindow: s.CatchUp.Or(runbooks.DefaultCatchUp),
		Paused:        s.Paused,
	}
}

func updateSchedule(ctx context.Context, h client.ScheduleHandle, o client.ScheduleOptions) error {
	return h.Update(ctx, client.ScheduleUpdateOptions{DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
		s := in.Description.Schedule
		s.Action, s.Spec = o.Action, &o.Spec
		s.Policy = &client.SchedulePolicies{Overlap: o.Overlap, CatchupWindow: o.CatchupWindow}
		if s.State == nil {
			s.State = &client.ScheduleState{}
		}
		s.State.Paused = o.Paused
		return &client.ScheduleUpdate{Schedule: &s}, nil
	}})
}

func (a *app) runScheduleList(ctx context.Context, e *engine) error {
	found := []scheduled{}
	entries, err := e.ScheduleClient().List(ctx, client.ScheduleListOptions{PageSize: 100})
	for err == nil && entries.HasNext() {
		var entry *client.ScheduleListEntry
		if entry, err = entries.Next(); err == nil && strings.HasPrefix(entry.ID, schedulePrefix) {
			found = append(found, scheduled{ID: entry.ID, Runbook: strings.TrimPrefix(entry.ID, schedulePrefix), Paused: entry.Paused, Next: entry.NextActionTimes})
		}
	}
	if err != nil {
		return fmt.Errorf("list the schedules at %s, namespace %s: %w", e.address, e.namespace, err)
	}
	return a.print(map[string]any{"schedules": found}, func(w io.Writer) {
		if len(found) == 0 {
			fmt.Fprintln(w, "no schedules (next: muster schedule apply RUNBOOK)")
			return
		}
		rows := [][]string{{"RUNBOOK", "NEXT", "SCHEDULE"}}
		for _, s := range found {
			next := "never"
			if s.Paused {
				next = "paused"
			} else if len(s.Next) > 0 {
				next = s.Next[0].Local().Format(time.DateTime)
			}
			rows = append(rows, []string{s.Runbook, next, s.ID})
		}
		table(w, rows)
	})
}

func (a *app) runScheduleDelete(ctx context.Context, e *engine, name string) error {
	id := schedulePrefix + name
	err := e.ScheduleClient().GetHandle(ctx, id).Delete(ctx)
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return fail("muster schedule list", "runbook %s has no schedule at %s, namespace %s", name, e.address, e.namespace)
	}
	if err != nil {
		return fmt.Errorf("delete schedule %s: %w", id, err)
	}
	return a.print(scheduled{ID: id, Runbook: name, Action: "deleted"}, func(w io.Writer) { fmt.Fprintf(w, "deleted schedule %s\n", id) })
}

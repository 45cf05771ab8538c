package starter

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/musterhq/muster/workflows/run"
)

// fakeSchedules is Temporal's scheduler.
type fakeSchedules struct {
	client.ScheduleClient
	schedules map[string]*client.Schedule
}

func (f *fakeSchedules) Create(_ context.Context, o client.ScheduleOptions) (client.ScheduleHandle, error) {
	if f.schedules[o.ID] != nil {
		return nil, temporal.ErrScheduleAlreadyRunning
	}
	f.schedules[o.ID] = &client.Schedule{Action: o.Action, Spec: &o.Spec, Policy: &client.SchedulePolicies{Overlap: o.Overlap, CatchupWindow: o.CatchupWindow}, State: &client.ScheduleState{Paused: o.Paused}}
	return f.GetHandle(context.Background(), o.ID), nil
}

func (f *fakeSchedules) GetHandle(_ context.Context, id string) client.ScheduleHandle {
	return &fakeScheduleHandle{f: f, id: id}
}

type fakeScheduleHandle struct {
	client.ScheduleHandle
	f  *fakeSchedules
	id string
}

func (h *fakeScheduleHandle) Update(_ context.Context, o client.ScheduleUpdateOptions) error {
	u, err := o.DoUpdate(client.ScheduleUpdateInput{Description: client.ScheduleDescription{Schedule: *h.f.schedules[h.id]}})
	if err == nil {
		h.f.schedules[h.id] = u.Schedule
	}
	return err
}

func (h *fakeScheduleHandle) Delete(context.Context) error {
	if h.f.schedules[h.id] == nil {
		return serviceerror.NewNotFound("schedule not found")
	}
	delete(h.f.schedules, h.id)
	return nil
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("../runbooks")))
	text, err := os.ReadFile("../runbooks/failover-shop.yaml")
	require.NoError(t, err)
	book := filepath.Join(dir, "nightly.yaml")
	text = bytes.Replace(text, []byte("runbook: failover-shop"), []byte("runbook: nightly"), 1)
	write := func(schedule string) {
		require.NoError(t, os.WriteFile(book, append(text, []byte(schedule)...), 0o600))
	}
	c := newCLI(t)
	c.fake.schedules = &fakeSchedules{schedules: map[string]*client.Schedule{}}
	c.env["MUSTER_RUNBOOKS"] = dir

	code, _, stderr := c.run("schedule", "apply", "failover-shop")
	require.Equal(t, codeError, code)
	require.Contains(t, stderr, "has no schedule")

	write("\nschedule:\n  cron: \"30 6 * * 1\"\n  time_zone: Europe/Berlin\n")
	code, out, stderr := c.run("schedule", "apply", "nightly")
	require.Equal(t, codeDone, code, stderr)
	require.Equal(t, "created schedule muster:nightly: 30 6 * * 1 Europe/Berlin, catch-up 5m0s\n", out)
	s := c.fake.schedules.schedules["muster:nightly"]
	require.Equal(t, enums.SCHEDULE_OVERLAP_POLICY_SKIP, s.Policy.Overlap)
	require.Equal(t, 5*time.Minute, s.Policy.CatchupWindow, "not Temporal's year")
	action := s.Action.(*client.ScheduleWorkflowAction)
	require.Equal(t, "failover:shop", action.ID)
	require.Equal(t, "Failover", action.Workflow)
	require.Equal(t, run.TaskQueue, action.TaskQueue)
	require.Equal(t, []any{run.Input{Runbook: "nightly", Channel: "schedule", RequestedBy: "schedule"}}, action.Args)

	write("\nschedule:\n  cron: \"0 7 * * 1\"\n  catch_up: 20m\n  paused: true\n")
	code, out, stderr = c.run("schedule", "apply", "nightly")
	require.Equal(t, codeDone, code, stderr)
	require.Equal(t, "updated schedule muster:nightly: 0 7 * * 1 UTC, catch-up 20m0s, paused\n", out)
	s = c.fake.schedules.schedules["muster:nightly"]
	require.True(t, s.State.Paused)
	require.Equal(t, []string{"0 7 * * 1"}, s.Spec.CronExpressions)
	require.Equal(t, 20*time.Minute, s.Policy.CatchupWindow)

	code, _, _ = c.run("schedule", "delete", "nightly")
	require.Equal(t, codeDone, code)
	code, _, stderr = c.run("schedule", "delete", "nightly")
	require.Equal(t, codeError, code)
	require.Contains(t, stderr, "has no schedule at fake:7233")
}

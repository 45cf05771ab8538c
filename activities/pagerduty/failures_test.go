package pagerduty

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// through is a notice that asks for what is at the path.
func through(path string) activities.Notice {
	if path == "/v2/change/enqueue" {
		return notice(activities.EventFinished)
	}
	return notice(activities.EventGateClosed)
}

func TestFailures(t *testing.T) {
	t.Parallel()
	tests := []struct {
		code int
		want string
	}{
		{200, activities.ErrUnreachable}, {301, activities.ErrConfig}, {307, activities.ErrConfig}, {400, activities.ErrRefused}, {401, activities.ErrAuth},
		{402, activities.ErrRefused}, {403, activities.ErrAuth}, {404, activities.ErrRefused}, {408, activities.ErrNotYet}, {413, activities.ErrRefused},
		{425, activities.ErrNotYet}, {429, activities.ErrNotYet}, {500, activities.ErrUnreachable}, {502, activities.ErrUnreachable}, {503, activities.ErrUnreachable},
	}
	for _, at := range []string{"/v2/enqueue", "/v2/change/enqueue", "/incidents", "/incidents/Q00001/notes"} {
		for _, test := range tests {
			if strings.HasPrefix(at, "/incidents") && test.code == 200 {
				continue // that is its success
			}
			t.Run(fmt.Sprint(at[1:], " ", test.code), func(t *testing.T) {
				t.Parallel()
				e := emulate(t)
				n := through(at)
				announce(t, e, notice(activities.EventGateOpened), true)
				e.fail(at, status(test.code, "Retry-After", "30", "Location", e.URL+"/stolen"))
				_, err := later().Announce(t.Context(), input(t, e, n, true))
				var typed *activities.Error
				require.ErrorAs(t, err, &typed)
				require.Equal(t, test.want, typed.Type, err)
				require.Equal(t, test.code == 200 || test.code == 408 || test.code == 425 || test.code == 429 || test.code >= 500, typed.Retryable())
				require.ErrorContains(t, err, fmt.Sprint(test.code))
				if test.code != 200 {
					require.ErrorContains(t, err, "it asks to wait 30s")
				}
				// The emulator repeated both secrets in its answer.
				require.NotContains(t, err.Error(), "hunter2")
				require.NotContains(t, err.Error(), "\n")
				if strings.HasPrefix(at, "/incidents") {
					require.Equal(t, "resolved", e.seen().incidents[0].status)
				}
				announce(t, e, n, true)
				if at == "/v2/change/enqueue" {
					require.Len(t, e.seen().changes, 1)
				} else {
					require.Len(t, e.seen().incidents[0].notes, 1)
				}
			})
		}
	}
}

func TestWhatTheServiceSaysIsInTheError(t *testing.T) {
	t.Parallel()
	e := emulate(t)
	in := input(t, e, notice(activities.EventGateOpened), true)
	in.Notifier.PagerDuty.RoutingKey = planted(t, "hunter2short")
	_, err := later().Announce(t.Context(), in)
	require.Equal(t, activities.ErrRefused, activities.TypeOf(err))
	require.ErrorContains(t, err, "Length of 'routing_key' is incorrect (should be 32 characters)")
	require.NotContains(t, err.Error(), "hunter2")
	_, err = later().Announce(t.Context(), input(t, e, notice(activities.EventGateOpened), false))
	require.NoError(t, err)
	in = input(t, e, notice(activities.EventGateClosed), true)
	in.Notifier.PagerDuty.From = "stranger@example.org"
	_, err = later().Announce(t.Context(), in)
	require.Equal(t, activities.ErrRefused, activities.TypeOf(err))
	require.ErrorContains(t, err, "Requester User Not Found")
	in.Notifier.PagerDuty.Token = planted(t, "hunter2wrong")
	_, err = later().Announce(t.Context(), in)
	require.Equal(t, activities.ErrAuth, activities.TypeOf(err))
	require.NotContains(t, err.Error(), "hunter2")
}

func TestASlowServiceIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"/v2/enqueue", "/v2/change/enqueue", "/incidents", "/incidents/Q00001/notes"} {
		t.Run(at[1:], func(t *testing.T) {
			t.Parallel()
			e := emulate(t)
			n := through(at)
			announce(t, e, notice(activities.EventGateOpened), true)
			e.fail(at, silence)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, err := later().Announce(ctx, input(t, e, n, true))
			require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Less(t, time.Since(start), 5*time.Second)
		})
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	in := input(t, emulate(t), notice(activities.EventGateOpened), false)
	in.Notifier.PagerDuty.Events = "http://" + l.Addr().String()
	_, err = later().Announce(t.Context(), in)
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
	require.ErrorContains(t, err, "refused")
}

// What people write may be of any length and hold anything: the service still takes it.
func TestLongAndStrangeText(t *testing.T) {
	t.Parallel()
	e := emulate(t)
	strange := strings.Repeat("ü\x00\r\n<b>\xff", 5000)
	for _, event := range []activities.Event{activities.EventGateOpened, activities.EventHeld, activities.EventFinished, activities.EventReleased} {
		n := notice(event)
		n.Title, n.Text, n.Subject, n.Severity, n.Header.Runbook = strange, strange, strings.Repeat("s", 1000)+string(event), "unheard-of", strange
		if n.Gate != nil {
			n.Gate.Risk, n.Gate.Plan.ExpectedLoss = strange, strange
			for range 1000 {
				n.Gate.Plan.Steps = append(n.Gate.Plan.Steps, journal.PlanStep{Title: strange})
			}
		}
		if n.Hold != nil {
			n.Hold.Why, n.Hold.Released = strange, strange
		}
		announce(t, e, n, true)
	}
	empty := notice(activities.EventGateOpened)
	empty.Title, empty.Header.Estate = "", ""
	announce(t, e, empty, false)
}

func TestConfigurationThatCannotWork(t *testing.T) {
	t.Parallel()
	e := emulate(t)
	for name, change := range map[string]func(*runbooks.PagerDutyNotifier){
		"events in the clear":    func(p *runbooks.PagerDutyNotifier) { p.Events = "http://events.example.com" },
		"api in the clear":       func(p *runbooks.PagerDutyNotifier) { p.API = "http://api.example.com" },
		"password in events":     func(p *runbooks.PagerDutyNotifier) { p.Events = "https://a:hunter2@events.example.com" },
		"events not a URL":       func(p *runbooks.PagerDutyNotifier) { p.Events = "events" },
		"no routing key":         func(p *runbooks.PagerDutyNotifier) { p.RoutingKey = "env:MUSTER_PAGERDUTY_KEY_THAT_IS_NOT_SET" },
		"no token":               func(p *runbooks.PagerDutyNotifier) { p.Token = "env:MUSTER_PAGERDUTY_KEY_THAT_IS_NOT_SET" },
		"a token, and nobody":    func(p *runbooks.PagerDutyNotifier) { p.From = "" },
		"a header in the writer": func(p *runbooks.PagerDutyNotifier) { p.From = "a@b\r\nX: y" },
	} {
		in := input(t, e, notice(activities.EventGateOpened), true)
		change(in.Notifier.PagerDuty)
		_, err := later().Announce(t.Context(), in)
		require.Equal(t, activities.ErrConfig, activities.TypeOf(err), name)
		require.NotContains(t, err.Error(), "hunter2", name)
	}
	in := input(t, e, notice(activities.EventGateOpened), true)
	in.Notifier.PagerDuty = nil
	_, err := later().Announce(t.Context(), in)
	require.Equal(t, activities.ErrConfig, activities.TypeOf(err))
	require.Empty(t, e.seen().events)
}

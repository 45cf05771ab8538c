package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities/slack/slacktest"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

// relay is an address in front of a server: whoever is cut off from it gets no connection.
type relay struct {
	address, to string

	mu       sync.Mutex
	listener net.Listener
}

func openRelay(t *testing.T, to string) *relay {
	t.Helper()
	r := &relay{address: freeAddress(t), to: to}
	r.up(t)
	t.Cleanup(r.down)
	return r
}

func (r *relay) up(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", r.address)
	require.NoError(t, err)
	r.mu.Lock()
	r.listener = listener
	r.mu.Unlock()
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", r.to)
			if err != nil {
				_ = in.Close() // whoever called sees that
				continue
			}
			for from, to := range map[net.Conn]net.Conn{in: out, out: in} {
				go func() {
					_, _ = io.Copy(to, from) // both ends with either
					_ = to.Close()
				}()
			}
		}
	}()
}

func (r *relay) down() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.listener.Close() // it may be down already
}

// TestNotifiersAway moves the shop while Slack, PagerDuty and the mail server cannot be reached, answer with errors, or are slow:
// the move takes as long as ever, says what has not arrived, and all of it arrives when they are back, once.
func TestNotifiersAway(t *testing.T) {
	t.Parallel()
	p, mail := &pager{}, startSink(t)
	post := openRelay(t, fmt.Sprintf("127.0.0.1:%d", mail.port))
	g := openGated(t, func(g *gated, e *runbooks.Estate) {
		e.Notifiers["pager"], e.Notifiers["mail"] = p.notify(t, g), mail.notify(t, g)
		e.Notifiers["mail"].Email.Server = post.address
		e.Notices = []runbooks.NoticeRule{{To: []string{"chat", "pager", "mail"}}}
	})
	many := func(n int, faults ...slacktest.Fault) []slacktest.Fault { return slices.Repeat(faults, n) }
	outages := map[string]int64{}
	for _, test := range []struct {
		name string
		away func()
		back func()
	}{
		{name: "there"},
		{"unreachable", func() { g.slack.Down(); p.answer(http.StatusServiceUnavailable); post.down() },
			func() { g.slack.Up(); p.answer(0); post.up(t) }},
		{"answering 429 and 500", func() {
			g.slack.Fail("*", many(4, slacktest.Fault{Status: 429, RetryAfter: time.Second}, slacktest.Fault{Status: 500})...)
			p.answer(http.StatusTooManyRequests)
		}, func() { p.answer(0) }},
		{"slow", func() { g.slack.Fail("*", many(3, slacktest.Fault{Delay: 5 * time.Second})...); p.hang() }, func() { p.resume() }},
		{name: "there again"}, // how much one move differs from another
	} {
		if !t.Run(test.name, func(t *testing.T) {
			here, there := g.sites(t)
			letters := len(mail.got())
			if test.away != nil {
				test.away()
			}
			x := g.begin(t, runbook(here, ""))
			gate := g.gate(t, x, "approve")
			said := g.signedBy(t, "kim", "approve", x.WorkflowID, "--plan", gate.PlanHash)
			require.Zero(t, said.code, said.String())
			r, entries := g.ended(t, x, journal.Passed)
			g.requireSettled(t, there)
			outages[test.name] = r.Measures[0].OutageMs
			missing := map[string]bool{}
			for _, e := range entries {
				if e.Kind == journal.Notified && e.Outcome == journal.Failed {
					missing[e.Channel] = true
				}
			}
			require.Equal(t, test.name == "unreachable", missing["chat"] && missing["pager"] && missing["mail"], "%v", missing)
			if test.name != "slow" { // no answer yet is no failure: the run ended before there was one
				require.Equal(t, test.away == nil, len(missing) == 0, "%v", missing)
			}
			if test.back != nil {
				test.back()
			}

			m := slacktest.Message{}
			awaited(t, "Slack to show the gate's end, and the verdict", time.Minute, func() (string, bool) {
				found := g.messages(x, "gate/approve")
				if len(found) == 0 {
					return "no message", false
				}
				m = found[0]
				return string(m.Blocks), strings.Contains(string(m.Blocks), "*APPROVED*") && len(g.messages(x, "run")) > 0
			})
			require.Len(t, g.messages(x, "gate/approve"), 1)
			require.Len(t, g.messages(x, "run"), 1)
			require.Equal(t, m.TS, g.messages(x, "run")[0].Thread)
			awaited(t, "PagerDuty to know all", time.Minute, func() ([]string, bool) {
				got := slices.Compact(p.of("muster/" + x.RunID + "/gate/approve")) // sent again under its key, a trigger is the same incident
				return got, slices.Equal(got, []string{"trigger", "resolve"})
			})
			awaited(t, "three letters", time.Minute, func() (int, bool) { n := len(mail.got()) - letters; return n, n == 3 })
		}) {
			return
		}
	}
	require.True(t, g.slack.Await(time.Minute, func() bool { return g.slack.Connections() == 1 }), "Socket Mode is connected again")
	t.Logf("outages in ms, by how the notifiers are: %v", outages)
}

package slack_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/slack/slacktest"
	"github.com/musterhq/muster/runbooks"
)

// 200 gates are open and five people answer each of them within ten seconds, half over HTTP, half over Socket Mode; each
// click is a button, a modal, and its submission, every tenth is delivered twice, and runs are slow or do not answer at first.
func TestAThousandClicksInTenSeconds(t *testing.T) {
	const gates, each = 200, 5
	s := slacktest.New(t)
	var mu sync.Mutex
	counted, failed := map[string]map[string]int{}, map[string]bool{}
	hear := func(_ context.Context, w activities.Word) (string, bool, error) {
		time.Sleep(5 * time.Millisecond) // a run's answer takes as long
		mu.Lock()
		defer mu.Unlock()
		if len(failed)%20 == 0 && !failed[w.Nonce] {
			failed[w.Nonce] = true
			return "", false, errors.New("the run does not answer")
		}
		failed[w.Nonce] = true
		if counted[w.Gate] == nil {
			counted[w.Gate] = map[string]int{}
		}
		counted[w.Gate][w.Who[0]]++
		return "counted " + w.Gate, true, nil
	}
	g := listen(t, s, hear)
	connect(t, s, g)
	to := make([]runbooks.Notifier, 8) // eight channels: each gate's search reads its own
	for i := range to {
		to[i] = notifier(t, s)
		to[i].Slack.Channel = fmt.Sprintf("C0GATES%d", i)
		s.AddChannel(to[i].Slack.Channel, "gates")
	}
	began := time.Now()
	messages := make([]activities.Receipt, gates)
	var posting errgroup.Group
	posting.SetLimit(8)
	for i := range messages {
		posting.Go(func() error {
			n := gate(activities.EventGateOpened, i)
			n.Header.WorkflowID, n.Header.RunID = fmt.Sprintf("failover:shop-%d", i), fmt.Sprintf("%s-%d", run, i)
			n.ID, n.Subject = n.Header.RunID+"/3", n.Header.RunID+"/gate"
			n.Gate.Name = fmt.Sprintf("approve-%d", i)
			n.Gate.Plan = nil
			receipt, err := announce(t, s, to[i%len(to)], n)
			messages[i] = receipt
			return err
		})
	}
	require.NoError(t, posting.Wait())
	t.Logf("%d gates announced in %s", gates, time.Since(began).Round(time.Millisecond))
	for i := range each {
		s.AddUser(slacktest.User{ID: fmt.Sprintf("U0PERSON%d", i)})
	}

	var clicking errgroup.Group
	clicking.SetLimit(24) // a machine that is busy with other things slows them down
	var took []time.Duration
	acked := func(ack slacktest.Ack, err error) error {
		if err == nil && ack.Status != 200 {
			err = fmt.Errorf("answered with %d", ack.Status)
		}
		if err != nil {
			ack.Took = 3 * time.Second
		}
		mu.Lock()
		took = append(took, ack.Took)
		mu.Unlock()
		return err
	}
	var reference []time.Duration // of a handler that does nothing, in the same seconds: what this machine can do just now
	idle := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer idle.Close()
	pace := time.NewTicker(8 * time.Millisecond)
	defer pace.Stop()
	began = time.Now()
	for n := range gates * each {
		<-pace.C
		clicking.Go(func() error {
			user := fmt.Sprintf("U0PERSON%d", n%each)
			send := s.Send
			if n%2 == 0 {
				send = func(i slacktest.Interaction) (slacktest.Ack, error) { return s.Deliver(g.url, i) }
			}
			// Whoever sees that Slack got no answer presses again, as people do: on a machine that is busy with other things even
			// three seconds go by.
			insist := func(i slacktest.Interaction) (err error) {
				for range 5 {
					if err = acked(send(i)); err == nil {
						return nil
					}
				}
				return err
			}
			var view slacktest.View
			for opened, tries := false, 0; !opened; tries++ {
				click := s.Click(user, messages[n/each].Channel, messages[n/each].Message, "muster_approve")
				if err := insist(click); err != nil {
					return fmt.Errorf("click %d: %w", n, err)
				}
				if tries == 5 {
					return fmt.Errorf("click %d opened no modal", n)
				}
				s.Await(limit/4, func() bool { view, opened = s.Opened(click); return opened })
			}
			if n%5 == 0 {
				ack, err := s.Deliver(idle.URL, slacktest.Interaction{Payload: []byte("{}")})
				if err != nil {
					ack.Took = 3 * time.Second
				}
				mu.Lock()
				reference = append(reference, ack.Took)
				mu.Unlock()
			}
			submission := s.Submit(user, view.ID, map[string]string{"reason": "go"})
			if n%10 == 0 {
				if err := insist(submission); err != nil {
					return fmt.Errorf("submission %d: %w", n, err)
				}
			}
			return insist(submission)
		})
	}
	require.NoError(t, clicking.Wait())
	answered := func() (n int) {
		for _, e := range s.Ephemerals() {
			if strings.Contains(e.Text, "counted approve-") {
				n++
			}
		}
		return n
	}
	require.True(t, s.Await(limit, func() bool { return answered() >= gates*each }))
	whole := time.Since(began)
	drained(t, g)

	slices.Sort(took)
	slices.Sort(reference)
	p99, could := took[len(took)*99/100], reference[len(reference)*99/100]
	t.Logf("%d clicks and submissions in %s: acknowledged p50 %s, p99 %s, max %s; a handler that does nothing: p99 %s",
		len(took), whole.Round(time.Millisecond), took[len(took)/2], p99, took[len(took)-1], could)
	require.Less(t, p99, max(500*time.Millisecond, 5*could))
	require.Equal(t, gates*each, answered(), "each is answered once")
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, counted, gates)
	for gate, who := range counted {
		require.Len(t, who, each, gate)
		for person, times := range who {
			require.Equal(t, 1, times, "%s at %s", person, gate)
		}
	}
}

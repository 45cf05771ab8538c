package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/slack/slacktest"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/internal/local"
	"github.com/musterhq/muster/runbooks"
)

const (
	chat    = "C0GENERAL"
	clickBy = 5 // people press at each gate, which wants one more: it stays open, and nothing moves
)

// stage stands in for the test that package slacktest wants to be used by.
type stage struct {
	testing.TB
	mu    sync.Mutex
	after []func()
}

func (h *stage) Helper() {}

func (h *stage) Cleanup(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.after = append(h.after, f)
}

func (h *stage) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (h *stage) close() {
	for _, f := range slices.Backward(h.after) {
		f()
	}
}

// clicks are how long the gateway took to acknowledge, in ms, and a handler that does nothing in the same seconds.
type clicks struct {
	mu         sync.Mutex
	took, idle []float64
	unheard    int // pressed again, as people do
}

func (c *clicks) add(to *[]float64, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*to = append(*to, ms(d))
}

// gates measures how soon clicks of Slack are acknowledged while many gates are open, and that each is counted once. Slack is the
// emulator of package slacktest; the gateway, the runs and the engine are real.
func (b *bench) gates(ctx context.Context) (err error) {
	h := &stage{}
	defer h.close()
	slack := slacktest.New(h)
	folder, err := b.estateOfGates(ctx, slack)
	if err != nil {
		return err
	}
	p, err := b.start(ctx, "gates", "", "--runbooks", folder, "--gateway", "main")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop(ctx)) }()
	engine, err := local.Read(p.state)
	if err != nil {
		return err
	}
	count, within := b.pick(200, 40), 10*time.Second
	open, err := b.startWaiting(ctx, p, 0, count)
	if err != nil {
		return err
	}
	if open < count {
		return fmt.Errorf("%d of %d runs came to their gates in %s", open, count, b.patience())
	}
	if !slack.Await(2*time.Minute, func() bool { return len(slack.Messages(chat)) == count }) {
		return fmt.Errorf("%d of %d gates are in Slack", len(slack.Messages(chat)), count)
	}

	c := &clicks{}
	began := time.Now()
	if err := b.clickAll(ctx, slack, engine.Gateway+"/slack", within, c); err != nil {
		return err
	}
	clicked := time.Since(began)
	all := count * clickBy
	if !slack.Await(2*time.Minute, func() bool { return len(slack.Ephemerals()) >= all }) {
		return fmt.Errorf("%d of %d people were answered", len(slack.Ephemerals()), all)
	}
	answered := time.Since(began)
	wrong, err := countedWrong(ctx, runs{p.temporal}, count)
	if err != nil {
		return err
	}
	b.add(figure{ID: "gates/acknowledged", What: fmt.Sprintf("click acknowledged, %d gates open (p99)", count), Unit: "ms", Value: quantile(c.took, 0.99), Aim: 500,
		Reference: &against{What: "idle net/http handler (p99)", Value: quantile(c.idle, 0.99)},
		Note: fmt.Sprintf("%d presses and forms of %d clicks in %.1f s, p50 %s ms, max %s ms, %d pressed again; all people answered after %.1f s",
			len(c.took), all, clicked.Seconds(), number(median(c.took)), number(slices.Max(c.took)), c.unheard, answered.Seconds())})
	b.add(figure{ID: "gates/counted", What: fmt.Sprintf("of %d clicks, lost or counted twice", all), Unit: "", Value: float64(wrong), Aim: 1,
		Note: "every tenth form was delivered twice"})
	return nil
}

// estateOfGates writes the sandbox's estate with people in Slack, a gateway, and a gate that wants one more than will press.
func (b *bench) estateOfGates(ctx context.Context, slack *slacktest.Server) (string, error) {
	folder := filepath.Join(b.dir, "gates-runbooks")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	var failed error
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		failed = errors.Join(failed, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	secret := func(name, value string) runbooks.Secret {
		return runbooks.Secret("file:" + write(name+".secret", value+"\n"))
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "gateway")
	if err != nil {
		return "", err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return "", err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_ = free.Close() // the gateway listens there next
	e := b.estate.Estate()
	for i := range clickBy + 1 {
		user := fmt.Sprintf("U0PERSON%d", i)
		slack.AddUser(slacktest.User{ID: user})
		e.People[fmt.Sprintf("person-%d", i)] = runbooks.Person{Roles: []string{"approver"}, Slack: slack.Team + "/" + user}
	}
	e.Gateways = map[string]runbooks.Gateway{"main": {Key: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), Serve: &runbooks.GatewayServer{
		Listen: free.Addr().String(), SignWith: write("gateway.key", string(pem.EncodeToMemory(block))),
		Slack: &runbooks.GatewaySlack{Token: secret("token", slack.BotToken), SigningSecret: secret("signing", slack.SigningSecret), Teams: []string{slack.Team}, API: slack.API},
	}}}
	e.Notifiers = map[string]runbooks.Notifier{"chat": {Kind: "slack", Slack: &runbooks.SlackNotifier{Token: secret("token", slack.BotToken), Channel: chat, API: slack.API}}}
	e.Notices = []runbooks.NoticeRule{{Events: []string{string(activities.EventGateOpened)}, To: []string{"chat"}}}
	here, there, err := b.sites(ctx, system)
	if err != nil {
		return "", err
	}
	for _, from := range []string{"failover-shop", "failback-shop"} { // whichever startWaiting takes
		write(from+".yaml", fmt.Sprintf("runbook: %s\noperation: failover\nestate: %s\nfailover: {from: %s, to: %s, kind: planned, order: [[orders]]}\n"+
			"gates:\n  approve: {roles: [approver], count: %d}\n", from, e.Name, here, there, clickBy+1))
	}
	text, err := yaml.MarshalWithOptions(e, yaml.IndentSequence(true))
	write(e.Name+".estate.yaml", string(text))
	if err := errors.Join(err, failed); err != nil {
		return "", err
	}
	_, err = runbooks.Load(folder)
	return folder, err
}

// clickAll has everybody approve every gate, evenly over that long: a press, the form that opens, the form sent.
func (b *bench) clickAll(ctx context.Context, slack *slacktest.Server, to string, within time.Duration, c *clicks) error {
	idle := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer idle.Close()
	gates := slack.Messages(chat)
	all := len(gates) * clickBy
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(256)
	pace := time.NewTicker(within / time.Duration(all))
	defer pace.Stop()
	for n := range all {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return group.Wait()
		}
		group.Go(func() error {
			if n%5 == 0 {
				if ack, err := slack.Deliver(idle.URL, slacktest.Interaction{Payload: []byte("{}")}); err == nil {
					c.add(&c.idle, ack.Took)
				}
			}
			return c.one(slack, to, fmt.Sprintf("U0PERSON%d", n%clickBy), gates[n/clickBy].TS, n%10 == 0)
		})
	}
	return group.Wait()
}

// one is one person at one gate. Whoever sees that Slack got no answer in three seconds presses again, as people do.
func (c *clicks) one(slack *slacktest.Server, to, user, message string, twice bool) error {
	send := func(i slacktest.Interaction) bool {
		ack, err := slack.Deliver(to, i)
		if err != nil {
			ack.Took = 3 * time.Second
		}
		c.add(&c.took, ack.Took)
		if heard := err == nil && ack.Status == http.StatusOK; heard {
			return true
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.unheard++
		return false
	}
	for range 10 {
		press := slack.Click(user, chat, message, "muster_approve")
		if !send(press) {
			continue
		}
		var form slacktest.View
		if !slack.Await(5*time.Second, func() (opened bool) { form, opened = slack.Opened(press); return opened }) {
			continue
		}
		submission := slack.Submit(user, form.ID, map[string]string{"reason": "go"})
		for range 10 {
			if send(submission) {
				if twice {
					send(submission)
				}
				return nil
			}
		}
	}
	return fmt.Errorf("%s could not answer the gate of %s", user, message)
}

// countedWrong counts, in the journals, decisions that are missing or are there twice.
func countedWrong(ctx context.Context, r runs, count int) (int, error) {
	wrong := 0
	for n := range count {
		entries, err := r.Journal(ctx, activities.EvidenceInput{WorkflowID: fmt.Sprintf("failover:shop-%d", n)})
		if err != nil {
			return 0, err
		}
		times := map[string]int{}
		for _, e := range entries {
			if e.Kind == journal.Decided {
				times[e.Author]++
			}
		}
		for i := range clickBy {
			if times[fmt.Sprintf("person-%d", i)] != 1 {
				wrong++
			}
		}
	}
	return wrong, nil
}

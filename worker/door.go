package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/pagerduty"
	"github.com/musterhq/muster/activities/slack"
	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/worker/gateway"
	"github.com/musterhq/muster/workflows"
	"github.com/musterhq/muster/workflows/run"
)

// Where drivers' senders knock.
const (
	pathSlack     = "/slack"
	pathPagerDuty = "/pagerduty"
)

// drainTimeout is for clicks that were acknowledged when the worker is told to stop.
const drainTimeout = 10 * time.Second

// door is the gateway with the drivers that hear through it. The zero door is closed.
type door struct {
	gateway *gateway.Gateway
	slack   *slack.Incoming
	cancel  context.CancelFunc
	socket  sync.WaitGroup
	broken  chan error
}

// openGateway serves the gateway that c names, with what its estate says of it.
func (c Config) openGateway(ctx context.Context, temporal client.Client, namespace string, log *slog.Logger) (*door, error) {
	d := &door{broken: make(chan error, 2)}
	if c.Gateway == "" {
		return d, nil
	}
	e := &estates{dir: c.Runbooks}
	server, url, err := e.server(c.Gateway)
	if err != nil {
		return nil, err
	}
	o := gateway.Options{Name: c.Gateway, Key: server.SignWith, Runs: gateway.FromTemporal(temporal, namespace), Estate: e.named,
		Address: server.Listen, Cert: server.Certificate, CertKey: server.CertificateKey, URL: url, Logger: log}
	if oidc := server.OIDC; oidc != nil {
		o.OIDC = &gateway.OIDC{Issuer: oidc.Issuer, ClientID: oidc.ClientID, Secret: oidc.ClientSecret}
	}
	if d.gateway, err = gateway.New(o); err != nil {
		return nil, err
	}
	var clicks context.Context
	clicks, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if server.Slack != nil {
		if err := d.hearSlack(clicks, *server.Slack, log); err != nil {
			d.cancel()
			return nil, err
		}
	}
	if p := server.PagerDuty; p != nil {
		d.gateway.Mount("POST "+pathPagerDuty, &pagerduty.Handler{Secret: p.Secret, Runbooks: p.Services, Start: c.startFor(temporal), Log: log})
	}
	if err := d.gateway.Start(ctx); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

func (d *door) hearSlack(ctx context.Context, s runbooks.GatewaySlack, log *slog.Logger) (err error) {
	d.slack, err = slack.New(slack.Config{SigningSecret: s.SigningSecret, AppToken: s.AppToken, BotToken: s.Token, Teams: s.Teams, API: s.API, Hear: d.gateway.Hear, Log: log})
	if err != nil {
		return err
	}
	if s.SigningSecret != "" {
		d.gateway.Mount("POST "+pathSlack, d.slack.Handler())
	}
	if s.AppToken != "" {
		d.socket.Go(func() {
			if err := d.slack.Socket(ctx); err != nil {
				d.broken <- err
			}
		})
	}
	return nil
}

func (d *door) url() string {
	if d.gateway == nil {
		return ""
	}
	return d.gateway.URL()
}

// failed reports a gateway that cannot go on. Slack refusing the app token ends the worker too: who configured it should know at once.
func (d *door) failed() <-chan error {
	if d.gateway != nil {
		go func() {
			if err, open := <-d.gateway.Failed(); open {
				d.broken <- err
			}
		}()
	}
	return d.broken
}

// stop closes the door, and lets what was acknowledged reach its run.
func (d *door) stop() error {
	if d.gateway == nil {
		return nil
	}
	err := d.gateway.Stop()
	d.cancel()
	d.socket.Wait()
	if d.slack != nil {
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		err = errors.Join(err, d.slack.Drain(ctx))
	}
	return err
}

// startFor starts the runbook that an incident's service names, once for each incident. It waits at its gate like any other.
func (c Config) startFor(temporal client.Client) func(context.Context, pagerduty.Request) error {
	return func(ctx context.Context, r pagerduty.Request) error {
		resolved, err := c.load(activities.LoadRunbookInput{Runbook: r.Runbook})
		if err != nil {
			return err
		}
		book := resolved.Runbook
		options := client.StartWorkflowOptions{ID: fmt.Sprintf("%s:%s:%s", book.Operation, book.Estate, r.Key), TaskQueue: run.TaskQueue, WorkflowTaskTimeout: 2 * time.Second,
			WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE, WorkflowExecutionErrorWhenAlreadyStarted: true,
			StaticSummary: fmt.Sprintf("%s, for PagerDuty's incident %s", book.Name, r.Incident),
			Memo:          map[string]any{run.MemoRunbook: book.Name, run.MemoRequestedBy: "pagerduty"}}
		_, err = temporal.ExecuteWorkflow(ctx, options, workflows.TypeOf(book.Operation), run.Input{Runbook: book.Name, RequestedBy: "pagerduty", Channel: "pagerduty " + r.URL})
		var started *serviceerror.WorkflowExecutionAlreadyStarted
		if errors.As(err, &started) {
			return nil // the webhook was delivered again
		}
		return mapError("start "+book.Name+" for incident "+r.Incident, err)
	}
}

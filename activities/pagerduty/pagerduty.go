// Package pagerduty pages people through PagerDuty, and hears of its incidents.
//
// A notice about a gate or a hold becomes an event of the Events API v2. All notices of one run about one thing share a dedup key,
// so they are one incident, however often they are sent:
//
//	gate-opened, gate-reminded, gate-escalated, held    trigger
//	gate-decided                                        acknowledge
//	gate-closed, gate-expired, released                 resolve
//	finished                                            a change event on the service, and trigger where it is critical, else resolve
//	progress                                            nothing
//
// Where a REST token is configured, what happens to an open gate or hold also becomes a note on its incident. Incoming webhooks:
// see Handler.
package pagerduty

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/PagerDuty/go-pagerduty"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/secret"
)

const (
	defaultEvents = "https://events.pagerduty.com"
	defaultAPI    = "https://api.pagerduty.com"
	timeout       = 10 * time.Second // for one request, answer included
	patience      = 4 * time.Second  // with the REST API, before a page goes out without it
)

// Notifier implements activities.Notifier. It is safe for concurrent use.
type Notifier struct {
	client   *http.Client
	now      func() time.Time
	patience time.Duration
}

var _ activities.Notifier = (*Notifier)(nil)

// New returns a notifier that trusts the system's certificates and uses the proxy of the environment, as net/http does.
func New() *Notifier {
	return &Notifier{now: time.Now, patience: patience, client: &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: timeout}).DialContext,
			ForceAttemptHTTP2:     true,
			TLSHandshakeTimeout:   timeout,
			ResponseHeaderTimeout: timeout,
			IdleConnTimeout:       30 * time.Second,
		},
		Timeout: timeout,
		// Followed, a redirect would carry keys to wherever the answer says.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Announce sends the notice's event, which is safe to repeat, writes its note, which is looked for first, and records a change where the
// run finished. PagerDuty cannot be asked for changes: one whose answer is lost may be recorded twice.
func (n *Notifier) Announce(ctx context.Context, in activities.AnnounceInput) (activities.Receipt, error) {
	s, err := n.open(ctx, in)
	if err != nil {
		return activities.Receipt{}, err
	}
	known, err := s.page(ctx, in.Notice)
	if err != nil {
		return activities.Receipt{}, err
	}
	if in.Notice.Event == activities.EventFinished {
		if err := s.sendChange(ctx, change(in.Notice, s.routing)); err != nil {
			return activities.Receipt{}, err
		}
	}
	return activities.Receipt{Channel: dedupKey(in.Notice), Known: known}, nil
}

// page sends the event and writes the note. The note comes last: where it is there, the event was sent.
func (s *session) page(ctx context.Context, n activities.Notice) (known bool, err error) {
	var missing []string
	var lookErr error
	if s.noted(n) {
		looking, cancel := context.WithTimeout(ctx, s.patience)
		missing, known, lookErr = s.look(looking, dedupKey(n), n)
		cancel()
		if known {
			return true, nil
		}
	}
	// A page is worth more than a note: it goes out also where the REST API does not answer.
	if action := actionOf(n); action != "" {
		if err := s.send(ctx, event(n, action, s.routing)); err != nil {
			return false, err
		}
	}
	if lookErr != nil || !s.noted(n) {
		return false, lookErr
	}
	return false, s.note(ctx, missing, n)
}

// session is what one Announce needs.
type session struct {
	op       string
	client   *http.Client
	now      func() time.Time
	patience time.Duration
	events   string
	api      string
	from     string
	routing  string
	token    string
}

func (n *Notifier) open(ctx context.Context, in activities.AnnounceInput) (*session, error) {
	s := &session{op: "announce " + in.Notice.ID + " by PagerDuty notifier " + in.Name, client: n.client, now: n.now, patience: n.patience}
	config := func(err error, next string) (*session, error) {
		return nil, &activities.Error{Type: activities.ErrConfig, Op: s.op, Err: err, Next: next}
	}
	const correct = "correct the notifier's pagerduty section in the estate"
	p := in.Notifier.PagerDuty
	if p == nil {
		return config(errors.New("it has no pagerduty section"), correct)
	}
	var err error
	if s.events, err = base("events", p.Events, defaultEvents); err != nil {
		return config(err, correct)
	}
	if s.api, err = base("api", p.API, defaultAPI); err != nil {
		return config(err, correct)
	}
	if s.routing, err = secret.Resolve(ctx, p.RoutingKey); err != nil {
		return config(err, "give the worker the routing key of the service's Events API v2 integration")
	}
	if p.Token == "" {
		return s, nil
	}
	if s.from = p.From; s.from == "" || strings.ContainsAny(s.from, "\r\n") {
		return config(errors.New("token is set, and from is not the e-mail address of a PagerDuty user; somebody has to have written the notes"), correct)
	}
	if s.token, err = secret.Resolve(ctx, p.Token); err != nil {
		return config(err, "give the worker the REST API key, or remove token: notes are then not written")
	}
	return s, nil
}

// base checks the URL of an API. An answer from elsewhere would be believed, and keys travel there: no http beyond this machine.
func base(name, text, standard string) (string, error) {
	if text == "" {
		return standard, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%s is not the URL of an API; expected one such as %s", name, standard)
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())) {
		return "", fmt.Errorf("%s is not https; http is for this machine only", name)
	}
	return strings.TrimSuffix(text, "/"), nil
}

func (s *session) send(ctx context.Context, e *pagerduty.V2Event) error {
	x := &exchange{client: s.client, now: s.now}
	_, err := s.dial(x).ManageEventWithContext(ctx, e)
	return s.failed(e.Action+" "+e.DedupKey, x, err, http.StatusAccepted)
}

func (s *session) sendChange(ctx context.Context, e pagerduty.ChangeEvent) error {
	x := &exchange{client: s.client, now: s.now}
	_, err := s.dial(x).CreateChangeEventWithContext(ctx, e)
	if x.status == http.StatusAccepted {
		return nil // also where the rest of the answer cannot be read: sent again, it would be recorded twice
	}
	return s.failed("record the change", x, err, http.StatusAccepted)
}

func (s *session) dial(x *exchange) *pagerduty.Client {
	c := pagerduty.NewClient(s.token, pagerduty.WithAPIEndpoint(s.api), pagerduty.WithV2EventsAPIEndpoint(s.events))
	c.HTTPClient = x
	return c
}

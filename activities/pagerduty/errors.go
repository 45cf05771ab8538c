package pagerduty

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/musterhq/muster/activities"
)

const maxAnswer = 4 << 20 // a page of 100 incidents is below 1 MiB

// exchange is one request. It keeps what go-pagerduty drops: the cause of a failure, how long to wait, what the Events API says.
type exchange struct {
	client *http.Client
	now    func() time.Time
	status int    // 0: no answer
	wait   string // for people
	said   string
	err    error // why there is no answer
}

// Do implements pagerduty.HTTPClient. It caps the answer's body.
func (x *exchange) Do(r *http.Request) (*http.Response, error) {
	answer, err := x.client.Do(r)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err
		}
		x.err = err
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	_ = answer.Body.Close()
	x.status, x.wait = answer.StatusCode, activities.AsksToWait(answer.Header, x.now(), "Ratelimit-Reset") // the REST API's own
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("the answer is larger than %d MiB", maxAnswer>>20)
	}
	if err != nil {
		x.err = err
		return nil, err
	}
	x.said = said(body)
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}

// said is what an answer says went wrong: the Events API and the REST API put it in different places.
func said(body []byte) string {
	type problem struct {
		Message string   `json:"message"`
		Errors  []string `json:"errors"`
	}
	var events problem
	var rest struct {
		Error problem `json:"error"`
	}
	_ = json.Unmarshal(body, &events) // what is not JSON says nothing
	_ = json.Unmarshal(body, &rest)
	words := append([]string{events.Message, rest.Error.Message}, append(events.Errors, rest.Error.Errors...)...)
	return strings.Join(words, " ")
}

// failed is the only mapper of this driver. err is what go-pagerduty made of x; success is the one status that is none.
func (s *session) failed(doing string, x *exchange, err error, success int) error {
	if err == nil && x.status == success {
		return nil
	}
	e := &activities.Error{Op: s.op + ": " + doing}
	var certificate *tls.CertificateVerificationError
	switch code := x.status; {
	case errors.As(x.err, &certificate):
		e.Type, e.Err, e.Next = activities.ErrConfig, x.err, "let the worker's machine trust the certificate, or correct events and api in the estate"
		return e
	case x.err != nil:
		e.Type, e.Err, e.Next = activities.ErrUnreachable, x.err, "see status.pagerduty.com, and whether the worker gets there"
		return e
	case code == http.StatusRequestTimeout || code == http.StatusTooEarly || code == http.StatusTooManyRequests:
		e.Type = activities.ErrNotYet
	case code >= 500:
		e.Type, e.Next = activities.ErrUnreachable, "see status.pagerduty.com"
	case code >= 200 && code < 300:
		e.Type, e.Err, e.Next = activities.ErrUnreachable, fmt.Errorf("it answered %d and what is not PagerDuty's", code), "see that no proxy answers in its place"
		return e
	case code >= 300 && code < 400:
		e.Type, e.Next = activities.ErrConfig, "redirects are not followed: correct events and api in the estate"
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		e.Type, e.Next = activities.ErrAuth, "give the worker a key that is valid and may do this"
	default:
		e.Type, e.Next = activities.ErrRefused, "see that routing_key, from and the region of events and api are the account's"
	}
	text := fmt.Sprintf("PagerDuty answered %d %s%s", x.status, http.StatusText(x.status), x.wait)
	if words := oneLine(s.clean(x.said), 300); words != "" { // cleaned first: half a secret would not be found
		text += ": " + words
	}
	e.Err = errors.New(text)
	return e
}

// clean removes the secrets from text: a service may repeat what it was sent.
func (s *session) clean(text string) string {
	for _, value := range []string{s.routing, s.token} {
		if value != "" {
			text = strings.ReplaceAll(text, value, "[secret]")
		}
	}
	return text
}

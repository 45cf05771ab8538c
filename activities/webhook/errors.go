package webhook

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/musterhq/muster/activities"
)

// failed is the error of a post that got no answer.
func failed(op string, target *url.URL, err error) error {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return &activities.Error{Type: activities.ErrConfig, Op: op, Err: fmt.Errorf("%s: %w", place(target), plain(err)),
			Next: "let the worker's machine trust the receiver's certificate, or mend that"}
	}
	return &activities.Error{Type: activities.ErrUnreachable, Op: op, Err: fmt.Errorf("%s: %w", place(target), plain(err)),
		Next: "see whether the receiver is up; the notice is posted again with the same Idempotency-Key"}
}

// plain drops the URL from err: its path may be all that keeps strangers out.
func plain(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// refused is the error of an answer that is not 2xx.
func (n *Notifier) refused(op string, target *url.URL, answer *http.Response) error {
	code := answer.StatusCode
	said := fmt.Errorf("%s answered %d %s%s", place(target), code, http.StatusText(code), activities.AsksToWait(answer.Header, n.now()))
	switch {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusRequestTimeout || code == http.StatusTooEarly || code == http.StatusTooManyRequests:
		return &activities.Error{Type: activities.ErrNotYet, Op: op, Err: said}
	case code >= 500:
		return &activities.Error{Type: activities.ErrUnreachable, Op: op, Err: said, Next: "look into the receiver's log"}
	case code >= 300 && code < 400:
		return &activities.Error{Type: activities.ErrConfig, Op: op, Err: said, Next: "redirects are not followed: write the final URL into the estate"}
	case code == http.StatusUnauthorized || code == http.StatusForbidden || code == http.StatusProxyAuthRequired:
		return &activities.Error{Type: activities.ErrAuth, Op: op, Err: said, Next: "let the receiver and the estate use the same key"}
	}
	return &activities.Error{Type: activities.ErrRefused, Op: op, Err: said, Next: "look into the receiver's log; url is in the estate's notifiers"}
}

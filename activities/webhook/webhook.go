// Package webhook posts notices as JSON to a receiver of the team's own, signed so that the receiver can tell who sent them.
//
// The body is the Notice as activities.Notice has it: {"id","subject","event","severity","at","header","title",...}, UTF-8, times
// in RFC 3339. Fields may be added and are never renamed. Receivers answer 2xx once they have stored it, and
//
//   - tell repeats by the header Idempotency-Key, which is the notice's ID: the same notice is posted again, byte for byte, where an
//     answer was lost, and must count once. This channel has no way to ask whether a notice arrived;
//   - check the header Muster-Signature, "t=<unix seconds>,v1=<hex>": v1 is the HMAC-SHA256 of t, a point and the raw body.
//
// The function Verify does that and can be copied. By hand, with the key in $key, t in $t and the raw body in the file body:
//
//	{ printf '%s.' "$t"; cat body; } | openssl dgst -sha256 -hmac "$key" -r
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/secret"
	"github.com/musterhq/muster/runbooks"
)

const (
	timeout    = 10 * time.Second // for one post, answer included
	maxHeaders = 64 << 10         // of an answer
)

// Notifier implements activities.Notifier. It is safe for concurrent use.
type Notifier struct {
	client *http.Client
	now    func() time.Time
}

var _ activities.Notifier = (*Notifier)(nil)

// New returns a notifier that trusts the system's certificates and uses the proxy of the environment, as net/http does.
func New() *Notifier {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: timeout}).DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    timeout,
		ResponseHeaderTimeout:  timeout,
		MaxResponseHeaderBytes: maxHeaders,
		MaxIdleConns:           10,
		IdleConnTimeout:        30 * time.Second,
	}
	return &Notifier{now: time.Now, client: &http.Client{
		Transport: transport,
		Timeout:   timeout,
		// Followed, a redirect would carry the notice to wherever the answer says.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Announce posts the notice once. Whether an earlier post arrived cannot be known: a repeat has the same Idempotency-Key and body.
func (n *Notifier) Announce(ctx context.Context, in activities.AnnounceInput) (activities.Receipt, error) {
	op := "post notice " + in.Notice.ID + " to webhook " + in.Name
	target, err := check(in.Notifier.Webhook)
	if err != nil {
		return activities.Receipt{}, &activities.Error{Type: activities.ErrConfig, Op: op, Err: err, Next: "correct the notifier's webhook section in the estate"}
	}
	key, err := secret.Resolve(ctx, in.Notifier.Webhook.Key)
	if err != nil {
		return activities.Receipt{}, &activities.Error{Type: activities.ErrConfig, Op: op, Err: err, Next: "give the worker the key of the signature"}
	}
	body, err := json.Marshal(in.Notice)
	if err != nil {
		return activities.Receipt{}, &activities.Error{Type: activities.ErrConfig, Op: op, Err: err}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return activities.Receipt{}, &activities.Error{Type: activities.ErrConfig, Op: op, Err: plain(err)}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "muster")
	// net/http itself repeats a request with this header where a kept connection turns out to be closed.
	request.Header.Set("Idempotency-Key", in.Notice.ID)
	request.Header.Set("Muster-Signature", Sign([]byte(key), body, n.now()))
	answer, err := n.client.Do(request)
	if err != nil {
		return activities.Receipt{}, failed(op, target, err)
	}
	_ = answer.Body.Close() // unread: only the status counts, however much the receiver goes on to say
	if err := n.refused(op, target, answer); err != nil {
		return activities.Receipt{}, err
	}
	return activities.Receipt{Channel: place(target), Message: in.Notice.ID}, nil
}

func check(w *runbooks.WebhookNotifier) (*url.URL, error) {
	if w == nil {
		return nil, errors.New("it has no webhook section")
	}
	// The URL is not repeated: its path may be all that keeps strangers out.
	target, err := url.Parse(w.URL)
	if err != nil || target.Host == "" {
		return nil, errors.New("url is not a URL; expected one such as https://hooks.example.com/muster")
	}
	if target.User != nil {
		return nil, errors.New("url holds a user or a password; expected none: the signature is the proof, and its key is a reference")
	}
	switch target.Scheme {
	case "https":
	case "http":
		if !loopback(target.Hostname()) {
			return nil, fmt.Errorf("url sends plans in the clear to %s; expected https:// (http:// is for this machine alone)", target.Host)
		}
	default:
		return nil, errors.New("url has another scheme; expected https://")
	}
	return target, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// place is what is said of a URL in errors and receipts.
func place(u *url.URL) string { return u.Scheme + "://" + u.Host }

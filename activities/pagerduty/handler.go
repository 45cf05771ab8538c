package pagerduty

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/secret"
	"github.com/musterhq/muster/runbooks"
)

const (
	maxBody       = 1 << 20
	maxSignatures = 16              // two are in use while a secret is being changed
	answerWithin  = 4 * time.Second // PagerDuty waits for seconds only, and then delivers again
	// maxAge: PagerDuty goes on delivering for a day or two; a failover must not start for an incident of yesterday. It is also how
	// long a captured delivery could be replayed, so closed runs have to be remembered longer than this.
	maxAge = time.Hour
)

// Request asks to start a runbook for an incident. The handler has verified it; nothing else is known of who caused the incident.
type Request struct {
	Runbook  string // that the incident's service is mapped to
	Service  string // its ID
	Incident string // its ID: letters, digits, - and _
	Title    string // as somebody or something wrote it: one line, at most 255 characters
	URL      string // of the incident, for people; empty where it is not https
	// Key is the same for every delivery about this incident: letters, digits, - and _. Make the workflow's ID of it, with a
	// reuse policy that rejects duplicates, so that an incident starts its runbook once.
	Key string
}

// Handler hears of incidents by PagerDuty's webhooks v3, and starts the runbook that is mapped to the incident's service. It is for
// incident.triggered; other events are answered and forgotten, and so are incidents that muster itself opened.
//
// Start returns nil also where the run exists already. A Start that fails is asked again by PagerDuty's redelivery, unless
// the error is an *activities.Error that is not retryable: that refuses the incident for good. Its context ends after four seconds.
type Handler struct {
	Secret   runbooks.Secret   // of the webhook subscription, by reference
	Runbooks map[string]string // service ID -> runbook
	Start    func(context.Context, Request) error
	Log      *slog.Logger // nil: slog's default

	now func() time.Time // nil: time.Now
}

// ServeHTTP answers 2xx once the start is done, is not wanted, or is refused for good; 401 or 4xx to what PagerDuty did not send; 5xx
// asks for another delivery. The answer's text stands in PagerDuty's log of the subscription: it holds no detail.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "expected POST", http.StatusMethodNotAllowed)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			http.Error(w, "the body is larger than 1 MiB", http.StatusRequestEntityTooLarge)
			return
		}
		http.Error(w, "the body ended early", http.StatusBadRequest)
		return
	}
	key, err := secret.Resolve(ctx, h.Secret)
	if err != nil {
		h.log().ErrorContext(ctx, "PagerDuty webhook: its signature cannot be verified", "error", err)
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	if !verify(key, r.Header.Values("X-Pagerduty-Signature"), body) {
		http.Error(w, "the signature is missing or does not fit", http.StatusUnauthorized)
		return
	}
	d, err := parse(body)
	if err != nil {
		h.log().WarnContext(ctx, "PagerDuty webhook: signed, and not understood", "error", err)
		http.Error(w, "not a webhook of version 3", http.StatusBadRequest)
		return
	}
	request, why := h.request(d)
	if why != "" {
		h.log().InfoContext(ctx, "PagerDuty webhook: nothing started", "event", d.eventType, "incident", d.incident, "service", d.service, "why", why)
		answer(w, http.StatusOK, "nothing started: "+why)
		return
	}
	h.start(ctx, w, request)
}

func (h *Handler) start(ctx context.Context, w http.ResponseWriter, request Request) {
	log := h.log().With("incident", request.Incident, "service", request.Service, "runbook", request.Runbook)
	err := h.Start(ctx, request)
	var typed *activities.Error
	switch {
	case err == nil:
		log.InfoContext(ctx, "PagerDuty webhook: started")
		answer(w, http.StatusOK, "started")
	case errors.As(err, &typed) && !typed.Retryable():
		log.ErrorContext(ctx, "PagerDuty webhook: refused for good", "error", err)
		answer(w, http.StatusOK, "refused: see the gateway's log")
	default:
		log.ErrorContext(ctx, "PagerDuty webhook: not started, PagerDuty will deliver it again", "error", err)
		http.Error(w, "not started yet: deliver it again", http.StatusServiceUnavailable)
	}
}

// request makes a Request of a delivery, or says why nothing is to be started.
func (h *Handler) request(d delivery) (r Request, why string) {
	if d.eventType != "incident.triggered" {
		return Request{}, "only incident.triggered starts a runbook"
	}
	if d.own {
		return Request{}, "muster opened this incident itself" // started for it, the runbook's gate would open the next one
	}
	runbook := h.Runbooks[d.service]
	if runbook == "" {
		return Request{}, "no runbook is mapped to this service"
	}
	now := time.Now
	if h.now != nil {
		now = h.now
	}
	if age := now().Sub(d.at); age > maxAge || age < -maxAge {
		return Request{}, "the event is more than an hour old, or a clock is wrong"
	}
	return Request{Runbook: runbook, Service: d.service, Incident: d.incident, Title: d.title, URL: d.url, Key: "pagerduty-" + d.incident}, ""
}

// verify says whether one of the signatures is the body's; constant in time for each. The headers hold v1=<hex>, comma separated.
func verify(key string, headers []string, body []byte) bool {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	want := mac.Sum(nil)
	seen, valid := 0, false
	for _, header := range headers {
		for part := range strings.SplitSeq(header, ",") {
			text, v1 := strings.CutPrefix(strings.TrimSpace(part), "v1=")
			if seen++; !v1 || seen > maxSignatures {
				continue
			}
			if signature, err := hex.DecodeString(text); err == nil && hmac.Equal(want, signature) {
				valid = true
			}
		}
	}
	return valid && key != ""
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n")
}

func (h *Handler) log() *slog.Logger {
	if h.Log != nil {
		return h.Log
	}
	return slog.Default()
}

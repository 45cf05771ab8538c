package slack

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	api "github.com/slack-go/slack"

	"github.com/musterhq/muster/internal/secret"
)

// maxBody is more than a message of 50 full blocks takes in a form.
const maxBody = 1 << 20

// Handler is the app's Request URL for interactivity. What is not signed by Slack, or older than five minutes, gets 401.
func (i *Incoming) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := time.Now()
		body, status, err := i.verified(w, r)
		if err != nil {
			i.Log.Warn("slack: a request was refused", "from", r.RemoteAddr, "status", status, "error", err)
			http.Error(w, http.StatusText(status), status)
			return
		}
		form, err := url.ParseQuery(string(body))
		if err != nil || form.Get("payload") == "" {
			http.Error(w, "no payload", http.StatusBadRequest)
			return
		}
		reply, err := i.take([]byte(form.Get("payload")), at)
		switch {
		case errors.Is(err, errBusy):
			i.Log.Error("slack: a click was not acknowledged", "error", err)
			http.Error(w, "busy", http.StatusServiceUnavailable)
		case err != nil:
			i.Log.Warn("slack: a payload could not be read", "error", err)
			http.Error(w, "malformed payload", http.StatusBadRequest)
		case reply != nil:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(reply)
		default:
			w.WriteHeader(http.StatusOK) // an empty body closes the modal
		}
	})
}

// verified returns the body of a request that Slack signed, or the status that it is refused with.
func (i *Incoming) verified(w http.ResponseWriter, r *http.Request) ([]byte, int, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, http.StatusMethodNotAllowed, errors.New("not a POST")
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, http.StatusUnsupportedMediaType, errors.New("not a form")
	}
	key, err := secret.Resolve(r.Context(), i.SigningSecret)
	if err != nil {
		return nil, http.StatusInternalServerError, err
	}
	// The signature's form and age are looked at before the body is read; it is compared in constant time.
	verifier, err := api.NewSecretsVerifier(r.Header, key)
	if err != nil {
		return nil, http.StatusUnauthorized, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, http.StatusRequestEntityTooLarge, err
	}
	if err != nil {
		return nil, http.StatusBadRequest, err
	}
	if _, err := verifier.Write(body); err != nil {
		return nil, http.StatusInternalServerError, err
	}
	if err := verifier.Ensure(); err != nil {
		return nil, http.StatusUnauthorized, err
	}
	return body, 0, nil
}

package slack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	api "github.com/slack-go/slack"

	"github.com/musterhq/muster/activities"
)

// Slack's own words for what went wrong (https://docs.slack.dev/reference/methods), by what can be done about it.
var (
	authErrors = []string{"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive", "missing_scope",
		"not_allowed_token_type", "no_permission", "access_denied", "ekm_access_denied", "org_login_required"}
	placeErrors  = []string{"channel_not_found", "not_in_channel", "is_archived", "restricted_action", "invalid_channel"}
	againErrors  = []string{"ratelimited", "rate_limited", "message_limit_exceeded"}
	brokenErrors = []string{"internal_error", "fatal_error", "service_unavailable", "request_timeout", "accesslimited"}
	// goneErrors: the message is not there to be edited (any more), or not by us.
	goneErrors = []string{"message_not_found", "thread_not_found", "cant_update_message", "edit_window_closed"}
)

// mapErr is the only place where Slack's words and the network's errors become typed errors.
func mapErr(op string, err error) error {
	if err == nil {
		return nil
	}
	var typed *activities.Error
	if errors.As(err, &typed) {
		return err
	}
	e := &activities.Error{Type: activities.ErrUnreachable, Op: op, Err: err} // also an answer that was cut short: nobody knows
	var limited *api.RateLimitedError
	var status api.StatusCodeError
	var said api.SlackErrorResponse
	switch {
	case errors.As(err, &limited):
		e.Type = activities.ErrNotYet
		e.Next = fmt.Sprintf("Slack asks to wait %s; it is tried again", limited.RetryAfter.Round(time.Second))
	case errors.As(err, &status):
		switch {
		case status.Code == http.StatusTooManyRequests:
			e.Type = activities.ErrNotYet
		case status.Code < http.StatusInternalServerError:
			e.Type = activities.ErrConfig
			e.Next = "is this the URL of Slack's Web API?"
		}
	case errors.As(err, &said):
		mapSaid(e, said)
	case errors.Is(err, context.DeadlineExceeded):
		e.Err = fmt.Errorf("Slack did not answer in time: %w", err) //nolint:staticcheck // a name has a capital
	}
	return e
}

func mapSaid(e *activities.Error, said api.SlackErrorResponse) {
	e.Type = activities.ErrRefused
	switch {
	case slices.Contains(authErrors, said.Err):
		e.Type = activities.ErrAuth
		e.Next = "check the token that the estate names, and its scopes: chat:write, users:read, channels:history (or groups:history)"
	case slices.Contains(placeErrors, said.Err):
		e.Type = activities.ErrConfig
		e.Next = "check the channel's ID in the estate, and invite the app into that channel"
	case slices.Contains(againErrors, said.Err):
		e.Type = activities.ErrNotYet
	case slices.Contains(brokenErrors, said.Err):
		e.Type = activities.ErrUnreachable
	}
	if more := said.ResponseMetadata.Messages; len(more) > 0 {
		e.Err = fmt.Errorf("%w: %s", said, cut(strings.Join(more, "; "), 300))
	}
}

// gone says whether err is Slack's word that a message cannot be edited (any more).
func gone(err error) bool {
	var said api.SlackErrorResponse
	return errors.As(err, &said) && slices.Contains(goneErrors, said.Err)
}

// waitFor returns how long Slack asked to wait, at least fallback.
func waitFor(err error, fallback time.Duration) time.Duration {
	var limited *api.RateLimitedError
	if errors.As(err, &limited) {
		return max(limited.RetryAfter, fallback)
	}
	return fallback
}

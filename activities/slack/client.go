// Package slack tells people of a run in a Slack channel (Notifier), and hears what they click there (Incoming).
//
// The app it speaks for needs the bot scopes chat:write, users:read and channels:history (groups:history for a private
// channel), interactivity switched on, and to be a member of the channel.
package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	api "github.com/slack-go/slack"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/secret"
	"github.com/musterhq/muster/runbooks"
)

// callTimeout is for one call of the Web API. Slack answers in a tenth of a second.
const callTimeout = 10 * time.Second

// maxAnswer is more than a page of the longest messages takes.
const maxAnswer = 64 << 20

// A call that is redirected would carry its token to somewhere else.
var httpClient = &http.Client{
	Timeout:       callTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// workspace is Slack's Web API, as one app sees it.
type workspace struct {
	*api.Client
	token, endpoint string
}

// client resolves the token anew each time, so that a rotated one is seen at once. endpoint is empty for Slack's own.
func client(ctx context.Context, token runbooks.Secret, endpoint string, options ...api.Option) (*workspace, error) {
	endpoint, err := checkEndpoint(endpoint)
	if err != nil {
		return nil, &activities.Error{Type: activities.ErrConfig, Op: "reach Slack", Err: err, Next: "correct the API's URL, or leave it out for Slack's own"}
	}
	value, err := secret.Resolve(ctx, token)
	if err != nil {
		return nil, &activities.Error{Type: activities.ErrConfig, Op: "reach Slack", Err: err}
	}
	options = append(options, api.OptionAPIURL(endpoint), api.OptionHTTPClient(httpClient))
	return &workspace{Client: api.New(value, options...), token: value, endpoint: endpoint}, nil
}

// checkEndpoint lets the token travel encrypted, or not leave this machine.
func checkEndpoint(text string) (string, error) {
	if text == "" {
		return api.APIURL, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return "", errors.New("the API's address is not a URL such as https://slack.com/api/")
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback) {
		return "", errors.New("the API's address is not https: the token would travel in the clear")
	}
	return strings.TrimSuffix(text, "/") + "/", nil
}

// listing is what a search needs to know of a message.
type listing struct {
	TS       string `json:"ts"`
	Thread   string `json:"thread_ts"`
	Subtype  string `json:"subtype"`
	Metadata struct {
		Type    string         `json:"event_type"`
		Payload map[string]any `json:"event_payload"`
	} `json:"metadata"`
}

// list calls conversations.history or conversations.replies. Not by slack-go, which reads every block of every message: one of
// another app that it cannot read would be the end of the search, and of the notice.
func (w *workspace) list(ctx context.Context, method string, arguments url.Values) (messages []listing, next string, err error) {
	arguments.Set("include_all_metadata", "1")
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.endpoint+method, strings.NewReader(arguments.Encode()))
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "Bearer "+w.token)
	answer, err := httpClient.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && answer.StatusCode == http.StatusTooManyRequests {
		return nil, "", &api.RateLimitedError{RetryAfter: time.Duration(seconds) * time.Second}
	}
	if answer.StatusCode != http.StatusOK {
		return nil, "", api.StatusCodeError{Code: answer.StatusCode, Status: answer.Status}
	}
	var said struct {
		api.SlackResponse
		Messages []listing `json:"messages"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&said); err != nil {
		return nil, "", fmt.Errorf("read the answer of %s: %w", method, err)
	}
	return said.Messages, said.ResponseMetadata.Cursor, said.Err()
}

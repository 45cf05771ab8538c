package slacktest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities/slack/slacktest"
)

// call calls a method of the emulator with a form, as the bot unless token is among the arguments.
func call(t *testing.T, s *slacktest.Server, method string, arguments ...string) map[string]any {
	t.Helper()
	form := url.Values{"token": {s.BotToken}}
	for i := 0; i < len(arguments); i += 2 {
		form.Set(arguments[i], arguments[i+1])
	}
	answer, err := http.PostForm(s.API+method, form)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusOK, answer.StatusCode)
	var said map[string]any
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&said))
	return said
}

// The emulator is worth as much as it is strict.
func TestTheEmulatorIsStrict(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	s.AddChannel("C0LEFT", "left")
	s.Leave("C0LEFT")
	foreign := s.Say("C0GENERAL", "hello")
	long := func(n int) string { return strings.Repeat("x", n) }
	section := func(n int) string {
		return fmt.Sprintf(`{"type":"section","text":{"type":"mrkdwn","text":%q}}`, long(n))
	}
	button := func(value int) string {
		return fmt.Sprintf(`[{"type":"actions","elements":[{"type":"button","action_id":"a","text":{"type":"plain_text","text":"A"},"value":%q}]}]`, long(value))
	}
	post := func(more ...string) []string { return append([]string{"channel", "C0GENERAL"}, more...) }
	for name, c := range map[string]struct {
		method string
		args   []string
		want   string // empty: ok
	}{
		"unknown method":         {"chat.shout", nil, "unknown_method"},
		"no token":               {"chat.postMessage", post("token", ""), "not_authed"},
		"wrong token":            {"chat.postMessage", post("token", "xoxb-1"), "invalid_auth"},
		"app token":              {"chat.postMessage", post("token", s.AppToken), "not_allowed_token_type"},
		"bot token for a socket": {"apps.connections.open", nil, "not_allowed_token_type"},
		"no channel":             {"chat.postMessage", []string{"text", "x"}, "channel_not_found"},
		"unknown channel":        {"chat.postMessage", []string{"channel", "C0NONE", "text", "x"}, "channel_not_found"},
		"not in channel":         {"chat.postMessage", []string{"channel", "C0LEFT", "text", "x"}, "not_in_channel"},
		"no text":                {"chat.postMessage", post(), "no_text"},
		"text too long":          {"chat.postMessage", post("text", long(40_001)), "msg_too_long"},
		"50 blocks":              {"chat.postMessage", post("blocks", "["+strings.Repeat(section(1)+",", 49)+section(1)+"]"), ""},
		"51 blocks":              {"chat.postMessage", post("blocks", "["+strings.Repeat(section(1)+",", 50)+section(1)+"]"), "invalid_blocks"},
		"section of 3000":        {"chat.postMessage", post("blocks", "["+section(3000)+"]"), ""},
		"section of 3001":        {"chat.postMessage", post("blocks", "["+section(3001)+"]"), "invalid_blocks"},
		"empty section":          {"chat.postMessage", post("blocks", "["+section(0)+"]"), "invalid_blocks"},
		"value of 2000":          {"chat.postMessage", post("blocks", button(2000)), ""},
		"value of 2001":          {"chat.postMessage", post("blocks", button(2001)), "invalid_blocks"},
		"unknown block":          {"chat.postMessage", post("blocks", `[{"type":"poem"}]`), "invalid_blocks"},
		"no blocks at all":       {"chat.postMessage", post("blocks", `{}`), "invalid_blocks_format"},
		"header of mrkdwn":       {"chat.postMessage", post("blocks", `[{"type":"header","text":{"type":"mrkdwn","text":"x"}}]`), "invalid_blocks"},
		"metadata without type":  {"chat.postMessage", post("text", "x", "metadata", `{"event_payload":{}}`), "invalid_metadata_schema"},
		"metadata no object":     {"chat.postMessage", post("text", "x", "metadata", `7`), "invalid_metadata_format"},
		"no such message":        {"chat.update", post("ts", "1.2", "text", "x"), "message_not_found"},
		"message of another":     {"chat.update", post("ts", foreign, "text", "x"), "cant_update_message"},
		"nobody":                 {"chat.postEphemeral", post("user", "U0NONE", "text", "x"), "user_not_in_channel"},
		"no such person":         {"users.info", []string{"user", "U0NONE"}, "user_not_found"},
		"no such thread":         {"conversations.replies", post("ts", "1.2"), "thread_not_found"},
		"limit":                  {"conversations.history", post("limit", "1001"), "invalid_limit"},
		"cursor":                 {"conversations.history", post("cursor", "x"), "invalid_cursor"},
		"trigger":                {"views.open", []string{"trigger_id", "1", "view", "{}"}, "invalid_trigger_id"},
	} {
		t.Run(name, func(t *testing.T) {
			said := call(t, s, c.method, c.args...)
			require.Equal(t, c.want == "", said["ok"], "%v", said)
			if c.want != "" {
				require.Equal(t, c.want, said["error"])
			}
		})
	}
}

func TestMetadataIsShownToThoseWhoAskForIt(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	said := call(t, s, "chat.postMessage", "channel", "C0GENERAL", "text", "x", "metadata", `{"event_type":"e","event_payload":{"k":"v"}}`)
	require.Equal(t, true, said["ok"])
	for whole, want := range map[string]bool{"0": false, "1": true} {
		said = call(t, s, "conversations.history", "channel", "C0GENERAL", "include_all_metadata", whole)
		message := said["messages"].([]any)[0].(map[string]any)
		require.Equal(t, want, message["metadata"] != nil)
	}
}

func TestATriggerOpensOneModal(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	said := call(t, s, "chat.postMessage", "channel", "C0GENERAL", "blocks",
		`[{"type":"actions","elements":[{"type":"button","action_id":"a","value":"v","text":{"type":"plain_text","text":"A"}}]}]`)
	click := s.Click("U0ADA", "C0GENERAL", said["ts"].(string), "a")
	var payload map[string]any
	require.NoError(t, json.Unmarshal(click.Payload, &payload))
	trigger := payload["trigger_id"].(string)
	open := func(view string) any {
		return call(t, s, "views.open", "trigger_id", trigger, "view", view)["error"]
	}
	require.Equal(t, "invalid_arguments", open(`{"type":"modal","title":{"type":"plain_text","text":"`+strings.Repeat("x", 25)+`"},"blocks":[]}`))
	require.Equal(t, "invalid_arguments", open(`{"type":"modal","title":{"type":"plain_text","text":"x"},"blocks":[],"private_metadata":"`+strings.Repeat("x", 3001)+`"}`))
	good := `{"type":"modal","title":{"type":"plain_text","text":"x"},"blocks":[]}`
	require.Nil(t, open(good))
	require.Equal(t, "exchanged_trigger_id", open(good))
}

func TestRateLimitsSayHowLong(t *testing.T) {
	t.Parallel()
	s := slacktest.New(t)
	s.Limit("auth.test", 1, time.Minute)
	require.Equal(t, true, call(t, s, "auth.test")["ok"])
	answer, err := http.PostForm(s.API+"auth.test", url.Values{"token": {s.BotToken}})
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusTooManyRequests, answer.StatusCode)
	require.NotEmpty(t, answer.Header.Get("Retry-After"))
}

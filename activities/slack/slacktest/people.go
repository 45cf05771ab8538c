package slacktest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// triggerLife is how long a trigger_id opens a modal.
const triggerLife = 3 * time.Second

// Interaction is what Slack tells an app of something that a person did.
type Interaction struct {
	Payload []byte
	trigger string
	view    string // submitted; closed when it is acknowledged
}

// Ack is how the app answered an interaction.
type Ack struct {
	Status int    // HTTP; 200 over Socket Mode
	Body   []byte // empty, or a response_action
	Took   time.Duration
}

// Click presses a button of a message: the payload that Slack makes of it, with a trigger_id of its own. It fails the test
// where there is no such button to press.
func (s *Server) Click(user, channelID, ts, actionID string) Interaction {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[channelID]
	if c == nil || c.find(ts) == nil {
		s.t.Fatalf("slacktest: %s has no message %s to click on", channelID, ts)
	}
	m := c.find(ts)
	var blocks []struct {
		ID       string           `json:"block_id"`
		Elements []map[string]any `json:"elements"`
	}
	_ = json.Unmarshal(m.Blocks, &blocks)
	for _, b := range blocks {
		for _, e := range b.Elements {
			if e["type"] != "button" || e["action_id"] != actionID {
				continue
			}
			action := map[string]any{"type": "button", "action_id": actionID, "block_id": b.ID, "text": e["text"], "value": e["value"], "action_ts": s.stamp()}
			container := map[string]any{"type": "message", "message_ts": ts, "channel_id": channelID, "is_ephemeral": false}
			if m.Thread != "" {
				container["thread_ts"] = m.Thread
			}
			return s.interaction("block_actions", user, map[string]any{
				"container": container, "channel": map[string]any{"id": channelID, "name": c.name}, "message": s.show(m, false),
				"actions": []any{action}, "state": map[string]any{"values": map[string]any{}},
				"response_url": strings.TrimSuffix(s.API, "/api/") + "/actions/" + s.Team + "/" + token(6),
			})
		}
	}
	s.t.Fatalf("slacktest: message %s has no button %s", ts, actionID)
	return Interaction{}
}

// Submit sends a modal that the person has open, with what was typed into its inputs, by block ID. It fails the test where
// Slack's client would not let it be sent.
func (s *Server) Submit(user, viewID string, typed map[string]string) Interaction {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.views[viewID]
	if v == nil || !v.Open || v.User != user {
		s.t.Fatalf("slacktest: %s has no view %s open", user, viewID)
	}
	values := map[string]any{}
	blocks, _ := v.Body["blocks"].([]any)
	for _, raw := range blocks {
		b, _ := raw.(map[string]any)
		if b["type"] != "input" {
			continue
		}
		e, _ := b["element"].(map[string]any)
		block, _ := b["block_id"].(string)
		action, _ := e["action_id"].(string)
		value := any(nil)
		if text, ok := typed[block]; ok && text != "" {
			value = text
			if most, ok := e["max_length"].(float64); ok && float64(len([]rune(text))) > most {
				s.t.Fatalf("slacktest: %q takes %v characters", block, most)
			}
		} else if b["optional"] != true {
			s.t.Fatalf("slacktest: %q must be filled in", block)
		}
		values[block] = map[string]any{action: map[string]any{"type": e["type"], "value": value}}
	}
	view := map[string]any{
		"id": v.ID, "team_id": s.Team, "state": map[string]any{"values": values}, "hash": v.Hash, "previous_view_id": nil,
		"root_view_id": v.ID, "app_id": s.AppID, "app_installed_team_id": s.Team, "bot_id": s.BotID, "external_id": "",
	}
	for key, value := range v.Body {
		view[key] = value
	}
	i := s.interaction("view_submission", user, map[string]any{"view": view, "response_urls": []any{}})
	i.view = viewID
	return i
}

func (s *Server) interaction(kind, user string, more map[string]any) Interaction {
	u := s.users[user]
	made := time.Now()
	id := fmt.Sprintf("%d.%d.%s", made.UnixNano(), len(s.triggers), token(8))
	s.triggers[id] = trigger{user: user, made: made}
	payload := map[string]any{
		"type": kind, "trigger_id": id, "api_app_id": s.AppID, "token": "verification-is-deprecated", "enterprise": nil, "is_enterprise_install": false,
		"team": map[string]any{"id": s.Team, "domain": "muster"},
		"user": map[string]any{"id": user, "username": u.Name, "name": u.Name, "team_id": u.Team},
	}
	for key, value := range more {
		payload[key] = value
	}
	text, err := json.Marshal(payload)
	if err != nil {
		s.t.Fatalf("slacktest: %v", err)
	}
	return Interaction{Payload: text, trigger: id}
}

// Opened returns the modal that an interaction's trigger_id opened.
func (s *Server) Opened(i Interaction) (View, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.views[s.triggers[i.trigger].view]; v != nil {
		return *v, true
	}
	return View{}, false
}

// Request makes the request that Slack sends for an interaction, signed as of at.
func (s *Server) Request(to string, i Interaction, at time.Time) *http.Request {
	s.t.Helper()
	body := url.Values{"payload": {string(i.Payload)}}.Encode()
	r, err := http.NewRequest(http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		s.t.Fatalf("slacktest: %v", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", "Slackbot 1.0 (+https://api.slack.com/robots)")
	s.Sign(r, []byte(body), at)
	return r
}

// Sign sets the headers that Slack signs a request with
// (https://docs.slack.dev/authentication/verifying-requests-from-slack).
func (s *Server) Sign(r *http.Request, body []byte, at time.Time) {
	stamp := fmt.Sprint(at.Unix())
	mac := hmac.New(sha256.New, []byte(s.SigningSecret))
	mac.Write([]byte("v0:" + stamp + ":"))
	mac.Write(body)
	r.Header.Set("X-Slack-Request-Timestamp", stamp)
	r.Header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
}

// Deliver sends an interaction to the app's Request URL and waits for its acknowledgement: three seconds, as Slack does.
func (s *Server) Deliver(to string, i Interaction) (Ack, error) {
	s.t.Helper()
	client := &http.Client{Timeout: 3 * time.Second}
	defer client.CloseIdleConnections()
	began := time.Now()
	answer, err := client.Do(s.Request(to, i, began))
	if err != nil {
		return Ack{}, fmt.Errorf("slacktest: the click was not acknowledged: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return Ack{}, err
	}
	ack := Ack{Status: answer.StatusCode, Body: bytes.TrimSpace(body), Took: time.Since(began)}
	s.acknowledged(i, ack)
	return ack, nil
}

// acknowledged does to a modal what the app's answer to its submission says.
func (s *Server) acknowledged(i Interaction, ack Ack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.views[i.view]
	if v == nil || ack.Status != http.StatusOK {
		return
	}
	var said struct {
		Action string            `json:"response_action"`
		Errors map[string]string `json:"errors"`
	}
	_ = json.Unmarshal(ack.Body, &said)
	v.Errors = said.Errors
	v.Open = said.Action == "errors"
}

// openView runs with s.mu held.
func (s *Server) openView(a args) (map[string]any, error) {
	t, known := s.triggers[a.Get("trigger_id")]
	switch {
	case a.Get("trigger_id") == "" || a.Get("view") == "":
		return nil, fail("invalid_arguments", "[ERROR] missing required field: trigger_id or view")
	case !known:
		return nil, fail("invalid_trigger_id")
	case t.view != "":
		return nil, fail("exchanged_trigger_id")
	case time.Since(t.made) > triggerLife:
		return nil, fail("expired_trigger_id")
	}
	body, err := checkView(a.Get("view"))
	if err != nil {
		return nil, err
	}
	v := &View{ID: "V" + strings.ToUpper(token(5)), Hash: fmt.Sprintf("%s.%s", s.stamp(), token(4)), User: t.user, Open: true, Body: body}
	s.views[v.ID] = v
	t.view = v.ID
	s.triggers[a.Get("trigger_id")] = t
	return map[string]any{"view": map[string]any{"id": v.ID, "team_id": s.Team, "type": "modal", "hash": v.Hash}}, nil
}

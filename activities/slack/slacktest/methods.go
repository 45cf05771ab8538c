package slacktest

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The methods run with s.mu held.

func (s *Server) authTest(args) (map[string]any, error) {
	return map[string]any{"team_id": s.Team, "user_id": "U0BOT", "bot_id": s.BotID, "team": "muster", "user": "muster", "url": "https://muster.slack.com/"}, nil
}

// place returns the channel that a call is about; a person's ID is their conversation with the app.
func (s *Server) place(a args, direct bool) (*channel, error) {
	id := a.Get("channel")
	if id == "" {
		return nil, fail("channel_not_found")
	}
	if _, person := s.users[id]; person && direct {
		if s.channels["D"+id] == nil {
			s.channels["D"+id] = &channel{id: "D" + id, name: "directmessage", member: true, people: map[string]bool{id: true}}
		}
		id = "D" + id
	}
	c := s.channels[id]
	if c == nil {
		return nil, fail("channel_not_found")
	}
	if !c.member {
		return nil, fail("not_in_channel")
	}
	return c, nil
}

// content checks text, blocks and metadata of a message.
func content(a args, maxText int) (blocks, metadata json.RawMessage, err error) {
	if text := a.Get("text"); utf8.RuneCountInString(text) > maxText {
		return nil, nil, fail("msg_too_long")
	}
	if text := a.Get("blocks"); text != "" {
		if err := checkBlocks(text, messageBlocks, 50); err != nil {
			return nil, nil, err
		}
		blocks = json.RawMessage(text)
	}
	if a.Get("text") == "" && len(blocks) <= len("[]") {
		return nil, nil, fail("no_text")
	}
	if text := a.Get("metadata"); text != "" {
		var m struct {
			EventType    string         `json:"event_type"`
			EventPayload map[string]any `json:"event_payload"`
		}
		if json.Unmarshal([]byte(text), &m) != nil {
			return nil, nil, fail("invalid_metadata_format")
		}
		if m.EventType == "" || m.EventPayload == nil {
			return nil, nil, fail("invalid_metadata_schema")
		}
		if len(text) > 16<<10 {
			return nil, nil, fail("metadata_too_large")
		}
		metadata = json.RawMessage(text)
	}
	return blocks, metadata, nil
}

func (s *Server) postMessage(a args) (map[string]any, error) {
	c, err := s.place(a, true)
	if err != nil {
		return nil, err
	}
	if c.archived {
		return nil, fail("is_archived")
	}
	m := &Message{Text: a.Get("text"), Thread: a.Get("thread_ts"), Broadcast: a.Get("reply_broadcast") == "true", Bot: s.BotID}
	if m.Blocks, m.Metadata, err = content(a, 40_000); err != nil {
		return nil, err
	}
	if m.Thread != "" {
		// A thread whose parent is gone gets its reply all the same, outside of any thread.
		if parent := c.find(m.Thread); parent == nil {
			m.Thread = ""
		} else if parent.Thread != "" {
			m.Thread = parent.Thread
		} else {
			parent.replies++
		}
	}
	m.TS = s.stamp()
	c.messages = append(c.messages, m)
	return map[string]any{"channel": c.id, "ts": m.TS, "message": s.show(m, false)}, nil
}

func (s *Server) updateMessage(a args) (map[string]any, error) {
	c, err := s.place(a, false)
	if err != nil {
		return nil, err
	}
	m := c.find(a.Get("ts"))
	if m == nil {
		return nil, fail("message_not_found")
	}
	if m.Bot != s.BotID {
		return nil, fail("cant_update_message")
	}
	blocks, metadata, err := content(a, 4_000)
	if err != nil {
		return nil, err
	}
	m.Text = a.Get("text")
	if blocks != nil || m.Text != "" {
		m.Blocks = blocks
	}
	if metadata != nil {
		m.Metadata = metadata
	}
	m.Edits++
	return map[string]any{"channel": c.id, "ts": m.TS, "text": m.Text, "message": s.show(m, false)}, nil
}

func (s *Server) postEphemeral(a args) (map[string]any, error) {
	c, err := s.place(a, false)
	if err != nil {
		return nil, err
	}
	user := a.Get("user")
	if user == "" {
		return nil, fail("invalid_arguments", "[ERROR] missing required field: user")
	}
	if _, known := s.users[user]; !known || c.people != nil && !c.people[user] {
		return nil, fail("user_not_in_channel")
	}
	if _, _, err := content(a, 40_000); err != nil {
		return nil, err
	}
	s.ephemerals = append(s.ephemerals, Ephemeral{Channel: c.id, User: user, Thread: a.Get("thread_ts"), Text: a.Get("text")})
	return map[string]any{"message_ts": s.stamp()}, nil
}

func (s *Server) history(a args) (map[string]any, error) {
	c, err := s.place(a, false)
	if err != nil {
		return nil, err
	}
	var all []*Message
	for _, m := range slices.Backward(c.messages) { // the newest first
		if m.Thread == "" || m.Broadcast {
			all = append(all, m)
		}
	}
	return s.pageOf(a, all, nil)
}

func (s *Server) replies(a args) (map[string]any, error) {
	c, err := s.place(a, false)
	if err != nil {
		return nil, err
	}
	parent := c.find(a.Get("ts"))
	if parent == nil {
		return nil, fail("thread_not_found")
	}
	if parent.Thread != "" { // a reply's own ts: that message alone
		return s.pageOf(a, []*Message{parent}, nil)
	}
	var all []*Message
	for _, m := range c.messages {
		if m.Thread == parent.TS {
			all = append(all, m)
		}
	}
	return s.pageOf(a, all, parent)
}

// pageOf answers with the part of all that oldest, latest, limit and cursor ask for; first comes before it, always.
func (s *Server) pageOf(a args, all []*Message, first *Message) (map[string]any, error) {
	inclusive, whole := truth(a.Get("inclusive")), truth(a.Get("include_all_metadata"))
	oldest, latest := a.Get("oldest"), a.Get("latest")
	all = slices.DeleteFunc(slices.Clone(all), func(m *Message) bool {
		before := oldest != "" && (seconds(m.TS) < seconds(oldest) || m.TS == oldest && !inclusive)
		after := latest != "" && (seconds(m.TS) > seconds(latest) || m.TS == latest && !inclusive)
		return before || after
	})
	limit := 100
	if text := a.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return nil, fail("invalid_limit")
		}
		limit = n
	}
	start := 0
	if cursor := a.Get("cursor"); cursor != "" {
		number, ok := strings.CutPrefix(cursor, "bmV4dDo")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			return nil, fail("invalid_cursor")
		}
		start = n
	}
	end := min(start+limit, len(all))
	shown := []any{}
	if first != nil {
		shown = append(shown, s.show(first, whole))
	}
	for _, m := range all[min(start, end):end] {
		shown = append(shown, s.show(m, whole))
	}
	result := map[string]any{"messages": shown, "has_more": end < len(all)}
	if end < len(all) {
		result["response_metadata"] = map[string]any{"next_cursor": "bmV4dDo" + strconv.Itoa(end)}
	}
	return result, nil
}

// show is a message as Slack answers with it. Metadata's payload is shown to those only who ask for all of it.
func (s *Server) show(m *Message, whole bool) map[string]any {
	shown := map[string]any{"type": "message", "ts": m.TS, "text": m.Text, "bot_id": m.Bot, "app_id": s.AppID, "team": s.Team, "user": "U0BOT"}
	if m.Blocks != nil {
		shown["blocks"] = m.Blocks
	}
	if m.Thread != "" {
		shown["thread_ts"] = m.Thread
	} else if m.replies > 0 {
		shown["thread_ts"] = m.TS
	}
	if m.Broadcast && m.Thread != "" {
		shown["subtype"] = "thread_broadcast"
	}
	if m.Metadata != nil && whole {
		shown["metadata"] = m.Metadata
	}
	return shown
}

func (s *Server) userInfo(a args) (map[string]any, error) {
	u, known := s.users[a.Get("user")]
	if !known {
		return nil, fail("user_not_found")
	}
	return map[string]any{"user": map[string]any{
		"id": u.ID, "team_id": u.Team, "name": u.Name, "deleted": u.Deleted, "is_bot": u.Bot, "is_restricted": u.Restricted,
		"is_ultra_restricted": u.UltraRestricted, "is_stranger": u.Stranger,
	}}, nil
}

func (c *channel) find(ts string) *Message {
	for _, m := range c.messages {
		if m.TS == ts {
			return m
		}
	}
	return nil
}

func truth(text string) bool { return text == "1" || text == "true" }

func seconds(ts string) float64 {
	n, err := strconv.ParseFloat(ts, 64)
	if err != nil {
		return float64(time.Now().Unix())
	}
	return n
}

package slacktest

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Where a block may stand.
var (
	messageBlocks = map[string]bool{"header": true, "section": true, "context": true, "actions": true, "divider": true}
	modalBlocks   = map[string]bool{"header": true, "section": true, "context": true, "actions": true, "divider": true, "input": true}
)

// text is a composition object.
type text struct {
	Type  string  `json:"type"`
	Text  *string `json:"text"`
	Emoji *bool   `json:"emoji"`
}

// block is any block, with the fields that the emulator knows. Others are refused where a block has them.
type block struct {
	Type    string            `json:"type"`
	ID      string            `json:"block_id"`
	Text    *text             `json:"text"`
	Fields  []text            `json:"fields"`
	Inner   []json.RawMessage `json:"elements"`
	Label   *text             `json:"label"`
	Hint    *text             `json:"hint"`
	Element json.RawMessage   `json:"element"`
	Option  bool              `json:"optional"`
}

// element is a button or an input.
type element struct {
	Type        string  `json:"type"`
	ActionID    string  `json:"action_id"`
	Text        *text   `json:"text"`
	Value       *string `json:"value"`
	Style       *string `json:"style"`
	URL         string  `json:"url"`
	Placeholder *text   `json:"placeholder"`
	MaxLength   *int    `json:"max_length"`
	MinLength   *int    `json:"min_length"`
	Multiline   bool    `json:"multiline"`
}

// checker collects what is wrong, as invalid_blocks does.
type checker struct{ wrong []string }

func (c *checker) add(at, format string, a ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf("[ERROR] %s [json-pointer:%s]", fmt.Sprintf(format, a...), at))
}

// checkBlocks holds blocks against https://docs.slack.dev/reference/block-kit/blocks.
func checkBlocks(raw string, allowed map[string]bool, most int) error {
	var blocks []json.RawMessage
	if json.Unmarshal([]byte(raw), &blocks) != nil {
		return fail("invalid_blocks_format")
	}
	var c checker
	if len(blocks) > most {
		c.add("/blocks", "no more than %d items allowed", most)
	}
	ids := map[string]bool{}
	for i, one := range blocks {
		at := fmt.Sprintf("/blocks/%d", i)
		var b block
		if json.Unmarshal(one, &b) != nil || !allowed[b.Type] {
			c.add(at+"/type", "unsupported type: %s", b.Type)
			continue
		}
		if utf8.RuneCountInString(b.ID) > 255 || b.ID != "" && ids[b.ID] {
			c.add(at+"/block_id", "block_id is too long, or not unique")
		}
		ids[b.ID] = true
		c.block(at, b)
	}
	if len(c.wrong) > 0 {
		return fail("invalid_blocks", c.wrong...)
	}
	return nil
}

func (c *checker) block(at string, b block) {
	switch b.Type {
	case "header":
		c.text(at+"/text", b.Text, 150, "plain_text")
	case "section":
		if b.Text == nil && len(b.Fields) == 0 {
			c.add(at, "missing required field: text")
		}
		if b.Text != nil {
			c.text(at+"/text", b.Text, 3000, "")
		}
		if len(b.Fields) > 10 {
			c.add(at+"/fields", "no more than 10 items allowed")
		}
		for i := range b.Fields {
			c.text(fmt.Sprintf("%s/fields/%d", at, i), &b.Fields[i], 2000, "")
		}
	case "context":
		if len(b.Inner) == 0 || len(b.Inner) > 10 {
			c.add(at+"/elements", "between 1 and 10 items required")
		}
		for i, raw := range b.Inner {
			var t text
			_ = json.Unmarshal(raw, &t)
			c.text(fmt.Sprintf("%s/elements/%d", at, i), &t, 2000, "")
		}
	case "actions":
		c.actions(at, b)
	case "input":
		c.text(at+"/label", b.Label, 2000, "plain_text")
		if b.Hint != nil {
			c.text(at+"/hint", b.Hint, 2000, "plain_text")
		}
		c.input(at+"/element", b.Element)
	}
}

func (c *checker) actions(at string, b block) {
	if len(b.Inner) == 0 || len(b.Inner) > 25 {
		c.add(at+"/elements", "between 1 and 25 items required")
	}
	ids := map[string]bool{}
	for i, raw := range b.Inner {
		at := fmt.Sprintf("%s/elements/%d", at, i)
		var e element
		if json.Unmarshal(raw, &e) != nil || e.Type != "button" {
			c.add(at+"/type", "unsupported type: %s", e.Type)
			continue
		}
		c.text(at+"/text", e.Text, 75, "plain_text")
		if e.Value != nil && utf8.RuneCountInString(*e.Value) > 2000 {
			c.add(at+"/value", "must be less than 2001 characters")
		}
		if len(e.URL) > 3000 {
			c.add(at+"/url", "must be less than 3001 characters")
		}
		if e.Style != nil && *e.Style != "primary" && *e.Style != "danger" {
			c.add(at+"/style", "value not allowed: %q", *e.Style)
		}
		c.action(at, e.ActionID, ids)
	}
}

func (c *checker) input(at string, raw json.RawMessage) {
	var e element
	if json.Unmarshal(raw, &e) != nil || e.Type != "plain_text_input" {
		c.add(at+"/type", "unsupported type: %s", e.Type)
		return
	}
	c.action(at, e.ActionID, map[string]bool{})
	if e.Placeholder != nil {
		c.text(at+"/placeholder", e.Placeholder, 150, "plain_text")
	}
	if e.MaxLength != nil && (*e.MaxLength < 1 || *e.MaxLength > 3000) {
		c.add(at+"/max_length", "must be between 1 and 3000")
	}
	if e.MinLength != nil && (*e.MinLength < 0 || *e.MinLength > 3000) {
		c.add(at+"/min_length", "must be between 0 and 3000")
	}
}

func (c *checker) action(at, id string, ids map[string]bool) {
	if utf8.RuneCountInString(id) > 255 || id != "" && ids[id] {
		c.add(at+"/action_id", "action_id is too long, or not unique in its block")
	}
	ids[id] = true
}

func (c *checker) text(at string, t *text, most int, kind string) {
	switch {
	case t == nil || t.Text == nil:
		c.add(at, "missing required field: text")
	case t.Type != "plain_text" && t.Type != "mrkdwn", kind != "" && t.Type != kind:
		c.add(at+"/type", "unsupported type: %s", t.Type)
	case *t.Text == "":
		c.add(at+"/text", "must be more than 0 characters")
	case utf8.RuneCountInString(*t.Text) > most:
		c.add(at+"/text", "must be less than %d characters", most+1)
	case t.Type == "mrkdwn" && t.Emoji != nil:
		c.add(at+"/emoji", "additional property: emoji")
	}
}

// checkView holds a modal against https://docs.slack.dev/reference/views/modal-views.
func checkView(raw string) (map[string]any, error) {
	var v struct {
		Type            string          `json:"type"`
		Title           *text           `json:"title"`
		Submit          *text           `json:"submit"`
		Close           *text           `json:"close"`
		Blocks          json.RawMessage `json:"blocks"`
		PrivateMetadata string          `json:"private_metadata"`
		CallbackID      string          `json:"callback_id"`
		ExternalID      string          `json:"external_id"`
	}
	if json.Unmarshal([]byte(raw), &v) != nil {
		return nil, fail("invalid_arguments", "[ERROR] view is not an object")
	}
	var c checker
	if v.Type != "modal" {
		c.add("/view/type", "unsupported type: %s", v.Type)
	}
	c.text("/view/title", v.Title, 24, "plain_text")
	for at, t := range map[string]*text{"/view/submit": v.Submit, "/view/close": v.Close} {
		if t != nil {
			c.text(at, t, 24, "plain_text")
		}
	}
	if utf8.RuneCountInString(v.PrivateMetadata) > 3000 {
		c.add("/view/private_metadata", "must be less than 3001 characters")
	}
	if utf8.RuneCountInString(v.CallbackID) > 255 {
		c.add("/view/callback_id", "must be less than 256 characters")
	}
	if err := checkBlocks(string(v.Blocks), modalBlocks, 100); err != nil {
		if f, ok := err.(failure); ok { //nolint:errorlint // made here, never wrapped
			c.wrong = append(c.wrong, append(f.Messages, f.Code)...)
		}
	}
	var blocks []block
	_ = json.Unmarshal(v.Blocks, &blocks)
	for _, b := range blocks {
		if b.Type == "input" && v.Submit == nil {
			c.add("/view/submit", "a view with inputs needs a submit button")
		}
	}
	if len(c.wrong) > 0 {
		return nil, fail("invalid_arguments", c.wrong...)
	}
	var body map[string]any
	_ = json.Unmarshal([]byte(raw), &body)
	return body, nil
}

package slack

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

var exampleButton = button{Workflow: "failover:shop", Run: "0199", Gate: "approve", Hash: "5f2b", Do: approve, Reason: true, Label: "Approve?"}

func FuzzPayload(f *testing.F) {
	value, _ := exampleButton.encode()
	quoted, _ := json.Marshal(value)
	f.Add([]byte(`{"type":"block_actions","user":{"id":"U0ADA","team_id":"T0A"},"team":{"id":"T0A"},"trigger_id":"1","container":{"channel_id":"C0A","message_ts":"1.2"},"actions":[{"action_id":"muster_approve","action_ts":"1","value":` + string(quoted) + `}]}`))
	context, _ := json.Marshal(modalContext{Button: exampleButton, Channel: "C0A", Message: "1.2"})
	quoted, _ = json.Marshal(string(context))
	f.Add([]byte(`{"type":"view_submission","user":{"id":"U0ADA","team_id":"T0A"},"team":null,"view":{"id":"V1","hash":"1.a","callback_id":"muster_decide","private_metadata":` + string(quoted) + `,"state":{"values":{"reason":{"text":{"value":"go"}}}}}}`))
	f.Add([]byte(`{"type":"view_submission","view":{"callback_id":"muster_decide","state":null}}`))
	f.Add([]byte(`{"type":"shortcut"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parse(body)
		var field fieldError
		if err != nil {
			if errors.As(err, &field) {
				require.Contains(t, []string{reasonBlock, setBlock}, field.block)
			}
			return
		}
		require.Regexp(t, userID, c.user)
		require.Regexp(t, teamID, c.team)
		require.Regexp(t, channelID, c.Channel)
		require.NotEmpty(t, c.nonce)
		require.NoError(t, c.Button.check())
		if !c.submitted {
			view, err := modal(c)
			require.NoError(t, err)
			if valid := utf8.Valid(body); valid && len(c.Message)+len(c.Thread) < 100 {
				require.LessOrEqual(t, len(view.PrivateMetadata), 3000)
			}
		}
		w := c.word()
		require.NotEqual(t, w.Decision == "", w.Action == "")
		require.Equal(t, []string{"slack:" + c.team + "/" + c.user}, w.Who)
	})
}

func FuzzButtonValue(f *testing.F) {
	value, _ := exampleButton.encode()
	f.Add(value)
	f.Add(`{"w":"a","r":"b","s":"c","d":"retry"}`)
	f.Add(`{"w":"a","r":"b","d":"resume"}{}`)
	f.Add(strings.Repeat("[", 1999))
	f.Fuzz(func(t *testing.T, value string) {
		b, err := decodeButton(value)
		if err != nil {
			return
		}
		require.NoError(t, b.check())
		again, ok := b.encode()
		if !ok {
			return // escapes made it longer
		}
		back, err := decodeButton(again)
		require.NoError(t, err)
		back.Label, b.Label = "", ""
		require.Equal(t, b, back)
	})
}

// What names show is one line, mentions nobody, and is cut without leaving half an escape.
func FuzzText(f *testing.F) {
	f.Add("<!channel> & <b>", 5)
	f.Add("\u202eabc\x00\n", 3)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = 1 + max(limit, -limit)%200
		if limit < 1 {
			limit = 1
		}
		shown := cut(esc(text), limit)
		require.LessOrEqual(t, utf8.RuneCountInString(shown), limit)
		require.NotContains(t, shown, "<")
		require.NotContains(t, shown, ">")
		require.NotContains(t, shown, "\n")
		for rest := shown; strings.Contains(rest, "&"); {
			_, after, _ := strings.Cut(rest, "&")
			require.True(t, strings.HasPrefix(after, "amp;") || strings.HasPrefix(after, "lt;") || strings.HasPrefix(after, "gt;"), "%q", shown)
			rest = after
		}
	})
}

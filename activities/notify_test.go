package activities

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseSet(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]map[string]string{
		"": nil, "\n \r\n": nil, "timeout=5m": {"timeout": "5m"}, " a = b \r\nc = d=e\n": {"a": "b", "c": "d=e"}, "a=": {"a": ""},
	} {
		set, err := ParseSet(text)
		require.NoError(t, err, text)
		require.Equal(t, want, set, text)
	}
	for text, want := range map[string]string{"timeout": `"timeout" is not key=value`, "=5m": "not key=value", "a=1\na = 2": `"a" is set twice`} {
		_, err := ParseSet(text)
		require.ErrorContains(t, err, want, text)
	}
}

func FuzzSet(f *testing.F) {
	f.Add("a=b\nc = d=e\n")
	f.Fuzz(func(t *testing.T, text string) {
		set, err := ParseSet(text)
		if err != nil {
			return
		}
		for key := range set {
			require.NotEmpty(t, key)
			require.NotContains(t, key, "=")
		}
	})
}

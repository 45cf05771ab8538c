package activities

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAsksToWait(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"120": "; it asks to wait 2m0s", at.Add(90 * time.Second).Format(http.TimeFormat): "; it asks to wait 1m30s",
		at.Add(-time.Hour).Format(http.TimeFormat): "; it asks to wait 0s", "": "", "soon": "", "-1": "", "99999999999999999999": "",
	} {
		require.Equal(t, want, AsksToWait(http.Header{"Retry-After": {text}}, at), text)
	}
	require.Equal(t, "; it asks to wait 7s", AsksToWait(http.Header{"Ratelimit-Reset": {"7"}}, at, "Ratelimit-Reset"))
	require.Empty(t, AsksToWait(http.Header{"Ratelimit-Reset": {"7"}}, at), "only where the service has that header")
}

package engine

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

func TestUIAnswers(t *testing.T) {
	e := startEngine(t, Options{Namespace: "team"})
	require.True(t, strings.HasPrefix(e.UIAddress(), "http://127.0.0.1:"), e.UIAddress())

	status, page := get(t, e.UIAddress()+"/", "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, "<html")
	script := page[strings.Index(page, "/_app/"):]
	status, _ = get(t, e.UIAddress()+script[:strings.IndexAny(script, `"'`)], "")
	require.Equal(t, http.StatusOK, status, "the assets are in the binary")

	_, text := get(t, e.UIAddress()+"/api/v1/settings", "")
	var settings struct {
		DefaultNamespace                     string
		DisableNewsFetch, NotifyOnNewVersion bool
	}
	require.NoError(t, json.Unmarshal([]byte(text), &settings))
	require.Equal(t, "team", settings.DefaultNamespace)
	require.True(t, settings.DisableNewsFetch)
	require.False(t, settings.NotifyOnNewVersion)

	c, err := client.Dial(client.Options{HostPort: e.Address(), Namespace: "team", Logger: quiet()})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	_, err = c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "seen", TaskQueue: taskQueue}, steps, 0)
	require.NoError(t, err)
	status, text = get(t, e.UIAddress()+"/api/v1/namespaces/team/workflows/seen", "")
	require.Equal(t, http.StatusOK, status, text)
	require.Contains(t, text, `"WORKFLOW_EXECUTION_STATUS_RUNNING"`)
}

func TestUIStartsAWorkflow(t *testing.T) {
	e := startEngine(t, Options{})
	// The UI's Start button: the cookie's token comes back as a header.
	res, err := http.Get(e.UIAddress() + "/")
	require.NoError(t, err)
	_ = res.Body.Close()
	require.NotEmpty(t, res.Cookies())
	csrf := res.Cookies()[0]
	require.False(t, csrf.Secure, "plain http must be able to send it back")

	post := func(token string) int {
		body := `{"workflowType":{"name":"steps"},"taskQueue":{"name":"engine-test"},"requestId":"1"}`
		req, err := http.NewRequest(http.MethodPost, e.UIAddress()+"/api/v1/namespaces/default/workflows/button", strings.NewReader(body))
		require.NoError(t, err)
		req.AddCookie(csrf)
		req.Header.Set("X-CSRF-Token", token)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		_ = res.Body.Close()
		return res.StatusCode
	}
	require.Equal(t, http.StatusForbidden, post("guessed"))
	require.Equal(t, http.StatusOK, post(csrf.Value))
	_, err = dial(t, e).DescribeWorkflowExecution(t.Context(), "button", "")
	require.NoError(t, err)
}

func TestUIAnswersOnlyLocalNames(t *testing.T) {
	e := startEngine(t, Options{})
	for host, want := range map[string]int{
		"localhost:8233": http.StatusOK, "127.0.0.1": http.StatusOK, "[::1]:1": http.StatusOK,
		"rebound.example.com:8233": http.StatusForbidden, "10.0.0.7": http.StatusForbidden,
	} {
		status, _ := get(t, e.UIAddress()+"/healthz", host)
		require.Equal(t, want, status, host)
	}
	status, _ := get(t, e.UIAddress()+"/api/v1/releases", "")
	require.Equal(t, http.StatusNotFound, status, "nothing asks the internet")
}

func get(t *testing.T, url, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if host != "" {
		req.Host = host
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(body)
}

package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// issuersPeople are who the issuer knows, by subject.
func issuersPeople() map[string]map[string]any {
	return map[string]map[string]any{
		"ada-1":   {"name": "Ada Lovelace", "email": "ada@example.com", "email_verified": true},
		"bo-2":    {"name": "Bo", "email": "bo@example.com", "email_verified": "true"},
		"ada-2":   {"name": "Ada the Second", "email": "ada@example.com", "email_verified": true}, // Ada's address, after she left
		"cleo-3":  {"name": "Cleo", "email": "cleo@example.com"},                                  // nobody checked the address
		"mal-4":   {"name": `<script>alert(1)</script>`, "email": "mal@example.com", "email_verified": true},
		"zoe-5":   {"name": "Zoe", "email": "zoe@example.com", "email_verified": true},
		"cleo-ok": {"name": "Cleo", "email": "cleo@example.com", "email_verified": true},
	}
}

func TestTheIssuerIsStrict(t *testing.T) {
	t.Parallel()
	w := started(t, nil)
	b := w.browser(t)
	back, err := url.Parse(b.callback("ada-1", w))
	require.NoError(t, err)
	ask := func(change func(url.Values), secret string) int {
		v := url.Values{"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {w.URL() + "/oidc/callback"}, "code_verifier": {"guess"}}
		change(v)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.issuer.URL+"/token", strings.NewReader(v.Encode()))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(w.issuer.Client, secret)
		return b.do(r).code
	}
	require.Equal(t, http.StatusUnauthorized, ask(func(url.Values) {}, "wrong"))
	require.Equal(t, http.StatusBadRequest, ask(func(url.Values) {}, w.issuer.Secret), "a guessed verifier is no PKCE")
	require.Equal(t, http.StatusForbidden, b.get(back.String()).code, "the code was used up")
}

package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/workflows/run"
)

func TestSignInShowsTheRun(t *testing.T) {
	t.Parallel()
	w := started(t, nil)
	b := w.browser(t)
	asked := b.get(run.PagePath(shopID, shopIn))
	require.Equal(t, http.StatusUnauthorized, asked.code)
	require.NotContains(t, asked.body, planHash)
	require.Contains(t, asked.body, `href="/sign-in?back=%2Fruns%2Ffailover%3Ashop%2F`)
	shown := b.signInAs("ada-1", w)
	require.Equal(t, http.StatusOK, shown.code)
	require.Contains(t, shown.body, "Ada Lovelace")
	require.Contains(t, shown.body, planHash)
	require.Contains(t, shown.body, "change 4711 &lt;b&gt;is on&lt;/b&gt;")
	require.NotContains(t, w.log.String(), "state=", "no query string")
	require.NotContains(t, w.log.String(), w.issuer.Secret)

	w.clock.pass(8*time.Hour - time.Second)
	require.Equal(t, http.StatusOK, b.get("/").code)
	w.clock.pass(time.Second)
	require.Equal(t, http.StatusUnauthorized, b.get("/").code, "a session ends, used or not")
}

func TestSignInRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		lie    func(*world, map[string]any)
		before func(*world)
		why    string // in the log
	}{
		"wrong nonce":         {lie: func(_ *world, c map[string]any) { c["nonce"] = "another" }, why: "nonce is another one"},
		"no nonce":            {lie: func(_ *world, c map[string]any) { delete(c, "nonce") }, why: "nonce is another one"},
		"expired token":       {lie: func(w *world, c map[string]any) { c["exp"] = w.clock.now().Add(-time.Second).Unix() }, why: "token is expired"},
		"wrong audience":      {lie: func(_ *world, c map[string]any) { c["aud"] = "grafana" }, why: "expected audience"},
		"two audiences":       {lie: func(_ *world, c map[string]any) { c["aud"] = []string{"muster", "grafana"} }, why: "was made for"},
		"another party":       {lie: func(_ *world, c map[string]any) { c["azp"] = "grafana" }, why: "was made for"},
		"another issuer":      {lie: func(_ *world, c map[string]any) { c["iss"] = "https://evil.example.org" }, why: "issued by a different provider"},
		"nobody":              {lie: func(_ *world, c map[string]any) { delete(c, "sub") }, why: "names nobody"},
		"another key":         {before: func(w *world) { w.issuer.Stranger = true }, why: "failed to verify signature"},
		"signed by HMAC":      {before: func(w *world) { w.issuer.HMAC = true }, why: "check the ID token"},
		"wrong client secret": {before: func(w *world) { w.issuer.Secret = "rotated" }, why: "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := started(t, nil)
			if tt.before != nil {
				tt.before(w)
			}
			if tt.lie != nil {
				w.issuer.Lie(func(c map[string]any) { tt.lie(w, c) })
			}
			b := w.browser(t)
			answer := b.get(b.callback("ada-1", w))
			require.Equal(t, http.StatusForbidden, answer.code)
			require.Contains(t, w.log.String(), tt.why)
			require.Equal(t, http.StatusUnauthorized, b.get("/").code)
		})
	}
}

func TestCallbackRefuses(t *testing.T) {
	t.Parallel()
	w := started(t, nil)
	change := func(callback, name, value string) string {
		u, err := url.Parse(callback)
		require.NoError(t, err)
		v := u.Query()
		v.Set(name, value)
		u.RawQuery = v.Encode()
		return u.String()
	}
	b := w.browser(t)
	require.Equal(t, http.StatusForbidden, b.get(change(b.callback("ada-1", w), "state", "guessed")).code)
	require.Equal(t, http.StatusForbidden, b.get(change(b.callback("ada-1", w), "code", "guessed")).code)
	require.Equal(t, http.StatusForbidden, b.get(change(b.callback("ada-1", w), "error", "access_denied<script>")).code)
	require.Equal(t, http.StatusForbidden, w.browser(t).get(b.callback("ada-1", w)).code, "another browser's sign-in")
	good := b.callback("ada-1", w)
	w.clock.pass(signInTime)
	require.Equal(t, http.StatusForbidden, b.get(good).code, "too late")
	fresh := b.callback("ada-1", w)
	require.Equal(t, http.StatusSeeOther, b.get(fresh).code)
	require.Equal(t, http.StatusForbidden, b.get(fresh).code, "twice")
}

func TestTheIssuerIsDown(t *testing.T) {
	t.Parallel()
	down := httptest.NewServer(http.NotFoundHandler())
	w := started(t, func(o *Options) { o.OIDC.Issuer = down.URL })
	answer := w.browser(t).get("/sign-in")
	require.Equal(t, http.StatusBadGateway, answer.code)
	require.Contains(t, answer.body, "The command line works meanwhile")
	down.Close()
}

func TestWhoSeesWhat(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, subject string
		code          int    // of the shop's run
		sees, not     string // on the start page
	}{
		{"an approver", "ada-1", 200, "Move the shop", "vault"},
		{"a viewer, by verified e-mail in other letters", "bo-2", 200, "Move the shop", "vault"},
		{"an unverified e-mail address", "cleo-3", 404, "Nothing waits", "shop from"},
		{"the same address, verified", "cleo-ok", 200, "Move the shop", "vault"},
		{"an address that another subject has now", "ada-2", 404, "Nothing waits", "shop from"},
		{"somebody of another estate", "zoe-5", 404, "Move the vault", "shop from"},
		{"a stranger", "mal-4", 404, "&lt;script&gt;alert", "<script"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := started(t, nil)
			b := w.browser(t)
			require.Equal(t, tt.code, b.signInAs(tt.subject, w).code)
			list := b.get("/")
			require.Equal(t, http.StatusOK, list.code)
			require.Contains(t, list.body, tt.sees)
			require.NotContains(t, list.body, tt.not)
			latest := b.get("/runs/" + shopID)
			if tt.code == http.StatusOK {
				require.Equal(t, run.PagePath(shopID, shopIn), latest.header.Get("Location"))
			} else {
				require.Equal(t, http.StatusNotFound, latest.code)
			}
		})
	}
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	w := started(t, nil)
	b, thief := w.browser(t), w.browser(t)
	shown := b.signInAs("ada-1", w)
	base, err := url.Parse(w.URL())
	require.NoError(t, err)
	thief.Jar.SetCookies(base, b.Jar.Cookies(base))
	require.Equal(t, http.StatusOK, thief.get("/").code)

	require.Equal(t, http.StatusForbidden, b.post("/sign-out", url.Values{}).code, "without its token")
	require.Equal(t, http.StatusNotFound, b.get("/sign-out").code)
	require.Equal(t, http.StatusOK, b.get("/").code)
	require.Equal(t, http.StatusSeeOther, b.post("/sign-out", url.Values{"csrf": {csrfOf(t, shown)}}).code)
	require.Equal(t, http.StatusUnauthorized, b.get("/").code)
	require.Equal(t, http.StatusUnauthorized, thief.get("/").code, "the session is over, whoever has its cookie")
}

func csrfOf(t testing.TB, r reply) string {
	t.Helper()
	_, after, ok := strings.Cut(r.body, `name="csrf" value="`)
	require.True(t, ok, r.body)
	token, _, _ := strings.Cut(after, `"`)
	require.NotEmpty(t, token)
	return token
}

func TestASessionOutlivesTheWorker(t *testing.T) {
	t.Parallel()
	w := started(t, nil)
	b := w.browser(t)
	b.signInAs("ada-1", w)
	o := w.opts
	require.NoError(t, w.Stop())
	again, err := New(o)
	require.NoError(t, err)
	require.NoError(t, again.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, again.Stop()) })
	b.base = again.URL() // another port: cookies know none, and somebody may have taken the old one
	require.Equal(t, http.StatusOK, b.get("/").code)
}

package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestCookiesAreSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.sessions.begin([]string{"email:ada@example.com"}, "Ada")
	sealed, err := w.sessions.seal(sessionCookie, s)
	require.NoError(t, err)
	require.NotContains(t, sealed, "ada")
	var back session
	require.NoError(t, w.sessions.open(sessionCookie, sealed, &back))
	require.Equal(t, s, back)
	require.Error(t, w.sessions.open(signInCookie, sealed, &back), "in another cookie's place")
	require.Error(t, newWorld(t, nil).sessions.open(sessionCookie, sealed, &back), "another gateway's")
	require.Error(t, w.sessions.open(sessionCookie, sealed+"A", &back))
	for i := range sealed {
		changed := []byte(sealed)
		changed[i] ^= 1
		require.Error(t, w.sessions.open(sessionCookie, string(changed), &back), "byte %d", i)
	}
	_, err = w.sessions.seal(sessionCookie, session{Who: []string{strings.Repeat("a", maxCookie)}})
	require.ErrorContains(t, err, "more than a cookie takes")
}

func FuzzSessionCookie(f *testing.F) {
	w := newWorld(f, nil)
	s := w.sessions.begin([]string{"email:ada@example.com"}, "Ada")
	good, err := w.sessions.seal(sessionCookie, s)
	require.NoError(f, err)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Cookie", sessionCookie+"="+value)
		back, ok := w.of(r)
		if ok {
			cookie, err := r.Cookie(sessionCookie)
			require.NoError(t, err)
			require.Equal(t, good, cookie.Value, "only what was sealed opens")
			require.Equal(t, s, back)
		}
	})
}

func FuzzForm(f *testing.F) {
	f.Add("nonce=a&gate=approve&plan=9f2c&decision=approve&reason=x")
	f.Add("nonce=a&step=fence%2Forders&action=retry&reason=x&set=timeout%3D2m%0Aa%3D")
	f.Add("nonce=a&action=pause&reason=%ff")
	f.Add("action=retry&nonce=a&reason=x&set=%3D")
	f.Add("decision=approve&action=abort&nonce=a")
	f.Fuzz(func(t *testing.T, body string) {
		v, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		form, err := parseForm(v)
		if err != nil {
			require.True(t, utf8.ValidString(err.Error()))
			return
		}
		require.NotEqual(t, form.decision == "", form.action == "")
		require.NotEmpty(t, form.nonce)
		require.LessOrEqual(t, len(form.reason), maxReason)
		require.True(t, form.reason != "" || form.decision == "approve", "only an approval needs no reason")
		require.LessOrEqual(t, len(form.set), maxSet)
		require.True(t, form.action == "retry" || len(form.set) == 0)
		for _, text := range []string{form.gate, form.plan, form.step, form.reason} {
			require.True(t, utf8.ValidString(text))
		}
		for key := range form.set {
			require.NotEmpty(t, key)
			require.NotContains(t, key, "=")
		}
		word := form.word("w", "r", session{ID: "s", Who: []string{"email:a@b"}})
		require.Empty(t, malformed(word))
	})
}

func FuzzBack(f *testing.F) {
	for _, path := range []string{"/", "/runs/failover:shop/0199", "//evil.example.org", `/\evil.example.org`, "https://evil.example.org", "javascript:alert(1)", "/\t/evil.example.org", "/a?b=//c", "/%2f/evil"} {
		f.Add(path)
	}
	base, err := url.Parse("https://muster.example.org")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, path string) {
		back := localPath(path)
		at, err := base.Parse(back)
		require.NoError(t, err)
		require.Equal(t, base.Host, at.Host)
		require.Equal(t, base.Scheme, at.Scheme)
		// Browsers drop tabs and line breaks, and read a backslash as a slash.
		seen := strings.ReplaceAll(strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(back), `\`, "/")
		require.False(t, strings.HasPrefix(seen, "//"), back)
	})
}

func TestWhatOneSaysIsOnesOwn(t *testing.T) {
	t.Parallel()
	f := form{nonce: "n", gate: "approve", decision: "approve"}
	ada := session{ID: "1", Who: []string{"email:ada@example.com"}}
	one := f.word("w", "r", ada).Nonce
	require.Equal(t, one, f.word("w", "r", ada).Nonce)
	others := map[string]bool{one: true}
	for _, changed := range []form{{nonce: "m", gate: "approve", decision: "approve"}, {nonce: "n", gate: "approve", decision: "reject"}, {nonce: "n", gate: "approveapprove"},
		{nonce: "n", gate: "approve", decision: "approve", reason: "x"}, {nonce: "n", step: "approve", action: "approve"}} {
		others[changed.word("w", "r", ada).Nonce] = true
	}
	others[f.word("w", "r", session{ID: "2"}).Nonce] = true
	others[f.word("w2", "r", ada).Nonce] = true
	require.Len(t, others, 8, "another person, another form, another word: another nonce")
}

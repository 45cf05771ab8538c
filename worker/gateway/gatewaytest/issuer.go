// Package gatewaytest is an OpenID Connect issuer for tests of the gateway: real in what it does, and able to lie.
package gatewaytest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Issuer is a small OpenID Connect issuer, written for tests and real in what it does: discovery, JWKS, an authorization
// endpoint with a login page, and a token endpoint that checks the client's secret, the code (once), the redirect URI and PKCE, and
// signs ID tokens with RS256. It is no product: it keeps no passwords, and can be told to lie. The fields are set before it is asked.
type Issuer struct {
	URL, Client, Secret string
	People              map[string]map[string]any // claims by subject
	Stranger            bool                      // sign with a key that JWKS does not list
	HMAC                bool                      // sign with HS256 and the public key, as a careless verifier accepts

	now        func() time.Time
	key, other *rsa.PrivateKey
	mu         sync.Mutex
	redirects  []string
	codes      map[string]url.Values // the authorization request of each code that was not used yet
	tamper     func(claims map[string]any)
}

// New starts an issuer whose tokens are dated by now, for people known by their subjects. It stops with the test.
func New(t testing.TB, now func() time.Time, people map[string]map[string]any) *Issuer {
	t.Helper()
	i := &Issuer{Client: "muster", Secret: "s3cret-of-the-client", now: now, codes: map[string]url.Values{}, People: people}
	i.key, i.other = issuerKeys()
	server := httptest.NewServer(i.handler())
	t.Cleanup(server.Close)
	i.URL = server.URL
	return i
}

var issuerKeys = sync.OnceValues(func() (*rsa.PrivateKey, *rsa.PrivateKey) {
	var keys [2]*rsa.PrivateKey
	for n := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[n] = key
	}
	return keys[0], keys[1]
})

// Allow registers where people may be sent back to: a gateway's URL with /oidc/callback.
func (i *Issuer) Allow(redirect string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.redirects = append(i.redirects, redirect)
}

// Lie changes what the next tokens claim.
func (i *Issuer) Lie(tamper func(map[string]any)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tamper = tamper
}

func (i *Issuer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
			"jwks_uri": i.URL + "/jwks", "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256"}, "code_challenge_methods_supported": []string{"S256"},
			"token_endpoint_auth_methods_supported": []string{"client_secret_basic"}})
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &i.key.PublicKey, KeyID: "k1", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		if why := i.checkRequest(r.URL.Query()); why != "" {
			http.Error(w, why, http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!DOCTYPE html><title>Issuer</title><h1>Who are you?</h1><form method="post" action="/login"><input name="subject" id="subject">`)
		for name, values := range r.URL.Query() {
			fmt.Fprintf(w, `<input type="hidden" name="%s" value="%s">`, html.EscapeString(name), html.EscapeString(values[0]))
		}
		fmt.Fprint(w, `<button id="go">Sign in</button></form>`)
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if why := i.checkRequest(r.PostForm); why != "" || i.People[r.PostForm.Get("subject")] == nil {
			http.Error(w, "unknown subject, or "+why, http.StatusBadRequest)
			return
		}
		code := rand.Text()
		i.mu.Lock()
		i.codes[code] = r.PostForm
		i.mu.Unlock()
		http.Redirect(w, r, r.PostForm.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {r.PostForm.Get("state")}}.Encode(), http.StatusSeeOther)
	})
	mux.HandleFunc("POST /token", i.token)
	return mux
}

func (i *Issuer) checkRequest(v url.Values) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case v.Get("client_id") != i.Client:
		return "unknown client"
	case !slices.Contains(i.redirects, v.Get("redirect_uri")):
		return "redirect URI is not registered"
	case v.Get("response_type") != "code" || !slices.Contains(strings.Fields(v.Get("scope")), "openid"):
		return "not a request for a code of openid"
	case v.Get("code_challenge_method") != "S256" || len(v.Get("code_challenge")) != 43:
		return "no PKCE challenge"
	case v.Get("state") == "" || v.Get("nonce") == "":
		return "no state or no nonce"
	}
	return ""
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	client, secret, ok := r.BasicAuth()
	if !ok || client != i.Client || secret != i.Secret {
		writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	asked, known := i.codes[r.PostFormValue("code")]
	delete(i.codes, r.PostFormValue("code"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	switch {
	case r.PostFormValue("grant_type") != "authorization_code", !known, asked.Get("redirect_uri") != r.PostFormValue("redirect_uri"),
		base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge"):
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	now := i.now()
	claims := map[string]any{"iss": i.URL, "sub": asked.Get("subject"), "aud": i.Client, "nonce": asked.Get("nonce"),
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	for name, value := range i.People[asked.Get("subject")] {
		claims[name] = value
	}
	if i.tamper != nil {
		i.tamper(claims)
	}
	signed, err := i.sign(claims)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "expires_in": 300, "id_token": signed})
}

func (i *Issuer) sign(claims map[string]any) (string, error) {
	key := jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: i.key, KeyID: "k1"}}
	if i.Stranger {
		key.Key = jose.JSONWebKey{Key: i.other, KeyID: "k1"}
	}
	if i.HMAC {
		key = jose.SigningKey{Algorithm: jose.HS256, Key: i.key.N.Bytes()}
	}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(text)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client under test went away
}

package gateway

import (
	"cmp"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/musterhq/muster/internal/secret"
	"github.com/musterhq/muster/runbooks"
)

// OIDC is the issuer where people sign in (OpenID Connect, authorization code flow with PKCE). Register the gateway's URL with
// /oidc/callback as redirect URI.
type OIDC struct {
	Issuer   string
	ClientID string
	Secret   runbooks.Secret // of the client, by reference, read anew for each sign-in; none for a public client
	Scopes   []string        // default openid, email, profile
	CA       string          // file of certificates to trust for the issuer; default the system's
}

// issuerTimeout bounds each request to the issuer: somebody waits in the browser meanwhile.
const issuerTimeout = 10 * time.Second

type signIn struct {
	OIDC
	client *http.Client
	now    func() time.Time

	mu       sync.Mutex
	provider *oidc.Provider // found at the first sign-in: a gateway starts while its issuer is down
	style    oauth2.AuthStyle
}

func newSignIn(o OIDC, now func() time.Time) (*signIn, error) {
	u, err := url.Parse(o.Issuer)
	if err != nil || u.Host == "" || (u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname()))) {
		return nil, fmt.Errorf("OIDC issuer %q is no https URL", o.Issuer)
	}
	if o.ClientID == "" {
		return nil, errors.New("OIDC has no client ID")
	}
	if o.Secret != "" {
		if err := secret.Valid(o.Secret); err != nil {
			return nil, fmt.Errorf("OIDC client secret: %w", err)
		}
	}
	if len(o.Scopes) == 0 {
		o.Scopes = []string{oidc.ScopeOpenID, "email", "profile"}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if o.CA != "" {
		text, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, fmt.Errorf("read the OIDC issuer's CA: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read the OIDC issuer's CA: %s has no certificate", o.CA)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &signIn{OIDC: o, client: &http.Client{Transport: transport, Timeout: issuerTimeout}, now: now}, nil
}

// at returns the issuer's configuration for a client whose pages are at base.
func (s *signIn) at(ctx context.Context, base string) (*oidc.Provider, *oauth2.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.provider == nil {
		provider, err := oidc.NewProvider(oidc.ClientContext(ctx, s.client), s.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("ask issuer %s for its configuration: %w", s.Issuer, err)
		}
		var told struct {
			Methods []string `json:"token_endpoint_auth_methods_supported"`
		}
		if err := provider.Claims(&told); err != nil {
			return nil, nil, fmt.Errorf("read the configuration of issuer %s: %w", s.Issuer, err)
		}
		s.provider, s.style = provider, oauth2.AuthStyleInHeader // the default of OpenID Connect Discovery
		if s.Secret == "" || (len(told.Methods) > 0 && !slices.Contains(told.Methods, "client_secret_basic")) {
			s.style = oauth2.AuthStyleInParams
		}
	}
	config := &oauth2.Config{ClientID: s.ClientID, Scopes: s.Scopes, RedirectURL: base + "/oidc/callback", Endpoint: s.provider.Endpoint()}
	config.Endpoint.AuthStyle = s.style
	return s.provider, config, nil
}

// startSignIn sends the browser to the issuer. It changes nothing here but a cookie that this browser must bring back.
func (g *Gateway) startSignIn(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), issuerTimeout)
	defer cancel()
	_, config, err := g.signIn.at(ctx, g.url)
	if err != nil {
		g.log.Warn("sign-in failed", "why", err.Error())
		g.problem(w, r, nil, http.StatusBadGateway, "The sign-in service does not answer", "Nobody can sign in until it does. The command line works meanwhile: muster approve, muster reject.")
		return
	}
	p := pending{State: token(), Nonce: token(), Verifier: oauth2.GenerateVerifier(), Back: localPath(r.URL.Query().Get("back")), Until: g.now().Add(signInTime)}
	sealed, err := g.sessions.seal(signInCookie, p)
	if err != nil { // the path to come back to is too long
		p.Back = "/"
		if sealed, err = g.sessions.seal(signInCookie, p); err != nil {
			panic(err)
		}
	}
	g.setCookie(w, signInCookie, sealed, p.Until)
	http.Redirect(w, r, config.AuthCodeURL(p.State, oidc.Nonce(p.Nonce), oauth2.S256ChallengeOption(p.Verifier)), http.StatusSeeOther)
}

// finishSignIn is where the issuer sends the browser back to.
func (g *Gateway) finishSignIn(w http.ResponseWriter, r *http.Request) {
	var p pending
	cookie, err := r.Cookie(g.cookieName(signInCookie))
	if err == nil {
		err = g.sessions.open(signInCookie, cookie.Value, &p)
	}
	if err == nil && !g.now().Before(p.Until) {
		err = errors.New("it began too long ago")
	}
	g.setCookie(w, signInCookie, "", time.Time{}) // it counts once
	if err != nil {
		g.refuseSignIn(w, r, fmt.Errorf("this browser did not begin it here: %w", err))
		return
	}
	who, name, err := g.identify(r, p)
	if err != nil {
		g.refuseSignIn(w, r, err)
		return
	}
	s := g.sessions.begin(who, name)
	sealed, err := g.sessions.seal(sessionCookie, s)
	if err != nil {
		g.refuseSignIn(w, r, err)
		return
	}
	g.log.Info("signed in", "who", who)
	g.setCookie(w, sessionCookie, sealed, s.Until)
	http.Redirect(w, r, p.Back, http.StatusSeeOther)
}

func (g *Gateway) refuseSignIn(w http.ResponseWriter, r *http.Request, err error) {
	g.log.Warn("sign-in refused", "why", err.Error())
	g.problem(w, r, nil, http.StatusForbidden, "You are not signed in", "The sign-in was refused. Begin it again here; if it is refused again, the gateway's log says why.")
}

// identify checks what the issuer sent back, and returns all that it vouches for.
func (g *Gateway) identify(r *http.Request, p pending) ([]string, string, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(r.Context(), g.signIn.client), issuerTimeout)
	defer cancel()
	values := r.URL.Query()
	if subtle.ConstantTimeCompare([]byte(values.Get("state")), []byte(p.State)) != 1 {
		return nil, "", errors.New("the state is not the one that this browser was given")
	}
	if code := values.Get("error"); code != "" {
		return nil, "", fmt.Errorf("the issuer says %.100q", code)
	}
	provider, config, err := g.signIn.at(ctx, g.url)
	if err != nil {
		return nil, "", err
	}
	if g.signIn.Secret != "" {
		if config.ClientSecret, err = secret.Resolve(ctx, g.signIn.Secret); err != nil {
			return nil, "", err
		}
	}
	tokens, err := config.Exchange(ctx, values.Get("code"), oauth2.VerifierOption(p.Verifier))
	if err != nil {
		return nil, "", exchangeError(err)
	}
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return nil, "", errors.New("the issuer sent no ID token")
	}
	id, err := provider.Verifier(&oidc.Config{ClientID: g.signIn.ClientID, Now: g.now}).Verify(ctx, raw)
	if err != nil {
		return nil, "", fmt.Errorf("check the ID token: %w", err)
	}
	var claims struct {
		Party    string `json:"azp"`
		Email    string `json:"email"`
		Verified any    `json:"email_verified"`
		Name     string `json:"name"`
	}
	if err := id.Claims(&claims); err != nil {
		return nil, "", fmt.Errorf("read the ID token: %w", err)
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(p.Nonce)) != 1:
		return nil, "", errors.New("the ID token was made for another sign-in: its nonce is another one")
	case (len(id.Audience) > 1 || claims.Party != "") && claims.Party != g.signIn.ClientID:
		return nil, "", fmt.Errorf("the ID token was made for %.100q", claims.Party)
	case id.Subject == "":
		return nil, "", errors.New("the ID token names nobody")
	}
	who := []string{whoOIDC + ":" + g.signIn.Issuer + "#" + id.Subject}
	// Some issuers write booleans as text. Anything else is not verified, and then anybody may have typed the address.
	if verified := claims.Verified == true || claims.Verified == "true"; verified && claims.Email != "" {
		who = append(who, whoEmail+":"+claims.Email)
	}
	return who, cmp.Or(claims.Name, claims.Email, id.Subject), nil
}

// exchangeError leaves out the token endpoint's answer, which may repeat what was sent.
func exchangeError(err error) error {
	var answered *oauth2.RetrieveError
	if errors.As(err, &answered) {
		return fmt.Errorf("exchange the code: the issuer answered %s %.100q", answered.Response.Status, answered.ErrorCode)
	}
	return fmt.Errorf("exchange the code: %w", err)
}

func (g *Gateway) signOut(w http.ResponseWriter, r *http.Request) {
	if s, ok := g.of(r); ok {
		if !sameToken(s.CSRF, r.PostFormValue("csrf")) {
			g.problem(w, r, &s, http.StatusForbidden, "You are still signed in", "The form was not made for this sign-in. Open the page again, and sign out there.")
			return
		}
		g.sessions.end(s)
	}
	g.setCookie(w, sessionCookie, "", time.Time{})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func sameToken(want, have string) bool {
	return want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(have)) == 1
}

// localPath returns path where it stays on this site, else "/": what comes back from a sign-in must not lead elsewhere.
func localPath(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" ||
		!strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}

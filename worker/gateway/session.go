package gateway

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	sessionCookie = "muster-session"
	signInCookie  = "muster-sign-in"
	maxCookie     = 4096
	signInTime    = 10 * time.Minute
)

// session is a person who signed in. It lives in their cookie, sealed, so that nobody has to sign in again because the worker was
// killed in the middle of a failover.
type session struct {
	ID    string    `json:"id"`
	Who   []string  `json:"who"`
	Name  string    `json:"name"` // for the page only
	CSRF  string    `json:"csrf"`
	Until time.Time `json:"until"`
}

// pending is a sign-in that is under way at the issuer.
type pending struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"`
	Back     string    `json:"back"`
	Until    time.Time `json:"until"`
}

type sessions struct {
	aead cipher.AEAD
	last time.Duration
	now  func() time.Time
	mu   sync.Mutex
	// out are the sessions that were signed out, until they would have ended. A restart forgets them: the cookie itself is deleted
	// at the browser that signed out.
	out map[string]time.Time
}

func newSessions(secret []byte, last time.Duration, now func() time.Time) (*sessions, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "muster gateway cookies v1", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the key of the cookies: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("derive the key of the cookies: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("derive the key of the cookies: %w", err)
	}
	return &sessions{aead: aead, last: last, now: now, out: map[string]time.Time{}}, nil
}

// seal encrypts v. kind is bound to it: one cookie's value is refused in another's place.
func (s *sessions) seal(kind string, v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("seal %s: %w", kind, err)
	}
	sealed := base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, text, []byte(kind)))
	if len(sealed) > maxCookie-200 {
		return "", fmt.Errorf("seal %s: its %d bytes are more than a cookie takes", kind, len(sealed))
	}
	return sealed, nil
}

var errCookie = errors.New("the cookie is not one of this gateway")

func (s *sessions) open(kind, sealed string, into any) error {
	if len(sealed) > maxCookie {
		return errCookie
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil {
		return errCookie
	}
	text, err := s.aead.Open(nil, nil, raw, []byte(kind))
	if err != nil {
		return errCookie
	}
	if err := json.Unmarshal(text, into); err != nil {
		return errCookie
	}
	return nil
}

// of returns who asks; false where nobody signed in, or the session is over.
func (g *Gateway) of(r *http.Request) (session, bool) {
	var s session
	cookie, err := r.Cookie(g.cookieName(sessionCookie))
	if err != nil || g.sessions.open(sessionCookie, cookie.Value, &s) != nil || !g.now().Before(s.Until) || len(s.Who) == 0 {
		return session{}, false
	}
	g.sessions.mu.Lock()
	_, out := g.sessions.out[s.ID]
	g.sessions.mu.Unlock()
	if out {
		return session{}, false
	}
	return s, true
}

func (s *sessions) begin(who []string, name string) session {
	return session{ID: token(), Who: who, Name: name, CSRF: token(), Until: s.now().Add(s.last)}
}

func (s *sessions) end(ended session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, until := range s.out {
		if !s.now().Before(until) {
			delete(s.out, id)
		}
	}
	s.out[ended.ID] = ended.Until
}

// cookieName has the prefix that makes browsers refuse the cookie from anywhere but this very host by https.
func (g *Gateway) cookieName(name string) string {
	if g.secure {
		return "__Host-" + name
	}
	return name
}

// setCookie sets a sealed cookie; an empty value deletes it.
func (g *Gateway) setCookie(w http.ResponseWriter, name, value string, until time.Time) {
	age := int(until.Sub(g.now()).Seconds())
	if value == "" {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{Name: g.cookieName(name), Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: g.secure, SameSite: http.SameSiteLaxMode})
}

// token is a text that nobody guesses.
func token() string { return rand.Text() }

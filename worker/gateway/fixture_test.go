package gateway

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/worker/gateway/gatewaytest"
	"github.com/musterhq/muster/workflows/run"
)

var (
	noon     = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	planHash = strings.Repeat("9f2c", 16)
)

const (
	shopID = "failover:shop"
	shopIn = "0199c1f4-5d0e-7cc1-b2a8-3a1a3d0e5a31"
)

// clock is the only time that a gateway under test knows.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: noon} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// lines is a log that tests read.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// world is a gateway with its runs, its issuer, its clock and its log.
type world struct {
	*Gateway
	runs   *fakeRuns
	issuer *gatewaytest.Issuer
	clock  *clock
	log    *lines
}

func newKey(t testing.TB) (path, public string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "gateway")
	require.NoError(t, err)
	path = filepath.Join(t.TempDir(), "gateway")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	signer, err := ssh.NewSignerFromSigner(key)
	require.NoError(t, err)
	return path, string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
}

// newWorld makes a gateway that is not started.
func newWorld(t testing.TB, change func(*Options)) *world {
	t.Helper()
	w := &world{clock: newClock(), log: &lines{}}
	w.issuer = gatewaytest.New(t, w.clock.now, issuersPeople())
	path, public := newKey(t)
	w.runs = shopRuns(w.issuer.URL, public)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte(w.issuer.Secret+"\n"), 0o600))
	o := Options{Name: "door", Key: path, Runs: w.runs, Estate: w.runs.estate, Address: "127.0.0.1:0",
		OIDC:  &OIDC{Issuer: w.issuer.URL, ClientID: w.issuer.Client, Secret: runbooks.Secret("file:" + secret)},
		Pages: Rate{PerSecond: 1000, Burst: 10_000}, Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: w.clock.now}
	if change != nil {
		change(&o)
	}
	var err error
	w.Gateway, err = New(o)
	require.NoError(t, err)
	return w
}

func started(t testing.TB, change func(*Options)) *world {
	t.Helper()
	w := newWorld(t, change)
	require.NoError(t, w.Start(t.Context()))
	w.issuer.Allow(w.URL() + "/oidc/callback")
	t.Cleanup(func() { require.NoError(t, w.Stop()) })
	return w
}

// browser is a client with cookies that follows no redirect by itself.
type browser struct {
	t testing.TB
	*http.Client
	base string
}

func (w *world) browser(t testing.TB) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t, &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, w.URL()}
}

type reply struct {
	code   int
	body   string
	header http.Header
}

func (b *browser) do(r *http.Request) reply {
	b.t.Helper()
	answer, err := b.Do(r)
	require.NoError(b.t, err)
	defer func() { require.NoError(b.t, answer.Body.Close()) }()
	body, err := io.ReadAll(answer.Body)
	require.NoError(b.t, err)
	return reply{answer.StatusCode, string(body), answer.Header}
}

func (b *browser) get(path string) reply {
	b.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = b.base + path
	}
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, path, nil)
	require.NoError(b.t, err)
	return b.do(r)
}

// post sends a form as a browser that shows a page of the gateway does.
func (b *browser) post(path string, v url.Values, header ...string) reply {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.base+path, strings.NewReader(v.Encode()))
	require.NoError(b.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", b.base)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return b.do(r)
}

// hidden returns the fields of the form with the button named by its value.
func (r reply) hidden(t testing.TB, name, value string) url.Values {
	t.Helper()
	for _, form := range strings.Split(r.body, "<form")[1:] {
		form, _, _ = strings.Cut(form, "</form>")
		if !strings.Contains(form, fmt.Sprintf(`name=%q value=%q`, name, value)) {
			continue
		}
		v := url.Values{name: {value}}
		for _, field := range regexp.MustCompile(`type="hidden" name="([^"]*)" value="([^"]*)"`).FindAllStringSubmatch(form, -1) {
			v.Set(field[1], field[2])
		}
		return v
	}
	require.Fail(t, "no such form", "%s=%s in\n%s", name, value, r.body)
	return nil
}

// signInAs goes through the issuer and returns the page that it comes back to.
func (b *browser) signInAs(subject string, w *world) reply {
	b.t.Helper()
	back := b.callback(subject, w)
	answer := b.get(back)
	require.Equal(b.t, http.StatusSeeOther, answer.code, "%s\n%s", answer.body, w.log)
	return b.get(answer.header.Get("Location"))
}

// callback returns where the issuer sends the browser after the sign-in.
func (b *browser) callback(subject string, w *world) string {
	b.t.Helper()
	toIssuer := b.get("/sign-in?back=" + url.QueryEscape(run.PagePath(shopID, shopIn)))
	require.Equal(b.t, http.StatusSeeOther, toIssuer.code, "%s\n%s", toIssuer.body, w.log)
	u, err := url.Parse(toIssuer.header.Get("Location"))
	require.NoError(b.t, err)
	v := u.Query()
	v.Set("subject", subject)
	login, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, w.issuer.URL+"/login", strings.NewReader(v.Encode()))
	require.NoError(b.t, err)
	login.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := b.do(login)
	require.Equal(b.t, http.StatusSeeOther, answer.code, answer.body)
	return answer.header.Get("Location")
}

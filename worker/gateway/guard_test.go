package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/workflows/run"
)

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	cert, certKey, _ := newCertificate(t)
	good := newWorld(t, nil).opts
	for name, tt := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"public without TLS":      {func(o *Options) { o.Address = "0.0.0.0:8443" }, "not on loopback and there is no TLS"},
		"every interface":         {func(o *Options) { o.Address = ":8443" }, "not on loopback and there is no TLS"},
		"a name without TLS":      {func(o *Options) { o.Address = "muster.example.org:80" }, "not on loopback and there is no TLS"},
		"no port":                 {func(o *Options) { o.Address = "127.0.0.1" }, "give host:port"},
		"half of TLS":             {func(o *Options) { o.Cert = cert }, "needs both"},
		"not a certificate":       {func(o *Options) { o.Cert, o.CertKey = certKey, certKey }, "read the certificate"},
		"nowhere to come back to": {func(o *Options) { o.Address, o.Cert, o.CertKey = ":0", cert, certKey }, "set the URL"},
		"URL without TLS":         {func(o *Options) { o.URL = "http://muster.example.org" }, "is not https"},
		"URL with a path":         {func(o *Options) { o.URL = "https://example.org/muster" }, "more than a host"},
		"URL of something else":   {func(o *Options) { o.URL = "javascript:alert(1)" }, "not one of http"},
		"issuer without TLS":      {func(o *Options) { o.OIDC.Issuer = "http://login.example.org" }, "no https URL"},
		"no client":               {func(o *Options) { o.OIDC.ClientID = "" }, "no client ID"},
		"a secret in the clear":   {func(o *Options) { o.OIDC.Secret = "hunter2" }, "client secret"},
		"no name":                 {func(o *Options) { o.Name = "" }, "no name"},
		"no key":                  {func(o *Options) { o.Key = "" }, "ssh-keygen"},
		"a missing key":           {func(o *Options) { o.Key = "/nowhere" }, "read the gateway's key"},
		"not a key":               {func(o *Options) { o.Key = cert }, "read the gateway's key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := good
			door := *good.OIDC
			o.OIDC = &door
			tt.change(&o)
			_, err := New(o)
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "localhost:0"} {
		o := good
		o.Address = address
		_, err := New(o)
		require.NoError(t, err)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	w := started(t, nil)
	answer := w.browser(t).get("/")
	h := answer.header
	require.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'")
	require.Contains(t, h.Get("Content-Security-Policy"), "frame-ancestors 'none'")
	require.NotContains(t, h.Get("Content-Security-Policy"), "unsafe")
	require.NotContains(t, h.Get("Content-Security-Policy"), "script-src")
	require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
	require.Equal(t, "same-origin", h.Get("Referrer-Policy"))
	require.Equal(t, "no-store", h.Get("Cache-Control"))
	require.Empty(t, h.Get("Strict-Transport-Security"), "loopback without TLS")
	require.Len(t, h.Get("X-Request-Id"), 16)
	require.Contains(t, w.log.String(), "id="+h.Get("X-Request-Id"))
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cert, certKey, pool := newCertificate(t)
	w := started(t, func(o *Options) { o.Cert, o.CertKey = cert, certKey })
	require.True(t, strings.HasPrefix(w.URL(), "https://127.0.0.1:"))
	b := w.browser(t)
	b.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	answer := b.get("/sign-in")
	require.Equal(t, http.StatusSeeOther, answer.code)
	require.Equal(t, "max-age=31536000", answer.header.Get("Strict-Transport-Security"))
	require.Regexp(t, `^__Host-muster-sign-in=[^;]+; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax$`, answer.header.Get("Set-Cookie"))
	require.Equal(t, http.StatusOK, b.signInAs("ada-1", w).code)

	before := w.certificateOf(t, pool)
	renewed, renewedKey, _ := newCertificate(t)
	for from, to := range map[string]string{renewed: cert, renewedKey: certKey} {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, text, 0o600))
		require.NoError(t, os.Chtimes(to, noon.AddDate(1, 0, 0), noon.AddDate(1, 0, 0)))
	}
	require.NotEqual(t, before, w.certificateOf(t, nil), "a renewed certificate is served without a restart")

	old := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11}}}
	_, err := old.Get(w.URL() + "/healthz")
	require.Error(t, err)
}

func (w *world) certificateOf(t *testing.T, pool *x509.CertPool) string {
	t.Helper()
	conn, err := tls.Dial("tcp", w.Address(), &tls.Config{RootCAs: pool, InsecureSkipVerify: pool == nil, MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func newCertificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(cert, text, 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	pool = x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(text))
	return cert, key, pool
}

func TestTooManyRequests(t *testing.T) {
	t.Parallel()
	w := started(t, func(o *Options) { o.Pages, o.Forwarded = Rate{PerSecond: 1, Burst: 3}, true })
	b := w.browser(t)
	from := func(source string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL()+"/", nil)
		require.NoError(t, err)
		r.Header.Set("X-Forwarded-For", source)
		return b.do(r).code
	}
	for range 3 {
		require.Equal(t, http.StatusUnauthorized, from("192.0.2.1"))
	}
	require.Equal(t, http.StatusTooManyRequests, from("192.0.2.1"))
	require.Equal(t, http.StatusTooManyRequests, from("198.51.100.7, 192.0.2.1"), "what the client claims before the proxy's word is nothing")
	require.Equal(t, http.StatusUnauthorized, from("192.0.2.2"))
	w.clock.pass(time.Second)
	require.Equal(t, http.StatusUnauthorized, from("192.0.2.1"))
	require.Equal(t, http.StatusTooManyRequests, from("192.0.2.1"))
}

func TestSources(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ remote, header, want string }{
		{"192.0.2.1:99", "", "192.0.2.1"},
		{"[::ffff:192.0.2.1]:99", "", "192.0.2.1"},
		{"[2001:db8:1:2:3::4]:99", "", "2001:db8:1:2::/64"},
		{"[fe80::1%eth0]:99", "", "fe80::/64"},
		{"192.0.2.1:99", "10.0.0.1, 203.0.113.9", "203.0.113.9"},
		{"192.0.2.1:99", "nonsense", "unknown"},
		{"@", "", "unknown"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = tt.remote
		r.Header.Set("X-Forwarded-For", tt.header)
		require.Equal(t, tt.want, sourceOf(r, tt.header != ""), tt)
	}
}

func TestALimiterForgetsTheOldest(t *testing.T) {
	t.Parallel()
	l := newLimiter(Rate{PerSecond: 1, Burst: 1}, newClock().now)
	for n := range maxSources + 5 {
		require.True(t, l.allow(fmt.Sprint(n)))
	}
	require.Len(t, l.sources, maxSources)
	require.Equal(t, maxSources, l.recent.Len())
	require.False(t, l.allow(fmt.Sprint(maxSources)), "the latest are known")
	require.True(t, l.allow("0"))
}

func TestHealth(t *testing.T) {
	t.Parallel()
	w := started(t, nil)
	b := w.browser(t)
	require.Equal(t, http.StatusOK, b.get("/healthz").code)
	require.Equal(t, http.StatusOK, b.get("/readyz").code)
	w.runs.mu.Lock()
	w.runs.down = errors.New("connection refused")
	w.runs.mu.Unlock()
	require.Equal(t, http.StatusOK, b.get("/readyz").code, "asked a moment ago")
	w.clock.pass(time.Second)
	require.Equal(t, http.StatusServiceUnavailable, b.get("/readyz").code)
	require.Equal(t, http.StatusOK, b.get("/healthz").code)
	require.Equal(t, http.StatusNotFound, b.get("/nowhere-"+planHash).code)
	metrics := b.get("/metrics").body
	require.Contains(t, metrics, `muster_gateway_requests_total{code="200",path="GET /healthz"} 2`)
	require.Contains(t, metrics, `muster_gateway_requests_total{code="404",path="/"} 1`)
	require.NotContains(t, metrics, planHash, "paths that people make up are no labels")
}

func TestMounts(t *testing.T) {
	t.Parallel()
	var w *world
	w = newWorld(t, func(o *Options) {
		o.Drivers = Rate{PerSecond: 1, Burst: 5}
		o.Mounts = map[string]http.Handler{"POST /slack/click": http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				http.Error(rw, "too big", http.StatusRequestEntityTooLarge)
				return
			}
			answer, _, err := w.Hear(r.Context(), click(nil))
			fmt.Fprint(rw, answer, err)
		})}
	})
	w.Mount("POST /pagerduty", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("nil map") }))
	require.NoError(t, w.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, w.Stop()) })
	b := w.browser(t)
	post := func(path string, body io.Reader) reply {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL()+path, body)
		require.NoError(t, err)
		return b.do(r)
	}
	require.Equal(t, "approve counted<nil>", post("/slack/click?token=xoxb-secret", strings.NewReader("a")).body, "no Origin is asked of a service")
	require.Equal(t, http.StatusRequestEntityTooLarge, post("/slack/click", strings.NewReader(strings.Repeat("a", maxBody+1))).code)
	require.Equal(t, http.StatusRequestEntityTooLarge, post("/slack/click", io.MultiReader(strings.NewReader(strings.Repeat("a", maxBody+1)))).code, "of unknown length")
	require.Equal(t, http.StatusInternalServerError, post("/pagerduty", nil).code)
	require.Contains(t, w.log.String(), `panic="nil map"`)
	require.Equal(t, http.StatusOK, post("/slack/click", nil).code)
	require.Equal(t, http.StatusTooManyRequests, post("/slack/click", nil).code)
	require.NotContains(t, w.log.String(), "xoxb-secret")

	clash := newWorld(t, func(o *Options) { o.Mounts = map[string]http.Handler{"GET /metrics": http.NotFoundHandler()} })
	require.ErrorContains(t, clash.Start(t.Context()), "mount the drivers' handlers")
}

func TestWithoutSignInThereAreNoPages(t *testing.T) {
	t.Parallel()
	w := started(t, func(o *Options) { o.OIDC = nil })
	b := w.browser(t)
	require.Contains(t, b.get("/").body, "muster approve")
	require.Equal(t, http.StatusNotFound, b.get(run.PagePath(shopID, shopIn)).code)
	require.Equal(t, http.StatusOK, b.get("/healthz").code)
	_, accepted, err := w.Hear(t.Context(), click(nil))
	require.NoError(t, err)
	require.True(t, accepted)
}

func TestStartAndStop(t *testing.T) {
	t.Parallel()
	w := started(t, nil)
	taken := newWorld(t, func(o *Options) { o.Address = w.Address() })
	require.ErrorContains(t, taken.Start(t.Context()), "choose another address")
	require.NoError(t, taken.Stop())
	closed := newWorld(t, func(o *Options) { o.Address = "" })
	require.ErrorContains(t, closed.Start(t.Context()), "no address")
	_, accepted, err := closed.Hear(t.Context(), click(nil))
	require.NoError(t, err)
	require.True(t, accepted, "a gateway that does not listen hears all the same")
	require.NoError(t, w.Stop())
	_, err = net.Dial("tcp", w.Address())
	require.Error(t, err)
	require.Empty(t, w.Failed())
	require.True(t, strings.HasPrefix(w.PublicKey(), "ssh-ed25519 "))
}

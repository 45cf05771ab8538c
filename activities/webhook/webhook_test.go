package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
)

var update = flag.Bool("update", false, "write the golden files")

const key = "hunter2-planted"

var at = time.Date(2026, 11, 22, 19, 30, 0, 0, time.UTC)

func notice() activities.Notice {
	return activities.Notice{
		ID: "0199c1f4-5c1e-7000-8000-000000000001/17", Subject: "gate/failover", Event: activities.EventGateOpened, Severity: runbooks.Warning, At: at,
		Header: journal.Header{WorkflowID: "failover:shop", RunID: "0199c1f4-5c1e-7000-8000-000000000001", Operation: "Failover", Estate: "shop",
			Runbook: "failover-shop", Document: "d0c", Mode: "execute", From: "east", To: "west", MoveKind: "planned", RequestedBy: "dana", Channel: "cli"},
		Title: "Approve failover-shop: east to west",
		Text:  "3 <steps> & no expected loss",
		Gate: &activities.NoticeGate{Name: "failover", Title: "Fail over from east to west", Risk: "clients are cut off", PlanHash: "8c1f0b6a", Opened: at,
			Deadline: at.Add(time.Hour), Need: 1, Who: []string{"approver"}, FourEyes: true,
			Plan: &journal.Plan{Operation: "Failover", Estate: "shop", Runbook: "failover-shop", From: "east", To: "west", Hash: "8c1f0b6a", LossClass: "none",
				Steps: []journal.PlanStep{{ID: "fence/orders", Phase: "fence", System: "orders", Title: "stop orders at east", Undo: "start it again"}}}},
		Page: "https://muster.example.org/runs/failover:shop",
	}
}

// input asks to post to address, with the key in a file.
func input(t *testing.T, address string) activities.AnnounceInput {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte(key+"\n"), 0o600))
	return activities.AnnounceInput{Name: "hooks", Notice: notice(), Notifier: runbooks.Notifier{Kind: "webhook",
		Webhook: &runbooks.WebhookNotifier{URL: address, Key: runbooks.Secret("file:" + file)}}}
}

// post is what a receiver got.
type post struct {
	header http.Header
	body   []byte
}

// receiver keeps what verifies, as a receiver should; then answers.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	posts []post
}

func receive(t *testing.T, then http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil || q.Method != http.MethodPost {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if err := Verify([]byte(key), q.Header.Get("Muster-Signature"), body, time.Now()); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		r.mu.Lock()
		r.posts = append(r.posts, post{q.Header.Clone(), body})
		r.mu.Unlock()
		then(w, q)
	}))
	r.Server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(r.Close)
	return r
}

// got is a copy: the receiver may still be at work on what a client gave up.
func (r *receiver) got() []post {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]post(nil), r.posts...)
}

func TestPostsTheNotice(t *testing.T) {
	t.Parallel()
	r := receive(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	in := input(t, r.URL+"/hooks/T0/secret-path?a=b")
	receipt, err := New().Announce(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, activities.Receipt{Channel: r.URL, Message: in.Notice.ID}, receipt)
	require.Len(t, r.got(), 1)
	got := r.got()[0]
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.Equal(t, "muster", got.header.Get("User-Agent"))
	require.Equal(t, in.Notice.ID, got.header.Get("Idempotency-Key"))
	var back activities.Notice
	require.NoError(t, json.Unmarshal(got.body, &back))
	require.Equal(t, in.Notice, back)

	var pretty bytes.Buffer
	require.NoError(t, json.Indent(&pretty, got.body, "", "  "))
	pretty.WriteByte('\n')
	file := filepath.Join("testdata", "notice.golden.json")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, pretty.Bytes(), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), pretty.String())
}

// The answer is lost after the receiver stored the notice: the repeat is the same to the byte and is told by its key.
func TestARepeatCountsOnce(t *testing.T) {
	t.Parallel()
	first := make(chan struct{}, 1)
	first <- struct{}{}
	r := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-first:
			panic(http.ErrAbortHandler) // cuts the connection
		default:
		}
	})
	n, in := New(), input(t, r.URL)
	_, err := n.Announce(t.Context(), in)
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
	_, err = n.Announce(t.Context(), in)
	require.NoError(t, err)
	got := r.got()
	require.Len(t, got, 2)
	require.Equal(t, got[0].body, got[1].body)
	require.Equal(t, in.Notice.ID, got[0].header.Get("Idempotency-Key"))
	require.Equal(t, in.Notice.ID, got[1].header.Get("Idempotency-Key"))
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		code int
		want string // type of error; empty: success
	}{
		{200, ""}, {201, ""}, {202, ""}, {204, ""},
		{301, activities.ErrConfig}, {302, activities.ErrConfig}, {307, activities.ErrConfig}, {308, activities.ErrConfig}, {304, activities.ErrConfig},
		{400, activities.ErrRefused}, {404, activities.ErrRefused}, {409, activities.ErrRefused}, {410, activities.ErrRefused}, {422, activities.ErrRefused},
		{401, activities.ErrAuth}, {403, activities.ErrAuth}, {407, activities.ErrAuth},
		{408, activities.ErrNotYet}, {425, activities.ErrNotYet}, {429, activities.ErrNotYet},
		{500, activities.ErrUnreachable}, {502, activities.ErrUnreachable}, {503, activities.ErrUnreachable}, {599, activities.ErrUnreachable},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.code), func(t *testing.T) {
			t.Parallel()
			elsewhere := receive(t, func(http.ResponseWriter, *http.Request) {})
			r := receive(t, func(w http.ResponseWriter, q *http.Request) {
				w.Header().Set("Location", elsewhere.URL+"/stolen")
				w.Header().Set("Retry-After", "30")
				w.WriteHeader(test.code)
				fmt.Fprint(w, q.Header.Get("Muster-Signature"), key) // a receiver that repeats what it knows
			})
			_, err := New().Announce(t.Context(), input(t, r.URL+"/secret-path"))
			require.Len(t, r.got(), 1, "posted once, whatever the answer")
			require.Empty(t, elsewhere.got(), "redirects are not followed")
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			var typed *activities.Error
			require.ErrorAs(t, err, &typed)
			require.Equal(t, test.want, typed.Type)
			require.Equal(t, test.code == 408 || test.code == 425 || test.code == 429 || test.code >= 500, typed.Retryable())
			require.ErrorContains(t, err, fmt.Sprint(test.code))
			require.ErrorContains(t, err, "it asks to wait 30s")
			require.NotContains(t, err.Error(), key)
			require.NotContains(t, err.Error(), "secret-path")
			require.NotContains(t, err.Error(), "v1=")
		})
	}
}

func TestASlowReceiverIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	r := receive(t, func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := New().Announce(ctx, input(t, r.URL))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
	require.Less(t, time.Since(start), 5*time.Second)
}

// An answer whose body never ends is an answer: only its status counts.
func TestAnEndlessAnswerIsAnAnswer(t *testing.T) {
	t.Parallel()
	r := receive(t, func(w http.ResponseWriter, q *http.Request) {
		for q.Context().Err() == nil {
			_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<16))
		}
	})
	_, err := New().Announce(t.Context(), input(t, r.URL))
	require.NoError(t, err)
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = New().Announce(t.Context(), input(t, "http://"+l.Addr().String()+"/secret-path"))
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
	require.ErrorContains(t, err, l.Addr().String())
	require.NotContains(t, err.Error(), "secret-path")
}

func TestCertificatesAreChecked(t *testing.T) {
	t.Parallel()
	r := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.StartTLS()
	t.Cleanup(r.Close)
	n := New()
	_, err := n.Announce(t.Context(), input(t, r.URL))
	require.Equal(t, activities.ErrConfig, activities.TypeOf(err))
	require.ErrorContains(t, err, "certificate")
	n.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: r.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	_, err = n.Announce(t.Context(), input(t, r.URL))
	require.NoError(t, err)
}

func TestConfigurationThatCannotWork(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{
		"in the clear": "http://hooks.example.com/planted", "password": "https://dana:planted@hooks.example.com", "no host": "https:///planted",
		"another scheme": "ftp://hooks.example.com/planted", "not a URL": "https://hooks.example.com/%zz-planted", "empty": "",
	} {
		_, err := New().Announce(t.Context(), input(t, address))
		require.Equal(t, activities.ErrConfig, activities.TypeOf(err), name)
		require.NotContains(t, err.Error(), "planted", name)
	}
	in := input(t, "http://127.0.0.1:1")
	in.Notifier.Webhook.Key = "env:MUSTER_WEBHOOK_KEY_THAT_IS_NOT_SET"
	_, err := New().Announce(t.Context(), in)
	require.Equal(t, activities.ErrConfig, activities.TypeOf(err))
	in.Notifier.Webhook = nil
	_, err = New().Announce(t.Context(), in)
	require.Equal(t, activities.ErrConfig, activities.TypeOf(err))
	require.NotContains(t, err.Error(), key)
}

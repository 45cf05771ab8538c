package e2e

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/update/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/workflows/run"
)

const mailPassword = "the password of the mail server"

// sink is a real SMTP server, Debian's python3-aiosmtpd, that wants STARTTLS and a password.
type sink struct {
	port int
	ca   string

	mu      sync.Mutex
	letters [][]byte
}

func startSink(t *testing.T) *sink {
	t.Helper()
	dir := t.TempDir()
	s := &sink{ca: filepath.Join(dir, "cert.pem")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	keyFile := filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(s.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600))
	options, err := json.Marshal(map[string]any{"cert": s.ca, "key": keyFile, "starttls": true, "auth": map[string]string{"user": "muster", "password": mailPassword}})
	require.NoError(t, err)

	cmd := exec.Command("/usr/bin/python3", "../../activities/email/testdata/sink.py", string(options))
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	port, read := make(chan int, 1), make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var said struct {
				Port    int
				Message []byte
				TLS     bool
			}
			if json.Unmarshal(lines.Bytes(), &said) != nil {
				continue
			}
			if said.Port != 0 {
				port <- said.Port
			}
			if said.Message != nil && said.TLS {
				s.mu.Lock()
				s.letters = append(s.letters, said.Message)
				s.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close() // ends it, as the end of this process would
		<-read
		_ = cmd.Wait() // how it ended tells nothing
		if t.Failed() {
			t.Logf("the mail server said: %s", tail(stderr.String(), 5))
		}
	})
	select {
	case s.port = <-port:
	case <-read:
		require.FailNow(t, "the mail server did not start", "%s (next: deploy/install-packages python3-aiosmtpd)", stderr.String())
	case <-time.After(30 * time.Second):
		require.FailNow(t, "the mail server did not start within 30 s")
	}
	return s
}

func (s *sink) got() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.letters)
}

func (s *sink) notify(t *testing.T, g *gated) runbooks.Notifier {
	return runbooks.Notifier{Kind: "email", Email: &runbooks.EmailNotifier{Server: fmt.Sprintf("127.0.0.1:%d", s.port), From: "muster@shop.example",
		To: []string{"kim@shop.example"}, User: "muster", Password: g.secret(t, mailPassword), CA: s.ca}}
}

// line waits for the letter after the first ones, and returns the line of its text that begins so.
func (s *sink) line(t *testing.T, after int, beginning string) string {
	t.Helper()
	letter := awaited(t, "a letter", 30*time.Second, func() ([]byte, bool) {
		letters := s.got()
		if len(letters) > after {
			return letters[after], true
		}
		return nil, false
	})
	m, err := mail.ReadMessage(bytes.NewReader(letter))
	require.NoError(t, err)
	kind, parameters, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "multipart/alternative", kind)
	part, err := multipart.NewReader(m.Body, parameters["boundary"]).NextPart()
	require.NoError(t, err)
	text, err := io.ReadAll(part)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, beginning) {
			return line
		}
	}
	require.FailNow(t, "no such line", "%s in\n%s", beginning, text)
	return ""
}

// update is what `temporal workflow update execute` makes of a decision.
func (w *worker) update(t *testing.T, x execution, decision map[string]string) run.Answer {
	t.Helper()
	reply, err := w.temporal.WorkflowService().UpdateWorkflowExecution(t.Context(), &workflowservice.UpdateWorkflowExecutionRequest{
		Namespace: "default", WorkflowExecution: &common.WorkflowExecution{WorkflowId: x.WorkflowID, RunId: x.RunID},
		WaitPolicy: &update.WaitPolicy{LifecycleStage: enums.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED},
		Request:    &update.Request{Meta: &update.Meta{UpdateId: uuid.NewString(), Identity: "temporal-cli:e2e"}, Input: &update.Input{Name: "decide", Args: payload(t, decision)}},
	})
	require.NoError(t, err)
	require.Nil(t, reply.GetOutcome().GetFailure())
	return decode[run.Answer](t, string(reply.GetOutcome().GetSuccess().GetPayloads()[0].GetData()))
}

package email

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// python is Debian's own, which has Debian's packages.
const python = "/usr/bin/python3"

// sink is a real SMTP server in a process of its own: testdata/sink.py.
type sink struct {
	port string
	ca   string // file of the certificate that signed the server's

	mu       sync.Mutex
	sessions int
	auths    int
	letters  []letter
}

// letter is a message that the sink has.
type letter struct {
	Message []byte   `json:"message"`
	Sender  string   `json:"sender"`
	To      []string `json:"to"`
	TLS     bool     `json:"tls"`
	Login   string   `json:"login"`
}

func (l letter) parse(t *testing.T) *mail.Message {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(l.Message))
	require.NoError(t, err)
	return m
}

type options map[string]any

func startSink(t *testing.T, o options) *sink {
	t.Helper()
	s := &sink{}
	dir := t.TempDir()
	names := []string{"127.0.0.1", "localhost"}
	if name, set := o["name"].(string); set {
		names = []string{name}
	}
	var cert, key string
	s.ca, cert, key = certificates(t, dir, names)
	given := options{"cert": cert, "key": key}
	for name, value := range o {
		given[name] = value
	}
	text, err := json.Marshal(given)
	require.NoError(t, err)
	cmd := exec.Command(python, filepath.Join("testdata", "sink.py"), string(text))
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	read := make(chan struct{})
	port := make(chan int, 1)
	go func() {
		defer close(read)
		s.read(stdout, port)
	}()
	t.Cleanup(func() {
		_ = stdin.Close() // ends it, as the end of this process would
		<-read
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sink: %s", stderr.String())
		}
	})
	select {
	case p := <-port:
		s.port = fmt.Sprint(p)
	case <-read:
		require.Fail(t, "the sink did not start: is python3-aiosmtpd there (deploy/install-packages)?")
	case <-time.After(30 * time.Second):
		require.Fail(t, "the sink did not start in 30 s")
	}
	return s
}

func (s *sink) read(from io.Reader, port chan<- int) {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		var said struct {
			letter
			Port    int    `json:"port"`
			Session bool   `json:"session"`
			Auth    string `json:"auth"`
		}
		if json.Unmarshal(scanner.Bytes(), &said) != nil {
			continue
		}
		s.mu.Lock()
		switch {
		case said.Port != 0:
			port <- said.Port
		case said.Session:
			s.sessions++
		case said.Auth != "":
			s.auths++
		case said.Message != nil:
			s.letters = append(s.letters, said.letter)
		}
		s.mu.Unlock()
	}
}

// got waits until the sink has said that it has n letters: it says so before it answers, in another pipe.
func (s *sink) got(t *testing.T, n int) []letter {
	t.Helper()
	var letters []letter
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		letters = append([]letter(nil), s.letters...)
		return len(letters) >= n
	}, 10*time.Second, time.Millisecond)
	require.Len(t, letters, n)
	return letters
}

// certificates makes a CA and a server certificate that it signed.
func certificates(t *testing.T, dir string, names []string) (ca, cert, key string) {
	t.Helper()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return file
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	caTemplate := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "muster test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, caTemplate, caTemplate, &caKey.PublicKey, caKey)
	require.NoError(t, err)
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "sink"}, NotBefore: caTemplate.NotBefore, NotAfter: caTemplate.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, caTemplate, &serverKey.PublicKey, caKey)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(serverKey)
	require.NoError(t, err)
	return write("ca.pem", "CERTIFICATE", caDER), write("cert.pem", "CERTIFICATE", der), write("key.pem", "EC PRIVATE KEY", keyDER)
}

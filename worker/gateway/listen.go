package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// checkAddress refuses to serve sign-ins and decisions where others on the network can read or change them.
func checkAddress(o Options) error {
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil {
		return fmt.Errorf("address %q: %w (next: give host:port)", o.Address, err)
	}
	if (o.Cert == "") != (o.CertKey == "") {
		return errors.New("TLS needs both the certificate's file and its key's, and one of them is missing")
	}
	if o.Cert == "" && !isLoopback(host) {
		return fmt.Errorf("address %s is not on loopback and there is no TLS: sign-ins and decisions would be readable on the network "+
			"(next: give a certificate and its key, or listen on 127.0.0.1 behind a proxy that has one)", o.Address)
	}
	if o.Cert != "" {
		if _, err := tls.LoadX509KeyPair(o.Cert, o.CertKey); err != nil {
			return fmt.Errorf("read the certificate %s and its key %s: %w", o.Cert, o.CertKey, err)
		}
	}
	if o.URL == "" {
		ip := net.ParseIP(host)
		if o.OIDC != nil && (host == "" || (ip != nil && ip.IsUnspecified())) {
			return fmt.Errorf("address %s says not where people reach it, and they are sent back there after they sign in (next: set the URL)", o.Address)
		}
		return nil
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return fmt.Errorf("URL %q: %w", o.URL, err)
	}
	switch {
	case u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return fmt.Errorf("URL %q is not one of http or https with a host", o.URL)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return fmt.Errorf("URL %q has more than a host: the gateway's pages are at the root", o.URL)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return fmt.Errorf("URL %q is not https: cookies would be readable on the network", o.URL)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// readKey returns the signer and the file's text.
func readKey(path string) (ssh.Signer, []byte, error) {
	if path == "" {
		return nil, nil, errors.New("it has no key to sign with (next: ssh-keygen -t ed25519 -N '' -f gateway, and list gateway.pub among the estate's gateways)")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the gateway's key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, nil, fmt.Errorf("the gateway's key %s has a passphrase, and nobody is there to type it (next: make one without)", path)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the gateway's key %s: %w", path, err)
	}
	return signer, text, nil
}

// certificate is a pair of files that somebody renews while the gateway runs.
type certificate struct {
	cert, key string
	mu        sync.Mutex
	read      time.Time // the newer of the files' times when they were read
	pair      *tls.Certificate
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: c.get}
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var newest time.Time
	for _, path := range []string{c.cert, c.key} {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	if c.pair != nil && newest.Equal(c.read) {
		return c.pair, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		if c.pair != nil {
			return c.pair, nil // half renewed: the old one serves until both files fit
		}
		return nil, err
	}
	c.pair, c.read = &pair, newest
	return c.pair, nil
}

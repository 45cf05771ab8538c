package email

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"os"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

const (
	timeout     = 15 * time.Second // for a whole session
	quitTimeout = time.Second      // the message is delivered by then
)

// errors of a session that the server did not put into words.
var (
	errNoSTARTTLS = errors.New("the server offers no STARTTLS; nothing was sent in the clear")
	errNoAuth     = errors.New("the server offers no way of signing in that muster knows (SCRAM, PLAIN, LOGIN)")
	errCA         = errors.New("the file of ca holds no certificate")
)

// send hands the message to the server in one transaction, and says which of the recipients it took; with an error too, where it refused
// others. smtp.Client is used below go-mail's own Client, which gives up on all recipients for one, and counts a failure after
// the delivery as a failure of it.
func (s *session) send(ctx context.Context, to []*mail.Address, message []byte) (taken []*mail.Address, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.server)
	if err != nil {
		return nil, s.failed(ctx, "connect", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // ends whatever waits for the server
	c, err := s.greet(ctx, conn)
	if err != nil {
		return nil, err
	}
	if err := c.Mail(envelope(s.from)); err != nil {
		return nil, s.failed(ctx, "MAIL FROM "+s.from.Address, err)
	}
	var refused []error
	for _, a := range to {
		if err := c.Rcpt(envelope(a)); err != nil {
			if !answered(err) {
				return nil, s.failed(ctx, "RCPT TO "+a.Address, err)
			}
			refused = append(refused, s.failed(ctx, "RCPT TO "+a.Address, err))
			continue
		}
		taken = append(taken, a)
	}
	if len(taken) == 0 {
		return nil, worst(refused)
	}
	w, err := c.Data()
	if err != nil {
		return nil, s.failed(ctx, "DATA", err)
	}
	if _, err := w.Write(message); err != nil {
		return nil, s.failed(ctx, "send the message", err) // its end was not sent: the server has to forget it
	}
	if err := w.Close(); err != nil {
		if answered(err) {
			return nil, s.failed(ctx, "the message", err)
		}
		return nil, s.failed(ctx, "the answer to the whole message was lost: it may have arrived, and is sent again with the same Message-ID", err)
	}
	if c.UpdateDeadline(quitTimeout) == nil {
		_ = c.Quit() // whatever comes of it, the message is delivered
	}
	return taken, worst(refused)
}

// greet opens the session: TLS as configured, then the sign-in.
func (s *session) greet(ctx context.Context, conn net.Conn) (*smtp.Client, error) {
	settings, err := s.settings()
	if err != nil {
		return nil, s.failed(ctx, "read the certificates of ca", err)
	}
	if s.tls == implicit {
		secure := tls.Client(conn, settings)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, s.failed(ctx, "TLS", err)
		}
		conn = secure
	}
	c, err := smtp.NewClient(conn, s.host)
	if err != nil {
		return nil, s.failed(ctx, "greeting", err)
	}
	name, err := os.Hostname()
	if err != nil {
		name = "localhost"
	}
	if err := c.Hello(name); err != nil {
		return nil, s.failed(ctx, "EHLO", err)
	}
	if s.tls == startTLS {
		if offered, _ := c.Extension("STARTTLS"); !offered {
			return nil, s.failed(ctx, "STARTTLS", errNoSTARTTLS)
		}
		if err := c.StartTLS(settings); err != nil {
			return nil, s.failed(ctx, "STARTTLS", err)
		}
	}
	if s.user == "" {
		return c, nil
	}
	auth, err := s.auth(c)
	if err != nil {
		return nil, s.failed(ctx, "AUTH", err)
	}
	if err := c.Auth(auth); err != nil {
		return nil, s.failed(ctx, "AUTH", err)
	}
	return c, nil
}

func (s *session) settings() (*tls.Config, error) {
	config := &tls.Config{ServerName: s.host, MinVersion: tls.VersionTLS12}
	if s.ca == "" {
		return config, nil
	}
	text, err := os.ReadFile(s.ca)
	if err != nil {
		return nil, err
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, errCA
	}
	return config, nil
}

// auth takes the strongest that is offered. PLAIN and LOGIN refuse by themselves to send a password in the clear beyond this machine.
func (s *session) auth(c *smtp.Client) (smtp.Auth, error) {
	_, offered := c.Extension("AUTH")
	state, _ := c.GetTLSConnectionState() // an error: no TLS, no binding to it
	for _, mechanism := range []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"} {
		for _, name := range strings.Fields(offered) {
			if !strings.EqualFold(name, mechanism) {
				continue
			}
			switch {
			case mechanism == "SCRAM-SHA-256-PLUS" && state != nil:
				return smtp.ScramSHA256PlusAuth(s.user, s.password, state), nil
			case mechanism == "SCRAM-SHA-256":
				return smtp.ScramSHA256Auth(s.user, s.password), nil
			case mechanism == "PLAIN":
				return smtp.PlainAuth("", s.user, s.password, s.host, false), nil
			case mechanism == "LOGIN":
				return smtp.LoginAuth(s.user, s.password, s.host, false), nil
			}
		}
	}
	return nil, fmt.Errorf("%w; it offers %q", errNoAuth, offered)
}

// envelope is an address as MAIL and RCPT want it, quoted where it has to be.
func envelope(a *mail.Address) string { return (&mail.Address{Address: a.Address}).String() }

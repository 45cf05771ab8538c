package email

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/textproto"
	"strings"

	"github.com/musterhq/muster/activities"
)

// answered says whether err is what the server said.
func answered(err error) bool {
	var said *textproto.Error
	return errors.As(err, &said)
}

// failed is the only mapper of this driver: doing is the part of the session that failed.
func (s *session) failed(ctx context.Context, doing string, err error) error {
	e := &activities.Error{Op: s.op + ": " + s.server + ": " + doing}
	var said *textproto.Error
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var path *fs.PathError
	switch {
	case errors.As(err, &said):
		e.Err = fmt.Errorf("it answered %d %s", said.Code, oneLine(s.clean(said.Msg), 300))
		e.Type, e.Next = meaning(said.Code)
	case ctx.Err() != nil: // the connection was closed for it; what that looked like does not matter
		e.Type, e.Err, e.Next = activities.ErrUnreachable, fmt.Errorf("it was too slow: %w", ctx.Err()), "see whether the mail server is well"
	case errors.As(err, &certificate):
		e.Type, e.Err, e.Next = activities.ErrConfig, err, "let ca name the certificates that signed the server's, or mend the server's name or certificate"
	case errors.As(err, &record):
		e.Type, e.Err, e.Next = activities.ErrConfig, errors.New("it does not speak TLS there"), "set tls to starttls, or the port to the one of implicit TLS, usually 465"
	case errors.Is(err, errNoSTARTTLS):
		e.Type, e.Err, e.Next = activities.ErrConfig, err, "set tls to implicit if the server has a port for it, or turn STARTTLS on there"
	case errors.As(err, &path), errors.Is(err, errCA):
		e.Type, e.Err, e.Next = activities.ErrConfig, err, "let ca name a file of PEM certificates on the worker"
	case errors.Is(err, errNoAuth):
		e.Type, e.Err, e.Next = activities.ErrAuth, errors.New(oneLine(err.Error(), 300)), "remove user and password, or turn sign-in on there"
	default:
		e.Type, e.Err, e.Next = activities.ErrUnreachable, err, "see whether the mail server is up"
		if doing == "AUTH" && !broken(err) {
			e.Err = errors.New(oneLine(s.clean(err.Error()), 300)) // a mechanism's own words may hold the challenge's
			e.Type, e.Next = activities.ErrAuth, "correct user and password"
		}
	}
	return e
}

// broken says whether err is of the connection, not of what was said on it.
func broken(err error) bool {
	var of net.Error
	return errors.As(err, &of) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// meaning of an SMTP code: 4xx may pass, 5xx would come again.
func meaning(code int) (kind, next string) {
	switch {
	case code == 421:
		return activities.ErrUnreachable, "the mail server is shutting down or has too many sessions"
	case code >= 400 && code < 500:
		return activities.ErrNotYet, "the server asks to try again later"
	case code == 530 || code == 534 || code == 535 || code == 538:
		return activities.ErrAuth, "correct user and password"
	}
	return activities.ErrRefused, "see the mail server's log, and from and to in the estate"
}

// worst joins the errors of single recipients: one that may pass makes the whole worth another try. nil where there are none.
func worst(refused []error) error {
	if len(refused) == 0 {
		return nil
	}
	var first *activities.Error
	for _, err := range refused {
		var e *activities.Error
		if errors.As(err, &e) && (first == nil || e.Retryable() && !first.Retryable()) {
			first = e
		}
	}
	if len(refused) > 1 {
		first.Next += fmt.Sprintf("; %d recipients were refused in all", len(refused))
	}
	return first
}

// clean removes the password from text: a server may repeat what it was sent, as it was sent too.
func (s *session) clean(text string) string {
	if s.password == "" {
		return text
	}
	for _, form := range []string{s.password, base64.StdEncoding.EncodeToString([]byte(s.password)),
		base64.StdEncoding.EncodeToString([]byte("\x00" + s.user + "\x00" + s.password))} {
		text = strings.ReplaceAll(text, form, "[secret]")
	}
	return text
}

// Package email sends notices through one SMTP server: text and a simple HTML part, with the exact commands that answer a gate.
//
// SMTP has no way to ask whether a message arrived. Where the answer to a message is lost after all of it was sent, it is sent
// again and may be there twice. Both have the same Message-ID, which is made of the notice's ID, so that mailboxes can tell; most
// show one. To keep that rare, nothing after the server's 250 counts as a failure, and each Notifier remembers what it delivered.
package email

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/secret"
	"github.com/musterhq/muster/runbooks"
)

// Notifier implements activities.Notifier. It is safe for concurrent use; use one for all, it remembers what it delivered.
type Notifier struct {
	delivered memory
}

var _ activities.Notifier = (*Notifier)(nil)

// New returns a notifier that trusts the system's certificates where a notifier of the estate names no CA.
func New() *Notifier { return &Notifier{} }

// Announce sends the notice in one message to all recipients, those left out that got it from this Notifier before. A server that
// takes some recipients and refuses others delivers to the former; the error then names the latter. A message whose answer is lost may
// be sent twice, with the same Message-ID. The receipt's Channel is the Message-ID.
func (n *Notifier) Announce(ctx context.Context, in activities.AnnounceInput) (activities.Receipt, error) {
	op := "send notice " + in.Notice.ID + " by e-mail notifier " + in.Name
	s, err := open(ctx, op, in.Notifier.Email)
	if err != nil {
		return activities.Receipt{}, err
	}
	id := messageID(in.Notice.ID, s.from.Address)
	receipt := activities.Receipt{Channel: id}
	var missing []*mail.Address
	for _, to := range s.to {
		if !n.delivered.has(s.server, id, to.Address) {
			missing = append(missing, to)
		}
	}
	if len(missing) == 0 {
		receipt.Known = true
		return receipt, nil
	}
	message, err := compose(s, id, in)
	if err != nil {
		return activities.Receipt{}, &activities.Error{Type: activities.ErrConfig, Op: op, Err: err}
	}
	taken, err := s.send(ctx, missing, message)
	for _, to := range taken {
		n.delivered.add(s.server, id, to.Address)
	}
	if err != nil {
		return activities.Receipt{}, err
	}
	return receipt, nil
}

// messageID is the same for every attempt at a notice. Hashed: IDs of notices hold what a Message-ID must not.
func messageID(notice, from string) string {
	sum := sha256.Sum256([]byte(notice))
	return hex.EncodeToString(sum[:16]) + "@" + domain(from)
}

var domainName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

func domain(address string) string {
	if name := address[strings.LastIndexByte(address, '@')+1:]; domainName.MatchString(name) {
		return name
	}
	return "muster.invalid"
}

// session is what one Announce needs.
type session struct {
	op       string
	server   string // host:port
	host     string
	from     *mail.Address
	to       []*mail.Address
	tls      string
	ca       string
	user     string
	password string
}

// TLS modes of the estate's file.
const (
	startTLS = "starttls"
	implicit = "implicit"
	none     = "none"
)

func open(ctx context.Context, op string, e *runbooks.EmailNotifier) (*session, error) {
	config := func(format string, args ...any) (*session, error) {
		return nil, &activities.Error{Type: activities.ErrConfig, Op: op, Err: fmt.Errorf(format, args...), Next: "correct the notifier's email section in the estate"}
	}
	if e == nil {
		return config("it has no email section")
	}
	host, port, err := net.SplitHostPort(e.Server)
	if err != nil || host == "" || port == "" {
		return config("server is not an address; expected host:port, such as smtp.example.org:587")
	}
	s := &session{op: op, server: e.Server, host: host, tls: e.TLS, ca: e.CA, user: e.User}
	if s.tls == "" {
		s.tls = startTLS
	}
	if !slices.Contains([]string{startTLS, implicit, none}, s.tls) {
		return config("tls is %q; expected starttls, implicit or none", s.tls)
	}
	if s.tls == none && !loopback(host) {
		return config("tls: none sends plans in the clear to %s; it is for this machine only", host)
	}
	if s.from, err = address(e.From); err != nil {
		return config("from: %w", err)
	}
	for _, text := range e.To {
		to, err := address(text)
		if err != nil {
			return config("to: %w", err)
		}
		s.to = append(s.to, to)
	}
	if len(s.to) == 0 {
		return config("to names nobody")
	}
	if (e.User == "") != (e.Password == "") {
		return config("one of user and password is there without the other")
	}
	if e.Password != "" {
		if s.password, err = secret.Resolve(ctx, e.Password); err != nil {
			return nil, &activities.Error{Type: activities.ErrConfig, Op: op, Err: err, Next: "give the worker the password"}
		}
	}
	return s, nil
}

func address(text string) (*mail.Address, error) {
	a, err := mail.ParseAddress(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("not an e-mail address; expected one such as oncall@example.org")
	}
	return a, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// memory holds the last deliveries of this process: an activity that is called again after its worker lost the result finds them.
type memory struct {
	mu    sync.Mutex
	there map[string]bool
	order []string
}

const remembered = 10_000 // deliveries; 200 bytes each

func (m *memory) has(parts ...string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.there[strings.Join(parts, "\x00")]
}

func (m *memory) add(parts ...string) {
	key := strings.Join(parts, "\x00")
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.there[key] {
		return
	}
	if m.there == nil {
		m.there = map[string]bool{}
	}
	if len(m.order) == remembered {
		delete(m.there, m.order[0])
		m.order = m.order[1:]
	}
	m.there[key] = true
	m.order = append(m.order, key)
}

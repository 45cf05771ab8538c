package email

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

const password = "hunter2-planted"

var withAuth = options{"user": "muster", "password": password}

// input asks to send to the sink by STARTTLS and with a password.
func input(t *testing.T, s *sink, n activities.Notice) activities.AnnounceInput {
	t.Helper()
	return activities.AnnounceInput{Name: "mail", Notice: n, Notifier: runbooks.Notifier{Kind: "email", Email: &runbooks.EmailNotifier{
		Server: "127.0.0.1:" + s.port, From: "muster <muster@example.org>", To: []string{"Ada <ada@example.org>", "dana@example.org"},
		User: "muster", Password: planted(t, password), CA: s.ca}}}
}

// plain is the same without TLS and without password.
func plain(t *testing.T, s *sink, n activities.Notice) activities.AnnounceInput {
	t.Helper()
	in := input(t, s, n)
	in.Notifier.Email.TLS, in.Notifier.Email.User, in.Notifier.Email.Password, in.Notifier.Email.CA = none, "", "", ""
	return in
}

func planted(t *testing.T, value string) runbooks.Secret {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(value+"\n"), 0o600))
	return runbooks.Secret("file:" + file)
}

func TestSends(t *testing.T) {
	t.Parallel()
	inTheClear := options{"auth": withAuth, "auth_in_the_clear": true}
	for name, test := range map[string]struct {
		sink   options
		change func(*runbooks.EmailNotifier)
		tls    bool
		login  string
	}{
		"STARTTLS, PLAIN":       {sink: options{"starttls": true, "auth": withAuth}, tls: true, login: "muster"},
		"STARTTLS, LOGIN":       {sink: options{"starttls": true, "auth": withAuth, "auth_exclude": []string{"PLAIN"}}, tls: true, login: "muster"},
		"STARTTLS, nobody":      {sink: options{"starttls": true}, change: func(e *runbooks.EmailNotifier) { e.User, e.Password = "", "" }, tls: true},
		"STARTTLS, by name":     {sink: options{"starttls": true, "auth": withAuth, "name": "localhost"}, change: func(e *runbooks.EmailNotifier) { e.Server = strings.Replace(e.Server, "127.0.0.1", "localhost", 1) }, tls: true, login: "muster"},
		"implicit TLS":          {sink: options{"implicit": true, "auth": withAuth, "auth_in_the_clear": true}, change: func(e *runbooks.EmailNotifier) { e.TLS = implicit }, tls: true, login: "muster"},
		"none on this machine":  {sink: options{}, change: func(e *runbooks.EmailNotifier) { e.TLS, e.User, e.Password = none, "", "" }},
		"none, with a password": {sink: inTheClear, change: func(e *runbooks.EmailNotifier) { e.TLS = none }, login: "muster"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSink(t, test.sink)
			in := input(t, s, gateOpened())
			if test.change != nil {
				test.change(in.Notifier.Email)
			}
			receipt, err := New().Announce(t.Context(), in)
			require.NoError(t, err)
			got := s.got(t, 1)[0]
			require.Equal(t, test.tls, got.TLS)
			require.Equal(t, test.login, got.Login)
			require.Equal(t, "muster@example.org", got.Sender)
			require.Equal(t, []string{"ada@example.org", "dana@example.org"}, got.To)
			require.Equal(t, "<"+receipt.Channel+">", got.parse(t).Header.Get("Message-Id"))
			require.NotContains(t, string(got.Message), "hunter2")
		})
	}
}

// Whatever is wrong with the way to the server, it gets no message, and no password.
func TestRefusesAWayThatIsNotSafe(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sink   options
		change func(*testing.T, *runbooks.EmailNotifier)
		says   string
	}{
		"no STARTTLS offered":     {sink: options{"auth": withAuth, "auth_in_the_clear": true}, says: "offers no STARTTLS"},
		"another CA":              {sink: options{"starttls": true, "auth": withAuth}, says: "certificate", change: func(t *testing.T, e *runbooks.EmailNotifier) { e.CA, _, _ = certificates(t, t.TempDir(), nil) }},
		"the system's CAs":        {sink: options{"starttls": true, "auth": withAuth}, says: "certificate", change: func(_ *testing.T, e *runbooks.EmailNotifier) { e.CA = "" }},
		"another name":            {sink: options{"starttls": true, "auth": withAuth, "name": "mail.example.org"}, says: "certificate"},
		"another name, implicit":  {sink: options{"implicit": true, "name": "mail.example.org"}, says: "certificate", change: func(_ *testing.T, e *runbooks.EmailNotifier) { e.TLS = implicit }},
		"TLS where there is none": {sink: options{}, says: "does not speak TLS", change: func(_ *testing.T, e *runbooks.EmailNotifier) { e.TLS = implicit }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSink(t, test.sink)
			in := input(t, s, gateOpened())
			if test.change != nil {
				test.change(t, in.Notifier.Email)
			}
			_, err := New().Announce(t.Context(), in)
			require.Equal(t, activities.ErrConfig, activities.TypeOf(err), err)
			require.ErrorContains(t, err, test.says)
			s.mu.Lock()
			defer s.mu.Unlock()
			require.Empty(t, s.letters)
			require.Zero(t, s.auths)
		})
	}
}

func TestWhatTheServerAnswers(t *testing.T) {
	t.Parallel()
	everybody := func(answer string) options {
		return options{"rcpt": options{"ada@example.org": answer, "dana@example.org": answer}}
	}
	for name, test := range map[string]struct {
		sink options
		want string
		says string
	}{
		"421 at once":     {options{"greeting": "421 4.3.2 shutting down"}, activities.ErrUnreachable, "421"},
		"554 at once":     {options{"greeting": "554 5.7.1 you are on a list"}, activities.ErrRefused, "554"},
		"dropped at once": {options{"greeting": "drop"}, activities.ErrUnreachable, "greeting"},
		"450 from":        {options{"mail": "450 4.7.1 greylisted"}, activities.ErrNotYet, "450 4.7.1 greylisted"},
		"421 from":        {options{"mail": "421 4.7.0 too many"}, activities.ErrUnreachable, "421"},
		"550 from":        {options{"mail": "550 5.7.1 not you"}, activities.ErrRefused, "550"},
		"450 to":          {everybody("450 4.2.1 busy"), activities.ErrNotYet, "RCPT TO ada@example.org: it answered 450"},
		"452 to":          {everybody("452 4.2.2 full"), activities.ErrNotYet, "452"},
		"550 to":          {everybody("550 5.1.1 no such user"), activities.ErrRefused, "550 5.1.1 no such user"},
		"451 data":        {options{"data": "451 4.3.0 disk"}, activities.ErrNotYet, "451"},
		"552 data":        {options{"data": "552 5.3.4 too big"}, activities.ErrRefused, "552"},
		"554 data":        {options{"data": "554 5.7.1 spam"}, activities.ErrRefused, "554"},
		"530 sign in":     {options{"mail": "530 5.7.0 who are you"}, activities.ErrAuth, "530"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSink(t, test.sink)
			n, in := New(), plain(t, s, gateOpened())
			_, err := n.Announce(t.Context(), in)
			var typed *activities.Error
			require.ErrorAs(t, err, &typed)
			require.Equal(t, test.want, typed.Type, err)
			require.Equal(t, test.want != activities.ErrRefused && test.want != activities.ErrAuth, typed.Retryable())
			require.ErrorContains(t, err, test.says)
			if _, lasting := test.sink["rcpt"]; lasting {
				return
			}
			_, err = n.Announce(t.Context(), in) // the fault is over
			require.NoError(t, err)
			s.got(t, 1)
		})
	}
}

func TestSignInThatFails(t *testing.T) {
	t.Parallel()
	for _, excluded := range []string{"LOGIN", "PLAIN"} {
		s := startSink(t, options{"starttls": true, "auth": withAuth, "auth_exclude": []string{excluded}})
		in := input(t, s, gateOpened())
		in.Notifier.Email.Password = planted(t, "hunter2-wrong")
		_, err := New().Announce(t.Context(), in)
		require.Equal(t, activities.ErrAuth, activities.TypeOf(err), err)
		require.ErrorContains(t, err, "535")
		require.ErrorContains(t, err, "[secret] is not the password, nor is [secret] or [secret]", "the sink repeats what it was sent, in all its forms")
		require.NotContains(t, err.Error(), "hunter2")
	}
	s := startSink(t, options{"starttls": true, "auth": withAuth, "auth_exclude": []string{"LOGIN", "PLAIN"}})
	_, err := New().Announce(t.Context(), input(t, s, gateOpened()))
	require.Equal(t, activities.ErrAuth, activities.TypeOf(err))
	require.ErrorContains(t, err, "no way of signing in")
}

// What is not known after a lost answer is sent again, under the same Message-ID.
func TestAnAnswerIsLost(t *testing.T) {
	t.Parallel()
	s := startSink(t, options{"lose_answer": true})
	n, in := New(), plain(t, s, gateOpened())
	_, err := n.Announce(t.Context(), in)
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
	require.ErrorContains(t, err, "same Message-ID")
	receipt, err := n.Announce(t.Context(), in)
	require.NoError(t, err)
	require.False(t, receipt.Known)
	letters := s.got(t, 2)
	first, second := letters[0].parse(t), letters[1].parse(t)
	require.Equal(t, "<"+receipt.Channel+">", first.Header.Get("Message-Id"))
	for _, name := range []string{"Message-Id", "Date", "Subject", "To", "From"} {
		require.Equal(t, first.Header.Get(name), second.Header.Get(name))
	}
}

// A server that goes away after its 250 has the message: it is not sent again.
func TestAGoodbyeIsLost(t *testing.T) {
	t.Parallel()
	s := startSink(t, options{"lose_quit": true})
	_, err := New().Announce(t.Context(), plain(t, s, gateOpened()))
	require.NoError(t, err)
	s.got(t, 1)
}

func TestTheSameNoticeIsSentOnce(t *testing.T) {
	t.Parallel()
	s := startSink(t, options{})
	n, in := New(), plain(t, s, gateOpened())
	first, err := n.Announce(t.Context(), in)
	require.NoError(t, err)
	second, err := n.Announce(t.Context(), in)
	require.NoError(t, err)
	require.True(t, second.Known)
	require.Equal(t, first.Channel, second.Channel)
	s.got(t, 1)
	in.Notice.ID += "0"
	_, err = n.Announce(t.Context(), in)
	require.NoError(t, err)
	s.got(t, 2)
}

// One who left the company does not keep the others from their page.
func TestSomeRecipientsAreRefused(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{"550 5.1.1 no such user": activities.ErrRefused, "450 4.2.1 busy": activities.ErrNotYet} {
		s := startSink(t, options{"rcpt": options{"ada@example.org": answer}})
		n, in := New(), plain(t, s, gateOpened())
		for range 2 {
			_, err := n.Announce(t.Context(), in)
			require.Equal(t, want, activities.TypeOf(err))
			require.ErrorContains(t, err, "ada@example.org")
			require.NotContains(t, err.Error(), "dana")
		}
		letters := s.got(t, 1)
		require.Equal(t, []string{"dana@example.org"}, letters[0].To, "once, to who could be reached")
	}
}

func TestASlowServerIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"greeting", "data"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			s := startSink(t, options{"slow": where})
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, err := New().Announce(ctx, plain(t, s, gateOpened()))
			require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Less(t, time.Since(start), 5*time.Second)
		})
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = New().Announce(t.Context(), plain(t, &sink{port: port}, gateOpened()))
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err))
	require.ErrorContains(t, err, "refused")
}

func TestConfigurationThatCannotWork(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	s := startSink(t, options{"starttls": true, "auth": withAuth})
	for name, change := range map[string]func(*runbooks.EmailNotifier){
		"in the clear":              func(e *runbooks.EmailNotifier) { e.TLS, e.Server = none, "smtp.example.org:25" },
		"an unknown mode":           func(e *runbooks.EmailNotifier) { e.TLS = "maybe" },
		"no port":                   func(e *runbooks.EmailNotifier) { e.Server = "smtp.example.org" },
		"no sender":                 func(e *runbooks.EmailNotifier) { e.From = "" },
		"a header in the sender":    func(e *runbooks.EmailNotifier) { e.From = "a@example.org\r\nBcc: b@example.org" },
		"nobody to send to":         func(e *runbooks.EmailNotifier) { e.To = nil },
		"a header in the recipient": func(e *runbooks.EmailNotifier) { e.To = []string{"a@example.org>\r\nDATA\r\n"} },
		"a user without password":   func(e *runbooks.EmailNotifier) { e.Password = "" },
		"a password without user":   func(e *runbooks.EmailNotifier) { e.User = "" },
		"a secret that is not set":  func(e *runbooks.EmailNotifier) { e.Password = "env:MUSTER_EMAIL_PASSWORD_THAT_IS_NOT_SET" },
		"a CA that is not there":    func(e *runbooks.EmailNotifier) { e.CA += ".not" },
		"a CA that is empty":        func(e *runbooks.EmailNotifier) { e.CA = empty },
	} {
		in := input(t, s, gateOpened())
		change(in.Notifier.Email)
		_, err := New().Announce(t.Context(), in)
		require.Equal(t, activities.ErrConfig, activities.TypeOf(err), name)
		require.NotContains(t, err.Error(), "hunter2", name)
	}
	in := input(t, s, gateOpened())
	in.Notifier.Email = nil
	_, err := New().Announce(t.Context(), in)
	require.Equal(t, activities.ErrConfig, activities.TypeOf(err))
}

func TestMemoryForgetsTheOldest(t *testing.T) {
	t.Parallel()
	var m memory
	for i := range remembered + 1 {
		m.add("server", fmt.Sprint(i))
		m.add("server", fmt.Sprint(i))
	}
	require.False(t, m.has("server", "0"))
	require.True(t, m.has("server", "1"))
	require.True(t, m.has("server", fmt.Sprint(remembered)))
	require.Len(t, m.there, remembered)
	require.Len(t, m.order, remembered)
}

package runbooks

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a machine without zone files reads the same schedules

	"github.com/robfig/cron/v3"
	"golang.org/x/crypto/ssh"

	"github.com/musterhq/muster/internal/sshsig"
)

// What ends up in the words of a command or of HAProxy's runtime API is held to these, whatever the driver does.
var (
	loginName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`)
	slotName    = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)
	haproxyName = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,128}$`)
	hostName    = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?$`)
)

// validAddress never repeats the address: people paste URLs with passwords in them.
func validAddress(address string) error {
	expected := errors.New("not an address; expected host:port, such as db1.example.org:5432 or [::1]:5432")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return expected
	}
	if net.ParseIP(host) == nil && !hostName.MatchString(host) {
		return expected
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("the port is not a number from 1 to 65535; expected host:port")
	}
	return nil
}

func validRuntime(address string) error {
	scheme, rest, _ := strings.Cut(address, ":")
	switch {
	case scheme == "unix" && absolute(rest):
		return nil
	case scheme == "tcp" && validAddress(rest) == nil:
		return nil
	}
	return errors.New("not a runtime API address; expected unix:/path/to/socket or tcp:host:port")
}

// fingerprint parses an SSH public key as authorized_keys writes it. Its errors never repeat the key.
func fingerprint(line string) (string, error) {
	if strings.Contains(line, "PRIVATE KEY") {
		return "", errors.New("this is a private key: it is no secret any more, replace it; expected the public key, the line of the .pub file")
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(rest) > 0 {
		return "", errors.New("not an SSH public key; expected one line as in a .pub file, such as ssh-ed25519 AAAA... name")
	}
	if _, isCertificate := key.(*ssh.Certificate); isCertificate {
		return "", errors.New("this is an SSH certificate; expected a plain public key")
	}
	if err := sshsig.CheckKey(key); err != nil {
		return "", err
	}
	return ssh.FingerprintSHA256(key), nil
}

// validCron takes the five fields that both cron and Temporal's scheduler read the same way.
func validCron(expression string) error {
	fields := strings.Fields(expression)
	if len(fields) != 5 || strings.ContainsAny(expression, "#?@=\n") {
		return errors.New(`not a cron expression; expected five fields (minute hour day month weekday), such as "0 3 * * 0"`)
	}
	schedule, err := cron.ParseStandard(expression)
	if err != nil {
		return fmt.Errorf(`not a cron expression (%s); expected five fields (minute hour day month weekday), such as "0 3 * * 0"`, strings.TrimPrefix(err.Error(), "cron: "))
	}
	if schedule.Next(time.Unix(0, 0)).IsZero() {
		return errors.New("this day never comes; expected a cron expression that some day matches")
	}
	return nil
}

func validZone(name string) error {
	if name == "Local" {
		return errors.New("the zone Local differs from machine to machine; expected UTC or a name such as Europe/Berlin")
	}
	if _, err := time.LoadLocation(name); err != nil {
		return fmt.Errorf("unknown time zone %s; expected UTC or a name such as Europe/Berlin", shown(name))
	}
	return nil
}

var (
	slackChannel = regexp.MustCompile(`^[CGD][A-Z0-9]{8,20}$`)
	slackUser    = regexp.MustCompile(`^[TE][A-Z0-9]{8,20}/[UW][A-Z0-9]{8,20}$`)
)

// validURL takes https, and http on this machine only: notices and decisions do not travel in the clear.
func validURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return errors.New("not a URL; expected one such as https://hooks.example.org/muster, without user and password")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return errors.New("expected a URL with https; http is for this machine only")
}

func validEmail(address string) error {
	parsed, err := mail.ParseAddress(address)
	if err != nil || strings.ContainsAny(address, "\r\n") || !strings.Contains(parsed.Address, "@") {
		return errors.New("not an e-mail address; expected one such as oncall@example.org")
	}
	return nil
}

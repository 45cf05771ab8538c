package runbooks

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Duration is a time.Duration that files and payloads write as Go does: "20ms", "1m30s".
type Duration time.Duration

// D returns d as the standard library's type.
func (d Duration) D() time.Duration { return time.Duration(d) }

// Or returns d, or fallback where d is not set.
func (d Duration) Or(fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return time.Duration(d)
}

// String writes d as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; negative durations are refused.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("not a duration such as 30s or 5m: %q", text)
	}
	if v < 0 {
		return fmt.Errorf("a duration cannot be negative: %q", text)
	}
	*d = Duration(v)
	return nil
}

// Secret is a reference to a secret (env:NAME, file:/path), never the secret itself.
type Secret string

// SecretSchemes lists the forms that a reference can take, for messages.
const SecretSchemes = "env:NAME (an environment variable of the worker) or file:/abs/path (a file on the worker)"

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// Valid says whether s has the form of a reference, without looking whether the secret is there.
// Its errors never repeat s: what is not a reference may be the secret itself.
func (s Secret) Valid() error {
	scheme, rest, found := strings.Cut(string(s), ":")
	switch {
	case s == "":
		return errors.New("no secret is named; expected " + SecretSchemes)
	case found && scheme == "env":
		if !variableName.MatchString(rest) {
			return errors.New("what follows env: is not the name of an environment variable; expected letters, digits and _ only, as in env:PGPASSWORD")
		}
	case found && scheme == "file":
		if !absolute(rest) {
			return errors.New("what follows file: is not an absolute path; expected one such as file:/etc/muster/password")
		}
	default:
		return errors.New("not a reference to a secret (its text is not repeated here, it may be the secret); expected " + SecretSchemes)
	}
	return nil
}

func absolute(path string) bool {
	return filepath.IsAbs(path) && path != "/" && len(path) < 4096 && !strings.ContainsFunc(path, control)
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

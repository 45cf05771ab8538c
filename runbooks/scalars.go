package runbooks

import (
	"fmt"
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

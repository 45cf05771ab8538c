package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/runbooks"
)

func TestMapError(t *testing.T) {
	t.Parallel()
	require.NoError(t, mapError("x", nil))
	for code, want := range map[string]string{
		"28P01": activities.ErrAuth, "28000": activities.ErrAuth, "42501": activities.ErrAuth, "3D000": activities.ErrConfig,
		"25006": activities.ErrRefused, "57P03": activities.ErrUnreachable, "57P01": activities.ErrUnreachable, "08006": activities.ErrUnreachable,
		"53300": activities.ErrUnreachable, "55006": activities.ErrNotYet, "42P01": activities.ErrRefused, "XX000": activities.ErrUnknown,
	} {
		err := mapError("promote orders at west", fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code, Message: "said"}))
		require.Equal(t, want, activities.TypeOf(err), code)
		require.ErrorContains(t, err, "promote orders at west")
		require.ErrorContains(t, err, "said")
	}
	for want, err := range map[string]error{
		activities.ErrUnreachable: fmt.Errorf("look: %w", context.DeadlineExceeded),
		activities.ErrUnknown:     context.Canceled,
		activities.ErrNotYet:      &activities.CommandError{Args: []string{"flock"}, Code: 75},
		activities.ErrConfig:      &activities.CommandError{Args: []string{"pg_ctl"}, Code: 127},
		activities.ErrConflict:    fmt.Errorf("more: %w", &activities.Error{Type: activities.ErrConflict, Err: errors.New("two")}),
	} {
		require.Equal(t, want, activities.TypeOf(mapError("x", err)), "%v", err)
	}
}

// A server that refuses, does not answer, or never was there: a type each, soon, and no password in it.
func TestDialErrorsHoldNoPassword(t *testing.T) {
	t.Parallel()
	const planted = "planted-pässword '\\ x"
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(planted), 0o600))
	for address, want := range map[string]string{
		"127.0.0.1:1": activities.ErrUnreachable, "nowhere.invalid:5432": activities.ErrUnreachable, "127.0.0.1": activities.ErrConfig,
		"127.0.0.1:x": activities.ErrConfig, "127.0.0.1:99999": activities.ErrConfig,
	} {
		began := time.Now()
		_, err := dial(t.Context(), login{address: address, user: "muster", database: "orders", password: runbooks.Secret("file:" + file)}, time.Second)
		err = mapError("connect", err)
		require.Equal(t, want, activities.TypeOf(err), "%v", err)
		require.NotContains(t, err.Error(), "planted")
		require.Less(t, time.Since(began), 10*time.Second)
	}
}

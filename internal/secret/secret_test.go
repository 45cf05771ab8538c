package secret_test

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/musterhq/muster/internal/secret"
	"github.com/musterhq/muster/runbooks"
)

const planted = "hunter2-planted"

func TestResolveReadsVariable(t *testing.T) {
	t.Setenv("MUSTER_SECRET_TEST", planted)
	got, err := secret.Resolve(t.Context(), "env:MUSTER_SECRET_TEST")
	require.NoError(t, err)
	require.Equal(t, planted, got)

	t.Setenv("MUSTER_SECRET_TEST", "")
	_, err = secret.Resolve(t.Context(), "env:MUSTER_SECRET_TEST")
	require.ErrorContains(t, err, "empty")
	_, err = secret.Resolve(t.Context(), "env:MUSTER_SECRET_NOWHERE")
	require.ErrorContains(t, err, "env:MUSTER_SECRET_NOWHERE: the variable is not set")
}

func TestResolveReadsFile(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ text, want, problem string }{
		"as it is":            {text: planted, want: planted},
		"last line break":     {text: planted + "\n", want: planted},
		"windows line break":  {text: planted + "\r\n", want: planted},
		"one line break only": {text: planted + "\n\n", want: planted + "\n"},
		"blanks are kept":     {text: " " + planted + " \n", want: " " + planted + " "},
		"largest":             {text: strings.Repeat("x", 64<<10), want: strings.Repeat("x", 64<<10)},
		"too large":           {text: planted + strings.Repeat("x", 64<<10), problem: "larger than 64 KiB"},
		"empty":               {text: "\n", problem: "it is empty"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "secret")
			require.NoError(t, os.WriteFile(path, []byte(test.text), 0o644))
			got, err := secret.Resolve(t.Context(), runbooks.Secret("file:"+path))
			if test.problem != "" {
				require.ErrorContains(t, err, test.problem)
				require.ErrorContains(t, err, path)
				require.NotContains(t, err.Error(), planted)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestResolveRefusesWhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for path, problem := range map[string]string{
		dir:                           "is a directory",
		pipe:                          "not a regular file",
		"/dev/zero":                   "not a regular file",
		filepath.Join(dir, "no-such"): "no such file",
	} {
		_, err := secret.Resolve(t.Context(), runbooks.Secret("file:"+path))
		require.ErrorContains(t, err, problem)
		require.Equal(t, 1, strings.Count(err.Error(), path), err.Error())
	}
}

func TestWhatIsNoReferenceIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, ref := range []runbooks.Secret{
		planted, "aws-sm:" + planted, "env:" + planted, "env: " + planted, "file:" + planted, "file:../" + planted,
		"ENV:" + planted, "postgres://dana:" + planted + "@db/x", "file:/" + planted + "\n", "file:///" + "\x00" + planted, ":" + planted,
	} {
		require.Error(t, secret.Valid(ref), ref)
		_, err := secret.Resolve(t.Context(), ref)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2", ref)
	}
	require.ErrorContains(t, secret.Valid(planted), "env:NAME")
	require.ErrorContains(t, secret.Valid(planted), "file:/abs/path")
	require.Error(t, secret.Valid(""))
	require.NoError(t, secret.Valid("env:PGPASSWORD"))
	require.NoError(t, secret.Valid("file:/run/secrets/password"))
}

func TestResolveObeysItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	t.Setenv("MUSTER_SECRET_TEST", planted)
	_, err := secret.Resolve(ctx, "env:MUSTER_SECRET_TEST")
	require.ErrorIs(t, err, context.Canceled)
}

func TestResolvedSSHKeyStillParses(t *testing.T) {
	t.Parallel()
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "id_ed25519")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	text, err := secret.Resolve(t.Context(), runbooks.Secret("file:"+path))
	require.NoError(t, err)
	_, err = ssh.ParsePrivateKey([]byte(text))
	require.NoError(t, err)
}

package starter

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/local"
)

// TestTarget is not parallel: the state folder is found in the process's environment.
func TestTarget(t *testing.T) {
	state := t.TempDir()
	t.Setenv("MUSTER_STATE", state)
	require.NoError(t, local.Write(state, local.Engine{Address: "127.0.0.1:4711", Namespace: "own", PID: os.Getpid(), UI: "http://127.0.0.1:4712", Runbooks: "/srv/books"}))
	config := filepath.Join(t.TempDir(), "temporal.toml")
	require.NoError(t, os.WriteFile(config, []byte("[profile.prod]\naddress = \"prod.example:7233\"\nnamespace = \"ops\"\napi_key = \"very-secret\"\n"), 0o600))
	tests := []struct {
		name                       string
		env                        map[string]string
		address, namespace, prof   string
		wantAddress, wantNamespace string
		ofWorker                   bool
	}{
		{name: "this machine's worker", wantAddress: "127.0.0.1:4711", wantNamespace: "own", ofWorker: true},
		{name: "its engine, another namespace", namespace: "other", wantAddress: "127.0.0.1:4711", wantNamespace: "other", ofWorker: true},
		{name: "environment", env: map[string]string{"TEMPORAL_ADDRESS": "env:1"}, wantAddress: "env:1", wantNamespace: "default"},
		{name: "flag before environment", env: map[string]string{"TEMPORAL_ADDRESS": "env:1", "TEMPORAL_NAMESPACE": "n"}, address: "flag:1", wantAddress: "flag:1", wantNamespace: "n"},
		{name: "profile", prof: "prod", wantAddress: "prod.example:7233", wantNamespace: "ops"},
		{name: "profile of the environment", env: map[string]string{"TEMPORAL_PROFILE": "prod"}, wantAddress: "prod.example:7233", wantNamespace: "ops"},
		{name: "flags before profile", prof: "prod", address: "flag:1", namespace: "n", wantAddress: "flag:1", wantNamespace: "n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newApp(nil, &bytes.Buffer{}, &bytes.Buffer{})
			a.getenv = func(key string) string {
				if key == "TEMPORAL_CONFIG_FILE" {
					return config
				}
				return tt.env[key]
			}
			a.options.address, a.options.namespace, a.options.profile = tt.address, tt.namespace, tt.prof
			options, e, err := a.target()
			require.NoError(t, err)
			require.Equal(t, tt.wantAddress, options.HostPort)
			require.Equal(t, tt.wantAddress, e.address)
			require.Equal(t, tt.wantNamespace, e.namespace)
			require.Equal(t, tt.ofWorker, e.local.Runbooks == "/srv/books")
		})
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a b\uFFFD[31mc\uFFFD süß ✓", printable("a\nb\x1b[31mc\u202e süß ✓"))
	require.Equal(t, "one\ntwo\uFFFD", printableLines("one\ntwo\x07\n"))
}

func TestCut(t *testing.T) {
	t.Parallel()
	require.Equal(t, "short", cut("short", 10))
	require.Equal(t, "\x1b[31mabcd…\x1b[0m", cut("\x1b[31mabcdefgh\x1b[0m", 5))
	require.Equal(t, "\x1b[31mabcd\x1b[0m", cut("\x1b[31mabcd\x1b[0m", 5))
}

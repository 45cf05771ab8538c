package e2e

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/internal/journal"
)

// planted is a password that no server accepts, with characters that connection strings trip over: what fails must not tell it.
const planted = `Pl4nted'S3cret \ "x= y%@/`

// wrongPassword lets the servers refuse the estate's password: every place that tells of it is searched afterwards.
func wrongPassword(t *testing.T, s *shop) {
	here, _ := s.sites(t)
	path := filepath.Join(s.sandbox.Dir(), "secrets", sandbox.User+".password")
	right, err := os.ReadFile(path)
	require.NoError(t, err)
	restore := func() { require.NoError(t, os.WriteFile(path, right, 0o600)) }
	t.Cleanup(restore)
	for _, site := range []string{sandbox.East, sandbox.West} { // a session that was logged in before needs no password
		s.query(t, site, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'muster'")
	}
	require.NoError(t, os.WriteFile(path, []byte(planted+"\n"), 0o600))

	said := s.muster(t, "run", runbook(here, ""), "-o", "json")
	require.Equal(t, 1, said.code, said.String())
	x := s.follow(t, decode[execution](t, said.out))
	r, _ := s.ended(t, x, journal.FailedVerdict)
	require.Contains(t, r.Summary, "password authentication failed", "the reason says what is wrong")
	s.ok(t, "show", x.WorkflowID, "--journal", "--plan")
	s.save(t, x.WorkflowID, x.RunID, "failover-refused-by-preflight")

	restore()
	s.requireSettled(t, here)
}

// noSecretAnywhere looks for the estate's passwords in everything that this shop's runs left behind.
func noSecretAnywhere(t *testing.T, s *shop, commands []string) {
	secrets := []string{planted, "Pl4nted"}
	for _, user := range []string{sandbox.User, sandbox.ReplicationUser} {
		password, err := s.sandbox.Password(user)
		require.NoError(t, err)
		require.NotEmpty(t, password)
		secrets = append(secrets, password)
	}
	// Each place must also hold a word that is surely there: a search that finds nothing anywhere would prove nothing.
	places := map[string]struct {
		text    []byte
		certain string
	}{}
	add := func(place string, text []byte, certain string) {
		require.True(t, bytes.Contains(text, []byte(certain)), "%s does not hold %q: it is not searched", place, certain)
		places[place] = struct {
			text    []byte
			certain string
		}{text, certain}
	}
	for _, x := range s.all(t) {
		var events []byte
		for _, e := range s.history(t, x.WorkflowID, x.RunID).Events {
			text, err := proto.Marshal(e)
			require.NoError(t, err)
			events = append(events, text...)
		}
		add("history of "+x.WorkflowID+" "+x.RunID, events, "shop")
	}
	add("what muster printed", []byte(strings.Join(s.printed, "\n")), "failover:shop")
	add("command lines of processes", []byte(strings.Join(commands, "\n")), "muster-worker --state "+s.state)
	files := 0
	require.NoError(t, filepath.WalkDir(filepath.Dir(s.state), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil {
			add(path, text, "")
			files++
		}
		return err
	}))
	require.Greater(t, files, 20, "database, evidence, writers' logs and configurations, the worker's log")
	for _, pattern := range []string{"systems/*/*/log/postgresql.log", "haproxy/*.log", "runbooks/*.yaml"} {
		found, err := filepath.Glob(filepath.Join(s.sandbox.Dir(), pattern))
		require.NoError(t, err)
		require.NotEmpty(t, found, pattern)
		for _, path := range found {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			add(path, text, "")
		}
	}
	for place, found := range places {
		for _, secret := range secrets {
			if at := bytes.Index(found.text, []byte(secret)); at >= 0 {
				from := max(0, at-120)
				t.Errorf("%s tells a secret, after: %q", place, found.text[from:at])
			}
		}
	}
	t.Logf("searched %d places", len(places))
}

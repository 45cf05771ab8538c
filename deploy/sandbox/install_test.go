package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInstall(t *testing.T) {
	t.Parallel()
	broken := errors.New("no network")
	for name, test := range map[string]struct {
		before string // the policy that is there
		saved  string // what an installation that was killed had set aside
		fail   error
		after  string
	}{
		"no policy before":            {},
		"a policy before":             {before: "#!/bin/sh\nexit 104\n", after: "#!/bin/sh\nexit 104\n"},
		"apt fails":                   {before: "#!/bin/sh\nexit 104\n", fail: broken, after: "#!/bin/sh\nexit 104\n"},
		"after a kill, none before":   {before: policyText},
		"after a kill, a policy then": {before: policyText, saved: "#!/bin/sh\nexit 104\n", after: "#!/bin/sh\nexit 104\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			i := installer{policy: filepath.Join(dir, "policy-rc.d"), createCluster: filepath.Join(dir, "createcluster.d", "sandbox.conf"), root: true}
			for path, text := range map[string]string{i.policy: test.before, i.policy + savedPolicy: test.saved} {
				if text != "" {
					require.NoError(t, os.WriteFile(path, []byte(text), 0o755))
				}
			}
			var out bytes.Buffer
			var ran []string
			i.apt = func(_ context.Context, _ io.Writer, args ...string) error {
				require.Contains(t, out.String(), "apt-get install -y --no-install-recommends postgresql haproxy", "said before it is done")
				policy, err := os.ReadFile(i.policy)
				require.NoError(t, err)
				require.Equal(t, policyText, string(policy))
				conf, err := os.ReadFile(i.createCluster)
				require.NoError(t, err)
				require.Contains(t, string(conf), "create_main_cluster = false")
				ran = append(ran, strings.Join(args, " "))
				return test.fail
			}
			err := i.install(t.Context(), &out, []Package{{"postgresql", "the systems"}, {"haproxy", "the route"}})
			require.ErrorIs(t, err, test.fail)
			if test.fail == nil {
				require.Equal(t, []string{"update -q", "install -q -y --no-install-recommends postgresql haproxy"}, ran)
			}
			policy, err := os.ReadFile(i.policy)
			if test.after == "" {
				require.ErrorIs(t, err, os.ErrNotExist)
			} else {
				require.NoError(t, err)
				require.Equal(t, test.after, string(policy))
			}
			require.NoFileExists(t, i.policy+savedPolicy)
			require.NoFileExists(t, i.createCluster)
		})
	}
}

func TestInstallNeedsRoot(t *testing.T) {
	t.Parallel()
	err := installer{}.install(t.Context(), io.Discard, []Package{{"haproxy", "the route"}})
	require.ErrorContains(t, err, "sudo apt-get update && sudo apt-get install -y --no-install-recommends haproxy")
}
